"""A million connections: what each costs in memory, how fast they come, and what it costs that the
segments are spread over all of them.

    python bench/scale.py [--connections N] [--json FILE]

Every figure is of a process of its own, so that the resident memory is the engine's.
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from traffic import ALGORITHMS

import tcpao_fast as ao

SERVER = 0x0AFF0001
CHUNK = 1 << 16
PAYLOADS = (0, 1448)
ROUNDS = 7


def key(algorithm):
    return ao.MasterKey(
        algorithm=algorithm, secret=b"bench", send_id=1, recv_id=2,
        local="10.0.0.0/8", remote="10.255.0.1",
    )  # fmt: skip


def packets(connection, from_client, flags, seq, ack, payload):
    """Raw IPv4 packets, one a row, as (buffer, offsets, lengths): numbers of connections and
    directions are arrays, the rest is the same for all."""
    size = 40 + payload
    out = np.zeros((len(connection), size), np.uint8)
    out[:, 0], out[:, 8], out[:, 9] = 0x45, 64, 6
    out[:, 2:4] = np.frombuffer(np.array([size], ">u2").tobytes(), np.uint8)
    client = (0x0A000000 + (connection >> 4)).astype(">u4").view(np.uint8).reshape(-1, 4)
    client_port = (40000 + (connection & 15)).astype(">u2").view(np.uint8).reshape(-1, 2)
    server = np.frombuffer(np.array([SERVER], ">u4").tobytes(), np.uint8)
    server_port = np.frombuffer(np.array([179], ">u2").tobytes(), np.uint8)
    ahead = np.asarray(from_client)[:, None]
    out[:, 12:16], out[:, 16:20] = np.where(ahead, client, server), np.where(ahead, server, client)
    out[:, 20:22] = np.where(ahead, client_port, server_port)
    out[:, 22:24] = np.where(ahead, server_port, client_port)
    out[:, 24:28] = np.asarray(seq).astype(">u4").reshape(-1, 1).view(np.uint8)
    out[:, 28:32] = np.asarray(ack).astype(">u4").reshape(-1, 1).view(np.uint8)
    out[:, 32] = 5 << 4
    out[:, 33] = flags
    offsets = np.arange(len(connection), dtype=np.int64) * size
    return out.reshape(-1), offsets, np.full(len(connection), size, np.int64)


def handshakes(first, count):
    """SYN, SYN-ACK and ACK of each connection."""
    number = np.repeat(np.arange(first, first + count), 3)
    step = np.tile(np.arange(3), count)
    return packets(
        number,
        step != 1,
        np.array([2, 18, 16], np.uint8)[step],
        np.array([1000, 5000, 1001])[step],
        np.array([0, 1001, 5001])[step],
        0,
    )


def data(number, payload):
    """A segment of each of these connections, from the client."""
    ahead = np.ones(len(number), bool)
    return packets(
        number, ahead, 16, np.full(len(number), 1001), np.full(len(number), 5001), payload
    )


def save(folder, name, records):
    for part, array in zip(("buffer", "offsets", "lengths"), records, strict=True):
        np.save(folder / f"{name}.{part}.npy", array)


def load(folder, name):
    return tuple(
        np.load(folder / f"{name}.{part}.npy", mmap_mode="r")
        for part in ("buffer", "offsets", "lengths")
    )


def generate(algorithm, connections, folder):
    """Sign everything, in a process that is forgotten afterwards."""
    signer = ao.Engine([key(algorithm)], max_connections=connections + 2)
    for first in range(0, connections, CHUNK):
        count = min(CHUNK, connections - first)
        save(folder, f"open{first}", signer.sign(*handshakes(first, count), 101))
    order = np.random.default_rng(1).permutation(connections)[:CHUNK]
    for payload in PAYLOADS:
        save(folder, f"spread{payload}", signer.sign(*data(order, payload), 101))
        save(folder, f"one{payload}", signer.sign(*data(np.zeros(CHUNK, int), payload), 101))


def resident():
    """Bytes of this process in memory that no file holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no RssAnon")


def good(engine, records):
    start = time.perf_counter()
    result = engine.verify(*records, 101)
    took = time.perf_counter() - start
    assert result.counts["good"] == len(records[1]), result.counts
    return took


def measure(algorithm, connections, folder, queue):
    engine = ao.Engine([key(algorithm)], max_connections=connections)
    good(engine, load(folder, "open0"))
    few = ao.Engine([key(algorithm)], max_connections=connections)
    good(few, tuple(part[:3] if i else part for i, part in enumerate(load(folder, "open0"))))
    start = resident()
    took = 0.0
    for first in range(CHUNK, connections, CHUNK):
        took += good(engine, load(folder, f"open{first}"))
    figures = {
        "algorithm": algorithm,
        "connections": connections,
        "bytes_per_connection": (resident() - start) / (connections - CHUNK),
        "new_connections_per_second": (connections - CHUNK) / took,
    }
    for payload in PAYLOADS:
        spread, one = load(folder, f"spread{payload}"), load(folder, f"one{payload}")
        times = [(good(engine, spread), good(few, one)) for _ in range(ROUNDS)]
        spread_ns, one_ns = (
            statistics.median(each) / CHUNK * 1e9 for each in zip(*times, strict=True)
        )
        figures[f"ns_spread_{payload}"] = spread_ns
        figures[f"ns_one_{payload}"] = one_ns
        figures[f"ratio_{payload}"] = spread_ns / one_ns
    queue.put(figures)


def scale(connections):
    """The figures of every algorithm: list of dict."""
    spawn = multiprocessing.get_context("spawn")
    found = []
    for algorithm in ALGORITHMS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            queue = spawn.Queue()
            for target, arguments in (
                (generate, (algorithm, connections, folder)),
                (measure, (algorithm, connections, folder, queue)),
            ):
                process = spawn.Process(target=target, args=arguments)
                process.start()
                if target is measure:
                    found.append(queue.get())
                process.join()
                if process.exitcode:
                    raise click.ClickException(f"{target.__name__} failed")
    return found


@click.command()
@click.option("--connections", default=1_000_000, show_default=True)
@click.option(
    "--json", "path", type=click.Path(dir_okay=False), help="Write the figures there too."
)
def main(connections, path):
    """Measure many connections."""
    found = scale(connections)
    for figures in found:
        for name, value in figures.items():
            click.echo(f"{name:30} {value if isinstance(value, (str, int)) else round(value, 2)}")
    if path:
        Path(path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
