"""Fields of the TCP header, beside ports and options, that a device on the path changed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.diagnose.packets import with_header_bytes
from tcpao_fast.engine.candidates import WORDS, Statement, search_header
from tcpao_fast.errors import TcpAoError

_ADVICE = (
    "find the device on the path that modifies this field (a traffic shaper, WAN optimizer, "
    "firewall or load balancer): TCP-AO and TCP-MD5 cover it"
)


def rewritten_header(case: Case, statement: Statement) -> Iterator[Variant]:
    """Every window and urgent pointer, and every combination of ECN and reserved bits."""
    header = statement.segment.header
    offset, flags = header[12], header[13]
    # the data offset, and the flags that TCP itself knows, stay
    bits = np.array(
        [(offset & 0xF0 | low, flags & 0x3F | high << 6) for low in range(16) for high in range(4)],
        np.uint8,
    )
    for name, at, patterns in (
        ("window", 14, WORDS),
        ("ECN or reserved bits", 12, bits),
        ("urgent pointer", 18, WORDS),
    ):
        own = header[at : at + 2]
        try:
            found = search_header(statement, at, patterns, case.sample.segment.mac)
        except TcpAoError:
            return
        for place in found:
            signed = patterns[place].tobytes()
            if signed == own:
                continue
            value, there = (int.from_bytes(one, "big") for one in (signed, own))
            if at == 12:
                value, there = value & 0xFFF, there & 0xFFF
            yield Variant(
                statement.but(segment=with_header_bytes(statement.segment, at, signed)),
                "rewritten_header",
                f"they were signed with {name} {value:#x}, but {there:#x} was captured: it was "
                "changed in transit",
                _ADVICE,
            )
