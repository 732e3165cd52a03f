"""What an attack costs, and what it costs others: the figures of SECURITY.md.

    python bench/attacks.py [--strangers N]

Each attack is made of forged packets alone; nothing in it knows a key.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
from traffic import Traffic, packet

import tcpao_fast as ao
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.255.0.1", 179)
OPTION = b"\x1d\x10\x01\x02" + b"\xaa" * 12


def with_option(plain, option=OPTION):
    """A raw IPv4 packet with options put in; lengths right, checksums not."""
    grown = bytearray(plain[:40] + option + plain[40:])
    grown[2:4] = len(grown).to_bytes(2, "big")
    grown[32] = (20 + len(option)) // 4 << 4
    return bytes(grown)


def resident():
    """Megabytes of this process now."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) // 1024
    return 0


def strangers(count, seed, signed):
    """SYNs from as many addresses, as one call's records."""
    one = packet(CLIENT, SERVER, 2, 1, 0)
    one = np.frombuffer(with_option(one) if signed else one, np.uint8)
    rng = np.random.default_rng(seed)
    rows = np.tile(one, (count, 1))
    rows[:, 12:16] = rng.integers(1, 255, (count, 4))
    rows[:, 20:22] = rng.integers(1, 255, (count, 2))
    return rows.reshape(-1), np.arange(count) * len(one), np.full(count, len(one))


