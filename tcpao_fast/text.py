"""Addresses, endpoints, numbers of things and near misses as text."""

from __future__ import annotations

import difflib
import functools
import socket
from collections.abc import Iterable
from datetime import datetime, timezone


@functools.lru_cache(maxsize=1 << 16)
def address_text(address: bytes) -> str:
    """An address of 4 or 16 bytes as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def endpoint_text(address: str, port: int) -> str:
    """``10.0.0.1:179``, ``[fd00::1]:179``; with port 0, which no connection has, the address."""
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """``1 segment``, ``1,200 segments``; `many` is for what an s at the end is not enough for."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def meant(name: str, known: Iterable[str]) -> str:
    """``; did you mean NAME?`` for a name that is nearly a known one, else nothing."""
    near = difflib.get_close_matches(name.lower(), list(known), 1, 0.75)
    return f"; did you mean {near[0]}?" if near else ""


def utc_text(nanoseconds: int) -> str:
    """A time, in nanoseconds since 1970, as ISO 8601 has it: ``2026-11-27T09:30:00.000000001Z``."""
    seconds, part = divmod(nanoseconds, 10**9)
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{part:09d}Z"
