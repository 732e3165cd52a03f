"""ExaBGP: ``md5-password`` of neighbors (TCP-MD5), and their ``tcp-ao`` section; templates and
groups are followed.

One number is SendID and RecvID; options are covered, and MACs have 12 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tcpao_fast.keys.files.braces import Statement, statements
from tcpao_fast.keys.files.documents import from_base64
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
)

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
    "hmac-sha-256": ("hmac(sha256)", 12),
}


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)(?:^|[{;])\s*neighbor \S+ \{", text)
        and re.search(
            r"(?m)(?:^|[{;])\s*(md5(-password)? |tcp-ao\b|router-id |local-as |peer-as )", text
        )
        and not re.search(r"(?m)^\s*tcp md5sig |^AS \d+\s*$", text)
    )


def read_exabgp(text: str) -> KeyFile:
    """The keys of an ExaBGP configuration."""
    found = KeyFile()
    try:
        blocks = statements(text, by_line=True)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    templates: dict[str, Peer] = {}
    for block in blocks:
        if block.words[:1] == ["template"]:
            for one in block.inside if len(block.words) == 1 else [block]:
                if len(one.words) > 1:
                    templates[one.words[1]] = _peer(one, found)
    assembly = Assembly(found, Dialect(_ALGORITHMS))
    peers = [inherited(peer, templates) for peer in _neighbors(blocks, found, None)]
    assembly.passwords(peers)
    for peer in peers:
        ao = peer.settings.get("algorithm")
        if ao is not None and is_address(peer.name):
            _add(assembly, peer, ao)
    return found


def _neighbors(blocks: list[Statement], found: KeyFile, group: Peer | None) -> list[Peer]:
    peers = []
    for block in blocks:
        if block.words[:1] == ["group"]:
            peers += _neighbors(block.inside, found, _peer(block, found))
        elif block.words[:1] == ["neighbor"] and len(block.words) > 1:
            peer = _peer(block, found)
            if group is not None:
                for name, value in group.settings.items():
                    peer.settings.setdefault(name, value)
                peer.inherits += group.inherits
            peers.append(peer)
    return peers


def _peer(block: Statement, found: KeyFile) -> Peer:
    """A neighbor, template or group; ``algorithm`` of its settings is what is said of TCP-AO."""
    peer = Peer(block.words[1] if len(block.words) > 1 else "", block.line)
    said: dict[str, str] = {}
    ao: dict[str, str] = {}
    for one in block.inside:
        name, value = one.words[0], " ".join(one.words[1:])
        if name == "tcp-ao":
            ao |= {b.words[0]: " ".join(b.words[1:]) for b in one.inside if b.words}
        elif name.startswith("tcp-ao-"):
            ao[name.removeprefix("tcp-ao-")] = value
        elif name == "inherit":
            peer.inherits += [word.strip("[],") for word in one.words[1:] if word.strip("[],")]
        else:
            said[name] = value
    password = said.get("md5-password", said.get("md5", ""))
    if password:
        secret = _secret(password, said.get("md5-base64", "false"))
        if secret is None:
            found.problems.append(f"{peer.where}: md5-password is not base64")
        peer.settings["password"] = secret
    if "local-address" in said:
        peer.settings["local"] = said["local-address"]
    if "peer-address" in said:
        peer.name = said["peer-address"]
    if ao:
        peer.settings["algorithm"] = ao
        peer.settings["password"] = None
    return peer


def _secret(text: str, base64: str) -> Secret | None:
    if base64.lower() in ("true", "enable", "enabled", "yes"):
        return from_base64(text)
    return refused(text) or plain(text)


def _add(assembly: Assembly, peer: Peer, ao: Mapping[str, str]) -> None:
    number = ao.get("keyid", ao.get("key-id", "?"))
    key = ChainKey(f"neighbor {peer.name}", number, peer.line, noun="tcp-ao of")
    if number.isdecimal():
        key.send_id = key.recv_id = int(number)
    key.algorithm = ao.get("algorithm")
    if "password" in ao:
        key.secret = _secret(ao["password"], ao.get("base64", "false"))
    assembly.chain_key(key, [peer])


FORMAT = Format("exabgp", "ExaBGP (md5-password, tcp-ao)", _looks_like, read_exabgp)
