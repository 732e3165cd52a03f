"""What this host has: its TCP connections."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from pathlib import Path

#: States of ``include/net/tcp_states.h`` in which a connection is up or ends.
_UP = {0x01, 0x04, 0x05, 0x08, 0x09, 0x0B}
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))

Ends = tuple[bytes, int, bytes, int]


def _endpoint(text: str) -> tuple[bytes, int]:
    """``0100007F:0016`` of ``/proc/net/tcp``: words as the CPU has them."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    order = "<" if sys.byteorder == "little" else ">"
    raw = struct.pack(f"{order}{len(words)}I", *words)
    if len(raw) == 16 and raw[:12] == bytes(10) + b"\xff\xff":
        raw = raw[12:]  # IPv4 on an IPv6 socket
    return raw, int(port, 16)


def connections_that_are_up() -> Iterator[Ends]:
    """The TCP connections of this network namespace: own address and port, the peer's."""
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if int(columns[3], 16) in _UP:
                yield (*_endpoint(columns[1]), *_endpoint(columns[2]))
