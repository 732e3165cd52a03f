"""What a pcapng capture has beside its packets is kept where they are looked at or rewritten."""

import io
import json
import random
import struct
import subprocess

import pytest
from console import tcpao
from samples import CAPTURES

import tcpao_fast as ao
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.core.wire.pcapng_copy import BlockCopier
from tcpao_fast.core.wire.records import Records

WRAP = CAPTURES / "wrap-v4-sha1.pcap"
KEYS = WRAP.with_suffix(".toml")
SECTION, INTERFACE, OLD, SIMPLE, NAMES, STATISTICS, PACKET = 0x0A0D0D0A, 1, 2, 3, 4, 5, 6
SECRETS, CUSTOM, UNKNOWN = 10, 0x40000BAD, 0x80000042
PACKETS = (OLD, SIMPLE, PACKET)


def padded(data):
    return data + bytes(-len(data) % 4)


class Writer:
    """Blocks in one byte order, by hand."""

    def __init__(self, order):
        self.order = order
        self.data = b""

    def block(self, kind, body):
        body = padded(body)
        size = 12 + len(body)
        self.data += struct.pack(f"{self.order}II", kind, size) + body
        self.data += struct.pack(f"{self.order}I", size)

    def options(self, *options, end=True):
        found = b"".join(
            struct.pack(f"{self.order}HH", code, len(value)) + padded(value)
            for code, value in options
        )
        return found + bytes(4 if options and end else 0)

    def section(self, *options, length=-1):
        body = struct.pack(f"{self.order}IHHq", 0x1A2B3C4D, 1, 0, length)
        self.block(SECTION, body + self.options(*options))

    def interface(self, linktype, snap_length, *options):
        body = struct.pack(f"{self.order}HHI", linktype, 0, snap_length)
        self.block(INTERFACE, body + self.options(*options))

    def packet(self, data, number, stamp, *options, end=True):
        head = struct.pack(
            f"{self.order}IIIII", number, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)
        )
        self.block(PACKET, head + padded(data) + self.options(*options, end=end))

    def old_packet(self, data, number, stamp, *options):
        head = struct.pack(
            f"{self.order}HHIIII", number, 7, stamp >> 32, stamp & 0xFFFFFFFF, len(data), len(data)
        )
        self.block(OLD, head + padded(data) + self.options(*options))

    def simple_packet(self, data):
        self.block(SIMPLE, struct.pack(f"{self.order}I", len(data)) + data)


def blocks_of(data):
    """Each block of a file: (kind, body, byte order)."""
    at, order = 0, "<"
    while at < len(data):
        if data[at : at + 4] == b"\x0a\x0d\x0d\x0a":
            order = ">" if data[at + 8] == 0x1A else "<"
        kind, size = struct.unpack_from(f"{order}II", data, at)
        assert size % 4 == 0 and data[at + size - 4 : at + size] == data[at + 4 : at + 8]
        yield kind, data[at + 8 : at + size - 4], order
        at += size


def packet_of(kind, body, order):
    """A packet block's (first 12 bytes, original length, data, options)."""
    if kind == SIMPLE:
        (size,) = struct.unpack_from(f"{order}I", body)
        return b"", size, body[4 : 4 + size], []
    captured, size = struct.unpack_from(f"{order}II", body, 12)
    at, options = 20 + captured + -captured % 4, []
    while at < len(body):
        code, length = struct.unpack_from(f"{order}HH", body, at)
        if code == 0:
            break
        options.append((code, body[at + 4 : at + 4 + length]))
        at += 4 + length + -length % 4
    return body[:12], size, body[20 : 20 + captured], options


def packets():
    with CaptureReader(WRAP) as reader:
        return [records.data(i) for records in reader for i in range(len(records))]


