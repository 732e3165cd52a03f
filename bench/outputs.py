"""What outputs cost beside the verification itself, and how long reports and diagnoses take.

    python bench/outputs.py [--quick]

A million bare ACKs of one connection: rows in each form, annotated pcapng; reports of 1, 64 and
1,024
connections; a diagnosis of 1,024 connections under a wrong secret.  The cost of an output is its
time
less that of `verify_capture` alone, as a multiple of that; all in turns, pinned to a core.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from traffic import Traffic

import tcpao_fast as ao
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records

BEGIN = 1_700_000_000 * 10**9


def capture(path, count, connections, payload=0):
    traffic = Traffic("hmac-sha-1-96", payload, connections, count)
    at = 0
    with path.open("wb") as file:
        file.write(pcap_header(101, 65535, True, False))
        for buffer, offsets, lengths in (traffic.handshakes, traffic.segments):
            stamps = BEGIN + (at + np.arange(len(offsets), dtype=np.int64)) * 1000
            at += len(offsets)
            file.write(pcap_records(buffer, offsets, lengths, lengths, stamps, True, False))
    return path, [traffic.key]


def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def outputs(folder, count, rounds):
    path, keys = capture(folder / "acks.pcap", count, 1)
    forms = {
        "verify alone": lambda out: {},
        "csv": lambda out: {"output": out.with_suffix(".csv")},
        "jsonl": lambda out: {"output": out.with_suffix(".jsonl")},
        "parquet": lambda out: {"output": out.with_suffix(".parquet")},
        "annotate": lambda out: {"annotate": out.with_suffix(".pcapng")},
    }
    took = {name: [] for name in forms}
    for _ in range(rounds):
        for name, options in forms.items():
            for old in folder.glob("out.*"):
                old.unlink()
            given = options(folder / "out")
            took[name].append(seconds(lambda given=given: ao.verify_capture(path, keys, **given)))
    base = statistics.median(took["verify alone"])
    print(f"{count:,} ACKs, medians of {rounds}:")
    for name, times in took.items():
        one = statistics.median(times)
        print(f"  {name:14}{one:8.3f} s   cost {one / base - 1:5.2f} x verify")


def reports(folder, count, rounds):
    for connections in (1, 64, 1024):
        path, keys = capture(folder / "report.pcap", count, connections)
        times = [
            seconds(lambda path=path, keys=keys: ao.report_capture(path, keys, folder / "r.html"))
            for _ in range(rounds)
        ]
        print(f"  report of {count:,} ACKs, {connections:5,} connections"
              f"{statistics.median(times):8.2f} s")  # fmt: skip
    path, keys = capture(folder / "wrong.pcap", 64 * 1024, 1024, 100)
    one = keys[0]
    wrong = ao.MasterKey(
        algorithm=one.algorithm, secret=b"wrong", send_id=one.send_id, recv_id=one.recv_id,
        local=one.local, remote=one.remote,
    )  # fmt: skip
    times = [seconds(lambda: ao.diagnose_capture(path, [wrong])) for _ in range(rounds)]
    print(f"  diagnosis of 1,024 connections, wrong secret{statistics.median(times):8.2f} s")


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    quick = options.parse_args().quick
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    count, rounds = (20_000, 1) if quick else (1_000_000, 5)
    with tempfile.TemporaryDirectory() as folder:
        outputs(Path(folder), count, rounds)
        reports(Path(folder), count, min(rounds, 3))


if __name__ == "__main__":
    main()
