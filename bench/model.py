"""The model of docs/scaling.md, fitted here and held against this machine:
``python bench/model.py``.

A segment costs a fixed time for everything but its MAC; its MAC a fixed time and one for each block
of the hash or the cipher; and a packet some time for each of its first cache lines, as those that
follow the hardware sees coming (how much of that hides behind the MACs depends on them). Fixed time
and blocks are fitted from naked MACs and bare ACKs, lines from payloads of 524 bytes; every other
row is predicted, then measured.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from peers import Contestant
from results import MacWork, count_for, race, together, verifying
from traffic import ALGORITHMS, Traffic

import tcpao_fast as ao

MAC_SIZES = (52, 256, 576, 1480, 9000)
PAYLOADS = (0, 204, 524, 1448, 8948)
PREFIX = 52
#: Of RSS: with this key both directions of a connection hash alike.
SYMMETRIC = bytes((0x6D, 0x5A)) * 20
#: Lines of a packet that are waited for.
LINES = 8
#: Behind so many bytes of a message a block costs less.
LONG = 1480


def blocks(algorithm, size):
    """Blocks that a message's MAC takes; HMAC's outer one is one of them."""
    if algorithm == "hmac-sha-1-96":
        return (size + 9 + 63) // 64 + 1
    return (size + 15) // 16


@dataclass
class Model:
    """ns: of a segment but for its MAC; of a MAC, of each of its blocks, and of each behind LONG
    bytes; of each line."""

    algorithm: str
    rest: float
    fixed: float
    each: float
    behind: float
    line: float = 0.0

    def mac(self, size):
        short, whole = (blocks(self.algorithm, one) for one in (min(size, LONG), size))
        return self.fixed + self.each * short + self.behind * (whole - short)

    def predicted(self, payload):
        size = PREFIX + payload
        return self.rest + self.mac(size) + self.line * min(LINES, (size - 1) // 64)


def measure(algorithm, rounds):
    """The least ns of a MAC by its message's size and of a segment by its payload, all in turns."""
    contestants = []
    for size in MAC_SIZES:
        ours = MacWork.random(algorithm, [size] * count_for(size), 1024).ours()
        contestants.append(Contestant(("mac", size), ours.run, ours.items))
    for payload in PAYLOADS:
        traffic = Traffic(algorithm, payload, 1024, count_for(PREFIX + payload))
        contestants.append(verifying(("segment", payload), traffic))
    found = {name: timing.least for name, timing in race(contestants, rounds).items()}
    return (
        {size: found["mac", size] for size in MAC_SIZES},
        {payload: found["segment", payload] for payload in PAYLOADS},
    )


def fit(algorithm, times):
    """The model but for lines; up to LONG bytes by least squares of the relative errors."""
    short = [size for size in times if size <= LONG]
    rows = np.array([[1, blocks(algorithm, size)] for size in short], float)
    rows /= np.array([times[size] for size in short])[:, None]
    fixed, each = np.linalg.lstsq(rows, np.ones(len(short)), rcond=None)[0]
    most = max(times)
    more = blocks(algorithm, most) - blocks(algorithm, LONG)
    return Model(algorithm, 0.0, fixed, each, (times[most] - times[LONG]) / more)


def toeplitz(inputs):
    """RSS's hash of rows of bytes under `SYMMETRIC`."""
    key = int.from_bytes(SYMMETRIC, "big")
    bits = np.unpackbits(inputs, axis=1).astype(bool)
    found = np.zeros(len(inputs), np.uint32)
    for i in range(bits.shape[1]):
        word = np.uint32(key >> (len(SYMMETRIC) * 8 - 32 - i) & 0xFFFFFFFF)
        found[bits[:, i]] ^= word
    return found


def share_of(records, queues):
    """The queue of each record (raw IPv4): as a card's indirection table does, by the low bits."""
    buffer, offsets, _ = records
    data = np.frombuffer(buffer, np.uint8)
    ends = data[np.asarray(offsets)[:, None] + np.arange(12, 24)[None, :]]
    return toeplitz(ends) % queues