@pytest.fixture(scope="module", params=["<>", "><", "<"])
def rich(request):
    """A file with everything in it, in sections of these byte orders."""
    data, random_ = b"", random.Random(3)
    all_ = packets()
    share = len(all_) // len(request.param)
    for part, order in enumerate(request.param):
        to = Writer(order)
        to.section((2, b"hardware"), (3, "os \N{SNOWMAN}".encode()), (1, b"of the section"),
                   length=1234)  # fmt: skip
        to.interface(1, 0, (2, b"eth0"), (9, b"\x09"), (11, b"\0tcp port 179"))
        to.interface(1, 262144, (2, b"eth1"), (9, b"\x06"), (1, b"the other"))
        to.block(NAMES, struct.pack(f"{order}HH4s8sHH", 1, 12, b"\x0a\0\0\x01", b"router1\0", 0, 0))
        to.block(SECRETS, struct.pack(f"{order}II", 0x544C534B, 4) + b"keys")
        chosen = all_[part * share : (part + 1) * share]
        for number, packet in enumerate(chosen):
            which = random_.randrange(8)
            if which == 0:
                to.simple_packet(packet)
            elif which == 1:
                to.old_packet(packet, number % 2, number * 1000, (1, b"old"), (3, b"\x02\1\2\3\4"))
            elif which == 2:
                to.packet(packet, 1, number, (1, b"mine"), (1, b"and mine"), (2, b"\1\0\0\0"),
                          (3, b"\x02\1\2\3\4"), (2988, b"\0\0\x7e\xd1custom"))  # fmt: skip
            elif which == 3:
                to.packet(packet, 0, number, (2, b"\2\0\0\0"), end=False)
            else:
                to.packet(packet, number % 2, number)
            if number % 50 == 7:
                to.block(CUSTOM, struct.pack(f"{order}I", 32473) + b"something")
                to.block(UNKNOWN, b"whatever it is")
        to.block(STATISTICS, struct.pack(f"{order}III", 0, 0, 99) + to.options((4, bytes(8))))
        data += to.data
    return data


@pytest.fixture
def chain():
    return ao.load_keys(KEYS)


def others(data):
    """All blocks that hold no packet; of sections without their length."""
    return [
        (kind, body[:8] + body[16:] if kind == SECTION else body)
        for kind, body, _ in blocks_of(data)
        if kind not in PACKETS
    ]


