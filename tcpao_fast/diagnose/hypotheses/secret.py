"""The same secret, entered in two ways."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from contextlib import suppress

from tcpao_fast.diagnose.advice import dialect_of
from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.engine.candidates import Statement
from tcpao_fast.keys.obfuscation import from_junos_9, from_type_7, type_7

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

#: Quotation marks that word processors write.
_CURLY = (("\u201c", "\u201d"), ("\u2018", "\u2019"), ("\u201e", "\u201c"), ("\u00ab", "\u00bb"))


def secret_encoding(case: Case, statement: Statement) -> Iterator[Variant]:
    """Blanks and newlines at the ends, hexadecimal as text or text as hexadecimal, letter case."""
    seen = {statement.secret}
    for secret, what in (*_readings(statement.secret), *_padded(statement)):
        if statement.algorithm.startswith("hmac") and secret.rstrip(b"\0") in seen:
            continue  # HMAC itself pads keys with zeros
        if secret and secret not in seen:
            seen.add(secret)
            yield Variant(
                statement.but(secret=secret),
                "secret_encoding",
                f"their secret is that of key {case.key.label} {what}",
                f"enter the same bytes on both sides (here: {dialect_of(case.key).secret})",
            )


def _padded(statement: Statement) -> Iterator[tuple[bytes, str]]:
    """TCP-MD5 keys in fields of a fixed size. (HMAC pads keys itself; CMAC: `cmac_key_length`.)"""
    if statement.algorithm == "tcp-md5":
        for length in (16, 20, 25, 32, 64, 80):
            if len(statement.secret) < length:
                padded = statement.secret.ljust(length, b"\0")
                yield padded, f"padded with zero bytes to {length}"


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
    yield b"\xef\xbb\xbf" + secret, "with a byte order mark"
    if secret.startswith(b"\xef\xbb\xbf"):
        yield secret[3:], "without its byte order mark"
    for space, name in ((b"\xc2\xa0", "a no-break space"), (b"\xa0", "a Latin-1 no-break space")):
        yield secret + space, f"with {name} appended"
        yield space + secret, f"with {name} before it"
        if b" " in secret:
            yield secret.replace(b" ", space), f"with {name} for each space"
    for word in (b"0 ", b"7 ", b"clear ", b"cleartext ", b"encrypted ", b"key-string ", b"ascii "):
        yield word + secret, f'with "{word.decode().strip()}" read as part of it'
        if secret.startswith(word):
            yield secret.removeprefix(word), f'without "{word.decode().strip()}"'
    for salt in range(16):
        text = type_7(secret, salt)
        yield text, "as Cisco type 7 text"
        yield text.lower(), "as Cisco type 7 text in lowercase"
    shown = from_type_7(secret)
    if shown is not None:
        yield shown, "read as Cisco type 7 text"
    shown = from_junos_9(secret)
    if shown is not None:
        yield shown, "read as Junos $9$ text"
    yield secret[:1].upper() + secret[1:], "with its first letter in uppercase"
    yield secret[:1].lower() + secret[1:], "with its first letter in lowercase"
    yield secret.title(), "with its words capitalized"
    for newline in (b"\n", b"\r\n"):
        yield base64.b64encode(secret + newline), "with a newline, written in base64"
    yield base64.b64encode(secret) + b"\n", "written in base64 with a newline"
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
    for left, right in _CURLY:
        yield f"{left}{letters}{right}".encode(), "in curly quotation marks"
        if len(letters) > 2 and letters[0] == left and letters[-1] == right:
            yield letters[1:-1].encode(), "without its curly quotation marks"
    for straight, curly in (("'", "\u2019"), ('"', "\u201d"), ("-", "\u2013"), ("...", "\u2026")):
        for one, other in ((straight, curly), (curly, straight)):
            if one in letters:
                yield letters.replace(one, other).encode(), "with typographic characters exchanged"
    for encoding in ("latin-1", "utf-16-le", "utf-16-be"):
        with suppress(UnicodeEncodeError):
            yield letters.encode(encoding), f"in {encoding.upper()} instead of UTF-8"
    for length in (8, 16, 20, 25, 31, 32, 63, 64, 79, 80):
        if length < len(secret):
            yield secret[:length], f"truncated to {length} bytes"


_TYPED = bytes(range(32, 127))


def typo(case: Case, statement: Statement) -> Iterator[Variant]:
    """One character typed wrong: another, one too many or too few, or two in the wrong order."""
    secret = statement.secret
    if not 2 <= len(secret) <= 64:
        return
    seen = {secret}
    for wrong, what in _mistyped(secret):
        if wrong and wrong not in seen:
            seen.add(wrong)
            yield Variant(
                statement.but(secret=wrong),
                "secret_encoding",
                f"their secret differs from that of key {case.key.label} {what}",
                f"enter the same secret on both sides (here: {dialect_of(case.key).secret})",
            )


def _mistyped(secret: bytes) -> Iterator[tuple[bytes, str]]:
    for at in range(len(secret)):
        here, following = at + 1, at + 2  # as people count
        yield secret[:at] + secret[here:], f"in one character: character {here} is missing"
        yield secret[:here] + secret[at:], f"in one character: character {here} is doubled"
        if here < len(secret):
            swapped = secret[here:following] + secret[at:here]
            yield (
                secret[:at] + swapped + secret[following:],
                f"in the order of two characters: {here} and {following} are swapped",
            )
    for at in range(len(secret)):
        for other in _TYPED:
            yield (
                secret[:at] + bytes([other]) + secret[at + 1 :],
                f"in one character: character {at + 1} is a different one",
            )
    for at in range(len(secret) + 1):
        place = f"before character {at + 1}" if at < len(secret) else "at the end"
        for other in _TYPED:
            yield (
                secret[:at] + bytes([other]) + secret[at:],
                f"in one character: there is one more {place}",
            )
