"""Segments that receive offload merged: the MAC is that of the first, and covers no more."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tcpao_fast.diagnose.cases import Case, Variant, macs_of
from tcpao_fast.diagnose.packets import with_header_bytes, with_payload
from tcpao_fast.engine.candidates import Statement, search_payload
from tcpao_fast.errors import TcpAoError

#: Every size up to an Ethernet's MTU is tried, and above it the usual ones of larger ones.
_ETHERNET, _JUMBO, _LARGEST = 1500, 8800, 9216
_FIN, _PSH = 1, 8


def merged(case: Case, statement: Statement) -> Iterator[Variant]:
    """The first bytes of the payload, with the flags that merging adds, or without."""
    segment = statement.segment
    size = segment.payload_length
    if size < 2:
        return
    sizes = np.array(
        [*range(1, min(size, _ETHERNET)), *range(_JUMBO, min(size, _LARGEST))], np.int64
    )
    flags = segment.header[13]
    for cleared in dict.fromkeys((flags, flags & ~_PSH, flags & ~_PSH & ~_FIN)):
        first = statement.but(segment=with_header_bytes(segment, 13, bytes([cleared])))
        try:
            found = search_payload(first, sizes, case.sample.segment.mac)
        except TcpAoError:
            return
        for at in found:
            own = int(sizes[at])
            yield Variant(
                statement.but(segment=with_payload(first.segment, own)),
                "offload",
                f"their {macs_of(case.key)} cover only the first {own} of {size} bytes of payload: "
                "receive offload merged several segments into one, with the MAC of the first",
                "capture with offloading disabled (ethtool -K DEV gro off lro off), or outside "
                "the host",
            )
