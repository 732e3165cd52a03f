"""Mirrored and tunnelled packets: headers around a segment are looked through, and kept right."""

import struct

import numpy as np
import pytest
from samples import HERE

import tcpao_fast as ao

ETHERNET, RAW_IP, PPP = 1, 101, 9
MACS = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02"


def ip(payload, protocol):
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0)
    return head + b"\xc0\0\2\1\xc0\0\2\2" + payload


def udp(payload, port):
    return ip(struct.pack(">HHHH", 50000, port, 8 + len(payload), 0) + payload, 17)


def gre(payload, protocol, flags=0, more=b""):
    return ip(struct.pack(">HH", flags, protocol) + more + payload, 47)


def ether(kind, payload):
    return MACS + struct.pack(">H", kind) + payload


def inner(packet):
    return ether(0x0800, packet)


#: Name, link type, the packet with an IP packet in it, whether it can be signed where it is.
TUNNELS = [
    ("vxlan", RAW_IP, lambda p: udp(b"\x08\0\0\0\0\0\x2a\0" + inner(p), 4789), False),
    ("vxlan on Linux's old port", RAW_IP,
     lambda p: udp(b"\x08" + bytes(7) + inner(p), 8472), False),
    ("geneve", RAW_IP,
     lambda p: udp(b"\x02\0\x65\x58" + bytes(4) + bytes(8) + inner(p), 6081), False),
    ("geneve with IP", RAW_IP, lambda p: udp(b"\0\0\x08\0" + bytes(4) + p, 6081), False),
    ("gtp-u", RAW_IP,
     lambda p: udp(b"\x30\xff" + struct.pack(">HI", len(p), 1) + p, 2152), False),
    ("gtp-u with an extension header", RAW_IP,
     lambda p: udp(b"\x34\xff" + struct.pack(">HI", len(p) + 8, 1) + b"\0\0\0\x85\x01\0\0\0" + p,
                   2152), False),
    ("tzsp", RAW_IP, lambda p: udp(b"\1\0\0\1" + b"\x0a\1\7" + b"\1" + inner(p), 37008), False),
    ("erspan I", RAW_IP, lambda p: gre(inner(p), 0x88BE), True),
    ("erspan II", RAW_IP, lambda p: gre(bytes(8) + inner(p), 0x88BE, 0x1000, bytes(4)), True),
    ("erspan III", RAW_IP, lambda p: gre(bytes(12) + inner(p), 0x22EB, 0x1000, bytes(4)), True),
    ("erspan III of a platform", RAW_IP,
     lambda p: gre(bytes(11) + b"\1" + bytes(8) + inner(p), 0x22EB, 0x1000, bytes(4)), True),
    ("pseudowire", ETHERNET,
     lambda p: ether(0x8847, b"\0\1\x01\xff" + bytes(4) + inner(p)), True),
    ("802.1ah", ETHERNET, lambda p: ether(0x88E7, bytes(4) + inner(p)), True),
    ("Cisco MetaData", ETHERNET,
     lambda p: ether(0x8909, b"\1\1\0\1\0\x10\x08\0" + p), True),
    ("PPP, protocol compressed", PPP, lambda p: b"\x21" + p, True),
    ("PPP in HDLC framing", 50, lambda p: b"\xff\3\0\x21" + p, True),
    ("PPPoE", 51, lambda p: b"\x11\0\0\1" + struct.pack(">H", len(p) + 2) + b"\0\x21" + p, True),
    ("Cisco HDLC", 104, lambda p: b"\x0f\0\x08\0" + p, True),
    ("MPLS", 219, lambda p: b"\0\1\x01\xff" + p, True),
    ("Juniper Ethernet", 178, lambda p: b"MGC\0" + inner(p), True),
    ("Juniper without a layer 2 header", 178, lambda p: b"MGC\x02\2\0\0\0" + p, True),
    ("Juniper PPP", 179, lambda p: b"MGC\0\xff\3\0\x21" + p, True),
    ("Juniper Frame Relay", 180, lambda p: b"MGC\0\x18\x41\3\xcc" + p, True),
    ("Juniper Cisco HDLC", 181, lambda p: b"MGC\x80\0\2xy\x0f\0\x08\0" + p, True),
    ("Frame Relay", 107, lambda p: b"\x18\x41\3\xcc" + p, True),
    ("Frame Relay with SNAP", 107, lambda p: b"\x18\x41\3\0\x80\0\0\0\x08\0" + p, True),
    ("Frame Relay, four bytes of address", 107, lambda p: b"\x18\x40\x40\x41\3\xcc" + p, True),
    ("Frame Relay as Cisco has it", 107, lambda p: b"\x18\x41\x08\0" + p, True),
    ("NFLOG", 239,
     lambda p: b"\2\0\0\x01" + b"\x08\0\1\0\x08\0\1\0" + b"\5\0\x0a\0\0\0\0\0"
     + struct.pack("<HH", 4 + len(p), 9) + p, False),
    ("NFLOG of a big-endian host", 239,
     lambda p: b"\2\0\0\x01" + b"\0\x08\0\1\x08\0\1\0" + struct.pack(">HH", 4 + len(p), 9) + p,
     False),
    ("NFLOG of a bridge, its VLAN a nested attribute", 239,
     lambda p: b"\7\0\0\x01" + b"\x14\0\x14\x80\6\0\1\0\0\x2a\0\0\6\0\2\0\x81\0\0\0"
     + struct.pack("<HH", 4 + len(p), 9) + p, False),
    ("NFLOG of a bridge of a big-endian host", 239,
     lambda p: b"\7\0\0\x01" + b"\0\x14\x80\x14\0\6\0\1\0\x2a\0\0\0\6\0\2\x81\0\0\0"
     + struct.pack(">HH", 4 + len(p), 9) + p, False),
    ("L2TPv3", RAW_IP, lambda p: ip(b"\0\0\0\7" + inner(p), 115), True),
    ("L2TPv3 with a cookie", RAW_IP,
     lambda p: ip(b"\0\0\0\7" + b"cookie!!" + inner(p), 115), True),
    ("L2TPv3 with a cookie, a sublayer and a tag", RAW_IP,
     lambda p: ip(b"\0\0\0\7cook\0\0\0\0" + ether(0x8100, b"\0\0\x08\0" + p), 115), True),
    ("L2TPv3 in UDP", RAW_IP,
     lambda p: udp(b"\0\3\0\0" + b"\0\0\0\7" + inner(p), 1701), False),
    ("L2TP", RAW_IP, lambda p: udp(b"\0\2\0\1\0\2\xff\3\0\x21" + p, 1701), False),
    ("L2TP with all fields", RAW_IP,
     lambda p: udp(b"\x4a\2\0\0\0\1\0\2\0\0\0\0\0\2zz\0\x21" + p, 1701), False),
    ("Juniper Ethernet with extensions", 178, lambda p: b"MGC\x81\0\3abc" + inner(p), True),
]  # fmt: skip


