"""Forms in which routers hide secrets from a glance, and no more: they need no key to be read."""

from __future__ import annotations

import re

#: What Cisco's type 7 XORs a password with, from a place of it on.
_TYPE_7 = b"dsfd;kfoA,.iyewrkldJKDHSUBsgvca69834ncxv9873254k;fg87"


def type_7(secret: bytes, salt: int) -> bytes:
    """A secret in Cisco's type 7 form, which hides it from a glance and no more."""
    hidden = bytes(one ^ _TYPE_7[(salt + at) % len(_TYPE_7)] for at, one in enumerate(secret))
    return f"{salt:02d}{hidden.hex().upper()}".encode()


def from_type_7(text: bytes) -> bytes | None:
    """What is hidden in type 7 text; None where it is none."""
    match = re.fullmatch(rb"(?:7 )?([0-5]\d)((?:[0-9A-Fa-f]{2})+)", text)
    if match is None:
        return None
    salt, hidden = int(match[1]), bytes.fromhex(match[2].decode())
    return bytes(one ^ _TYPE_7[(salt + at) % len(_TYPE_7)] for at, one in enumerate(hidden))


#: Junos's alphabet in four groups; from how many characters are skipped behind the first one.
_GROUPS = (b"QzF3n6/9CAtpu0O", b"B1IREhcSyrleKvMW8LXx", b"7N-dVbwsY2g4oaJZGUDj", b"iHkq.mPf5T")
_ALPHABET = b"".join(_GROUPS)
_SKIPPED = {one: 3 - number for number, group in enumerate(_GROUPS) for one in group}
#: What the characters of a letter count, in turn.
_WEIGHTS = ((1, 4, 32), (1, 16, 32), (1, 8, 32), (1, 64), (1, 32), (1, 4, 16, 128), (1, 32, 64))


def from_junos_9(text: bytes) -> bytes | None:
    """What is hidden in Junos $9$ text; None where it is none."""
    if not text.startswith(b"$9$") or len(text) < 5:
        return None
    digits = text[3:]
    if any(one not in _SKIPPED for one in digits):
        return None
    last, rest = digits[0], digits[1 + _SKIPPED[digits[0]] :]
    shown = bytearray()
    while rest:
        weights = _WEIGHTS[len(shown) % len(_WEIGHTS)]
        part, rest = rest[: len(weights)], rest[len(weights) :]
        if len(part) < len(weights):
            return None
        letter = 0
        for one, weight in zip(part, weights, strict=True):
            gap = (_ALPHABET.index(one) - _ALPHABET.index(last)) % len(_ALPHABET) - 1
            letter += gap * weight
            last = one
        shown.append(letter & 0xFF)
    return bytes(shown)
