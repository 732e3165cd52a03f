"""The options of a TCP header that somebody wants to read: the stages walk them in C."""

from __future__ import annotations

_MSS, _WINDOW_SCALE = 2, 3


def options_of(header: bytes) -> list[tuple[int, bytes]]:
    """The options of a TCP header, whole, NOPs and what ends the list with them.

    What is broken comes last, under kind -1.
    """
    found = []
    at = 20
    while at < len(header):
        kind = header[at]
        length = 1 if kind in (0, 1) else header[at + 1] if at + 1 < len(header) else 0
        if length < 1 or (kind > 1 and length < 2) or at + length > len(header):
            found.append((-1, header[at:]))
            break
        found.append((kind, header[at : at + length]))
        at += length
    return found


def mss_of(header: bytes) -> int | None:
    """What the MSS option of a TCP header says (RFC 9293 section 3.7.1)."""
    return _value_of(header, _MSS, 4)


def window_scale_of(header: bytes) -> int | None:
    """What the window scale option of a TCP header says (RFC 7323 section 2.2)."""
    return _value_of(header, _WINDOW_SCALE, 3)


def _value_of(header: bytes, kind: int, length: int) -> int | None:
    """The number in the first option of a kind and length; None without one."""
    for found, option in options_of(header):
        if (found, len(option)) == (kind, length):
            return int.from_bytes(option[2:], "big")
    return None
