"""OpenConfig in JSON: ``auth-password`` of BGP's neighbors and peer groups (TCP-MD5).

The models have key chains and no way for a BGP neighbor to name one: they are left out.
"""

from __future__ import annotations

import re
from typing import Any

from tcpao_fast.keys.files import documents
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
    return documents.looks_like_json(text) and bool(
        re.search(r'"openconfig-[\w-]+:|"(network-instances|auth-password)"', text)
    )


def read_openconfig(text: str) -> KeyFile:
    """The keys of an OpenConfig document."""
    found = KeyFile()
    document = documents.parsed_json(text, found)
    if document is None:
        return found
    peers: list[Peer] = []
    for instance in _every(document, "network-instance"):
        name = documents.text_of(instance.get("name")) or ""
        vrf = None if name.lower() in ("", "default") else name
        for bgp in _every(instance, "bgp"):
            peers += _bgp(bgp, vrf)
    if not peers:
        for bgp in _every(document, "bgp"):
            peers += _bgp(bgp, None)
    Assembly(found, Dialect({})).passwords(peers)
    if next(_every(document, "keychain"), None) is not None:
        found.notes.append("key chains: no BGP neighbor of these models names one: left out")
    return found


def _every(value: Any, name: str) -> Any:
    """Every object of that name, or of a list of that name, wherever it stands."""
    stack = [value]
    while stack:
        one = stack.pop()
        if isinstance(one, dict):
            for key, inside in one.items():
                if key == name:
                    listed = inside if isinstance(inside, list) else [inside]
                    yield from (part for part in listed if isinstance(part, dict))
                else:
                    stack.append(inside)
        elif isinstance(one, list):
            stack.extend(one)


def _bgp(bgp: dict[str, Any], vrf: str | None) -> list[Peer]:
    groups = {}
    for group in _every(bgp, "peer-group"):
        config = documents.table(group, "config") or group
        name = documents.text_of(config.get("peer-group-name", group.get("peer-group-name")))
        if name is not None:
            groups[name] = _peer(name, config, vrf)
    peers = []
    for neighbor in _every(bgp, "neighbor"):
        config = documents.table(neighbor, "config") or neighbor
        address = config.get("neighbor-address", neighbor.get("neighbor-address"))
        name = documents.text_of(address)
        if name is not None and is_address(name):
            peer = _peer(name, config, vrf)
            local = documents.table(neighbor, "transport", "config").get("local-address")
            if documents.text_of(local) is not None:
                peer.settings["local"] = str(local)
            peers.append(inherited(peer, groups))
    return peers


def _peer(name: str, config: dict[str, Any], vrf: str | None) -> Peer:
    peer = Peer(name, vrf=vrf)
    password = documents.text_of(config.get("auth-password"))
    if password is not None:
        peer.settings["password"] = refused(password) or plain(password)
    group = documents.text_of(config.get("peer-group"))
    if group is not None:
        peer.inherits.append(group)
    return peer


FORMAT = Format("openconfig", "OpenConfig (JSON)", _looks_like, read_openconfig)
