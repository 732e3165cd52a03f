"""Capture files: every kind of pcap and pcapng, damage of every kind, windows of every size."""

import struct
import subprocess

import numpy as np
import pytest
from guard import GuardedPages
from hypothesis import given, settings
from hypothesis import strategies as st

import tcpao_fast as ao
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.core.wire.scan import Scanner

PACKETS = [b"a" * 60, b"b" * 61, b"c" * 1500, b"", b"d"]


def pcap(packets=PACKETS, order="<", nano=False, linktype=1, cut=0):
    magic = 0xA1B23C4D if nano else 0xA1B2C3D4
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, linktype)
    for i, packet in enumerate(packets):
        fraction = 123456789 if nano else 123456
        out += struct.pack(
            order + "IIII", 1_700_000_000 + i, fraction, len(packet), len(packet) + cut
        )
        out += packet
    return out


def block(kind, body, order="<"):
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def section(order="<"):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(linktype=1, order="<", snap=0, options=b""):
    return block(1, struct.pack(order + "HHI", linktype, 0, snap) + options, order)


def option(code, value, order="<"):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(packet, number=0, stamp=0, order="<", wire=None):
    body = struct.pack(
        order + "IIIII", number, stamp >> 32, stamp & 0xFFFFFFFF, len(packet), wire or len(packet)
    )
    return block(6, body + packet, order)


def scan(data, **options):
    """Packets, timestamps, link types, wire lengths and damage of a file in memory."""
    scanner = Scanner()
    columns, _ = scanner.scan(data, **options)
    offsets, lengths, wire, stamps, linktypes = columns
    packets = [bytes(data[o : o + n]) for o, n in zip(offsets, lengths, strict=True)]
    return packets, list(stamps), list(linktypes), list(wire), scanner


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [False, True])
def test_pcap(order, nano):
    packets, stamps, linktypes, wire, scanner = scan(pcap(order=order, nano=nano, cut=5))
    assert packets == PACKETS
    assert stamps == [
        (1_700_000_000 + i) * 10**9 + (123456789 if nano else 123456000) for i in range(5)
    ]
    assert linktypes == [1] * 5 and wire == [len(p) + 5 for p in PACKETS]
    assert (scanner.format, scanner.nanoseconds, scanner.big_endian) == ("pcap", nano, order == ">")
    assert scanner.damage is None


def test_pcap_link_type_with_fcs_length():
    *_, scanner = scan(pcap(linktype=1 | 0x24000000))
    assert scanner.linktype == 1 and scanner.linktype_field == 0x24000001


@pytest.mark.parametrize("order", "<>")
def test_pcapng(order):
    data = (
        section(order)
        + block(0x0BAD, b"unknown", order)
        + interface(1, order, options=option(9, b"\x09", order) + option(0, b"", order))
        + interface(101, order)
        + enhanced(b"first", 0, 1_700_000_000_123_456_789, order)
        + enhanced(b"second", 1, 1_700_000_000_123_456, order, wire=99)
        + block(3, struct.pack(order + "I", 6) + b"simple", order)
        + block(2, struct.pack(order + "HHIIII", 1, 0, 0, 7, 3, 3) + b"old", order)
        + block(5, bytes(12), order)
    )
    packets, stamps, linktypes, wire, scanner = scan(data)
    assert packets == [b"first", b"second", b"simple", b"old"]
    assert stamps == [1_700_000_000_123_456_789, 1_700_000_000_123_456_000, -1, 7000]
    assert linktypes == [1, 101, 1, 101]
    assert wire == [5, 99, 6, 3]
    assert scanner.format == "pcapng" and scanner.damage is None


def test_pcapng_sections_of_two_byte_orders():
    data = b"".join(
        section(order) + interface(linktype, order) + enhanced(b"x", 0, 5, order)
        for order, linktype in (("<", 1), (">", 101), ("<", 113))
    )
    packets, stamps, linktypes, _, scanner = scan(data)
    assert packets == [b"x"] * 3 and linktypes == [1, 101, 113] and stamps == [5000] * 3
    assert scanner.damage is None


