"""FortiOS: ``config router key-chain`` and the neighbors of ``config router bgp``.

A neighbor's ``auth-options`` names the key chain of TCP-AO; a key's number is SendID and RecvID.
Whether options are covered is not documented. A ``password`` is TCP-MD5. ``ENC`` is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timezone, tzinfo

from tcpao_fast.keys.files.entries import Format, KeyFile
from tcpao_fast.keys.files.records import (
    Assembly,
    ChainKey,
    Dialect,
    Peer,
    Secret,
    inherited,
    is_address,
    network_of,
    plain,
    refused,
    users,
)
from tcpao_fast.keys.files.times import lasting, named_zone, router_moment
from tcpao_fast.keys.lifetimes import Lifetime

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha1": ("hmac-sha-1-96", 12),
    "cmac-aes128": ("aes-128-cmac-96", 12),
}
#: What a key has that states no algorithm.
_DEFAULT = "md5"
#: A lifetime of so many seconds has no end.
_FOREVER = (1 << 31) - 2
_TOKEN = re.compile(
    r"""(?P<line>\n)|(?P<blank>[^\S\n]+)
      | (?P<text>"(?:[^"\\]|\\.)*"|'[^']*')
      | (?P<word>[^\s"']\S*)""",
    re.VERBOSE | re.DOTALL,
)
_PROMPT = re.compile(r"\S+(?: \([^)\n]*\))? [#$]$")


@dataclass(slots=True)
class _Table:
    """A ``config`` or an ``edit`` with what is set in it.

    Attributes
    ----------
    name : tuple of str
        The words behind ``config``, or the one behind ``edit``.
    """

    name: tuple[str, ...]
    line: int
    is_entry: bool = False
    settings: dict[str, tuple[list[str], int]] = field(default_factory=dict)
    inside: dict[tuple[str, ...], _Table] = field(default_factory=dict)

    def entries(self, *name: str) -> Iterable[_Table]:
        """What is in the table of that name in it."""
        table = self.inside.get(name)
        return table.inside.values() if table is not None else ()


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^#config-version=", text)
        or re.search(r"(?m)^\s*(?:\S+ (?:\(\S*\) )?[#$] )?config router (bgp|key-chain)\s*$", text)
    )


def _commands(text: str) -> Iterator[tuple[list[str], int]]:
    """The words of each line; a text in quotation marks may go over several."""
    words: list[str] = []
    line = start = 1
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"line {line}: a quotation mark that is not closed")
        token = match[0]
        at = match.end()
        if match["word"] is not None and not words and token.startswith("#"):
            at = end if (end := text.find("\n", at)) >= 0 else len(text)
        elif match["word"] is not None or match["text"] is not None:
            start = start if words else line
            if match["text"] is not None:
                token = token[1:-1] if token[0] == "'" else re.sub(r"\\(.)", r"\1", token[1:-1])
            words.append(token)
        elif match["line"] is not None and words:
            yield _without_prompt(words), start
            words = []
        line += match[0].count("\n")
    if words:
        yield _without_prompt(words), start


def _without_prompt(words: list[str]) -> list[str]:
    for size in (2, 3):
        if len(words) > size and _PROMPT.match(" ".join(words[:size])):
            return words[size:]
    return words


def _tables(text: str) -> _Table:
    """The configuration as a tree; what is not closed ends at its end."""
    root = _Table((), 0)
    open_ones = [root]
    for words, line in _commands(text):
        here, head, rest = open_ones[-1], words[0], words[1:]
        if head == "config" and rest:
            # one that comes again goes on
            table = here.inside.setdefault(tuple(rest), _Table(tuple(rest), line))
            open_ones.append(table)
        elif head == "edit" and rest:
            name = (rest[0],)
            open_ones.append(here.inside.setdefault(name, _Table(name, line, is_entry=True)))
        elif head == "next" and here.is_entry:
            open_ones.pop()
        elif head == "end" and len(open_ones) > 1:
            if here.is_entry:
                open_ones.pop()
            open_ones.pop()
        elif head == "set" and rest:
            here.settings[rest[0]] = (rest[1:], line)
        elif head == "unset" and rest:
            here.settings.pop(rest[0], None)
        elif head == "delete" and rest:
            here.inside.pop((rest[0],), None)
        elif head == "purge":
            here.inside.clear()
    return root


