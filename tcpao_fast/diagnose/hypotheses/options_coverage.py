"""TCP options covered by one side's MACs and left out by the other's: the commonest fault."""

from __future__ import annotations

from collections.abc import Iterator

from tcpao_fast.diagnose.advice import dialect_of
from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.engine.candidates import Statement


def options_coverage(case: Case, statement: Statement) -> Iterator[Variant]:
    """RFC 5925 section 3.1 has a flag for it; vendors name it, and set it, in opposite ways."""
    if statement.algorithm == "tcp-md5":
        return
    excluded = statement.exclude_options
    does, says = (
        ("cover the other TCP options", "excludes them")
        if excluded
        else ("do not cover the other TCP options", "covers them")
    )
    yield Variant(
        statement.but(exclude_options=not excluded),
        "options_coverage",
        f"their MACs {does}, but key {case.key.label} {says}",
        f"{dialect_of(case.key).set_coverage(not excluded)}, or change the peer's setting (Cisco: "
        "include-tcp-options, Junos: tcp-ao-option; both exclude options by default, while Linux, "
        "BIRD and Arista cover them)",
    )
