"""GoBGP: its configuration in TOML or YAML, and the command lines ``gobgp keychain`` and
``gobgp neighbor``.

Neighbors have an ``auth-password`` (TCP-MD5) or a keychain (TCP-AO), their own or their peer
group's. Keys of command lines are SENDID,RECVID,ALGORITHM,BASE64, with ``exclude-tcp-options``
behind where options are left out; updates and deletions are followed.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text, single_address
from tcpao_fast.keys.files import documents
from tcpao_fast.keys.files.entries import (
    Format,
    KeyFile,
    Written,
    not_carried,
    text_secret,
)
from tcpao_fast.keys.files.records import (
    Assembly,
    ChainKey,
    Dialect,
    Peer,
    dashed,
    inherited,
    is_address,
    plain,
    users,
)

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
    "hmac-sha-256-96": ("hmac(sha256)", 12),
    "hmac-sha-256-128": ("hmac(sha256)", 16),
}
_WRITTEN = {value: name for name, value in _ALGORITHMS.items()}
_COMMAND = re.compile(r"\bgobgp\s+(?:-\S+\s+)*(?:keychain|neighbor)\b")


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^\s*(\[\[neighbors\]\]|\[\[keychains\]\]|\[global\.config\])", text)
        or re.search(r"(?m)^global:\s*$(?:\s+\S.*\n?)*?\s+config:", text)
        or re.search(r"(?m)^(?:neighbors|keychains|peer-groups):\s*$\s*-?\s*-? *config:", text)
        or _COMMAND.search(text)
    )


def read_gobgp(text: str) -> KeyFile:
    """The keys of a GoBGP configuration, or of its command lines."""
    found = KeyFile()
    if _COMMAND.search(text):
        chains, peers = _commands(found, text)
    else:
        is_yaml = re.search(r"(?m)^\s*\[", text) is None
        document = (documents.yaml if is_yaml else documents.toml)(text, found)
        if document is None:
            return found
        chains, peers = _document(found, document)
    assembly = Assembly(found, Dialect(_ALGORITHMS, dashed))
    assembly.passwords(peers)
    used = users(peers)
    for key in chains:
        if key.chain not in used:
            found.notes.append(f"keychain {key.chain}: no neighbor names it: for any address")
        assembly.chain_key(key, used.get(key.chain, []))
    return found


def _document(found: KeyFile, document: dict[str, Any]) -> tuple[list[ChainKey], list[Peer]]:
    chains = []
    for chain in documents.rows(document, "keychains"):
        name = documents.text_of(documents.table(chain, "config").get("name")) or "?"
        for key in documents.rows(chain, "keys"):
            config = documents.table(key, "config")
            one = ChainKey(name, documents.text_of(config.get("key-id")) or "?", 0, noun="keychain")
            one.send_id, one.recv_id = (
                value if isinstance(value, int) else None
                for value in (config.get("key-id"), config.get("receive-id"))
            )
            one.algorithm = documents.text_of(config.get("crypto-algorithm"))
            one.include = not config.get("exclude-tcp-options", False)
            if "secret-key" in config:
                one.secret = documents.from_base64(config["secret-key"])
                if one.secret is None:
                    found.problems.append(f"{one.where}: secret-key is not base64")
                    continue
            chains.append(one)
    groups = {
        title: _peer(group, title)
        for group in documents.rows(document, "peer-groups")
        if (title := documents.text_of(documents.table(group, "config").get("peer-group-name")))
    }
    peers = []
    for neighbor in documents.rows(document, "neighbors"):
        config = documents.table(neighbor, "config")
        address = documents.text_of(config.get("neighbor-address"))
        if address is not None:
            peers.append(inherited(_peer(neighbor, address), groups))
        elif documents.text_of(config.get("neighbor-interface")):
            found.notes.append("a neighbor without an address (neighbor-interface) is left out")
    for dynamic in documents.rows(document, "dynamic-neighbors"):
        prefix = documents.text_of(documents.table(dynamic, "config").get("prefix"))
        if prefix is not None:
            peers.append(inherited(_peer(dynamic, prefix), groups))
    return chains, peers


def _peer(block: dict[str, Any], name: str) -> Peer:
    config = documents.table(block, "config")
    local = documents.table(block, "transport", "config").get("local-address")
    peer = Peer(name, vrf=documents.text_of(config.get("vrf")))
    password = documents.text_of(config.get("auth-password"))
    chain = documents.text_of(documents.table(block, "tcp-ao", "config").get("keychain"))
    if password is not None:
        peer.settings |= {"password": plain(password), "chain": None}
    if chain is not None:
        peer.settings |= {"chain": chain, "password": None}
    if documents.text_of(local) is not None:
        peer.settings["local"] = str(local)
    group = documents.text_of(config.get("peer-group"))
    if group is not None:
        peer.inherits.append(group)
    return peer


def _commands(found: KeyFile, text: str) -> tuple[list[ChainKey], list[Peer]]:
    keys: dict[tuple[str, str], ChainKey] = {}
    peers: dict[str, Peer] = {}
    for number, line in _joined(text):
        if not _COMMAND.search(line):
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            found.problems.append(f"line {number}: {error}")
            continue
        words = words[words.index("gobgp") + 1 :] if "gobgp" in words else []
        while words[:1] and words[0].startswith("-"):
            words = words[1:]
        if words[:1] == ["keychain"] and len(words) > 2:
            _keychain(found, keys, words, number)
        elif words[:2] == ["neighbor", "add"] and len(words) > 2:
            peer = peers[words[2]] = Peer(words[2], number)
            if "tcp-ao-keychain" in words[:-1]:
                peer.settings["chain"] = words[words.index("tcp-ao-keychain") + 1]
            if "vrf" in words[:-1]:
                peer.vrf = words[words.index("vrf") + 1]
        elif words[:2] == ["neighbor", "del"] and len(words) > 2:
            peers.pop(words[2], None)
    return list(keys.values()), [peer for peer in peers.values() if is_address(peer.name)]


def _joined(text: str) -> list[tuple[int, str]]:
    """Lines, with those that a backslash at the end continues."""
    found: list[tuple[int, str]] = []
    open_line = False
    for number, line in enumerate(text.splitlines(), 1):
        if open_line:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line}")
        else:
            found.append((number, line))
        open_line = line.rstrip().endswith("\\")
        if open_line:
            found[-1] = (found[-1][0], found[-1][1].rstrip()[:-1])
    return found


def _keychain(
    found: KeyFile, keys: dict[tuple[str, str], ChainKey], words: list[str], number: int
) -> None:
    """``keychain add | update | del NAME`` with its keys."""
    action, chain = words[1], words[2]
    if action == "del":
        for which in [which for which in keys if which[0] == chain]:
            del keys[which]
    for flag, value in pairwise(words[3:]):
        if flag in ("--key", "--add-key"):
            key = _key(found, chain, value, number)
            if key is not None:
                keys[chain, key.number] = key
        elif flag == "--delete-key":
            keys.pop((chain, value.split(",")[0]), None)


def _key(found: KeyFile, chain: str, value: str, number: int) -> ChainKey | None:
    parts = value.split(",")
    key = ChainKey(chain, parts[0], number, noun="keychain")
    is_whole = len(parts) in (4, 5) and parts[4:] in ([], ["exclude-tcp-options"])
    if not is_whole or parts[2] not in _ALGORITHMS:
        found.problems.append(
            f"{key.where}: must be SENDID,RECVID,ALGORITHM,BASE64[,exclude-tcp-options] with one "
            f"of {', '.join(_ALGORITHMS)}"
        )
        return None
    key.algorithm, key.include = parts[2], len(parts) == 4
    key.secret = documents.from_base64(parts[3])
    if key.secret is None or not (parts[0].isdecimal() and parts[1].isdecimal()):
        found.problems.append(f"{key.where}: an ID is no number, or the secret is not base64")
        return None
    key.send_id, key.recv_id = int(parts[0]), int(parts[1])
    return key


def _name(key: MasterKey) -> str | None:
    return _WRITTEN.get((key.algorithm, key.mac_length or 0))


#: What command lines have of keys, and TOML; the algorithm says the MAC length.
_CARRIES = frozenset(
    {"keys for any address", "addresses of peers", "MAC lengths", "options left out of the MAC"}
)
_CARRIES_TOML = frozenset({"addresses of peers", "local addresses"})


def write_gobgp(chain: KeyChain) -> Written:
    """A chain as command lines, a keychain for each remote side; TCP-MD5 alone as TOML."""
    if all(key.is_tcp_md5 for key in chain):
        return _write_toml(chain)
    usable = [key for key in chain if _name(key) is not None]
    groups: dict[object, list[MasterKey]] = defaultdict(list)
    for key in usable:
        groups[key.remote].append(key)
    lines = []
    for number, (remote, keys) in enumerate(groups.items(), 1):
        parts = [f"gobgp keychain add tcpao-{number}"]
        for key in keys:
            secret = base64.b64encode(key.secret).decode()
            options = ",exclude-tcp-options" if key.exclude_options else ""
            parts.append(f"--key '{key.send_id},{key.recv_id},{_name(key)},{secret}{options}'")
        lines.append(" ".join(parts))
        if remote is not None:
            lines.append(
                f"gobgp neighbor add {network_text(remote)} as 64513 "
                f"tcp-ao-keychain tcpao-{number} tcp-ao-preferred-send-id {keys[0].send_id}"
            )
    lost = not_carried(chain, "no such algorithm and MAC length there", lambda k: _name(k) is None)
    if usable:
        lost.append("the AS number 64513 is made up")
    return Written("\n".join(lines) + "\n", usable, _CARRIES, tuple(lost))


def _write_toml(chain: KeyChain) -> Written:
    usable = [key for key in chain if single_address(key.remote) and text_secret(key) is not None]
    lines = ["[global.config]", "  as = 64512", ""]
    for key in usable:
        lines += [
            "[[neighbors]]",
            "  [neighbors.config]",
            f'    neighbor-address = "{single_address(key.remote)}"',
            "    peer-as = 64513",
            f'    auth-password = "{text_secret(key)}"',
        ]
        transport = []
        if single_address(key.local):
            transport.append(f'    local-address = "{single_address(key.local)}"')
        if transport:
            lines += ["  [neighbors.transport.config]", *transport]
        lines.append("")
    lost = not_carried(
        chain, "no neighbor's address, or the secret is not plain text", lambda k: k not in usable
    )
    lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n".join(lines), usable, _CARRIES_TOML, tuple(lost))


FORMAT = Format("gobgp", "GoBGP (TOML, or its command lines)", _looks_like, read_gobgp, write_gobgp)