def read_fortios(text: str) -> KeyFile:
    """The keys of a FortiOS configuration."""
    found = KeyFile()
    try:
        root = _tables(text)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    assembly = Assembly(found, Dialect(_ALGORITHMS, covered=None, is_strict=False))
    zone = _zone(root)
    _domain(root, None, assembly, zone)
    for domain in root.entries("vdom"):
        _domain(domain, None if domain.name == ("root",) else domain.name[0], assembly, zone)
    if any(key.fields.get("reading") for key in found.entries):
        found.notes.append(
            "whether FortiOS covers TCP options is not documented: both readings are tried"
        )
    has_lifetimes = any(
        {"send_lifetime", "accept_lifetime"} & {*key.fields} for key in found.entries
    )
    if has_lifetimes and zone is None:
        found.notes.append("lifetimes are taken as UTC")
    assembly.finish()
    return found


def _zone(root: _Table) -> tzinfo | None:
    """``set timezone "Europe/Paris"``; older releases number their zones."""
    places = [root, root.inside.get(("global",), root)]
    for place in places:
        table = place.inside.get(("system", "global"))
        words, _ = table.settings.get("timezone", ([], 0)) if table is not None else ([], 0)
        if words:
            return named_zone(words[0])
    return None


def _domain(domain: _Table, vdom: str | None, assembly: Assembly, zone: tzinfo | None) -> None:
    """The keys of one virtual domain; its chains are its own."""
    found = assembly.found
    bgp = domain.inside.get(("router", "bgp"))
    peers = _peers(bgp, vdom) if bgp is not None else []
    keys = [
        key
        for chain in domain.entries("router", "key-chain")
        for entry in chain.entries("key")
        if (key := _key(chain, entry, found, zone or timezone.utc)) is not None
    ]
    assembly.passwords(peers)
    used = users(peers)
    chains = dict.fromkeys(key.chain for key in keys)
    for chain in chains:
        if chain not in used:
            found.notes.append(
                f"key chain {chain}: no neighbor names it (auth-options {chain}): left out"
            )
    assembly.note_missing(used, chains)
    for key in keys:
        if key.chain in used:
            assembly.chain_key(key, used[key.chain])


def _peers(bgp: _Table, vdom: str | None) -> list[Peer]:
    """The neighbors, and the ranges of dynamic ones, with what their groups say."""
    groups = {
        entry.name[0]: _peer(entry, entry.name[0], vdom) for entry in bgp.entries("neighbor-group")
    }
    found = [_peer(entry, entry.name[0], vdom) for entry in bgp.entries("neighbor")]
    for name, setting in (("neighbor-range", "prefix"), ("neighbor-range6", "prefix6")):
        for entry in bgp.entries(name):
            words, _ = entry.settings.get(setting, ([], 0))
            prefix = network_of("/".join(words))
            if prefix is not None:
                found.append(_peer(entry, prefix, vdom))
    return [inherited(peer, groups) for peer in found if is_address(peer.name)]


def _peer(entry: _Table, name: str, vdom: str | None) -> Peer:
    peer = Peer(name, entry.line, vdom)
    for word, (values, _) in entry.settings.items():
        if not values:
            continue
        if word == "password":
            peer.settings["password"] = _secret(values)
        elif word == "auth-options":
            peer.settings["chain"] = values[0]
        elif word == "neighbor-group":
            peer.inherits.append(values[0])
    return peer


def _secret(words: list[str]) -> Secret:
    if words[0] == "ENC":
        return Secret.unread("ENC")
    return refused(words[0]) or plain(words[0])


def _key(chain: _Table, entry: _Table, found: KeyFile, zone: tzinfo) -> ChainKey | None:
    key = ChainKey(chain.name[0], entry.name[0], entry.line)
    key.algorithm = " ".join(entry.settings.get("algorithm", ([_DEFAULT], 0))[0])
    if key.number.isdecimal():
        key.send_id = key.recv_id = int(key.number)
    words, _ = entry.settings.get("key-string", ([], 0))
    if words:
        key.secret = _secret(words)
    for name in ("send-lifetime", "accept-lifetime"):
        words, line = entry.settings.get(name, ([], 0))
        if not words:
            continue
        try:
            key.lifetimes[name.replace("-", "_")] = _lifetime(words, zone)
        except (ValueError, IndexError, OverflowError):
            found.problems.append(f"line {line}: {name} is not START and seconds, END or infinite")
            return None
    return key


def _lifetime(words: list[str], zone: tzinfo) -> Lifetime:
    """HH:MM:SS DAY MONTH YEAR, and then seconds, ``infinite`` or a moment of the same form."""
    start = router_moment(words[:4], zone)
    rest = words[4:]
    if not rest or rest[0].lower().startswith("infinit"):
        return start, None
    if len(rest) == 1:
        seconds = int(rest[0])
        return (start, None) if seconds >= _FOREVER else lasting(start, seconds)
    return start, router_moment(rest, zone)


FORMAT = Format("fortios", "FortiOS (router key-chain, router bgp)", _looks_like, read_fortios)
