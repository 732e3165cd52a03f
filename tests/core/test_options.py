"""A parsed segment's parts, and the options that are read from its header."""

import pytest
from wire import ACK, PSH, SYN, ip_packet, tcp_packet

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.wire.options import mss_of, options_of, window_scale_of

FOUR = ("10.0.0.1", 40000), ("10.0.0.2", 179)
SIX = ("fd00::1", 40000), ("fd00::2", 179)
OPTIONS = b"\x02\x04\x05\xb4\x01\x03\x03\x07"


def behind(packet, extension, protocol):
    """An IPv4 packet with an extension between its header and TCP."""
    return ip_packet("10.0.0.1", "10.0.0.2", extension + packet[20:], protocol)


@pytest.mark.parametrize(
    ("wrap", "offset"),
    [
        (lambda four, six: four, 20),
        (lambda four, six: six, 40),
        # an authentication header (RFC 4302)
        (lambda four, six: behind(four, bytes([6, 4]) + bytes(22), 51), 44),
        # destination options
        (lambda four, six: six[:4] + (len(six) - 32).to_bytes(2, "big") + b"\x3c" + six[7:40]
         + bytes([6, 0, 1, 4, 0, 0, 0, 0]) + six[40:], 48),
        # a length field that segmentation offload has not filled in
        (lambda four, six: six[:4] + bytes(2) + six[6:], 40),
    ],
)  # fmt: skip
def test_parts(wrap, offset):
    four, six = (tcp_packet(*ends, PSH | ACK, 1, 2, b"payload", OPTIONS) for ends in (FOUR, SIX))
    one = ParsedSegment(wrap(four, six))
    assert one.tcp_offset == offset and one.payload == b"payload"
    assert one.header[20:] == OPTIONS and len(one.header) == one.header_length == 28
    assert one.packet[offset:] == one.header + one.payload


def test_no_parts():
    for frame in (b"", b"\x45", bytes(40), tcp_packet(*FOUR, SYN, 1)[:30]):
        one = ParsedSegment(frame)
        assert one.header == one.payload == b""
    assert ParsedSegment(b"").tcp_offset == -1


def test_options():
    header = bytes(20) + OPTIONS
    assert options_of(header) == [(2, OPTIONS[:4]), (1, b"\x01"), (3, OPTIONS[5:])]
    assert (mss_of(header), window_scale_of(header)) == (1460, 7)
    assert (mss_of(bytes(20)), window_scale_of(bytes(20))) == (None, None)


@pytest.mark.parametrize("broken", [b"\x03\x00", b"\x03\x01", b"\x03\x09", b"\x08"])
def test_what_is_broken_comes_last(broken):
    assert options_of(bytes(20) + b"\x01" + broken) == [(1, b"\x01"), (-1, broken)]
    assert window_scale_of(bytes(20) + b"\x01" + broken) is None
