"""IP fragments: joined when whole, `truncated` when not, wherever calls begin and end."""

import random
import struct
from itertools import pairwise

import numpy as np
import pytest
from wire import ACK, SYN, handshake, ip_packet, pair, records

import tcpao_fast as ao

RAW_IP = 101


def fragment4(ip, *cuts, number=7):
    """Fragments of an IPv4 packet, cut at these payload offsets (multiples of 8)."""
    payload, parts = ip[20:], []
    edges = [0, *cuts, len(payload)]
    for start, end in pairwise(edges):
        more = 0x2000 if end < len(payload) else 0
        header = (
            ip[:2] + struct.pack(">HHH", 20 + end - start, number, start // 8 | more) + ip[8:20]
        )
        parts.append(header + payload[start:end])
    return parts


def fragment6(ip, *cuts, number=7):
    payload, parts = ip[40:], []
    edges = [0, *cuts, len(payload)]
    for start, end in pairwise(edges):
        extension = struct.pack(">BBHI", ip[6], 0, start | (end < len(payload)), number)
        body = extension + payload[start:end]
        parts.append(ip[:4] + struct.pack(">H", len(body)) + bytes([44]) + ip[7:40] + body)
    return parts


VERSIONS = {
    4: (("10.0.0.1", 40000), ("10.0.0.2", 179), fragment4),
    6: (("fd00::1", 40000), ("fd00::2", 179), fragment6),
}


@pytest.fixture(params=VERSIONS)
def talk(request):
    """An engine, a handshake, a long segment, and how to cut it."""
    client, server, cut = VERSIONS[request.param]
    key = ao.MasterKey(
        algorithm="hmac-sha-1-96",
        secret=b"s",
        send_id=1,
        recv_id=2,
        local=client[0],
        remote=server[0],
    )
    a, b = pair(key, client, server)
    return ao.Engine([key]), handshake(a, b), a.send(ACK, random.Random(1).randbytes(500)), cut


def names(result):
    return [ao.Verdict(v).name for v in result.verdict]


def test_joined(talk):
    engine, packets, long, cut = talk
    result = engine.verify(*records([*packets, *cut(long, 200, 400)]), RAW_IP)
    assert names(result) == ["good"] * 3 + ["not_tcp", "not_tcp", "good"]
    assert sum(result.counts.values()) == 4


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2), (0, 0, 1, 1, 2)])
def test_in_any_order_and_doubled(talk, order):
    engine, packets, long, cut = talk
    parts = cut(long, 200, 400)
    result = engine.verify(*records([*packets, *(parts[i] for i in order)]), RAW_IP)
    assert result.counts["good"] == 4
    assert names(result)[-1] == "good"


def test_incomplete_is_truncated(talk):
    engine, packets, long, cut = talk
    parts = cut(long, 200, 400)
    for missing in range(3):
        rest = [part for i, part in enumerate(parts) if i != missing]
        result = engine.verify(*records([*packets, *rest]), RAW_IP)
        assert names(result)[3:] == ["truncated", "not_tcp"]
        assert (result.counts["good"], result.counts["truncated"]) == (3, 1)


def test_over_several_calls(talk):
    engine, packets, long, cut = talk
    results = [
        engine.verify(*records([packet]), RAW_IP, final=False)
        for packet in (*packets, *cut(long, 8, 200, 400))
    ]
    assert [names(result)[0] for result in results] == ["good"] * 3 + ["not_tcp"] * 3 + ["good"]


def test_given_up_in_a_later_call(talk):
    engine, packets, long, cut = talk
    engine.verify(*records([*packets, *cut(long, 200)[:1]]), RAW_IP, final=False)
    result = engine.verify(b"", [], [])
    assert result.counts["truncated"] == 1 and engine.counts["truncated"] == 1


def test_too_old_is_given_up(talk):
    engine, packets, long, cut = talk
    first, second = cut(long, 200)
    stamps = np.array([0, 0, 0, 10, 31 * 10**9 + 10])
    result = engine.verify(*records([*packets, first, second]), RAW_IP, stamps)
    assert result.counts["truncated"] == 2  # each waits for the other in vain


def test_overlap_is_refused(talk):
    """Overlapping fragments can mean two things (RFC 5722): the datagram is not used."""
    engine, packets, long, cut = talk
    a, b = cut(long, 200)[0], cut(long, 104)[1]
    result = engine.verify(*records([*packets, a, b]), RAW_IP)
    assert result.counts["good"] == 3 and result.counts["truncated"] == 1


def test_cut_fragment(talk):
    engine, packets, long, cut = talk
    buffer, offsets, lengths = records([*packets, *cut(long, 200)])
    lengths = lengths.copy()
    lengths[3] -= 1
    result = engine.verify(buffer, offsets, lengths, RAW_IP)
    assert result.counts["good"] == 3 and result.counts["truncated"] == 2


def test_fragments_of_a_tunnel(talk):
    engine, packets, long, _ = talk
    protocol = 4 if long[0] >> 4 == 4 else 41
    outer = ip_packet("192.0.2.1", "192.0.2.2", long, protocol)
    result = engine.verify(*records([*packets, *fragment4(outer, 104, 304)]), RAW_IP)
    assert result.counts["good"] == 4


def test_fragments_in_a_tunnel(talk):
    engine, packets, long, cut = talk
    protocol = 4 if long[0] >> 4 == 4 else 41
    parts = [ip_packet("192.0.2.1", "192.0.2.2", part, protocol) for part in cut(long, 104, 304)]
    assert engine.verify(*records([*packets, *parts]), RAW_IP).counts["good"] == 4


def test_many_datagrams_at_once(talk):
    """Fragments of 200 datagrams, shuffled."""
    engine, packets, _, cut = talk
    client, server, _ = VERSIONS[packets[0][0] >> 4]
    key = engine.keys[0]
    a, b = pair(key, client, server)
    handshake(a, b)
    parts = []
    for i in range(200):
        parts += cut(a.send(ACK, bytes([i]) * 100), 64, 96, number=i)
    random.Random(3).shuffle(parts)
    assert engine.verify(*records([*packets, *parts]), RAW_IP).counts["good"] == 203


def test_memory_is_bounded():
    """A flood of first fragments pushes out the oldest; nothing grows without end."""
    key = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"s", send_id=1, recv_id=2)
    a, b = pair(key)
    a.connect(b)
    long = a.send(SYN, bytes(8000))
    engine = ao.Engine([key])
    flood = [fragment4(long, 7992, number=i)[0] for i in range(4000)]
    result = engine.verify(*records(flood), RAW_IP, final=False)
    held = 4000 - result.counts["truncated"]
    assert 0 < held * 7992 <= 16 << 20
    assert engine.verify(b"", [], []).counts["truncated"] == held


def test_other_protocols_are_no_segments():
    udp = ip_packet("10.0.0.1", "10.0.0.2", bytes(100), 17)
    result = ao.Engine([]).verify(*records(fragment4(udp, 48)), RAW_IP)
    assert names(result) == ["not_tcp"] * 2
    result = ao.Engine([]).verify(*records(fragment4(udp, 48)[:1]), RAW_IP)
    assert names(result) == ["not_tcp"] and not any(result.counts.values())
