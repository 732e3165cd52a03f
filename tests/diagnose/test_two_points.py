"""The same segment before and behind a device that changes it, in one capture."""

import struct

import pytest
from wire import ACK, PSH, SYN, pcap, records, tcp_packet

import tcpao_fast as ao

KEYS = {
    "ao": ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2),
    "md5": ao.MasterKey(algorithm="tcp-md5", secret=b"secret"),
}
TIMESTAMPS = b"\x08\x0a\0\0\0\x07\0\0\0\0\x01\x01"
ENDS = {4: (("10.0.0.1", 40000), ("10.0.0.2", 179)), 6: (("fd00::1", 40000), ("fd00::2", 179))}
#: Field, where it is in the TCP header, what is written there, and what is said.
CHANGES = [
    ("rewritten_header", 4, b"\1\2\3\4", "has sequence number 16909060"),
    ("rewritten_header", 8, b"\1\2\3\4", "has acknowledgment number 16909060"),
    ("rewritten_header", 14, b"\0\x07", "has window 7"),
    ("rewritten_header", 18, b"\0\x09", "has urgent pointer 9"),
    ("rewritten_header", 12, None, "flags and reserved bits"),
    ("rewritten_address", 0, b"\x30\x39", "has source port 12345"),
    ("rewritten_address", -4, None, "has source address"),
]


def signed(kind, version, options=b""):
    """A handshake, and data both ways."""
    client, server = ENDS[version]
    bare = [
        tcp_packet(client, server, SYN, 1000, 0, b"", b"\x02\x04\x05\xb4" + options),
        tcp_packet(server, client, SYN | ACK, 5000, 1001, b"", b"\x02\x04\x05\xb4" + options),
        tcp_packet(client, server, ACK, 1001, 5001, b"", options),
        tcp_packet(client, server, PSH | ACK, 1001, 5001, b"open", options),
        tcp_packet(server, client, PSH | ACK, 5001, 1005, b"answer", options),
        tcp_packet(client, server, PSH | ACK, 1005, 5007, b"update", options),
    ]
    result = ao.Engine([KEYS[kind]]).sign(*records(bare), 101)
    assert set(result.counts) == {"signed"}
    return [
        bytes(result.buffer[a : a + n]) for a, n in zip(result.offsets, result.lengths, strict=True)
    ]


def changed(packet, version, at, data):
    """With other bytes at a place of the TCP header, or in the source address (negative)."""
    packet = bytearray(packet)
    start = 20 if version == 4 else 40
    if at < 0:
        packet[15 if version == 4 else 23] ^= 0x55
    elif data is None:
        packet[start + at] |= 0x02
    else:
        packet[start + at : start + at + len(data)] = data
    return bytes(packet)


def diagnosed(tmp_path, packets, keys):
    path = tmp_path / "two.pcap"
    pcap(path, packets)
    return ao.diagnose_capture(path, keys).findings


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["ao", "md5"])
@pytest.mark.parametrize(("reason", "at", "data", "said"), CHANGES)
def test_what_was_changed_is_named(tmp_path, reason, at, data, said, kind, version, first):
    packets = signed(kind, version)
    behind = changed(packets[3], version, at, data)
    packets[3:4] = [packets[3], behind] if first else [behind, packets[3]]
    found = diagnosed(tmp_path, packets, [KEYS[kind]])
    good, bad = (4, 5) if first else (5, 4)
    assert [one.reason for one in found] == [reason], found
    assert f"#{good}, which is good, has" in found[0].sentence
    assert said in found[0].sentence and found[0].packets == (bad,)
    assert list(found[0].counts.values()) == [1]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("kind", ["ao", "md5"])
def test_options_that_were_taken_out(tmp_path, kind, version):
    """Without the option there is no MAC to compare: the IP ID or the timestamps say it."""
    packets = signed(kind, version, TIMESTAMPS)
    bare = ao.strip(*records(packets[3:4]), 101)
    packets.insert(4, bytes(bare.buffer))
    (one,) = diagnosed(tmp_path, packets, [KEYS[kind]])
    assert one.reason == "rewritten_options" and "options kinds" in one.sentence
    assert one.packets == (5,)


