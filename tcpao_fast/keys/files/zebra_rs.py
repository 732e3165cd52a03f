"""zebra-rs: ``key-chains`` with the IDs, and ``tcp-ao`` and ``tcp-md5`` of BGP's neighbors, as
``set`` lines, in braces or in YAML.

Options are covered unless the neighbor says ``include-tcp-options false``. Passwords with
``encoding encrypted`` are not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tcpao_fast.keys.files import documents
from tcpao_fast.keys.files.braces import paths, set_lines, statements
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

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha-1": ("hmac-sha-1-96", 12),
    "hmac-sha-1-12": ("hmac-sha-1-96", 12),
    "aes-cmac-prf-128": ("aes-128-cmac-96", 12),
    "hmac-sha-256": ("hmac(sha256)", 12),
}
#: Lists of its model, and what names a row of each.
_LISTS = {"key-chain": "name", "key": "key-id", "neighbor": "remote-address", "vrf": "name",
          "neighbor-group": "name"}  # fmt: skip


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^\s*(?:\S+[#>$]\s*)?set (router bgp|key-chains) ", text)
        or (re.search(r"(?m)^\s*router:?\s*\{?\s*$", text)
            and re.search(r"(?m)^\s*tcp-(ao|md5):?\s*\{?\s*$", text))
    )  # fmt: skip


def _statements(text: str, found: KeyFile) -> Iterator[tuple[tuple[str, ...], int]]:
    if re.search(r"(?m)^\s*(?:\S+[#>$]\s*)?set \S", text):
        for command, words, line in set_lines(text):
            if command == "set":
                yield words, line
    elif re.search(r"(?m)^\s*(router|key-chains):\s*$", text):
        yield from ((words, 0) for words in _leaves(documents.yaml(text, found) or {}))
    else:
        yield from paths(statements(text, by_line=True))


def _leaves(value: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The values of a document, with the names before them as ``set`` lines have them."""
    if isinstance(value, dict):
        for name, inside in value.items():
            if name in _LISTS and isinstance(inside, list):
                for row in inside:
                    title = row.get(_LISTS[name]) if isinstance(row, dict) else row
                    yield from _leaves(row, (*before, name, str(title)))
            elif name in _LISTS and isinstance(inside, dict):
                for title, row in inside.items():
                    yield from _leaves(row, (*before, name, str(title)))
            else:
                yield from _leaves(inside, (*before, str(name)))
    elif not isinstance(value, list):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        yield (*before, text)


def read_zebra_rs(text: str) -> KeyFile:
    """The keys of a zebra-rs configuration."""
    found = KeyFile()
    keys: dict[tuple[str, str], ChainKey] = {}
    peers: dict[tuple[str | None, str, str], Peer] = {}
    try:
        for words, line in _statements(text, found):
            if words[:2] == ("key-chains", "key-chain") and words[3:4] == ("key",):
                _read_key(words[2], words[4:], line, keys, found)
            elif words[:2] == ("router", "bgp"):
                _read_bgp(words[2:], line, peers)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    for peer in peers.values():
        if peer.settings.pop("encoding", "clear") != "clear" and peer.settings.get("password"):
            peer.settings["password"] = Secret.unread("encrypted")
    groups = {name: one for (_, kind, name), one in peers.items() if kind == "neighbor-group"}
    listed = [
        inherited(peer, groups)
        for (_, kind, name), peer in peers.items()
        if kind == "neighbor" and is_address(name)
    ]
    assembly = Assembly(found, Dialect(_ALGORITHMS, is_strict=False))
    assembly.passwords(listed)
    used = users(listed)
    for key in keys.values():
        if key.send_id is None and key.recv_id is None:
            found.notes.append(f"{key.where} has no send-id and recv-id: not for TCP-AO, left out")
            continue
        if key.chain not in used:
            found.notes.append(f"key-chain {key.chain}: no neighbor names it: for any address")
        assembly.chain_key(key, used.get(key.chain, []))
    return found


def _read_key(
    chain: str,
    words: tuple[str, ...],
    line: int,
    keys: dict[tuple[str, str], ChainKey],
    found: KeyFile,
) -> None:
    if len(words) < 3:
        return
    fresh = ChainKey(chain, words[0], line, noun="key-chain")
    key = keys.setdefault((chain, words[0]), fresh)
    name, value = words[1], words[-1]
    if name == "crypto-algorithm":
        key.algorithm = value.rpartition(":")[2]
    elif name == "key-string" and words[2] == "keystring":
        key.secret = refused(value) or plain(value)
    elif name == "key-string" and words[2] == "hexadecimal-string":
        try:
            key.secret = Secret(bytes.fromhex(value.replace(":", "")))
        except ValueError:
            found.problems.append(f"{key.where}: hexadecimal-string is not hexadecimal")
    elif name in ("send-id", "recv-id") and value.isdecimal():
        setattr(key, name.replace("-", "_"), int(value))


def _read_bgp(
    words: tuple[str, ...], line: int, peers: dict[tuple[str | None, str, str], Peer]
) -> None:
    vrf = None
    if words[:1] == ("vrf",) and len(words) > 2:
        vrf, words = words[1], words[2:]
    if len(words) < 2 or words[0] not in ("neighbor", "neighbor-group"):
        return
    peer = peers.setdefault((vrf, words[0], words[1]), Peer(words[1], line, vrf))
    rest, value = words[2:], words[-1]
    if rest[:2] == ("tcp-ao", "key-chain"):
        peer.settings |= {"chain": value, "password": None}
    elif rest[:2] == ("tcp-ao", "include-tcp-options"):
        peer.settings["include"] = value != "false"
    elif rest[:2] == ("tcp-md5", "password"):
        peer.settings["password"] = refused(value) or plain(value)
    elif rest[:2] == ("tcp-md5", "encoding"):
        peer.settings["encoding"] = value
    elif rest[:1] == ("neighbor-group",) and len(rest) > 1:
        peer.inherits.append(value)
    elif is_address(value) and rest[:-1] in (("transport", "local-address"), ("update-source",)):
        peer.settings["local"] = value


FORMAT = Format("zebra_rs", "zebra-rs (key-chains, tcp-ao)", _looks_like, read_zebra_rs)