@pytest.mark.parametrize(
    ("resolution", "stamp", "expected"),
    [
        (b"\x00", 1_700_000_000, 1_700_000_000 * 10**9),
        (b"\x03", 1_700_000_000_123, 1_700_000_000_123 * 10**6),
        (b"\x06", 1_700_000_000_123_456, 1_700_000_000_123_456_000),
        (b"\x09", 1_700_000_000_123_456_789, 1_700_000_000_123_456_789),
        (b"\x0c", 1_700_000_000_123_456, 1_700_000_000_123),
        (b"\x80", 1_700_000_000, 1_700_000_000 * 10**9),
        (b"\x8a", 1_700_000_000 << 10 | 512, 1_700_000_000 * 10**9 + 500_000_000),
        (b"\xa0", 1_700_000_000 << 32 | 1 << 30, 1_700_000_000 * 10**9 + 250_000_000),
    ],
)
@pytest.mark.parametrize("offset", [0, 3600])
def test_pcapng_resolutions(resolution, stamp, expected, offset):
    options = option(9, resolution) + option(14, struct.pack("<q", offset))
    _, stamps, *_ = scan(section() + interface(options=options) + enhanced(b"x", 0, stamp))
    assert stamps == [expected + offset * 10**9]


def test_pcapng_simple_packets_are_cut_by_the_snap_length():
    data = section() + interface(snap=4) + block(3, struct.pack("<I", 100) + b"abcd")
    packets, _, _, wire, _ = scan(data)
    assert packets == [b"abcd"] and wire == [100]


NG = section() + interface() + enhanced(b"good")
DAMAGED = {
    "empty": (b"", "is empty", 0, 0),
    "text": (b"not a capture at all", "neither pcap nor pcapng", 0, 0),
    "gzip": (b"\x1f\x8b\x08\0", "gzip", 0, 0),
    "zstd": (b"\x28\xb5\x2f\xfd", "zstd", 0, 0),
    "modified pcap": (struct.pack("<I", 0xA1B2CD34) + bytes(20), "editcap", 0, 0),
    "half a header": (pcap()[:20], "inside its header", 0, 0),
    "three bytes": (pcap()[:3], "inside its header", 0, 0),
    "half a record header": (pcap([b"x" * 10]) + b"12345678", "inside a record header", 50, 1),
    "half a record": (pcap([b"x" * 10, b"y" * 10])[:-1], "inside a record", 50, 1),
    "absurd length": (
        pcap([b"x" * 10]) + struct.pack("<IIII", 0, 0, 2**31, 5) + b"zzz",
        "absurd length",
        50,
        1,
    ),
    "pcapng cut": (NG + enhanced(b"x")[:-1], "inside a block", len(NG), 1),
    "pcapng lengths differ": (
        NG + enhanced(b"x")[:-4] + b"\x24\0\0\1",
        "two lengths differ",
        len(NG),
        1,
    ),
    "pcapng odd length": (NG + struct.pack("<III", 6, 33, 0), "impossible length", len(NG), 1),
    "pcapng short length": (NG + struct.pack("<III", 6, 8, 8), "impossible length", len(NG), 1),
    "pcapng no interface": (NG + enhanced(b"x", 1), "not described", len(NG), 1),
    "pcapng packet too long": (
        NG + block(6, struct.pack("<IIIII", 0, 0, 0, 100, 100)),
        "longer than its block",
        len(NG),
        1,
    ),
    "pcapng short packet block": (NG + block(6, bytes(16)), "too short", len(NG), 1),
    "pcapng no magic": (NG + block(0x0A0D0D0A, bytes(16)), "byte-order magic", len(NG), 1),
    "pcapng version": (
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)),
        "unknown pcapng version",
        0,
        0,
    ),
    "pcapng option": (
        NG + interface(options=struct.pack("<HH", 9, 100)),
        "option is longer",
        len(NG),
        1,
    ),
    "pcapng resolution": (NG + interface(options=option(9, b"\x20")), "absurd", len(NG), 1),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("mapped", [True, False])
def test_damage(name, mapped, tmp_path, monkeypatch):
    """What comes before the damage is given; then one error says what and where."""
    data, what, offset, before = DAMAGED[name]
    path = tmp_path / "damaged"
    path.write_bytes(data)
    if not mapped:
        monkeypatch.setattr("tcpao_fast.capture.reader.stat.S_ISREG", lambda mode: False)
    records = 0
    with CaptureReader(path) as reader, pytest.raises(ao.CaptureError, match=what) as caught:
        for chunk in reader:
            records += len(chunk.offsets)
    assert records == before
    assert caught.value.offset == offset
    assert f"at byte {offset}" in str(caught.value) and str(path) in str(caught.value)


def test_every_cut_of_a_file():
    for data in (pcap(), NG + enhanced(b"more") + interface(5)):
        for length in range(len(data)):
            packets, *_, scanner = scan(data[:length])
            whole = scan(data)[0]
            assert packets == whole[: len(packets)]
            if scanner.damage is None:
                assert length in boundaries(data)


def boundaries(data):
    """Where a file may end."""
    if data[:4] == b"\xd4\xc3\xb2\xa1":
        found, at = {24}, 24
        for packet in PACKETS:
            at += 16 + len(packet)
            found.add(at)
        return found
    found, at = set(), 0
    while at < len(data):
        at += struct.unpack("<I", data[at + 4 : at + 8])[0]
        found.add(at)
    return found