def flood(total, signed, threads):
    """(lost of 1,000 live connections, megabytes grown, us a forged SYN)"""
    traffic = Traffic("hmac-sha-1-96", 19, 1000, 1000)
    engine = traffic.engine(threads=threads)
    before, spent, done, lost = resident(), 0.0, 0, 0
    step = 50_000
    while done < total:
        records = strangers(step, done, signed)
        began = time.process_time()
        engine.verify(*records, 101)
        spent += time.process_time() - began
        done += step
        if done % (total // 4) < step:
            good = engine.verify(*traffic.segments, 101).counts["good"]
            lost = max(lost, 1000 - good)
    return lost, resident() - before, spent / done * 1e6


def forgeries(algorithm):
    """us a good bare ACK, and a forged one: alone, and behind forged SYNs and SYN-ACKs."""
    traffic = Traffic(algorithm, 0, 1, 1024)
    engine = traffic.engine()
    option = b"\x1d\x10\x01\x02" + b"\xbb" * 12
    client = ("10.0.0.0", 40000)

    def records(packets):
        return Traffic._records([with_option(one, option) for one in packets])

    def cost(stream):
        best = 1e9
        for _ in range(25):
            began = time.thread_time()
            engine.verify(*stream, 101)
            best = min(best, time.thread_time() - began)
        return best / len(stream[1]) * 1e6

    forged = records([packet(client, SERVER, 16, 1001 + i % 20, 5001) for i in range(1024)])
    found = {"good": cost(traffic.segments), "forged": cost(forged)}
    engine.verify(*records([packet(SERVER, client, 18, 7000 + i, 77) for i in range(3)]), 101)
    found["forged, behind forged SYN-ACKs"] = cost(forged)
    engine.verify(*records([packet(client, SERVER, 2, 9000 + i, 0) for i in range(3)]), 101)
    found["forged, behind forged SYNs"] = cost(forged)
    return found


def fragment(ident, offset, more, data, source=0):
    head = bytearray(packet(CLIENT, SERVER, 2, 1, 0)[:20])
    head[2:4] = (20 + len(data)).to_bytes(2, "big")
    head[4:6] = (ident & 0xFFFF).to_bytes(2, "big")
    head[6:8] = (offset // 8 | (0x2000 if more else 0)).to_bytes(2, "big")
    head[12:16] = (0x0B000000 + source).to_bytes(4, "big")
    return bytes(head) + data


def fragments(what, total):
    """(us a fragment, megabytes grown)"""
    engine = ao.Engine([ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"s", send_id=1, recv_id=2)])
    before, spent = resident(), 0.0
    for start in range(0, total, 50_000):
        some = range(start, start + 50_000)
        if what == "of no bytes":
            packets = [fragment(i, 8, False, b"", i >> 16) for i in some]
        elif what == "of 8 bytes":
            packets = [fragment(i, 8, True, b"8 bytes.", i >> 16) for i in some]
        else:
            packets = [fragment(i // 8190, 8 + 8 * (i % 8190), True, b"8 bytes.") for i in some]
        records = Traffic._records(packets)
        began = time.process_time()
        engine.verify(*records, 101, final=False)
        spent += time.process_time() - began
    return spent / total * 1e6, resident() - before


def captures(folder, count):
    """Peak megabytes of commands over hostile captures: rows of (command, capture, MB, seconds)."""
    buffer, offsets, lengths = strangers(count, 1, True)
    stamps = np.zeros(count, np.int64)
    (folder / "strangers.pcap").write_bytes(
        pcap_header(101, 65535, False, False)
        + bytes(pcap_records(buffer, offsets, lengths, lengths, stamps, False, False))
    )
    parts = [fragment(i, 8, False, b"", i >> 16) for i in range(count)]
    buffer, offsets, lengths = Traffic._records(parts)
    (folder / "fragments.pcap").write_bytes(
        pcap_header(101, 65535, False, False)
        + bytes(pcap_records(buffer, offsets, lengths, lengths, stamps, False, False))
    )
    section = bytes.fromhex("0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000")
    interface = bytes.fromhex("0100000014000000010000000000000014000000")
    (folder / "interfaces.pcapng").write_bytes(section + interface * (10 * count))
    keys = folder / "keys.toml"
    keys.write_text('[[key]]\nalgorithm="hmac-sha-1-96"\nsecret="s"\nsend_id=1\nrecv_id=2\n')
    keys.chmod(0o600)
    wait = (
        "import os, sys; pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]); "
        "import resource; os.waitpid(pid, 0); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    tcpao = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
    for name in ("strangers.pcap", "fragments.pcap", "interfaces.pcapng"):
        for arguments in (["verify", "-q"], ["verify"], ["verify", "--json"], ["diagnose"]):
            began = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", wait, *tcpao, *arguments, folder / name, "-k", keys],
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            peak = int(done.stderr.split()[-1]) // 1024
            yield " ".join(arguments), name, peak, time.monotonic() - began


@click.command()
@click.option("--strangers", "total", default=10_000_000, show_default=True)
def main(total):
    """Measure and print, as Markdown."""
    print(f"| {total:,} forged SYNs, 1,000 live connections | lost | MB | us a SYN |")
    print("|---|---|---|---|")
    for signed in (False, True):
        for threads in (1, 4):
            lost, grown, cost = flood(total, signed, threads)
            what = f"{'signed' if signed else 'unsigned'}, {threads} thread(s)"
            print(f"| {what} | {lost} | {grown} | {cost:.2f} |", flush=True)
    print("\n| a bare ACK of a live connection | us | x good |\n|---|---|---|")
    for algorithm in ("hmac-sha-1-96", "aes-128-cmac-96"):
        found = forgeries(algorithm)
        for name, cost in found.items():
            print(f"| {algorithm}, {name} | {cost:.3f} | {cost / found['good']:.1f} |", flush=True)
    print("\n| fragments | us each | MB |\n|---|---|---|")
    for what in ("of no bytes", "of 8 bytes", "8,190 to a datagram"):
        cost, grown = fragments(what, min(total, 1_000_000))
        print(f"| {what} | {cost:.2f} | {grown} |", flush=True)
    print("\n| command | capture | peak MB | seconds |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for arguments, name, peak, seconds in captures(Path(folder), min(total // 5, 2_000_000)):
            print(f"| `{arguments}` | {name} | {peak} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
