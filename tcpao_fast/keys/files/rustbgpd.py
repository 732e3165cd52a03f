"""rustbgpd: ``tcp_ao`` and ``md5_password`` of neighbors and ranges in its TOML configuration.

Options are covered, and MACs have 12 bytes.
"""

from __future__ import annotations

import re
from typing import Any

from tcpao_fast.keys.files import documents
from tcpao_fast.keys.files.entries import Entry, Format, KeyFile
from tcpao_fast.keys.files.records import (
    Assembly,
    Dialect,
    Peer,
    inherited,
    network_of,
    plain,
    refused,
)


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^\s*\[\[(dynamic_)?neighbors\]\]", text)
        and re.search(r"(?m)^\s*(remote_asn|md5_password|tcp_ao|peer_group)\s*=|"
                      r"^\s*\[+neighbors\.tcp_ao\]", text)
    )  # fmt: skip


def read_rustbgpd(text: str) -> KeyFile:
    """The keys of a rustbgpd configuration."""
    found = KeyFile()
    document = documents.toml(text, found)
    if document is None:
        return found
    groups = {
        name: _peer(name, documents.table(group))
        for name, group in documents.table(document, "peer_groups").items()
    }
    peers = []
    for kind, address in (("neighbors", "address"), ("dynamic_neighbors", "prefix")):
        for row in documents.rows(document, kind):
            name = documents.text_of(row.get(address)) or ""
            if network_of(name) is None:
                found.notes.append(f"{kind}: {address} {name or 'is missing'}: left out")
                continue
            peer = inherited(_peer(name, row), groups)
            keys = row.get("tcp_ao")
            for key in keys if isinstance(keys, list) else [keys]:
                if isinstance(key, dict):
                    peer.settings["password"] = None
                    _add(found, peer, key, many=isinstance(keys, list) and len(keys) > 1)
            peers.append(peer)
    Assembly(found, Dialect({})).passwords(peers)
    return found


def _peer(name: str, row: dict[str, Any]) -> Peer:
    peer = Peer(name)
    password = documents.text_of(row.get("md5_password"))
    if password is not None:
        peer.settings["password"] = refused(password) or plain(password)
    if documents.text_of(row.get("local_address")) is not None:
        peer.settings["local"] = str(row["local_address"])
    group = documents.text_of(row.get("peer_group"))
    if group is not None:
        peer.inherits.append(group)
    return peer


def _add(found: KeyFile, peer: Peer, key: dict[str, Any], many: bool) -> None:
    ids = f" key {key.get('send_id')}" if many else ""
    where = f"{peer.label}{ids}"
    said = documents.text_of(key.get("key"))
    if said is None:
        found.problems.append(f"{where}: tcp_ao lacks key")
        return
    secret = refused(said) or plain(said)
    fields: dict[str, Any] = {
        "name": where, "algorithm": key.get("algorithm", ""), "mac_length": 12,
        "send_id": key.get("send_id"), "recv_id": key.get("recv_id"),
        "remote": network_of(peer.name), "secret": secret.value,
    }  # fmt: skip
    if "local" in peer.settings:
        fields["local"] = network_of(peer.settings["local"])
    found.entries.append(Entry(where, fields, secret.hidden))


FORMAT = Format("rustbgpd", "rustbgpd (TOML)", _looks_like, read_rustbgpd)
