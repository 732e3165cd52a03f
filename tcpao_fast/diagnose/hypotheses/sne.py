"""Another sequence number extension (RFC 5925 section 6.2)."""

from __future__ import annotations

from collections.abc import Iterator

from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.engine.candidates import Statement

#: How many SNEs from 0 on are tried.
REACH = 16


def sne(case: Case, statement: Statement) -> Iterator[Variant]:
    """Off by one, a wrap that was not counted, Linux's case of ISN 0xFFFFFFFF, and small ones."""
    if statement.algorithm == "tcp-md5":
        return
    own = statement.sne
    near = [own - 1, own + 1, *range(REACH), 0xFFFFFFFF]
    for other in dict.fromkeys(value & 0xFFFFFFFF for value in near):
        if other == own:
            continue
        what = f"their MACs were computed with SNE {other} instead of {own}"
        advice = "the signing side, or a device in between, miscounts sequence number wraps"
        if other == own - 1:
            what += ": a sequence number wrap was not counted"
        if statement.isn_source == 0xFFFFFFFF and (own, other) == (1, 0):
            what += " (the ISN is 0xFFFFFFFF, for which Linux uses 0)"
            advice = "a known bug in Linux with this one ISN in 2^32: reopen the connection"
        yield Variant(statement.but(sne=other), "sne", what, advice)
