"""What a segment costs by each way in, in one run: ``python bench/entries.py [--quick]``.

On one core; each way verifies the same signed segments in turns with the others, and the median is
taken. The last column is what the way adds to the engine over one buffer.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from traffic import Traffic

import tcpao_fast as ao

HERE = Path(__file__).resolve().parent
BATCH, PAYLOAD, CONNECTIONS = 4096, 256, 64


def ways(traffic, engine):
    """Name, how many segments a call verifies, and the call."""
    buffer, offsets, lengths = traffic.segments
    packets = [
        bytes(buffer[o : o + n]) for o, n in zip(offsets.tolist(), lengths.tolist(), strict=True)
    ]
    stride = 2048
    ring = np.zeros((BATCH, stride), np.uint8)
    slots = np.arange(BATCH) * stride + 256
    for slot, packet in zip(ring, packets, strict=True):
        slot[256 : 256 + len(packet)] = np.frombuffer(packet, np.uint8)
    ring = ring.reshape(-1)
    room = ao.VerifyResult.room(BATCH)
    few = packets[:64]
    yield "engine, one buffer", BATCH, lambda: engine.verify(buffer, offsets, lengths, 101)
    yield (
        "the same with out=",
        BATCH,
        lambda: engine.verify(buffer, offsets, lengths, 101, out=room),
    )
    yield "ring of slots", BATCH, lambda: engine.verify(ring, slots, lengths, 101)
    yield "list of bytes", BATCH, lambda: engine.verify(packets, linktype=101)
    views = [memoryview(one) for one in packets]
    yield "list of memoryviews", BATCH, lambda: engine.verify(views, linktype=101)
    yield "list of 64", 64, lambda: engine.verify(few, linktype=101)
    one = packets[0]
    yield "one packet", 1, lambda: engine.verify(one, linktype=101)
    with contextlib.suppress(ImportError):
        import pyarrow

        column = pyarrow.array(packets)
        yield "Arrow column", BATCH, lambda: engine.verify(column, linktype=101)
    with contextlib.suppress(ImportError):
        from scapy.layers.inet import IP

        from tcpao_fast.integrations import scapy

        layers = [IP(packet) for packet in few]
        yield "scapy, list of 64", 64, lambda: scapy.verify(engine, layers)
    yield from cython_and_c(engine, packets)
    yield from gateway(traffic, packets)


def gateway(traffic, packets):
    """What a gateway does of a packet, without the kernel's queue: in and out."""
    from tcpao_fast.live.gateway import Gateway
    from tcpao_fast.live.nfqueue import LOCAL_IN, LOCAL_OUT, Queued

    buffer, offsets, lengths = traffic.handshakes
    spans = zip(offsets.tolist(), lengths.tolist(), strict=True)
    handshake = [Queued(0, LOCAL_IN, bytes(buffer[o : o + n])) for o, n in spans]
    incoming = Gateway([traffic.key])
    incoming.rule(handshake)
    waiting = [Queued(i, LOCAL_IN, one) for i, one in enumerate(packets[:256])]
    assert all(one.accept and one.packet for one in incoming.rule(waiting))
    yield "gateway, in", 256, lambda: incoming.rule(waiting)
    outgoing = Gateway([traffic.key])
    outgoing.rule(handshake)
    plain = [ao.strip(one, linktype=101).packet for one in packets[:256]]
    leaving = [Queued(i, LOCAL_OUT, one) for i, one in enumerate(plain)]
    assert all(one.accept and one.packet for one in outgoing.rule(leaving))
    yield "gateway, out (signs)", 256, lambda: outgoing.rule(leaving)


STAGE = """
from libc.stdint cimport uint8_t
from libc.stdlib cimport malloc
from tcpao_fast.capi cimport *
tcpao_import()

cdef class Stage:
    cdef tcpao_engine *engine
    cdef tcpao_options options
    cdef const uint8_t **data
    cdef size_t *size
    cdef tcpao_result *result
    cdef size_t n
    cdef list kept
    def __cinit__(self, engine, list packets):
        self.engine = tcpao_from_python(<void *>engine)
        self.options.size = sizeof(tcpao_options)
        self.options.linktype = 101
        self.n = len(packets)
        self.kept = packets
        self.data = <const uint8_t **>malloc(self.n * sizeof(uint8_t *))
        self.size = <size_t *>malloc(self.n * sizeof(size_t))
        self.result = <tcpao_result *>malloc(self.n * sizeof(tcpao_result))
        for i in range(self.n):
            self.data[i] = <const uint8_t *><bytes>packets[i]
            self.size[i] = len(packets[i])

    def verify(self, size_t count):
        cdef size_t at = 0
        with nogil:
            while at < self.n:
                tcpao_verify(self.engine, self.data + at, self.size + at, count, &self.options,
                             self.result + at)
                at += count
        assert self.result[self.n - 1].verdict == TCPAO_GOOD
"""


def cython_and_c(engine, packets):
    """The C interface out of a Cython module: the whole batch in a call, and a packet a call."""
    if shutil.which("cc") is None:
        return
    folder = Path(tempfile.mkdtemp())
    (folder / "bench_stage.pyx").write_text(STAGE)
    (folder / "setup.py").write_text(
        "from setuptools import Extension, setup\nfrom Cython.Build import cythonize\n"
        "import tcpao_fast\n"
        "setup(ext_modules=cythonize([Extension('bench_stage', ['bench_stage.pyx'], "
        "include_dirs=[tcpao_fast.get_include()], extra_compile_args=['-O2'])], "
        f"include_path=[{str(Path(ao.__file__).parent.parent)!r}], language_level=3))\n"
    )
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        print(f"not measured: Cython and C: {done.stderr.strip().splitlines()[-1]}")
        return
    sys.path.insert(0, str(folder))
    from bench_stage import Stage

    stage = Stage(engine, packets)
    yield "Cython and C, a batch a call", len(packets), lambda: stage.verify(len(packets))
    yield "Cython and C, a packet a call", len(packets), lambda: stage.verify(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only whether all of it works")
    rounds = 3 if parser.parse_args().quick else 41
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for algorithm in ("hmac-sha-1-96", "aes-128-cmac-96"):
        traffic = Traffic(algorithm, PAYLOAD, CONNECTIONS, BATCH)
        measured = [(*way, []) for way in ways(traffic, traffic.engine())]
        for _ in range(rounds):
            for _, count, call, times in measured:
                again = max(1, 1024 // count)
                start = time.perf_counter_ns()
                for _ in range(again):
                    call()
                times.append((time.perf_counter_ns() - start) / (again * count))
        base = statistics.median(measured[0][3])
        print(f"\n{algorithm}, {PAYLOAD} bytes of payload, {CONNECTIONS} connections\n")
        print("| way in | segments a call | ns a segment | beyond the engine |")
        print("|---|---:|---:|---:|")
        for name, count, _, times in measured:
            found = statistics.median(times)
            print(f"| {name} | {count:,} | {found:,.0f} | {found - base:+,.0f} |")


if __name__ == "__main__":
    main()
