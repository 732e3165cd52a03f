"""Another MAC algorithm, or the same MAC with another way to the traffic key."""

from __future__ import annotations

from collections.abc import Iterator

from tcpao_fast.diagnose.advice import dialect_of
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
        other = statement.but(algorithm=name)
        if {name, statement.algorithm} in _SAME_MAC:
            yield Variant(
                other,
                "wrong_kdf",
                f"their traffic keys are derived as in {name}, but key {case.key.label} says "
                f"{statement.algorithm} (same MAC, different KDF)",
                f"{dialect_of(case.key).set_algorithm(name)}, or use {statement.algorithm} on both "
                "sides: Linux's hmac(sha256) uses RFC 5926's KDF with SHA-256, the IETF draft's "
                "hmac-sha256-128 uses HKDF",
            )
        else:
            yield Variant(
                other,
                "wrong_algorithm",
                f"they are signed with {name}, but key {case.key.label} says {statement.algorithm}",
                f"{dialect_of(case.key).set_algorithm(name)}, or {statement.algorithm} on the peer",
            )
