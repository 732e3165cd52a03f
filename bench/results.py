"""Everything against everybody in one run: writes RESULTS.md and a plot beside this file.

    python bench/results.py [--cpu N] [--rounds N] [--quick]

The contestants of a row take turns, round by round, on the same bytes and one core; a figure is the
minimum, the 10th percentile and the median of its rounds.  Whatever a contestant computes is
compared before it is timed.
"""

from __future__ import annotations

import hmac
import importlib
import multiprocessing
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from cryptography.hazmat.primitives.ciphers.algorithms import AES  # noqa: E402
from cryptography.hazmat.primitives.cmac import CMAC  # noqa: E402
from peers import Contestant, UnavailableError  # noqa: E402
from scale import scale  # noqa: E402
from traffic import ALGORITHMS, Traffic, write_capture  # noqa: E402

import tcpao_fast as ao  # noqa: E402
from tcpao_fast.core.batch.one import ParsedSegment  # noqa: E402
from tcpao_fast.core.mac.mac import active_kernels  # noqa: E402

SIZES = (52, 64, 80, 256, 576, 1480, 4096, 9000)
MAC_PEERS = ("ipsec_mb", "openssl_evp", "python_loop")
FLOW_PEERS = ("dpkt_hmac", "scapy_ao")
KEYS = (1, 1024)
PAYLOADS = (0, 1448)
#: Payloads of the end-to-end table and of the plot.
FLOW_PAYLOADS = (0, 204, 524, 1448, 8948)
VOLUME = 8 << 20
OURS = "tcpao_fast mac_batch"
OUR_ENGINE = "tcpao_fast Engine.verify"
COLOURS = {
    OURS: "tab:blue",
    "ipsec-mb, jobs": "tab:orange",
    "ipsec-mb, bursts": "tab:green",
    "OpenSSL EVP through ctypes": "tab:red",
    OUR_ENGINE: "tab:cyan",
    "dpkt and hmac": "tab:brown",
    "scapy": "tab:pink",
}
#: Bytes that the MAC of an IPv4 segment without other options covers besides the payload.
PREFIX = 52

skipped: dict[str, None] = {}


