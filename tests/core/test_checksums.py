"""Checksums: against a plain sum, and the one value that `sign` must not write."""

import random
import struct

import numpy as np
import pytest
from guard import GuardedPages
from wire import ACK, PSH, SYN, checksum, records, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.wire.rewrite import add_up

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)


def plain_sum(data):
    return ~checksum(data) & 0xFFFF


def test_every_length_and_alignment():
    data = np.frombuffer(random.Random(3).randbytes(1700), np.uint8)
    for length in (*range(200), 1447, 1448, 1480, 1501):
        for at in range(16):
            part = data[at : at + length]
            assert add_up(part) == plain_sum(part.tobytes()), (length, at)


def test_extremes():
    for length in (0, 1, 2, 7, 8, 9, 1500, 65535):
        assert add_up(np.full(length, 0xFF, np.uint8)) == plain_sum(b"\xff" * length)
        assert add_up(np.zeros(length, np.uint8)) == 0


def test_continued():
    data = np.frombuffer(random.Random(4).randbytes(64), np.uint8)
    for total in (0, 1, 0xFFFF, 0x10000, 0xFFFFFFFF, 2**48 - 1):
        expected = plain_sum(struct.pack(">Q", total) + data.tobytes())
        assert add_up(data, total) % 0xFFFF == expected % 0xFFFF
    with pytest.raises(ao.InvalidArgumentError, match="below 2\\^48"):
        add_up(data, 2**48)


def test_nothing_beyond_is_read():
    pages = GuardedPages()
    for length in range(80):
        data = random.Random(length).randbytes(length)
        assert add_up(pages.ending_with(data)) == plain_sum(data)


@pytest.mark.parametrize("algorithm", ["hmac-sha-1-96", "tcp-md5"])
@pytest.mark.parametrize("in_place", [False, True])
def test_a_signed_segment_never_has_the_checksum_0(algorithm, in_place):
    """Linux takes 0x0000 for a checksum that is still to be filled in, and drops the segment."""
    ids = {} if algorithm == "tcp-md5" else {"send_id": 1, "recv_id": 2}
    key = ao.MasterKey(algorithm=algorithm, secret=b"secret", **ids)
    count = 1 << 18
    packet = tcp_packet(CLIENT, SERVER, PSH | ACK, 1001, 5001, bytes(4))
    packets = np.tile(np.frombuffer(packet, np.uint8), (count, 1))
    packets[:, -4:] = np.arange(count, dtype=">u4").view(np.uint8).reshape(-1, 4)
    offsets = np.arange(count) * len(packet)
    engine = ao.Engine([key])
    engine.sign(*records([tcp_packet(CLIENT, SERVER, SYN, 1000),
                          tcp_packet(SERVER, CLIENT, SYN | ACK, 5000, 1001)]), 101)  # fmt: skip
    signed = engine.sign(packets.reshape(-1), offsets, np.full(count, len(packet)), 101)
    rows = signed.buffer.reshape(count, -1)
    if in_place:
        rows = rows.copy()
        rows[:, 36:38] = 0
        engine.sign_inplace(rows.reshape(-1), signed.offsets, signed.lengths, 101)
        assert np.array_equal(rows.reshape(-1), signed.buffer)
    checksums = rows[:, 36].astype(int) << 8 | rows[:, 37]
    assert not np.any(checksums == 0)
    # the sum of each is right all the same, also of those that would have had it
    assert np.any(checksums == 0xFFFF)
    for row in rows[checksums == 0xFFFF]:
        tcp = row[20:].tobytes()
        assert checksum(row[12:20].tobytes() + struct.pack(">HH", 6, len(tcp)) + tcp) == 0
    verdicts = engine.verify(rows.reshape(-1), signed.offsets, signed.lengths, 101).verdict
    good = ao.Verdict.md5_good if algorithm == "tcp-md5" else ao.Verdict.good
    assert np.all(verdicts == good)
