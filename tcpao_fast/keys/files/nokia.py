"""Nokia SR OS: ``keychains`` of ``system security``, and the neighbors of BGP and LDP, in MD-CLI
and the classic CLI, as a tree or as flat lines.

The number of an entry is the KeyID: a send entry is one key with the receive entry of the same
secret, a bidirectional one has one number for both. What is said of options is not documented:
covered and left out are both tried. Secrets with ``hash``, ``hash2`` or ``custom`` behind them are
not read. A neighbor's ``authentication-key`` is TCP-MD5.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from tcpao_fast.keys.files.braces import paths, statements, words_of
from tcpao_fast.keys.files.entries import Format, KeyFile
from tcpao_fast.keys.files.records import (
    Assembly,
    ChainKey,
    Dialect,
    Peer,
    Secret,
    inherited,
    is_address,
    plain,
    refused,
    users,
)
from tcpao_fast.keys.files.sections import Line, lines_of

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
}
_HIDDEN = ("hash", "hash2", "custom")
#: What stands at the left of classic configurations and opens nothing.
_UNNESTED = re.compile(r"(?m)^(#|echo |exit all).*$")
#: What an entry says, by its name in the classic CLI, where one line says several.
_OF_ENTRY = {
    "key": "authentication-key",
    "authentication-key": "authentication-key",
    "algorithm": "algorithm",
    "begin-time": "begin-time",
    "end-time": "end-time",
    "option": "",
    "tolerance": "",
}


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^\s*/configure (system security keychains|router|service vprn) ", text)
        or re.search(r'(?m)^\s*keychain "?[^"\n]+"? \{\s*$', text)
        or re.search(r'(?m)^\s*router "?Base"? \{\s*$', text)
        or re.search(r"(?m)^# TiMOS-|^exit all\s*$|^\s*auth-keychain ", text)
    )


def _statements(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """What is said, with all words before it, from ``configure`` on."""
    if re.search(r"(?m)^\s*/configure ", text):
        for number, line in enumerate(text.splitlines(), 1):
            at = line.find("/configure ")
            if at >= 0:
                yield tuple(words_of(line[at + 11 :])), number
        return
    if not re.search(r"(?m)\{\s*$", text):
        yield from _classic(lines_of(_UNNESTED.sub("", text), ()), ())
        return
    for words, line_number in paths(statements(text, by_line=True)):
        yield words[words.index("configure") + 1 :] if "configure" in words else words, line_number


def _classic(
    lines: Iterable[Line], before: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], int]]:
    """The lines of the classic CLI, with all words of those that they stand under."""
    for line in lines:
        words = (*before, *words_of(line.text))
        if words[:1] == ("configure",):
            words = words[1:]
        yield words, line.number
        yield from _classic(line.inside, words)


@dataclass(slots=True)
class _Entry:
    """An entry of a keychain, in one direction or both."""

    chain: str
    direction: str
    number: str
    line: int
    secret: Secret | None = None
    text: str = ""
    algorithm: str | None = None
    begin: datetime | None = None
    end: datetime | None = None


def _secret(words: tuple[str, ...]) -> Secret:
    hidden = next((word for word in words[1:] if word in _HIDDEN), None)
    if hidden is not None:
        return Secret.unread(hidden)
    return refused(words[0]) or plain(words[0])


def read_nokia(text: str) -> KeyFile:
    """The keys of an SR OS configuration."""
    found = KeyFile()
    entries: dict[tuple[str, str, str], _Entry] = {}
    of_tcp_ao: set[str] = set()
    peers: dict[tuple[str | None, str], Peer] = {}
    groups: dict[str, Peer] = {}
    try:
        for words, line in _statements(text):
            if "keychain" in words[:-1]:
                _read_keychain(words, line, entries, found)
                at = words.index("keychain")
                if "tcp-option-number" in words[at:] and words[-1] == "tcp-ao":
                    of_tcp_ao.add(words[at + 1])
            if "bgp" in words or "ldp" in words:
                _read_peer(words, line, peers, groups)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    listed = [inherited(peer, groups) for peer in peers.values()]
    assembly = Assembly(found, Dialect(_ALGORITHMS, covered=None, is_strict=False))
    assembly.passwords(listed)
    used = users(listed)
    keys = _keys(list(entries.values()), found)
    for key in keys:
        if key.chain not in used:
            found.notes.append(f"keychain {key.chain}: no neighbor names it: for any address")
        assembly.chain_key(key, used.get(key.chain, []))
    found.notes += [
        f"keychain {name}: says no tcp-option-number tcp-ao; without it SR OS sends the option "
        "that was there before TCP-AO"
        for name in dict.fromkeys(key.chain for key in keys)
        if name not in of_tcp_ao
    ]
    if keys:
        found.notes.append("whether options are covered is not said: both are tried")
    return found


def _read_keychain(
    words: tuple[str, ...], line: int, entries: dict[tuple[str, str, str], _Entry], found: KeyFile
) -> None:
    inside = words[words.index("keychain") + 1 :]
    if inside[1:2] == ("direction",) and len(inside) > 2:  # the classic CLI
        way = ("bidirectional",) if inside[2] == "bi" else ()
        inside = (inside[0], *way, *inside[3:])
    if len(inside) < 5 or inside[2] != "entry":
        return
    which = inside[0], inside[1], inside[3]
    entry = entries.setdefault(which, _Entry(*which, line))
    for name, values in _said(inside[4:]):
        if name == "authentication-key":
            entry.secret, entry.text = _secret(values), values[0]
        elif name == "algorithm":
            entry.algorithm = values[0]
        elif name:
            try:
                moment = _moment(" ".join(values))
            except ValueError:
                found.problems.append(f"line {line}: {name} is not a time")
            else:
                setattr(entry, name.partition("-")[0], moment)


def _said(words: tuple[str, ...]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names and values; the word behind a name is a value, whatever it is."""
    at = 0
    while at + 1 < len(words):
        end = at + 2
        while end < len(words) and words[end] not in _OF_ENTRY:
            end += 1
        yield _OF_ENTRY.get(words[at], ""), words[at + 1 : end]
        at = end


