"""Another MAC algorithm, or the same MAC with another way to the traffic key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.engine.candidates import Statement

#: The likeliest first: RFC 5926's, then what vendors and Linux have beside them.
ALGORITHMS = (
    "hmac-sha-1-96",
    "aes-128-cmac-96",
    "hmac(sha256)",
    "hmac-sha256-128",
    "kmac256-128",
    "hmac(md5)",
    "hmac(sha224)",
    "hmac(sha384)",
    "hmac(sha512)",
    "cmac(aes)",
    "hmac(rmd160)",
    "hmac(sha3-256)",
    "hmac(sm3)",
)
_SAME_MAC = ({"hmac(sha256)", "hmac-sha256-128"}, {"cmac(aes)", "aes-128-cmac-96"})


def algorithm(case: Case, statement: Statement) -> Iterator[Variant]:
    """Each of the others."""
    if statement.algorithm == "tcp-md5":
        return
    for name in ALGORITHMS:
        if name == statement.algorithm:
            continue
        other = replace(statement, algorithm=name)
        if {name, statement.algorithm} in _SAME_MAC:
            yield Variant(
                other,
                "wrong_kdf",
                f"they derive traffic keys as {name} does, key {case.key.label} as "
                f"{statement.algorithm} (the MAC is the same, the KDF is not)",
                f'say algorithm = "{name}" here, or let both sides use {statement.algorithm}: '
                "Linux's hmac(sha256) is RFC 5926's KDF over SHA-256, the IETF draft's "
                "hmac-sha256-128 is HKDF",
            )
        else:
            yield Variant(
                other,
                "wrong_algorithm",
                f"they are signed with {name}, and key {case.key.label} says {statement.algorithm}",
                f'set the same algorithm on both sides: algorithm = "{name}" here, or '
                f"{statement.algorithm} there",
            )