def _queue(traffic, number, queues, cpu, rounds, start, answers):
    """A process with a queue of its own: it sees its connections, both directions of each."""
    os.sched_setaffinity(0, {cpu})
    parts = []
    for buffer, offsets, lengths in (traffic.handshakes, traffic.segments):
        mine = share_of((buffer, offsets, lengths), queues) == number
        parts.append((buffer, offsets[mine], lengths[mine]))
    engine = ao.Engine([traffic.key])
    good = engine.verify(*parts[0], 101).counts["good"]
    times = []
    for _ in range(rounds + 1):
        start.wait()
        begin = time.perf_counter()
        counts = engine.verify(*parts[1], 101).counts
        times.append(time.perf_counter() - begin)
    answers.put((good, counts["good"], min(times[1:])))


def queues_of(traffic, cpus, rounds):
    """Segments a second that processes verify which share the connections as RSS does, together."""
    found = together(cpus, lambda i, cpu: (_queue, (traffic, i, len(cpus), cpu, rounds)))
    assert sum(one[0] for one in found) == len(traffic.handshakes[1])
    assert sum(one[1] for one in found) == traffic.count
    return sum(good / took for _, good, took in found)


def _read(cpu, start, answers):
    os.sched_setaffinity(0, {cpu})
    memory, times = np.ones(32 << 20, np.uint64), []
    start.wait()
    for _ in range(8):
        begin = time.perf_counter()
        memory.max()
        times.append(time.perf_counter() - begin)
    answers.put(memory.nbytes / min(times) / 1e9)


def bandwidth(cpus):
    """GB/s that so many processors read from memory together: numpy's `max` over 256 MiB each."""
    return sum(together(cpus, lambda i, cpu: (_read, (cpu,))))


@click.command()
@click.option("--rounds", default=31, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="One round: whether all of it works.")
def main(rounds, quick):
    """Fit the model, predict, measure."""
    rounds = 1 if quick else rounds
    every = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {every[0]})
    worst, rows = 0.0, []
    for algorithm in ALGORITHMS:
        macs, found = measure(algorithm, rounds)
        model = fit(algorithm, macs)
        model.rest = found[0] - model.mac(PREFIX)
        model.line = max(0.0, (found[524] - model.predicted(524)) / LINES)
        print(
            f"{algorithm}: {model.rest:.1f} ns a segment, {model.fixed:.1f} a MAC, "
            f"{model.each:.2f} a block ({model.behind:.2f} behind {LONG:,} bytes), "
            f"{model.line:.1f} a line"
        )
        rows += [
            (f"{algorithm}, {payload} bytes", model.predicted(payload), found[payload], "ns")
            for payload in PAYLOADS
            if payload not in (0, 524)
        ]
        if len(every) > 1:
            traffic = Traffic(algorithm, 0, 1024, 1 << 16)
            one = verifying("alone", traffic)
            alone = race([one], rounds)[one.name].least
            os.sched_setaffinity(0, every)
            both = queues_of(traffic, every[:2], rounds)
            os.sched_setaffinity(0, {every[0]})
            what = f"{algorithm}, bare ACKs, two processes by RSS"
            rows.append((what, 2e3 / alone, both / 1e6, "M/s"))
    print("\n| what | predicted | measured | off by |\n|---|---:|---:|---:|")
    for what, wanted, found, unit in rows:
        off = wanted / found - 1
        worst = max(worst, abs(off))
        print(f"| {what} | {wanted:,.1f} {unit} | {found:,.1f} {unit} | {off:+.0%} |")
    print(f"\nworst: {worst:.0%}")
    os.sched_setaffinity(0, every)
    for count in sorted({1, min(2, len(every))}):
        print(f"read from memory by {count}: {bandwidth(every[:count]):.0f} GB/s")


if __name__ == "__main__":
    main()
