"""One line a key, in the manner of ``ip``: pairs of a word and its value.

    add local 10.0.0.1 remote 10.0.0.0/24 remote-port 179 algo hmac(sha1) secret "text"
        send-id 100 recv-id 200 mac-length 12 exclude-options name edge-1

on one line each (broken here). The secret is ``secret``, ``secret-hex`` or ``secret-base64``; flags
without a value are ``exclude-options``, ``local-nat`` and ``remote-nat``; ``tcp-ao`` or ``tcp-md5``
before ``add`` is allowed. Lifetimes are ``send-lifetime START/END`` in ISO 8601, either end empty.
``accept-tolerance SECONDS`` (or ``forever``) stands on a line of its own. It carries everything.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import shlex
from datetime import datetime
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text
from tcpao_fast.keys.files.entries import EVERYTHING, Entry, Format, KeyFile, Written
from tcpao_fast.keys.lifetimes import Lifetime

_FLAGS = ("exclude-options", "local-nat", "remote-nat")
_NUMBERS = ("send-id", "recv-id", "mac-length")
_TEXTS = ("local", "remote", "name", "reading")
_PORTS = ("local-port", "remote-port")
_LIFETIMES = ("send-lifetime", "accept-lifetime")
_SECRETS = ("secret", "secret-hex", "secret-base64")
_BEGIN = re.compile(r"(?m)^\s*(?:tcp-(?:ao|md5)\s+)?add\s+\S+\s+\S+")


def _looks_like(text: str) -> bool:
    return bool(_BEGIN.search(text))


def read_oneline(text: str) -> KeyFile:
    """The keys of such lines."""
    found = KeyFile()
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            found.problems.append(f"line {number}: {error}")
            continue
        if words[:1] == ["accept-tolerance"] and len(words) == 2:
            found.accept_tolerance = math.inf if words[1] == "forever" else _seconds(words[1])
            continue
        kind = words[0] if words[:1] in (["tcp-ao"], ["tcp-md5"]) else None
        words = words[1:] if kind else words
        if not words:
            continue
        if words[0] != "add":
            found.problems.append(f"line {number}: must begin with add, tcp-ao add or tcp-md5 add")
            continue
        fields: dict[str, Any] = {"algorithm": "tcp-md5"} if kind == "tcp-md5" else {}
        problem = _read_words(words[1:], fields)
        if problem:
            found.problems.append(f"line {number}: {problem}")
        else:
            found.entries.append(Entry(f"line {number}", fields))
    return found


def _seconds(word: str) -> float:
    return int(word) if word.isdecimal() else 0


def _read_words(words: list[str], fields: dict[str, Any]) -> str | None:
    """Take the words into fields; what is wrong with them."""
    at = 0
    while at < len(words):
        word = words[at]
        name = word.replace("-", "_")
        if word in _FLAGS:
            fields[name] = True
            at += 1
            continue
        if at + 1 == len(words):
            return f"{word} has no value" if word in _known() else f"unknown word {at + 1}"
        value = words[at + 1]
        try:
            if word in _NUMBERS:
                fields[name] = int(value)
            elif word in _TEXTS:
                fields[name] = value
            elif word == "vrf":
                fields[name] = int(value) if value.isdecimal() else value
            elif word in ("algo", "algorithm"):
                fields["algorithm"] = value
            elif word in _PORTS:
                low, _, high = value.partition("-")
                fields[name] = (int(low), int(high or low))
            elif word in _LIFETIMES:
                start, _, end = value.partition("/")
                fields[name] = (_moment(start), _moment(end))
            elif word == "secret":
                fields["secret"] = value.encode()
            elif word == "secret-hex":
                fields["secret"] = bytes.fromhex(value.removeprefix("0x"))
            elif word == "secret-base64":
                fields["secret"] = base64.b64decode(value, validate=True)
            else:  # the word may be a secret that lost its name: it is not repeated
                return f"word {at + 2} is unknown; known are {', '.join(_known())}"
        except (ValueError, binascii.Error):
            return f"{word} has a value that is none"
        at += 2
    return None


def _known() -> tuple[str, ...]:
    return (*_TEXTS, "vrf", *_PORTS, "algo", *_SECRETS, *_NUMBERS, *_LIFETIMES, *_FLAGS)


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(re.sub(r"Z$", "+00:00", text)) if text else None


def write_oneline(chain: KeyChain) -> Written:
    """A chain, a line a key; secrets in hexadecimal."""
    lines = [_line(key) for key in chain]
    if chain.accept_tolerance:
        tolerance = chain.accept_tolerance
        lines.insert(
            0, f"accept-tolerance {'forever' if math.isinf(tolerance) else int(tolerance)}"
        )
    return Written("\n".join(lines) + "\n", chain, EVERYTHING)


def _line(key: MasterKey) -> str:
    words = ["tcp-md5" if key.is_tcp_md5 else "tcp-ao", "add"]
    for name, network in (("local", key.local), ("remote", key.remote)):
        if network is not None:
            words += [name, network_text(network)]
    for name, ports in (("local-port", key.local_port), ("remote-port", key.remote_port)):
        if isinstance(ports, tuple):
            words += [name, f"{ports[0]}-{ports[1]}" if ports[0] != ports[1] else str(ports[0])]
    if not key.is_tcp_md5:
        words += ["algo", shlex.quote(key.algorithm)]
        words += ["send-id", str(key.send_id), "recv-id", str(key.recv_id)]
        words += ["mac-length", str(key.mac_length)]
    words += ["secret-hex", key.secret.hex()]
    words += [flag for flag in _FLAGS if getattr(key, flag.replace("-", "_")) is True]
    if key.vrf is not None:
        words += ["vrf", shlex.quote(str(key.vrf))]
    if key.reading is not None:
        words += ["reading", shlex.quote(key.reading)]
    for name, lifetime in (
        ("send-lifetime", key.send_lifetime),
        ("accept-lifetime", key.accept_lifetime),
    ):
        if lifetime is not None:
            words += [name, _lifetime(lifetime)]
    if key.name is not None:
        words += ["name", shlex.quote(key.name)]
    return " ".join(words)


def _lifetime(lifetime: Lifetime) -> str:
    start, end = ("" if moment is None else moment.isoformat() for moment in lifetime)
    return f"{start}/{end}"


FORMAT = Format(
    "oneline", "one-liners in the manner of ip", _looks_like, read_oneline, write_oneline
)
