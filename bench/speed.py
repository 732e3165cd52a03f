"""The figures that a change is held against, in one JSON file: ``python bench/speed.py``.

Writes ``bench/history/COMMIT.json``; `compare.py` says what moved between two of them. Every figure
is taken in turns with what it is compared to, in short calls, on one core.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import click
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import bench_endpoint  # noqa: E402
from peers import Contestant  # noqa: E402
from results import (  # noqa: E402
    OURS,
    FlowWork,
    MacWork,
    capture_against_engine,
    count_for,
    load,
    machine,
    peers_of,
    race,
    two_processes,
    verifying,
)
from scale import scale  # noqa: E402
from traffic import KEY_FILE, Traffic, write_capture  # noqa: E402

import tcpao_fast as ao  # noqa: E402

SHORT = {"hmac-sha-1-96": "HMAC", "aes-128-cmac-96": "CMAC"}
BATCH = 16384
VLAN = bytes(12) + b"\x81\0\0\x07\x08\0"
TIMESTAMPS = b"\1\1\x08\x0a" + bytes(8)


class Figures:
    """Names and values; `least` and `median` of rounds, or of ratios round by round."""

    def __init__(self):
        self.found = {}

    def add(self, name, rounds, unit, peer=None):
        """`rounds` of one contestant, or against those of another that took turns with it."""
        values = np.asarray(rounds, float)
        if peer is not None:
            values = values / np.asarray(peer, float)
        least = min(rounds) / min(peer) if peer is not None else min(rounds)
        low, median, high = np.percentile(values, [25, 50, 75])
        self.found[name] = {
            "unit": unit,
            "least": float(f"{least:.4g}"),
            "median": float(f"{median:.4g}"),
            "spread": float(f"{(high - low) / median:.2g}"),
        }
        click.echo(f"{name:64} {median:10.3f} {least:10.3f} {unit}", err=True)


def each(contestants, rounds):
    """The rounds of each contestant (ns an item), in turns."""
    return {name: timing.rounds for name, timing in race(contestants, rounds).items()}


def macs(figures, rounds):
    """Naked MACs beside ipsec-mb."""
    for algorithm, short in SHORT.items():
        for size in (52, 64, 80, 256, 1480, 4096):
            work = MacWork.random(algorithm, [size] * count_for(size), 1024)
            found = each([work.ours(), *peers_of(["ipsec_mb"], work)], rounds)
            peers = [one for one in found if one != OURS]
            figures.add(f"mac_batch {short} {size}", found[OURS], "ns")
            if peers:
                best = min(peers, key=lambda one: statistics.median(found[one]))
                figures.add(f"mac_batch {short} {size} x ipsec-mb", found[OURS], "x", found[best])


def signs(traffic):
    """`sign` of what is not signed, and `sign_inplace` of what was."""
    engine = ao.Engine([traffic.key])
    engine.verify(*traffic.handshakes, traffic.linktype)
    buffer, offsets, lengths = traffic.segments
    mutable = np.array(np.frombuffer(buffer, np.uint8))
    assert not engine.sign(*traffic.plain, traffic.linktype).outcome.any()
    yield Contestant("sign", lambda: engine.sign(*traffic.plain, traffic.linktype), traffic.count)
    yield Contestant(
        "sign_inplace",
        lambda: engine.sign_inplace(mutable, offsets, lengths, traffic.linktype),
        traffic.count,
    )


def flows(figures, rounds):
    """`Engine.verify` and `sign` by kind of packet."""
    for algorithm, short in SHORT.items():
        plain = Traffic(algorithm, 0, 1024, BATCH)
        figures_of = each([verifying("verify", plain), *signs(plain)], rounds)
        figures.add(f"verify {short} ACK", figures_of["verify"], "ns")
        for way in ("sign", "sign_inplace"):
            figures.add(f"{way} {short} ACK x verify", figures_of[way], "x", figures_of["verify"])
        for what, options in (
            ("IPv6", {"version": 6}),
            ("VLAN", {"link": VLAN}),
            ("options", {"options": TIMESTAMPS}),
        ):
            other = verifying(what, Traffic(algorithm, 0, 1024, BATCH, **options))
            found = each([verifying("verify", plain), other], rounds)
            figures.add(f"verify {short} ACK, {what} x plain", found[what], "x", found["verify"])
        large = FlowWork(algorithm, 1448)
        bare = large.mac_work().ours()
        found = each([bare, verifying("verify", large.traffic), *signs(large.traffic)], rounds)
        figures.add(f"verify {short} 1448", found["verify"], "ns")
        figures.add(f"verify {short} 1448 x mac_batch", found["verify"], "x", found[bare.name])
        for way in ("sign", "sign_inplace"):
            figures.add(f"{way} {short} 1448 x verify", found[way], "x", found["verify"])


def captures(figures, rounds):
    """`verify_capture`, beside the engine over the same bytes."""
    for algorithm, short in SHORT.items():
        for what, payload in (("ACK", 0), ("1448", 1448)):
            traffic = Traffic(algorithm, payload, 1024, BATCH)
            timings = capture_against_engine(traffic, 64_000_000, max(3, rounds // 3))
            found = {name: timing.rounds for name, timing in timings.items()}
            figures.add(
                f"verify_capture {short} {what} x verify", found["capture"], "x", found["engine"]
            )


def calls(figures, rounds):
    """Small calls, and endpoints."""
    traffic = Traffic("hmac-sha-1-96", 64, 64, 256)
    buffer, offsets, lengths = traffic.segments
    engine = traffic.engine()
    whole = bytes(buffer)
    spans = list(zip(offsets.tolist(), lengths.tolist(), strict=True))
    one = whole[spans[0][0] : sum(spans[0])]
    few = [whole[at : at + size] for at, size in spans[:32]]
    first = (buffer, offsets[:32].copy(), lengths[:32].copy())

    def repeat(call):
        def run():
            for _ in range(200):
                call()

        return run

    found = each(
        [
            Contestant("a call of 1", repeat(lambda: engine.verify(one, linktype=101)), 200),
            Contestant("a call of 32", repeat(lambda: engine.verify(*first, 101)), 200),
            Contestant("a call of 32 bytes", repeat(lambda: engine.verify(few, linktype=101)), 200),
        ],
        rounds,
    )
    for name, times in found.items():
        figures.add(name, np.array(times) / 1000, "us")
    times = {"Connection.sign": [], "Connection.process": []}
    for _ in range(rounds):
        client, server = bench_endpoint.connected()
        packets = bench_endpoint.stream(64)
        start = time.perf_counter()
        packets = [client.sign(one) for one in packets]
        between = time.perf_counter()
        for one in packets:
            server.process(one)
        times["Connection.sign"].append((between - start) / len(packets) * 1e6)
        times["Connection.process"].append((time.perf_counter() - between) / len(packets) * 1e6)
    for name, taken in times.items():
        figures.add(name, taken, "us")


def algorithms(figures, rounds):
    """What is not mandatory, on bare ACKs."""
    for algorithm in ("kmac256-128", "hmac(sha512)", "hmac(sha256)"):
        options = {} if "(" not in algorithm else {"mac_length": 12}
        work = Traffic(algorithm, 0, 64, 1024, **options)
        figures.add(
            f"verify {algorithm} ACK", each([verifying("verify", work)], rounds)["verify"], "ns"
        )


def spread(figures, connections):
    """A million connections."""
    for found in scale(connections):
        short = SHORT[found["algorithm"]]
        figures.add(f"{short} bytes a connection", [found["bytes_per_connection"]], "bytes")
        for payload, what in ((0, "ACK"), (1448, "1448")):
            name = f"verify {short} {what}, a million connections x one"
            figures.add(name, [found[f"ratio_{payload}"]], "x")


def threads(figures, rounds, cpus):
    """Two threads and two processes, beside one."""
    for algorithm, short in SHORT.items():
        for what, payload in (("ACK", 0), ("1448", 1448)):
            work = FlowWork(algorithm, payload, 1 << 16)
            one, two = work.engine(), work.engine(2)
            found = each([one, two], rounds)
            gain = np.array(found[one.name]) / np.array(found[two.name])
            figures.add(f"two threads {short} {what} x one", gain, "x more")
            both = two_processes(work, cpus, rounds)
            figures.add(f"two processes {short} {what} x one", [both], "x more")


def command_line(figures, rounds):
    """CPU time of the whole command, beside `cat` and an empty Python."""
    traffic = Traffic("hmac-sha-1-96", 1448, 64, 8192)

    def cpu(*command):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    with tempfile.TemporaryDirectory() as folder:
        path, keys = Path(folder) / "hundred.pcap", Path(folder) / "keys.toml"
        copies = -(-100_000_000 // (len(traffic.segments[0]) + 16 * traffic.count))
        write_capture(path, (traffic.handshakes, *[traffic.segments] * copies))
        keys.write_text(KEY_FILE)
        keys.chmod(0o600)
        verify = [sys.executable, "-m", "tcpao_fast", "verify", str(path), "-k", str(keys)]
        times = [
            (cpu(*verify), cpu("cat", str(path)) + cpu(sys.executable, "-c", "pass"))
            for _ in range(max(3, rounds // 3))
        ]
    ours, least = zip(*times, strict=True)
    figures.add("tcpao verify, 100 MB", ours, "s CPU")
    figures.add("cat and an empty Python", least, "s CPU")


PARTS = {
    "macs": macs,
    "flows": flows,
    "captures": captures,
    "calls": calls,
    "algorithms": algorithms,
    "command-line": command_line,
}


@click.command()
@click.option("--cpu", default=0, show_default=True, help="The core to measure on.")
@click.option("--rounds", default=21, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="One round, few connections: whether all of it works.")
@click.option("--only", multiple=True, help="These parts only; nothing is written.")
@click.option("--output", type=click.Path(dir_okay=False), help="Where to write, else by commit.")
def main(cpu, rounds, quick, only, output):
    """Measure what a change is held against."""
    rounds = 1 if quick else rounds
    every = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    figures, loads = Figures(), [load()]
    for name, part in PARTS.items():
        if not only or name in only:
            part(figures, rounds)
    if not only or "spread" in only:
        spread(figures, 1 << 17 if quick else 1_000_000)
    if len(every) > 1 and (not only or "threads" in only):
        os.sched_setaffinity(0, every)
        threads(figures, rounds, every[:2])
    loads.append(load())
    if only:
        return
    about = dict(machine(cpu, loads))
    commit = about["Commit"]
    path = Path(output) if output else HERE / "history" / f"{commit}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    date = datetime.now(timezone.utc).isoformat(timespec="seconds")
    run = {"date": date, "about": about, "rounds": rounds, "figures": figures.found}
    text = json.dumps(run, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    click.echo(path, err=True)


if __name__ == "__main__":
    main()
