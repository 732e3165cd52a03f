"""Packets as they may have been before something on the way changed them.

Checksums are not mended: a MAC does not cover them.
"""

from __future__ import annotations

from tcpao_fast.core.batch.one import ParsedSegment

_RAW_IP = 101
_LARGEST_HEADER = 60


def with_ends(
    segment: ParsedSegment,
    source: bytes,
    source_port: int,
    destination: bytes,
    destination_port: int,
) -> ParsedSegment | None:
    """The packet with other addresses and ports; None where its IP version is another."""
    size = 16 if segment.version == 6 else 4
    if len(source) != size or len(destination) != size:
        return None
    changed = bytearray(segment.packet)
    at = 8 if size == 16 else 12
    changed[at : at + 2 * size] = source + destination
    at = segment.tcp_offset
    changed[at : at + 4] = source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
    return ParsedSegment(bytes(changed), _RAW_IP)


def with_header_bytes(segment: ParsedSegment, at: int, data: bytes) -> ParsedSegment:
    """The packet with other bytes at a place of its TCP header."""
    changed = bytearray(segment.packet)
    start = segment.tcp_offset + at
    changed[start : start + len(data)] = data
    return ParsedSegment(bytes(changed), _RAW_IP)


def with_payload(segment: ParsedSegment, size: int) -> ParsedSegment:
    """The packet with no more than the first bytes of its payload."""
    packet = segment.packet
    end = segment.tcp_offset + segment.header_length + size
    changed = bytearray(packet[:end])
    place = 4 if segment.version == 6 else 2
    length = end - (40 if segment.version == 6 else 0)
    changed[place : place + 2] = length.to_bytes(2, "big")
    return ParsedSegment(bytes(changed), _RAW_IP)


def with_options(segment: ParsedSegment, options: list[tuple[int, bytes]]) -> ParsedSegment | None:
    """The packet with other TCP options; None where they do not fit, or are as they were."""
    packet = segment.packet
    at = segment.tcp_offset
    end = at + segment.header_length
    text = b"".join(option for _, option in options)
    if len(text) % 4 or 20 + len(text) > _LARGEST_HEADER or text == packet[at + 20 : end]:
        return None
    changed = bytearray(packet[: at + 20] + text + packet[end : end + segment.payload_length])
    changed[at + 12] = (20 + len(text)) // 4 << 4 | (changed[at + 12] & 15)
    grown = len(text) + 20 - segment.header_length
    place = 4 if segment.version == 6 else 2
    length = int.from_bytes(packet[place : place + 2], "big") + grown
    if not 0 < length < 1 << 16:
        return None
    changed[place : place + 2] = length.to_bytes(2, "big")
    found = ParsedSegment(bytes(changed), _RAW_IP)
    return found if found.whole and found.auth else None