@pytest.mark.parametrize("window", [1, 7, 64, 1000])
@pytest.mark.parametrize(
    "data", [pcap(), NG + enhanced(b"more") + interface(5)], ids=["pcap", "ng"]
)
def test_streamed_in_windows_of_any_size(data, window, tmp_path, monkeypatch):
    path = tmp_path / "streamed"
    path.write_bytes(data)
    monkeypatch.setattr("tcpao_fast.capture.reader.WINDOW", window)
    monkeypatch.setattr("tcpao_fast.capture.reader.stat.S_ISREG", lambda mode: False)
    with CaptureReader(path) as reader:
        found = [
            bytes(chunk.buffer[o : o + n])
            for chunk in reader
            for o, n in zip(chunk.offsets, chunk.lengths, strict=True)
        ]
    assert found == scan(data)[0]


@pytest.mark.parametrize(("records", "span"), [(1, 1 << 24), (3, 100), (65536, 500), (2, 4096)])
def test_mapped_in_chunks_of_any_size(records, span, tmp_path, monkeypatch, named_capture):
    capture = named_capture("v4-cmac-5")
    monkeypatch.setattr("tcpao_fast.capture.reader.CHUNK_RECORDS", records)
    monkeypatch.setattr("tcpao_fast.capture.reader.CHUNK_BYTES", span)
    with CaptureReader(capture.path) as reader:
        chunks = [(int(chunk.numbers[0]) - 1, chunk.offsets.copy()) for chunk in reader]
    assert [first for first, _ in chunks] == list(
        np.cumsum([0] + [len(offsets) for _, offsets in chunks])[:-1]
    )
    assert (np.concatenate([offsets for _, offsets in chunks]) == capture.records[1]).all()


class TestHostileFiles:
    pages = GuardedPages(2)

    @settings(max_examples=500)
    @given(
        base=st.sampled_from([pcap([b"x" * 20] * 3), NG + enhanced(b"more") + NG]),
        changes=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=8),
        cut=st.integers(0, 60),
        final=st.booleans(),
    )
    def test_never_beyond_the_window(self, base, changes, cut, final):
        data = bytearray(base)
        for at, value in changes:
            data[at % len(data)] = value
        view = self.pages.ending_with(bytes(data[: len(data) - cut]))
        (offsets, lengths, *_), end = Scanner().scan(view, final=final)
        assert (offsets >= 0).all() and (offsets + lengths <= len(view)).all()
        assert 0 <= end <= len(view)


@pytest.mark.parametrize("form", ["pcapng", "nsecpcap", "modpcap"])
def test_conversions_by_editcap(form, tool, tmp_path, capture):
    """editcap's own files of a real capture: the same verdicts, or one clear error."""
    path = tmp_path / f"converted.{form}"
    subprocess.run([tool("editcap"), "-F", form, capture.path, path], check=True)
    if form == "modpcap":
        with pytest.raises(ao.CaptureError, match="editcap -F pcap"):
            ao.verify_capture(path, capture.keys)
        return
    expected = ao.verify_capture(capture.path, capture.keys)
    found = ao.verify_capture(path, capture.keys)
    assert found.counts == expected.counts and found.records == expected.records
    # and signing what came as pcapng or nanoseconds gives a pcap that capinfos can count
    bare, signed = tmp_path / "bare.pcap", tmp_path / "signed.pcap"
    ao.strip_capture(path, bare)
    ao.sign_capture(bare, signed, capture.keys)
    counted = subprocess.run(
        [tool("capinfos"), "-c", "-M", "-T", "-r", signed],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(counted.split("\t")[1]) == expected.records


def test_merged_link_types(tool, tmp_path, named_capture):
    """mergecap puts Ethernet and SLL2 into one pcapng: both verify, pcap output is refused."""
    one, other = named_capture("any-sll2"), named_capture("v6-sha1")
    path = tmp_path / "merged.pcapng"
    subprocess.run([tool("mergecap"), "-F", "pcapng", "-w", path, one.path, other.path], check=True)
    keys = ao.KeyChain([*one.keys, *other.keys])
    assert ao.verify_capture(path, keys).counts["good"] == 99 + 457
    with pytest.raises(ao.CaptureError, match="link type"):
        ao.strip_capture(path, tmp_path / "out.pcap")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["merged.pcapng"]


def test_cannot_open(tmp_path):
    for path, what in ((tmp_path / "none", "No such file"), (tmp_path, "directory")):
        with pytest.raises(ao.CaptureError, match=what):
            ao.verify_capture(path, [])