def test_annotate(rich, chain, tmp_path):
    """Every block in its place, and our comment behind the user's."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(rich)
    report = ao.verify_capture(path, chain, annotate=out)
    data = out.read_bytes()
    assert [kind in PACKETS for kind, *_ in blocks_of(data)] == [
        kind in PACKETS for kind, *_ in blocks_of(rich)
    ]
    assert others(data) == others(rich)
    ours = 0
    for before, after in zip(blocks_of(rich), blocks_of(data), strict=True):
        if before[0] not in PACKETS:
            continue
        head, size, packet, options = packet_of(*before)
        new_head, new_size, new_packet, new_options = packet_of(*after)
        assert (new_size, new_packet) == (size, packet)
        if before[0] == after[0]:
            assert new_head == head
        else:  # a simple packet has no room for comments
            assert before[0] == SIMPLE and after[0] == PACKET and new_head == bytes(12)
        assert new_options[: len(options)] == options
        added = new_options[len(options) :]
        assert len(added) <= 1
        for code, text in added:
            assert code == 1 and text.startswith(b"tcpao: ")
            ours += 1
    assert ours == report.segments - report.counts["unsigned"]


@pytest.mark.parametrize("name", ["out.pcapng", "out"])
def test_strip_and_sign(rich, chain, tmp_path, name):
    """Stripped and signed again it is what it was, but for the hashes of packets."""
    path, bare, out = tmp_path / "in.pcapng", tmp_path / f"bare.{name}", tmp_path / f"2.{name}"
    path.write_bytes(rich)
    assert ao.strip_capture(path, bare).done > 500
    assert others(bare.read_bytes()) == others(rich)
    report = ao.sign_capture(bare, out, chain)
    assert report.done == report.segments
    for before, after in zip(blocks_of(rich), blocks_of(out.read_bytes()), strict=True):
        if before[0] == INTERFACE:
            snap_length = struct.unpack_from(f"{before[2]}I", before[1], 4)[0]
            wanted = snap_length and snap_length + 40
            assert struct.unpack_from(f"{after[2]}I", after[1], 4)[0] == wanted
            assert after[1][8:] == before[1][8:]
        elif before[0] in PACKETS:
            assert before[0] == after[0]
            head, size, packet, options = packet_of(*before)
            options = [one for one in options if one[0] != 3]
            assert packet_of(*after) == (head, size, packet, options)
    assert ao.verify_capture(out, chain).counts == ao.verify_capture(path, chain).counts


def test_the_name_says_the_form(rich, chain, tmp_path):
    path = tmp_path / "in"
    path.write_bytes(rich)
    for source, name, magic in [
        (path, "a.pcap", b"\x4d\x3c\xb2\xa1"), (path, "a.cap", b"\x4d\x3c\xb2\xa1"),
        (path, "a.pcapng", b"\x0a\x0d\x0d\x0a"), (path, "a", b"\x0a\x0d\x0d\x0a"),
        (WRAP, "b.pcapng", b"\x0a\x0d\x0d\x0a"), (WRAP, "b", WRAP.read_bytes()[:4]),
    ]:  # fmt: skip
        ao.strip_capture(source, tmp_path / name)
        assert (tmp_path / name).read_bytes()[:4] == magic
        ao.sign_capture(tmp_path / name, tmp_path / "signed", chain)
        counts = ao.verify_capture(tmp_path / "signed", chain).counts
        assert counts["good"] == sum(counts.values()) == 554


def test_a_stream_has_the_same(rich, chain, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(rich)
    ao.strip_capture(path, out)
    done = tcpao("strip", "-", "-", "-q", input=rich)
    assert done.returncode == 0 and done.stdout == out.read_bytes()


@pytest.mark.parametrize("window", [4096, 50000])
def test_in_windows(rich, chain, tmp_path, monkeypatch, window):
    path, out, again = (tmp_path / name for name in ("in", "out.pcapng", "again.pcapng"))
    path.write_bytes(rich)
    ao.verify_capture(path, chain, annotate=out)
    monkeypatch.setattr("tcpao_fast.capture.reader.WINDOW", window)
    monkeypatch.setattr("tcpao_fast.capture.reader.CHUNK_BYTES", window)
    ao.verify_capture(path, chain, annotate=again)
    assert again.read_bytes() == out.read_bytes()
    with path.open("rb") as file:
        ao.verify_capture(file, chain, annotate=again)
    assert again.read_bytes() == out.read_bytes()


def test_several_captures_are_sections(rich, chain, tmp_path):
    """pcap, pcapng and pcap again, one behind the other."""
    out = tmp_path / "out.pcapng"
    bad = CAPTURES / "bad-and-unsigned.pcap"

    report = ao.verify_capture([WRAP, io.BytesIO(rich), bad], chain, annotate=out)
    data = out.read_bytes()
    sections = [kind for kind, *_ in blocks_of(data)].count(SECTION)
    assert sections == 2 + rich.count(b"hardware")
    with CaptureReader(out) as reader:
        assert sum(len(records) for records in reader) == report.records


def test_a_filter_leaves_packets_out_and_nothing_else(rich, chain, tmp_path):
    path, out = tmp_path / "in", tmp_path / "out.pcapng"
    path.write_bytes(rich)
    ao.verify_capture(path, chain, annotate=out, packet_filter="src host 10.0.0.1")
    assert others(out.read_bytes()) == others(rich)
    kept = [packet_of(*one)[2] for one in blocks_of(out.read_bytes()) if one[0] in PACKETS]
    wanted = [packet_of(*one)[2] for one in blocks_of(rich) if one[0] in PACKETS]
    assert kept == [one for one in wanted if one[26:30] == b"\x0a\0\0\x01"] and len(kept) > 100


def test_other_programs_read_it(rich, chain, tmp_path, tool):
    """Wireshark's: comments in their order, interfaces, and no complaint."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    path.write_bytes(rich)
    ao.verify_capture(path, chain, annotate=out)

    def shown(name):
        done = subprocess.run(
            [tool("tshark"), "-r", name, "-T", "fields", "-e", "frame.interface_name",
             "-e", "frame.time_epoch", "-e", "frame.len"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        # a simple packet has no time, and with a comment cannot be without
        return done.stdout.replace("\t0.000000000\t", "\t\t")

    assert shown(out) == shown(path)
    comments = subprocess.run(
        [tool("tshark"), "-r", out, "-T", "fields", "-e", "frame.comment"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "mine,and mine,tcpao: good" in comments
    infos = [
        subprocess.run([tool("capinfos"), "-M", name], capture_output=True, text=True, check=True)
        for name in (path, out)
    ]
    assert infos[0].stderr == infos[1].stderr
    wanted = (
        "Interface #",
        "Name =",
        "Capture oper",
        "Capture hard",
        "Capture comment",
        "Number of",
    )
    assert [line for line in infos[0].stdout.splitlines() if line.strip().startswith(wanted)] == [
        line for line in infos[1].stdout.splitlines() if line.strip().startswith(wanted)
    ]


def test_any_damage(rich, chain, tmp_path):
    """What is written is always a sound file."""
    path, out = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    chance = random.Random(11)
    for _ in range(60):
        data = bytearray(rich)
        for _ in range(chance.choice([1, 1, 5, 40])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)
        try:
            report = ao.verify_capture(path, chain, annotate=out)
        except ao.CaptureError:
            continue
        found = sum(kind in PACKETS for kind, *_ in blocks_of(out.read_bytes()))
        assert found == report.records
        with CaptureReader(out) as reader:
            assert sum(len(records) for records in reader) == report.records


def test_records_of_other_blocks_are_refused(rich):
    with pytest.raises(ao.InvalidArgumentError, match="not those of these blocks"):
        BlockCopier().copy(rich, 0, len(rich), Records(rich, [100], [20]))
    with pytest.raises(ao.InvalidArgumentError, match="blocks from"):
        BlockCopier().copy(rich, 0, len(rich) + 4, Records(rich, [], []))


class TestSelected:
    """`-w`, `--select`, `--connection`."""

    MIXED = CAPTURES / "bad-and-unsigned.pcap"

    @pytest.fixture
    def rows(self):
        done = tcpao("verify", self.MIXED, "-k", self.MIXED.with_suffix(".toml"), "-o", "-",
                     text=True)  # fmt: skip

        return [json.loads(line) for line in done.stdout.splitlines()]

    def verify(self, *arguments, **options):
        return tcpao("verify", self.MIXED, "-k", self.MIXED.with_suffix(".toml"), *arguments,
                     **options)  # fmt: skip

    @pytest.mark.parametrize("name", ["out.pcap", "out.pcapng"])
    def test_packets_that_are_not_good(self, rows, name, tmp_path, tool):
        out = tmp_path / name
        assert self.verify("-w", out, "-q").returncode == 1
        done = subprocess.run(
            [tool("tshark"), "-r", out, "-T", "fields", "-e", "tcp.srcport", "-e", "tcp.seq_raw",
             "-e", "frame.comment"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        shown = [line.split("\t") for line in done.stdout.splitlines()]
        wanted = [one for one in rows if one["verdict"] not in ("good", "md5_good", "unsigned")]
        assert [(int(a), int(b)) for a, b, _ in shown] == [
            (one["source_port"], one["seq"]) for one in wanted
        ]
        if name == "out.pcapng":
            assert all(one["verdict"] in c for one, (_, _, c) in zip(wanted, shown, strict=True))

    def test_rows(self, rows):

        def found(*arguments):
            lines = self.verify("-o", "-", *arguments, text=True).stdout.splitlines()
            return [json.loads(line) for line in lines]

        assert found("--select", "bad_mac") == [one for one in rows if one["verdict"] == "bad_mac"]
        assert found("--select", "bad_mac", "--select", "good") == [
            one for one in rows if one["verdict"] in ("bad_mac", "good")
        ]
        assert found("--select", "all") == rows
        assert found("--connection", "10.0.0.1:44655,10.0.0.2:2243") == [
            one for one in rows if 44655 in (one["source_port"], one["destination_port"])
        ]
        assert found("--connection", "10.0.0.2:2243", "--connection", "10.0.0.2:2244") == [
            one for one in rows
            if {2243, 2244} & {one["source_port"], one["destination_port"]}
        ]  # fmt: skip
        assert found("--connection", "10.0.0.9") == []
        assert found("--connection", "::ffff:1,10.0.0.2") == []

    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            (["--select", "worse", "-o", "-"], "worse"),
            (["--select", "bad"], "--select and --connection are for --output and --write"),
            (["--connection", "10.0.0", "-o", "-"], "10.0.0"),
            (["--connection", "10.0.0.1:99999", "-o", "-"], "10.0.0.1:99999"),
            (["--connection", "a,b,c", "-o", "-"], "two with a comma"),
            (["-w", "x.pcap.gz"], "not compressed"),
        ],
    )
    def test_mistakes(self, arguments, what):
        done = self.verify(*arguments, text=True)
        assert done.returncode == 2 and what in done.stderr
