"""VyOS: passwords of BGP's neighbors and peer groups (TCP-MD5), as ``set`` lines or in braces."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tcpao_fast.keys.files.braces import paths, set_lines, statements
from tcpao_fast.keys.files.entries import Format, KeyFile
from tcpao_fast.keys.files.records import (
    Assembly,
    Dialect,
    Peer,
    inherited,
    is_address,
    plain,
    refused,
)


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^\s*(?:\S+[#$]\s*)?set (vrf name \S+ )?protocols bgp (\d+ )?"
                  r"(neighbor|peer-group|listen|system-as|parameters) ", text)
        or re.search(r"(?m)^// vyos-config-version|^/\* === vyatta-config-version", text)
        # braces as in Junos, without its semicolons
        or (re.search(r"(?m)^\s*protocols \{\s*$", text)
            and re.search(r"(?m)^\s*bgp (\d+ )?\{\s*$", text) and not re.search(r"(?m);\s*$", text))
    )  # fmt: skip


def _statements(text: str) -> Iterator[tuple[str, tuple[str, ...], int]]:
    if re.search(r"(?m)^\s*(?:\S+[#$]\s*)?set \S", text):
        yield from set_lines(text)
        return
    for words, line in paths(statements(text, by_line=True)):
        yield "set", words, line


def read_vyos(text: str) -> KeyFile:
    """The keys of a VyOS configuration."""
    found = KeyFile()
    peers: dict[tuple[str | None, str], Peer] = {}
    try:
        for command, words, line in _statements(text):
            _read(command, words, line, peers)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    listed = []
    for (vrf, name), peer in peers.items():
        if is_address(name):
            groups = {n: one for (v, n), one in peers.items() if v == vrf and not is_address(n)}
            listed.append(inherited(peer, groups))
    Assembly(found, Dialect({})).passwords(listed)
    return found


def _read(
    command: str, words: tuple[str, ...], line: int, peers: dict[tuple[str | None, str], Peer]
) -> None:
    vrf = words[2] if words[:2] == ("vrf", "name") and len(words) > 3 else None
    rest = words[3:] if vrf is not None else words
    if rest[:2] != ("protocols", "bgp"):
        return
    rest = rest[2:]
    if rest[:1] and rest[0].isdecimal():  # before VyOS 1.4 the AS number stands here
        rest = rest[1:]
    if rest[:2] == ("listen", "range") and rest[3:4] == ("peer-group",) and len(rest) > 4:
        peers.setdefault((vrf, rest[2]), Peer(rest[2], line, vrf)).inherits.append(rest[4])
        return
    if len(rest) < 2 or rest[0] not in ("neighbor", "peer-group"):
        return
    if command == "delete":
        if len(rest) == 2:
            peers.pop((vrf, rest[1]), None)
        elif rest[2] == "password" and (vrf, rest[1]) in peers:
            peers[vrf, rest[1]].settings.pop("password", None)
        return
    peer = peers.setdefault((vrf, rest[1]), Peer(rest[1], line, vrf))
    if len(rest) < 4:
        return
    if rest[2] == "password":
        peer.settings["password"] = refused(rest[3]) or plain(rest[3])
    elif rest[2] == "peer-group":
        peer.inherits.append(rest[3])
    elif rest[2] == "update-source" and is_address(rest[3]):
        peer.settings["local"] = rest[3]


FORMAT = Format("vyos", "VyOS (neighbor passwords)", _looks_like, read_vyos)
