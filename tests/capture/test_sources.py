"""Captures that are no files: open files, and packets that a program has."""

import gzip
import io
import os
import socket
import subprocess
import threading
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import dpkt
import numpy as np
import pytest
import scapy.utils
import zstandard
from samples import CAPTURES
from wire import pcap

import tcpao_fast as ao

WRAP = CAPTURES / "wrap-v4-sha1.pcap"
DATA = WRAP.read_bytes()


@pytest.fixture
def chain():
    return ao.load_keys(CAPTURES / "wrap-v4-sha1.toml")


@pytest.fixture
def wanted(chain):
    return ao.verify_capture(WRAP, chain)


def records_of(path):
    with ao.CaptureReader(path) as reader:
        return [
            (int(records.timestamps[i]), records.data(i))
            for records in reader for i in range(len(records))
        ]  # fmt: skip


def same(report, wanted):
    """All but the name of the capture."""
    assert report.counts == wanted.counts
    assert report.records == wanted.records
    assert [c.as_dict() for c in report.connections] == [c.as_dict() for c in wanted.connections]


class TestOpenFiles:
    @pytest.mark.parametrize(
        "pack",
        [bytes, gzip.compress, zstandard.ZstdCompressor().compress],
        ids=["", "gzip", "zstd"],
    )
    def test_bytes_io(self, pack, chain, wanted):
        file = io.BytesIO(pack(DATA))
        report = ao.verify_capture(file, chain)
        same(report, wanted)
        assert report.captures == ["<BytesIO>"]
        assert not file.closed

    @pytest.mark.parametrize("buffering", [-1, 0])
    def test_a_file(self, buffering, chain, wanted):
        with WRAP.open("rb", buffering=buffering) as file:
            report = ao.verify_capture(file, chain)
            assert not file.closed
        same(report, wanted)
        assert report.captures == [str(WRAP)]

    def test_what_somebody_else_decompresses(self, chain, wanted, tmp_path):
        (tmp_path / "x.gz").write_bytes(gzip.compress(DATA))
        with gzip.open(tmp_path / "x.gz") as file:
            same(ao.verify_capture(file, chain), wanted)

    def test_a_pipe(self, chain, wanted):
        with subprocess.Popen(["cat", WRAP], stdout=subprocess.PIPE) as cat:
            same(ao.verify_capture(cat.stdout, chain), wanted)

    def test_a_socket_that_gives_it_piece_by_piece(self, chain, wanted):
        ours, theirs = socket.socketpair()

        def send():
            with theirs:
                for at in range(0, len(DATA), 1000):
                    theirs.sendall(DATA[at : at + 1000])

        thread = threading.Thread(target=send)
        thread.start()
        with ours, ours.makefile("rb") as file:
            same(ao.verify_capture(file, chain), wanted)
        thread.join()

    def test_from_where_it_is(self, chain, wanted):
        file = io.BytesIO(b"before" + DATA)
        file.seek(6)
        same(ao.verify_capture(file, chain), wanted)

    def test_only_read_is_needed(self, chain, wanted):
        class Least:
            def __init__(self):
                self.file = io.BytesIO(DATA)

            def read(self, size):
                return self.file.read(min(size, 777))

        report = ao.verify_capture(Least(), chain)
        same(report, wanted)
        assert report.captures == ["<Least>"]

    @pytest.mark.parametrize("make", [lambda: io.StringIO("text"), Path(os.devnull).open])
    def test_text(self, make, chain):
        with (
            make() as file,
            pytest.raises(ao.InvalidArgumentError, match=r"not bytes; open it in binary"),
        ):
            ao.verify_capture(file, chain)

    def test_damage_is_said_of_it(self, chain):
        with pytest.raises(ao.CaptureError, match="<BytesIO>") as caught:
            ao.verify_capture(io.BytesIO(DATA[:-7]), chain, strict=True)
        assert caught.value.report.counts["good"] > 0

    def test_several(self, chain, wanted, tmp_path):
        """They are read in the order given, and connections go on."""
        packets = [data for _, data in records_of(WRAP)]
        half = len(packets) // 2
        pieces = [
            io.BytesIO(pcap(tmp_path / "piece", part, linktype=1).read_bytes())
            for part in (packets[:half], packets[half:])
        ]
        assert ao.verify_capture(pieces, chain).counts == wanted.counts

    def test_what_reads_twice_refuses_it(self, chain):
        with pytest.raises(ao.InvalidArgumentError, match="twice: not standard input, open files"):
            ao.verify_capture(io.BytesIO(DATA), chain, search_isn=10)

    def test_diagnosis_and_inspection(self, chain):
        bad = CAPTURES / "bad-and-unsigned.pcap"
        keys = ao.load_keys(CAPTURES / "bad-and-unsigned.toml")
        named = ao.diagnose_capture(bad, keys)
        found = ao.diagnose_capture(io.BytesIO(bad.read_bytes()), keys)
        assert found.as_list() == named.as_list()
        seen = ao.inspect_capture(io.BytesIO(DATA))
        assert seen.conversations
        assert seen.conversations == ao.inspect_capture(WRAP).conversations


