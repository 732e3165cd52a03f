"""Many captures by two workers, beside one process and two independent ones.

    python bench/archives.py [--quick]

Rotated files of 64 signed connections, in the page cache. "Side by side": two processes that each
verify everything; half of what they take is what two workers could reach at best.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from distributed import Client, LocalCluster
from traffic import KEY_FILE, Traffic

import tcpao_fast as ao
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records
from tcpao_fast.distributed import KeySource, verify_distributed

BEGIN = 1_700_000_000 * 10**9
ALONE = """
import sys
import tcpao_fast as ao
keys, output, *captures = sys.argv[1:]
chain = ao.load_keys(keys)
print("ready", flush=True)
sys.stdin.readline()
ao.verify_capture(captures, chain, output=output or None)
print("done", flush=True)
"""


def captures(folder, payload, count, files):
    traffic = Traffic("hmac-sha-1-96", payload, 64, count)
    buffer, offsets, lengths = traffic.segments
    share, at, paths = count // files, 0, []
    for number in range(files):
        path = folder / f"{number:05}.pcap"
        with path.open("wb") as file:
            file.write(pcap_header(101, 65535, True, False))
            which = slice(number * share, (number + 1) * share)
            parts = [(buffer, offsets[which], lengths[which])]
            for data, places, sizes in [traffic.handshakes, *parts] if not number else parts:
                stamps = BEGIN + (at + np.arange(len(places), dtype=np.int64)) * 1000
                at += len(places)
                file.write(pcap_records(data, places, sizes, sizes, stamps, True, False))
        paths.append(str(path))
    return paths


def side_by_side(folder, keys, paths, rows):
    outputs = [str(folder / f"{n}.parquet") if rows else "" for n in (0, 1)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ALONE, keys, output, *paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for output in outputs
    ]  # fmt: skip
    for one in running:
        one.stdout.readline()
    begin = time.perf_counter()
    for one in running:
        one.stdin.write(b"\n")
        one.stdin.flush()
    for one in running:
        one.stdout.readline()
    took = (time.perf_counter() - begin) / 2
    for one in running:
        one.wait()
    return took


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    quick = options.parse_args().quick
    count, files, rounds = (20_000, 10, 1) if quick else (1_400_000, 100, 5)
    with (
        tempfile.TemporaryDirectory() as place,
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        folder = Path(place)
        keys = folder / "keys.toml"
        keys.write_text(KEY_FILE)
        keys.chmod(0o600)
        paths = captures(folder, 1400, count, files)
        size = sum(Path(one).stat().st_size for one in paths)
        chain = ao.load_keys(keys)
        for rows in (False, True):
            took = {"one process": [], "side by side": [], "two workers": [], "headers": []}
            for number in range(rounds):
                begin = time.perf_counter()
                ao.verify_capture(paths, chain, output=folder / "one.parquet" if rows else None)
                took["one process"].append(time.perf_counter() - begin)
                took["side by side"].append(side_by_side(folder, str(keys), paths, rows))
                marks = {}
                begin = time.perf_counter()

                def mark(what, done, of, marks=marks, begin=begin):
                    marks[what] = time.perf_counter() - begin

                report = verify_distributed(
                    paths, KeySource((str(keys),)), client=client, progress=mark,
                    output=str(folder / f"rows{number}") if rows else None,
                )  # fmt: skip
                took["two workers"].append(time.perf_counter() - begin)
                took["headers"].append(marks["headers"])
                assert report.counts["good"] == report.segments
            print(f"{size / 1e9:.1f} GB in {files} files, rows {'' if rows else 'not '}written:")
            for name, times in took.items():
                one = statistics.median(times)
                print(f"  {name:14}{one:7.2f} s  {size / one / 1e9:5.2f} GB/s")
            ratio = statistics.median(took["side by side"]) / statistics.median(took["two workers"])
            print(f"  two workers reach {ratio:.2f} of two independent processes")


if __name__ == "__main__":
    main()