def _moment(text: str) -> datetime | None:
    """``2026-01-01T00:00:00.0Z``, ``2026-01-01T00:00:00-0400``, or ``2026/01/01 00:00:00 UTC``."""
    if text in ("forever", "never", "now"):
        return None
    text = re.sub(r"\.\d+", "", text.replace("/", "-"))
    text = re.sub(r"(?: UTC|Z)$", "+00:00", text)
    moment = datetime.fromisoformat(re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _keys(entries: list[_Entry], found: KeyFile) -> list[ChainKey]:
    keys = [_key(one, one) for one in entries if one.direction == "bidirectional"]
    receiving = [one for one in entries if one.direction == "receive"]
    for one in entries:
        if one.direction != "send":
            continue
        same = (one.chain, one.text, one.algorithm)
        other = next((r for r in receiving if (r.chain, r.text, r.algorithm) == same), None)
        if other is None:
            found.notes.append(
                f"line {one.line} (keychain {one.chain} send entry {one.number}): no receive entry "
                "has its secret and algorithm: left out"
            )
            continue
        receiving.remove(other)
        keys.append(_key(one, other))
    return keys


def _key(sent: _Entry, received: _Entry) -> ChainKey:
    number = sent.number if sent is received else f"{sent.number}/{received.number}"
    key = ChainKey(sent.chain, number, sent.line, sent.secret, sent.algorithm, noun="keychain")
    key.send_id, key.recv_id = (
        int(one.number) if one.number.isdecimal() else None for one in (sent, received)
    )
    for one, name in ((sent, "send_lifetime"), (received, "accept_lifetime")):
        if one.begin or one.end:
            key.lifetimes[name] = (one.begin, one.end)
    return key


def _read_peer(
    words: tuple[str, ...],
    line: int,
    peers: dict[tuple[str | None, str], Peer],
    groups: dict[str, Peer],
) -> None:
    vrf = words[words.index("vprn") + 1] if "vprn" in words[:-1] else None
    if vrf is not None and "name" in words[:-1]:
        vrf = words[words.index("name") + 1]
    protocol = "bgp" if "bgp" in words else "ldp"
    inside = words[words.index(protocol) + 1 :]
    if protocol == "ldp":
        if inside[:2] != ("tcp-session-parameters", "peer-transport") or len(inside) < 3:
            return
        inside = ("neighbor", *inside[2:])
    if len(inside) < 2 or inside[0] not in ("neighbor", "group"):
        return
    within = None
    if inside[0] == "group" and inside[2:3] == ("neighbor",) and len(inside) > 3:
        within, inside = inside[1], inside[2:]  # the classic CLI
    noun = "LDP peer" if protocol == "ldp" else "neighbor"
    if inside[0] == "group":
        peer = groups.setdefault(inside[1], Peer(inside[1], line))
    elif is_address(inside[1]):
        peer = peers.setdefault((vrf, inside[1]), Peer(inside[1], line, vrf, noun=noun))
    else:
        return
    if within is not None and within not in peer.inherits:
        peer.inherits.append(within)
    name, values = (inside[2] if len(inside) > 2 else ""), inside[3:]
    if not values:
        return
    if name == "authentication-key":
        peer.settings |= {"password": _secret(values), "chain": None}
    elif name in ("authentication-keychain", "auth-keychain"):
        peer.settings |= {"chain": values[0], "password": None}
    elif name == "local-address":
        peer.settings["local"] = values[0]
    elif name == "group":
        peer.inherits.append(values[0])


FORMAT = Format("nokia", "Nokia SR OS (keychains)", _looks_like, read_nokia)