@pytest.fixture(scope="module")
def packets():
    """Raw IP packets of a good session, and its keys."""
    with ao.CaptureReader(HERE / "field" / "aook.pcap") as reader:
        (records,) = reader
        found = [records.data(i) for i in range(len(records))]
        linktype = int(records.linktypes[0])
    return [one[14:] if linktype == 1 else one for one in found]


def batch(frames):
    lengths = np.array([len(one) for one in frames])
    return b"".join(frames), np.cumsum(lengths) - lengths, lengths


@pytest.mark.parametrize(("name", "linktype", "wrap", "signs"), TUNNELS)
@pytest.mark.parametrize("threads", [1, 3])
def test_looked_through(name, linktype, wrap, signs, threads, packets):
    keys = ao.load_keys(HERE / "field" / "ao.toml")
    frames = [wrap(one) for one in packets]
    result = ao.Engine(keys, threads=threads).verify(*batch(frames), linktype)
    assert result.counts["good"] == len(frames), name
    bare = ao.strip(*batch(frames), linktype)
    if not signs:  # lengths and checksums around it are not adjusted: left as it was
        assert bare.counts == {"too_many_headers": len(frames)}
        assert bytes(bare.buffer) == b"".join(frames)
        return
    assert bare.counts == {"stripped": len(frames)}
    signed = ao.Engine(keys, threads=threads).sign(*bare, linktype)
    assert signed.counts == {"signed": len(frames)}
    again = ao.Engine(keys).verify(*signed, linktype)
    assert again.counts["good"] == len(frames)
    for outcome in (bare, signed) if linktype == RAW_IP else ():
        for at, size in zip(outcome.offsets.tolist(), outcome.lengths.tolist(), strict=True):
            assert int.from_bytes(outcome.buffer[at + 2 : at + 4].tobytes(), "big") == size


@pytest.mark.parametrize(("name", "linktype", "wrap", "signs"), TUNNELS)
def test_cut_anywhere(name, linktype, wrap, signs, packets):
    """A frame that ends early is never read beyond its end, and is no good segment."""
    frame = wrap(packets[0])
    keys = ao.load_keys(HERE / "field" / "ao.toml")
    for size in range(len(frame)):
        counts = ao.Engine(keys).verify(frame[:size], [0], [size], linktype).counts
        assert not counts["good"], (name, size)


@pytest.mark.parametrize("layer", [lambda p: ether(0x88E7, bytes(4) + p), lambda p: MACS + b"\x88\x47\0\0\1\0" + bytes(4) + p])  # fmt: skip  # noqa: E501
def test_headers_without_end(layer):
    """Frames in frames in frames: given up, in constant stack."""
    frame = b""
    for _ in range(3000):
        frame = layer(frame)
    assert ao.Engine([]).verify(frame, [0], [len(frame)]).verdict[0] == ao.Verdict.not_tcp


def test_what_is_not_read_is_said(tmp_path):
    from click.testing import CliRunner

    from tcpao_fast.cli.app import tcpao
    from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records

    path = tmp_path / "radio.pcap"
    frames = batch([b"\x88" * 60] * 11)
    times = np.zeros(11, np.int64)
    path.write_bytes(
        pcap_header(127, 65535, False, False)
        + bytes(pcap_records(*frames, frames[2], times, False, False))
    )
    report = ao.verify_capture(path, [])
    assert report.unread == {127: 11} and report.exit_status == 3
    keys = str(HERE / "field" / "ao.toml")
    said = "11 records of link type 127 (802.11 with a radiotap header) not read"
    for command in ("verify", "diagnose"):
        run = CliRunner().invoke(tcpao, [command, str(path), "-k", keys])
        assert run.exit_code == 3 and said in run.stdout
    assert "no segment is bad" not in run.stdout
    run = CliRunner().invoke(tcpao, ["verify", str(path), "-k", keys, "--json"])
    assert '"linktype": 127' in run.stdout
