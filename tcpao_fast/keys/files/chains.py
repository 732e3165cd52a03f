"""Key chains of lines in sections, as IOS, IOS XR, NX-OS, FRR and AOS-CX have them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timezone, tzinfo

from tcpao_fast.keys.files.entries import KeyFile
from tcpao_fast.keys.files.records import ChainKey, Secret, typed
from tcpao_fast.keys.files.sections import Line, Section, section
from tcpao_fast.keys.files.times import router_lifetime

#: A key of a chain, for texts that lost their indentation.
KEY = section(
    "key", 2,
    "key-string cryptographic-algorithm send-lifetime accept-lifetime send-id recv-id "
    "include-tcp-options accept-ao-mismatch lifetime no",
)  # fmt: skip


def chain_section(size: int) -> Section:
    """``key chain NAME``, of so many words."""
    return section("key chain", size, "accept-tolerance timezone description key", KEY)


def read_chain(
    line: Line,
    found: KeyFile,
    zone: tzinfo | None,
    secret: Callable[[str], Secret] = typed,
) -> list[ChainKey]:
    """The keys below ``key chain NAME``; a number that comes again is the same key.

    Parameters
    ----------
    line : Line
        The chain's.
    found : KeyFile
        Takes problems and notes.
    zone : tzinfo or None
        The zone of the configuration's clock; UTC is taken where it states none.
    secret : callable
        How the text behind ``key-string`` is read.
    """
    keys: dict[str, ChainKey] = {}
    name = line.words[2]
    for below in line.inside:
        if below.head != "key" or len(below.words) < 2:
            continue
        number = below.words[1]
        key = keys.setdefault(number, ChainKey(name, number, below.number))
        for one in below.inside:
            _read_line(one, key, found, zone, secret)
    return list(keys.values())


def _read_line(
    line: Line,
    key: ChainKey,
    found: KeyFile,
    zone: tzinfo | None,
    secret: Callable[[str], Secret],
) -> None:
    head, words = line.head, line.words
    if head == "key-string" and len(words) > 1:
        key.secret = secret(line.behind(1))
    elif head == "cryptographic-algorithm" and len(words) > 1:
        key.algorithm = words[1]
    elif head in ("send-lifetime", "accept-lifetime"):
        try:
            lifetime = router_lifetime(words[1:], zone or timezone.utc)
            key.lifetimes[head.replace("-", "_")] = lifetime
        except ValueError:
            found.problems.append(f"line {line.number}: {head} is not START END")
    elif head in ("send-id", "recv-id") and len(words) == 2:
        if words[1].isdecimal():
            setattr(key, head.replace("-", "_"), int(words[1]))
        else:
            found.problems.append(f"line {line.number}: {head} is not a number")
    elif head == "include-tcp-options":
        key.include = True
    elif head == "accept-ao-mismatch":
        found.notes.append(f"line {line.number}: {head} has no place in a key file")


def note_zone(keys: list[ChainKey], found: KeyFile, zone: tzinfo | None) -> None:
    """Say what lifetimes are taken as."""
    if any(key.lifetimes for key in keys) and zone is None:
        found.notes.append("lifetimes are taken as UTC")