class TestPackets:
    def test_pairs(self, chain, wanted):
        pairs = [(Decimal(time) / 10**9, data) for time, data in records_of(WRAP)]
        same(ao.verify_capture(ao.Packets(pairs), chain), wanted)
        same(ao.verify_capture(iter(pairs), chain), wanted)
        for kind in (bytearray, memoryview, lambda d: np.frombuffer(d, np.uint8)):
            same(ao.verify_capture(ao.Packets((t, kind(d)) for t, d in pairs), chain), wanted)

    def test_more_than_a_chunk(self, monkeypatch, chain, wanted):
        from tcpao_fast.capture import packets

        pairs = [(Decimal(time) / 10**9, data) for time, data in records_of(WRAP)]
        for name, value in (("CHUNK_PACKETS", 7), ("CHUNK_BYTES", 500)):
            monkeypatch.setattr(packets, name, value)
            same(ao.verify_capture(iter(pairs), chain), wanted)
        numbers = [n for records in ao.Packets(pairs) for n in records.numbers.tolist()]
        assert numbers == list(range(1, len(pairs) + 1))

    def test_scapy(self, chain, wanted):
        with scapy.utils.PcapReader(str(WRAP)) as reader:
            packets = ao.Packets(((p.time, bytes(p)) for p in reader), reader.linktype)
            same(ao.verify_capture(packets, chain), wanted)

    def test_dpkt(self, chain, wanted):
        with WRAP.open("rb") as file:
            reader = dpkt.pcap.Reader(file)
            packets = ao.Packets(reader, reader.datalink(), "from dpkt")
            report = ao.verify_capture(packets, chain)
        assert report.counts == wanted.counts
        assert report.captures == ["from dpkt"]

    def test_times(self):
        moment = datetime(2026, 1, 1, 0, 0, 0, 250_000, tzinfo=timezone.utc)
        times = [1, 1.5, Decimal("1.000000001"), moment, None, np.float64(2.5), np.int64(3)]
        (records,) = ao.Packets([(time, b"x") for time in times])
        assert records.timestamps.tolist() == [
            10**9, 1_500_000_000, 1_000_000_001, 1_767_225_600_250_000_000, -1,
            2_500_000_000, 3 * 10**9,
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("item", "what"),
        [
            (3, "packet 2: is a int; it must be"), (b"data", "packet 2: is a bytes"),
            ((1, 2, 3), "packet 2: is a tuple"), ((1, "text"), "packet 2: its data is a str"),
            ((1, None), "its data is a NoneType"), (("1", b""), "its time is '1'"),
            ((float("nan"), b""), "its time is nan"), ((float("inf"), b""), "its time is inf"),
            ((1e30, b""), "its time is 1e"), ((datetime(2026, 1, 1), b""), "a time zone"),
        ],
    )  # fmt: skip
    def test_others_are_refused(self, item, what, chain):
        with pytest.raises(ao.InvalidArgumentError, match=what):
            ao.verify_capture(ao.Packets([(1, b"x"), item]), chain)

    def test_none(self, chain):
        assert ao.verify_capture(iter(()), chain).records == 0
        assert ao.verify_capture(ao.Packets([]), chain).records == 0
        assert ao.verify_capture(ao.Packets([(None, b"")]), chain).records == 1

    @pytest.mark.parametrize("linktype", [-1, 1 << 16, "1", True, None])
    def test_link_types(self, linktype):
        with pytest.raises(ao.InvalidArgumentError, match="linktype"):
            ao.Packets([], linktype)

    @pytest.mark.parametrize("packets", [b"abc", "abc", 3, None])
    def test_what_yields_nothing(self, packets):
        with pytest.raises(ao.InvalidArgumentError, match=r"yield \(time, data\)"):
            ao.Packets(packets)

    @pytest.mark.parametrize("given", [3, None, b"x.pcap", [3], [WRAP, 3], [(1, b"x")]])
    def test_what_is_no_source(self, given, chain):
        with pytest.raises(ao.InvalidArgumentError, match="must be a path, a binary file, Packets"):
            ao.verify_capture(given, chain)

    def test_an_error_of_the_iterator_is_the_callers(self, chain):
        def breaks():
            yield 1, b"x"
            raise RuntimeError("the card is gone")

        with pytest.raises(RuntimeError, match="the card is gone"):
            ao.verify_capture(breaks(), chain)