def test_another_segment_is_no_copy(tmp_path):
    """Sent again with other timestamps it has another MAC; without an option it is a stranger's."""
    packets = signed("ao", 6, TIMESTAMPS)
    later = TIMESTAMPS.replace(b"\x07", b"\x09")
    client, server = ENDS[6]
    packets.insert(4, tcp_packet(client, server, PSH | ACK, 1001, 5001, b"open", later))
    (one,) = diagnosed(tmp_path, packets, [KEYS["ao"]])
    assert one.reason == "unsigned_peer"


def test_placeholders_are_no_names(tmp_path):
    """Segments with zeros for a MAC are not the same segment."""
    packets = signed("ao", 4)
    zeros = []
    for packet in packets[2:]:
        at = packet.index(bytes([29, 16, 1, 2])) if bytes([29, 16, 1, 2]) in packet else -1
        zeros.append(packet if at < 0 else packet[: at + 4] + bytes(12) + packet[at + 16 :])
    found = diagnosed(tmp_path, packets[:2] + zeros, [KEYS["ao"]])
    assert not any("two points" in one.sentence for one in found)


def test_neither_is_good(tmp_path):
    """The difference is said, not which of them was signed; the secret is a cause of its own."""
    wrong = ao.MasterKey(algorithm="tcp-md5", secret=b"of quite another kind")
    packets = signed("md5", 4)
    packets = [two for one in packets for two in (one, changed(one, 4, 14, b"\0\x07"))]
    found = diagnosed(tmp_path, packets, [wrong])
    assert {one.reason for one in found} == {"rewritten_header", "wrong_secret"}
    text = next(one.sentence for one in found if one.reason == "rewritten_header")
    assert "neither is good" in text


def test_a_copy_in_the_next_records(tmp_path):
    """Records come in batches; a copy may be in the next one, or in the one before."""
    packets = signed("ao", 4)
    for order in ((0, 1, 2, 3, "x", 4), (0, 1, 2, "x", 3, 4)):
        from tcpao_fast.core.wire.records import Records
        from tcpao_fast.diagnose.evidence import EvidenceCollector
        from tcpao_fast.diagnose.findings import findings_of

        engine, collector = ao.Engine([KEYS["ao"]]), EvidenceCollector()
        for number, which in enumerate(order):
            packet = changed(packets[3], 4, 14, b"\0\7") if which == "x" else packets[which]
            one = Records(*records([packet]), 101, preceding=number)
            collector.add(engine.verify(one, final=False))
        (found,) = findings_of(collector.evidence(), engine.keys)
        assert found.reason == "rewritten_header" and "#" in found.sentence


def test_each_segment_has_one_reason(tmp_path):
    """One segment longer than the MSS says nothing about nine others with a wrong MAC."""
    client, server = ENDS[4]
    packets = signed("ao", 4)[:3]
    bare = [
        tcp_packet(client, server, PSH | ACK, 1001 + 10 * n, 5001, bytes([n]) * 10)
        for n in range(9)
    ]
    bare.insert(2, tcp_packet(client, server, ACK, 1091, 5001, b"x" * 3000))
    engine = ao.Engine([KEYS["ao"]])
    engine.verify(*records(packets), 101)
    more = engine.sign(*records(bare), 101)
    for a, n in zip(more.offsets, more.lengths, strict=True):
        packet = bytearray(more.buffer[a : a + n].tobytes())
        packet[44:48] = struct.pack(">I", 0xDEADBEEF + int(n))  # in the MAC
        packets.append(bytes(packet))
    found = diagnosed(tmp_path, packets, [KEYS["ao"]])
    assert sorted(one.reason for one in found) == ["offload", "secret_changed"], found
    assert all(one.counts["bad_mac"] for one in found)
