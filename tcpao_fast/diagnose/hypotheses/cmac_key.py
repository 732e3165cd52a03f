"""CMAC master keys that have not 16 bytes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tcpao_fast.core.mac.mac import TrafficKeys
from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.engine.candidates import Statement

_LENGTH = 16


def cmac_key_length(case: Case, statement: Statement) -> Iterator[Variant]:
    """RFC 5926 section 3.1.1.2 condenses a master key that has not 16 bytes; some pad or cut it."""
    if statement.algorithm != "aes-128-cmac-96":
        return
    secret = statement.secret
    readings = []
    if len(secret) < _LENGTH:
        readings = [
            (secret.ljust(_LENGTH, b"\0"), "padded with zero bytes to 16"),
            (secret.rjust(_LENGTH, b"\0"), "padded with leading zero bytes to 16"),
            (secret.ljust(_LENGTH, b" "), "padded with spaces to 16"),
            ((secret * _LENGTH)[:_LENGTH], "repeated up to 16 bytes"),
        ]
    elif len(secret) > _LENGTH:
        readings = [
            (secret[:_LENGTH], "truncated to 16 bytes"),
            (secret[-_LENGTH:], "cut to its last 16 bytes"),
        ]
    else:
        zeros = TrafficKeys(statement.algorithm, np.zeros((1, _LENGTH), np.uint8))
        condensed = zeros.mac(0, secret)
        readings = [(condensed, "hashed although it has 16 bytes")]
    for reading, what in readings:
        yield Variant(
            statement.but(secret=reading),
            "cmac_key_length",
            f"their CMAC key is the secret of key {case.key.label} ({len(secret)} bytes) {what}, "
            "instead of being derived as in RFC 5926, section 3.1.1.2",
            "use a secret of exactly 16 bytes on both sides",
        )
