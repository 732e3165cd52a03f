"""OpenBGPD: ``tcp md5sig`` of neighbors, their own or their group's (TCP-MD5), with macros."""

from __future__ import annotations

import re

from tcpao_fast.keys.files.braces import Statement, statements
from tcpao_fast.keys.files.entries import Format, KeyFile
from tcpao_fast.keys.files.records import (
    Assembly,
    Dialect,
    Peer,
    Secret,
    inherited,
    is_address,
    plain,
    refused,
)

_MACRO = re.compile(r"(?m)^\s*(\w+)\s*=\s*(?:\"([^\"]*)\"|(\S+))\s*$")


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^\s*tcp md5sig (password|key) ", text)
        or re.search(r"(?m)^AS \d+\s*$[\s\S]*^(neighbor|group) ", text)
    )


def read_openbgpd(text: str) -> KeyFile:
    """The keys of a bgpd.conf."""
    found = KeyFile()
    macros = {name: quoted or word for name, quoted, word in _MACRO.findall(text)}
    text = _MACRO.sub("", text)
    text = re.sub(r"\$(\w+)", lambda match: macros.get(match[1], match[0]), text)
    try:
        blocks = statements(text, by_line=True)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    assembly = Assembly(found, Dialect({}))
    assembly.passwords(_peers(blocks, found, None))
    return found


def _peers(blocks: list[Statement], found: KeyFile, group: Peer | None) -> list[Peer]:
    peers = []
    for block in blocks:
        words = block.words
        if words[:1] == ["group"] and len(words) > 1:
            own = Peer(words[1], block.line)
            _read(own, block, found)
            peers += _peers(block.inside, found, own)
        elif words[:1] in (["neighbor"], ["rtr"]) and len(words) > 1:
            noun = "RPKI session" if words[0] == "rtr" else "neighbor"
            peer = Peer(words[1], block.line, noun=noun)
            _read(peer, block, found)
            if group is not None:
                peer.inherits.append(group.name)
                peer = inherited(peer, {group.name: group})
            if is_address(peer.name):
                peers.append(peer)
    return peers


def _read(peer: Peer, block: Statement, found: KeyFile) -> None:
    # a neighbor without braces has its one setting behind it
    for words in [block.words[2:], *(one.words for one in block.inside)]:
        if words[:3] == ["tcp", "md5sig", "password"] and len(words) > 3:
            peer.settings["password"] = refused(words[3]) or plain(words[3])
        elif words[:3] == ["tcp", "md5sig", "key"] and len(words) > 3:
            try:
                peer.settings["password"] = Secret(bytes.fromhex(words[3].removeprefix("0x")))
            except ValueError:
                found.problems.append(f"{peer.where}: tcp md5sig key is not hexadecimal")
        elif words[:1] == ["local-address"] and len(words) > 1:
            peer.settings["local"] = words[1]


FORMAT = Format("openbgpd", "OpenBGPD (tcp md5sig)", _looks_like, read_openbgpd)
