"""The same secret, entered in two ways."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.engine.candidates import Statement

_HEX = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2}[ :]?)+)")
#: What editors, shells and forms leave behind a secret, or before it.
_BLANKS = {
    b"\n": "a newline",
    b"\r\n": "a carriage return and a newline",
    b"\r": "a carriage return",
    b" ": "a blank",
    b"\t": "a tab",
    b"\0": "a zero byte",
}


def secret_encoding(case: Case, statement: Statement) -> Iterator[Variant]:
    """Blanks and newlines at the ends, hexadecimal as text or text as hexadecimal, letter case."""
    seen = {statement.secret}
    for secret, what in _readings(statement.secret):
        if secret and secret not in seen:
            seen.add(secret)
            yield Variant(
                replace(statement, secret=secret),
                "secret_encoding",
                f"their secret is that of key {case.key.label} {what}",
                "enter the same bytes on both sides (secret_hex and secret_base64 are unambiguous)",
            )


def _readings(secret: bytes) -> Iterator[tuple[bytes, str]]:
    for blank, name in _BLANKS.items():
        yield secret + blank, f"with {name} appended"
        if secret.endswith(blank):
            yield secret.removesuffix(blank), f"without its trailing {name}"
    if secret.strip(b" \t\r\n\0") != secret:
        yield secret.strip(b" \t\r\n\0"), "without surrounding whitespace"
    match = _HEX.fullmatch(secret)
    if match:
        digits = re.sub(rb"[ :]", b"", match[1])
        yield bytes.fromhex(digits.decode()), "read as hexadecimal, not as text"
        for text, what in (
            (digits, "without 0x and separators"),
            (digits.lower(), "in lowercase hexadecimal"),
            (digits.upper(), "in uppercase hexadecimal"),
            (b"0x" + digits, "with a leading 0x"),
        ):
            yield text, what
    plain = secret.hex()
    for written, what in (
        (plain, "written in hexadecimal and read as text"),
        (plain.upper(), "written in uppercase hexadecimal and read as text"),
        (f"0x{plain}", "written in hexadecimal with 0x and read as text"),
    ):
        yield written.encode(), what
        yield written.encode() + b"\n", f"{what}, with a newline appended"
    yield base64.b64encode(secret), "written in base64 and read as text"
    with suppress(binascii.Error):
        yield base64.b64decode(secret, validate=True), "read as base64, not as text"
    yield secret.lower(), "in lowercase"
    yield secret.upper(), "in uppercase"
    yield secret.swapcase(), "with upper and lower case swapped"
    yield b" " + secret, "with a leading space"
    for quote in (b'"', b"'"):
        yield quote + secret + quote, "in quotation marks"
        if len(secret) > 2 and secret[:1] == secret[-1:] == quote:
            yield secret[1:-1], "without its quotation marks"
    try:
        letters = secret.decode()
    except UnicodeDecodeError:
        return
    for encoding in ("latin-1", "utf-16-le", "utf-16-be"):
        with suppress(UnicodeEncodeError):
            yield letters.encode(encoding), f"in {encoding.upper()} instead of UTF-8"
    for length in (16, 20, 32, 64, 80):
        if length < len(secret):
            yield secret[:length], f"truncated to {length} bytes"