def count_for(size):
    return max(1024, min(16384, VOLUME // max(size, 1)))


@dataclass
class MacWork:
    """Messages for naked MACs: `buffer`, `offsets`, `lengths`, and which of `raw` keys each has."""

    algorithm: str
    raw: np.ndarray
    buffer: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    index: np.ndarray

    @classmethod
    def random(cls, algorithm, lengths, keys):
        rng = np.random.default_rng(29)
        lengths = np.asarray(lengths, np.int64)
        raw = rng.integers(0, 256, (keys, 20 if algorithm == "hmac-sha-1-96" else 16), np.uint8)
        index = (np.arange(len(lengths)) % keys).astype(np.int32)
        buffer = rng.integers(0, 256, int(lengths.sum()), np.uint8)
        return cls(algorithm, raw, buffer, np.cumsum(lengths) - lengths, lengths, index)

    def messages(self, most):
        """The first of them, as (key index, bytes)."""
        return [
            (int(i), bytes(self.buffer[at : at + n]))
            for i, at, n in zip(
                self.index[:most], self.offsets[:most], self.lengths[:most], strict=True
            )
        ]

    def expected(self, most):
        found = []
        for i, text in self.messages(most):
            key = bytes(self.raw[i])
            if self.algorithm == "hmac-sha-1-96":
                found.append(hmac.digest(key, text, "sha1")[:12])
            else:
                mac = CMAC(AES(key))
                mac.update(text)
                found.append(mac.finalize()[:12])
        return np.frombuffer(b"".join(found), np.uint8).reshape(-1, 12)

    def ours(self):
        keys = ao.TrafficKeys(self.algorithm, self.raw)
        where = (self.index, self.buffer, self.offsets, self.lengths)
        # the memory for the MACs is there already, as the others have it
        out = np.empty((len(self.lengths), keys.algorithm.digest_length), np.uint8)
        return Contestant(OURS, lambda: ao.mac_batch(keys, *where, out=out), len(self.lengths))


class FlowWork:
    """Signed segments of 1,024 connections, and the traffic key of each."""

    def __init__(self, algorithm, payload, count=None):
        self.algorithm = algorithm
        self.payload = payload
        self.traffic = Traffic(algorithm, payload, 1024, count or count_for(payload + PREFIX))
        self.buffer, self.offsets, self.lengths = self.traffic.segments
        self.bytes = bytes(self.buffer)
        self.flows, contexts = [], []
        for frame in self.frames(1024):
            source, target, ports = frame[12:16], frame[16:20], frame[20:24]
            self.flows.append((source, target, *struct.unpack(">HH", ports)))
            contexts.append(source + target + ports + struct.pack(">II", 1000, 5000))
        self.traffic_keys = ao.derive_traffic_keys(
            algorithm, self.traffic.key.secret,
            np.frombuffer(b"".join(contexts), np.uint8).reshape(-1, 20),
        )  # fmt: skip

    def frames(self, most):
        return [
            self.bytes[at : at + n]
            for at, n in zip(self.offsets[:most], self.lengths[:most], strict=True)
        ]

    def mac_work(self):
        """What the MACs of these segments cover, as naked messages."""
        texts = [ParsedSegment(frame).message() for frame in self.frames(len(self.offsets))]
        lengths = np.array([len(text) for text in texts], np.int64)
        return MacWork(
            self.algorithm, self.traffic_keys, np.frombuffer(b"".join(texts), np.uint8),
            np.cumsum(lengths) - lengths, lengths,
            (np.arange(len(texts)) % 1024).astype(np.int32),
        )  # fmt: skip

    def engine(self, threads=1):
        name = OUR_ENGINE if threads == 1 else f"{OUR_ENGINE}, {threads} threads"
        return verifying(name, self.traffic, threads)


def peers_of(names, work):
    found = []
    for name in names:
        try:
            found += importlib.import_module(f"peers.{name}").contestants(work)
        except UnavailableError as reason:
            if str(reason) not in skipped:
                click.echo(f"skipped: {reason}", err=True)
            skipped[str(reason)] = None
    return found


class Timing(float):
    """The median ns an item of some rounds; `least` and `tenth` are their minimum and 10th
    percentile, which a noisy machine disturbs less."""

    def __new__(cls, rounds):
        self = super().__new__(cls, statistics.median(rounds))
        self.rounds = rounds
        self.least = min(rounds)
        self.tenth = float(np.percentile(rounds, 10))
        return self

    def __str__(self):
        return f"{self.least:,.1f} / {self.tenth:,.1f} / {float(self):,.1f}"


def timed(one):
    """ns an item of one round."""
    start = time.perf_counter()
    one.run()
    return (time.perf_counter() - start) / one.items * 1e9


def race(contestants, rounds):
    """The `Timing` of each contestant, in turns."""
    times = {one.name: [] for one in contestants}
    for one in contestants:
        one.run()
    for _ in range(rounds):
        for one in contestants:
            times[one.name].append(timed(one))
    return {name: Timing(taken) for name, taken in times.items()}


def together(cpus, work):
    """What a process on each processor answers; `work(i, cpu)` is its function and arguments."""
    fork = multiprocessing.get_context("fork")
    start, answers = fork.Barrier(len(cpus)), fork.SimpleQueue()
    processes = []
    for i, cpu in enumerate(cpus):
        function, arguments = work(i, cpu)
        processes.append(fork.Process(target=function, args=(*arguments, start, answers)))
        processes[-1].start()
    found = [answers.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def _independent(work, rounds, cpu, start, answers):
    """A process by itself: its own engine on its own core, as long as the others measure."""
    os.sched_setaffinity(0, {cpu})
    engine = work.engine()
    engine.run()
    start.wait()
    answers.put([timed(engine) for _ in range(rounds)])


def two_processes(work, cpus, rounds):
    """How many times as much as one process alone two do that share nothing: what this machine's
    cores give at most (siblings of one core give 1.2)."""
    alone = Timing([timed(work.engine()) for _ in range(rounds)])
    both = together(cpus, lambda _, cpu: (_independent, (work, rounds, cpu)))
    return sum(alone / Timing(one) for one in both)


def race_macs(work, rounds):
    contestants = [work.ours(), *peers_of(MAC_PEERS, work)]
    expected = work.expected(256)
    for one in contestants:
        macs = np.array(one.run())[:256, :12]
        assert (macs == expected[: len(macs)]).all(), f"{one.name} is wrong"
    return race(contestants, rounds)


def race_flows(work, rounds):
    contestants = [work.engine(), *peers_of(FLOW_PEERS, work)]
    for one in contestants:
        assert one.run() == one.items, f"{one.name} is wrong"
    macs = work.mac_work().ours()
    return race([macs, *contestants], rounds)


def mixed_lengths(count):
    """As in captures: 40 % bare ACKs of 52 to 72 bytes, 50 % full segments, the rest between."""
    rng = np.random.default_rng(7)
    kind = rng.random(count)
    small = rng.choice([52, 56, 60, 64, 68, 72], count)
    full = rng.choice([1484, 1496, 1504], count)
    return np.where(kind < 0.4, small, np.where(kind < 0.9, full, rng.integers(76, 1484, count)))


def capture_against_engine(traffic, volume, rounds):
    """`verify_capture` of a file of so many bytes or more in the page cache, and the engine alone
    on its bytes: the `Timing` of "capture" and "engine"."""
    copies = -(-volume // (len(traffic.segments[0]) + 16 * traffic.count))
    parts = (traffic.handshakes, *[traffic.segments] * copies)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "capture.pcap"
        offsets, lengths = write_capture(path, parts)
        whole, count = np.fromfile(path, np.uint8), len(offsets)

        def capture():
            assert ao.verify_capture(path, [traffic.key]).counts["good"] == count

        def engine():
            fresh = ao.Engine([traffic.key])
            assert fresh.verify(whole, offsets, lengths, 101).counts["good"] == count

        return race(
            [Contestant("capture", capture, count), Contestant("engine", engine, count)], rounds
        )


def verifying(name, traffic, threads=1):
    """The engine over its traffic, which must be good."""
    engine = traffic.engine(threads=threads)

    def run():
        good = engine.verify(*traffic.segments, traffic.linktype).counts["good"]
        assert good == traffic.count
        return good

    return Contestant(name, run, traffic.count)


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join("---" for _ in header) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def load():
    """How busy the machine is, and how much of its time its host took since it started."""
    ticks = [int(n) for n in Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    averages = " ".join(f"{one:.2f}" for one in os.getloadavg())
    return f"load {averages}; stolen by the host {100 * ticks[7] / sum(ticks):.2f} %"


def machine(cpu, loads):
    model, flags, numbers = platform.machine(), "", {}
    identity = (
        "vendor_id", "cpu family", "model", "stepping",  # x86-64
        "CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision",
    )  # fmt: skip
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            model = value.strip()
        if name.strip() in identity:
            numbers[name.strip()] = value.strip()
        if name.strip() in ("flags", "Features"):
            wanted = {
                "avx2", "avx512f", "avx512bw", "vaes", "sha_ni", "aes", "asimd", "sha1", "sha2",
            }  # fmt: skip
            flags = " ".join(one for one in value.split() if one in wanted)
    commit = subprocess.run(
        ["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    try:
        ipsec_mb = importlib.import_module("peers.ipsec_mb").version()
    except UnavailableError:
        ipsec_mb = "not here"
    kernels = ", ".join(f"{mac} {kernel}" for mac, kernel in active_kernels().items())
    return [
        ("CPU", f"{model}, {os.cpu_count()} of them here; pinned to number {cpu}"),
        ("CPU numbers", ", ".join(f"{name} {value}" for name, value in numbers.items())),
        ("CPU flags", flags),
        ("At the start", loads[0]),
        ("At the end", loads[1]),
        ("Kernels in use", kernels),
        ("System", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
        ("Commit", commit or ao.__version__),
        ("intel-ipsec-mb", ipsec_mb),
    ]


def best_of(figures, prefix):
    found = [value for name, value in figures.items() if name.startswith(prefix)]
    return min(found) if found else None


def plot(macs, flows, path):
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "tcpao_fast"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.5), sharey=True, layout="constrained")
    for axis, algorithm in zip(axes, ALGORITHMS, strict=True):
        names = list(macs[algorithm, SIZES[0], 1024])
        for name in names:
            axis.plot(
                SIZES, [macs[algorithm, size, 1024][name] for size in SIZES], marker="o",
                markersize=4, linewidth=2.5 if name == OURS else 1.2, label=name,
                color=COLOURS.get(name, "tab:purple"),
            )  # fmt: skip
        for name in flows[algorithm, FLOW_PAYLOADS[0]]:
            if name == OURS:
                continue
            axis.plot(
                [payload + PREFIX for payload in FLOW_PAYLOADS],
                [flows[algorithm, payload][name] for payload in FLOW_PAYLOADS],
                marker="s", markersize=4, linestyle="--",
                linewidth=2.5 if name == OUR_ENGINE else 1.2, label=f"{name}, end to end",
                color=COLOURS.get(name, "tab:gray"),
            )  # fmt: skip
        axis.set(
            title=f"{algorithm}, 1,024 keys", xscale="log", yscale="log", xlabel="bytes a message"
        )
        ticks = [size for size in SIZES if size != 64]  # no room between its neighbours
        axis.set_xticks(ticks, [str(size) for size in ticks], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    axes[0].set_ylabel("ns a message, one core")
    figure.savefig(path, metadata={"Date": None})


@click.command()
@click.option("--cpu", default=0, show_default=True, help="The core to measure on.")
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(1))
@click.option("--quick", is_flag=True, help="One round, few connections: whether all of it works.")
@click.option("--output", type=click.Path(file_okay=False), default=str(HERE), show_default=True)
def main(cpu, rounds, quick, output):
    """Measure, and write RESULTS.md and results.svg."""
    rounds = 1 if quick else rounds
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    out = Path(output)
    macs, flows, mixes, captures, threads = {}, {}, {}, {}, {}
    loads = [load()]
    for algorithm in ALGORITHMS:
        for keys in KEYS:
            for size in SIZES:
                work = MacWork.random(algorithm, [size] * count_for(size), keys)
                macs[algorithm, size, keys] = race_macs(work, rounds)
        mixes[algorithm] = race_macs(MacWork.random(algorithm, mixed_lengths(8192), 1024), rounds)
        for payload in FLOW_PAYLOADS:
            flows[algorithm, payload] = race_flows(FlowWork(algorithm, payload), rounds)
        captures[algorithm] = capture_against_engine(
            Traffic(algorithm, 1448, 1024, count_for(1448 + PREFIX)), 100_000_000, rounds
        )
        click.echo(f"{algorithm}: done on one core", err=True)
    many = scale(1 << 17 if quick else 1_000_000)
    if len(every) > 1:
        os.sched_setaffinity(0, every)
        for algorithm in ALGORITHMS:
            for payload in PAYLOADS:
                # as many segments a call as verify_capture's chunks have
                work = FlowWork(algorithm, payload, 1 << 16)
                # two cores are quiet at the same time less often than one: more rounds
                figures = race([work.engine(), work.engine(2)], 3 * rounds)
                independent = two_processes(work, sorted(every)[:2], 3 * rounds)
                threads[algorithm, payload] = figures, independent
    out.mkdir(parents=True, exist_ok=True)
    # the text first: it names the commit, and what is written here would make that dirty
    loads.append(load())
    text = render(machine(cpu, loads), rounds, macs, mixes, flows, captures, many, threads)
    (out / "RESULTS.md").write_text(text, encoding="utf-8")
    plot(macs, flows, out / "results.svg")
    click.echo(f"{out / 'RESULTS.md'}, {out / 'results.svg'}", err=True)


def render(about, rounds, macs, mixes, flows, captures, many, threads):
    goals = []

    def goal(what, reached, limit, at_least=False):
        if reached is None:
            goals.append((what, "-", f"{limit}", "not measured"))
            return
        met = reached >= limit if at_least else reached <= limit
        sign = ">=" if at_least else "<="
        goals.append((what, f"{reached:,.2f}", f"{sign} {limit:,}", "yes" if met else "no"))

    for algorithm, sizes in (
        ("hmac-sha-1-96", ((64, 0.45), (80, 0.45), (1480, 0.85))),
        ("aes-128-cmac-96", ((64, 0.25), (80, 0.25), (1480, 0.75))),
    ):
        for size, limit in sizes:
            figures = macs[algorithm, size, 1024]
            peer = best_of(figures, "ipsec-mb")
            goal(
                f"`mac_batch` {algorithm}, {size} bytes, x ipsec-mb (its better API)",
                peer and figures[OURS] / peer, limit,
            )  # fmt: skip
    for algorithm, ack, large in (("hmac-sha-1-96", 60, 1.25), ("aes-128-cmac-96", 50, 1.5)):
        goal(f"`Engine.verify` {algorithm}, bare ACKs, ns", flows[algorithm, 0][OUR_ENGINE], ack)
        figures = flows[algorithm, 1448]
        goal(
            f"`Engine.verify` {algorithm}, 1448-byte payloads, x `mac_batch`",
            figures[OUR_ENGINE] / figures[OURS], large,
        )  # fmt: skip
        figures = captures[algorithm]
        goal(
            f"`verify_capture` {algorithm}, 100 MB, x `Engine.verify`",
            figures["capture"] / figures["engine"], 1.3,
        )  # fmt: skip
        for payload in PAYLOADS:
            figures, independent = threads.get((algorithm, payload), (None, None))
            faster = figures and figures[OUR_ENGINE] / figures[f"{OUR_ENGINE}, 2 threads"]
            what = f"two threads {algorithm}, {payload}-byte payloads, 65,536 a call, x one"
            goal(f"{what} thread", faster, 1.8, True)
            goal(
                f"{what} thread, of what two independent processes reach",
                faster and faster / independent, 0.95, True,
            )  # fmt: skip
    for figures in many:
        name = figures["algorithm"]
        goal(f"{figures['connections']:,} connections {name}, bytes each",
             figures["bytes_per_connection"], 400)  # fmt: skip
        goal(f"new connections {name}, a second",
             figures["new_connections_per_second"], 200_000, True)  # fmt: skip
        for payload in PAYLOADS:
            goal(f"spread over all of them {name}, {payload}-byte payloads, x one connection",
                 figures[f"ratio_{payload}"], 2.0)  # fmt: skip

    parts = [
        "# Results",
        "Written by `python bench/results.py`. Figures are minimum / 10th percentile / median of "
        f"{rounds} round(s) in ns an item on one core; the contestants of a row took turns on the "
        "same bytes, and what each computes was compared before it was timed. In brackets: the "
        "median time of `tcpao_fast` divided by that contestant's. Ratios to goals are of medians.",
        table(("", ""), about),
        *(f"Skipped: {reason}." for reason in skipped),
        "![ns a message against its size](results.svg)",
        "## Goals",
        "Set for a core with AVX-512 and VAES at 3.6 to 4.1 GHz.",
        table(("what", "reached", "goal", "met"), goals),
    ]

    def cells(figures, ours):
        first = figures[ours]
        return [
            str(value) if name == ours else f"{value!s} ({first / value:.3g})"
            for name, value in figures.items()
        ]

    for algorithm in ALGORITHMS:
        names = list(macs[algorithm, SIZES[0], 1])
        rows = [
            [f"{size}", f"{keys:,}", *cells(macs[algorithm, size, keys], OURS)]
            for keys in KEYS
            for size in SIZES
        ]
        rows.append(["a capture's mix", "1,024", *cells(mixes[algorithm], OURS)])
        parts += [f"## MACs alone: {algorithm}", table(("bytes", "keys", *names), rows)]
    parts.append("## End to end, 1,024 connections")
    names = list(flows[ALGORITHMS[0], 0])
    rows = [
        [algorithm, f"{payload}", *cells(flows[algorithm, payload], OUR_ENGINE)]
        for algorithm in ALGORITHMS
        for payload in FLOW_PAYLOADS
    ]
    parts.append(table(("algorithm", "payload", *names), rows))
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
