"""GoBGP: ``auth-password`` of neighbors in its TOML configuration (TCP-MD5), and the command lines
``gobgp keychain add`` and ``gobgp neighbor add`` (TCP-AO; keys are SENDID,RECVID,ALGORITHM,BASE64,
with ``exclude-tcp-options`` behind where options are left out).
"""

from __future__ import annotations

import base64
import binascii
import re
import shlex
import sys
from collections import defaultdict
from itertools import pairwise
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text, single_address
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
    text_secret,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_ALGORITHMS = {
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
    "hmac-sha-256-96": ("hmac(sha256)", 12),
    "hmac-sha-256-128": ("hmac(sha256)", 16),
}
_WRITTEN = {value: name for name, value in _ALGORITHMS.items()}


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?m)^\s*(\[\[neighbors\]\]|\[global\.config\]|gobgp\s)", text))


def read_gobgp(text: str) -> KeyFile:
    """The keys of a GoBGP configuration, or of its command lines."""
    found = KeyFile()
    if re.search(r"(?m)^\s*gobgp\s", text):
        _read_commands(found, text)
        return found
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found.problems.append(f"is not TOML: {error}")
        return found
    for number, neighbor in enumerate(document.get("neighbors", []), 1):
        config = neighbor.get("config", {})
        transport = neighbor.get("transport", {}).get("config", {})
        if not config.get("auth-password"):
            continue
        address = config.get("neighbor-address", "")
        fields: dict[str, Any] = {
            "algorithm": "tcp-md5", "secret": str(config["auth-password"]).encode(),
            "remote": address, "name": f"neighbor {address}",
        }  # fmt: skip
        if transport.get("local-address"):
            fields["local"] = transport["local-address"]
        if transport.get("remote-port"):
            fields["remote_port"] = transport["remote-port"]
        found.entries.append(Entry(f"neighbor {number} ({address})", fields))
    return found


def _read_commands(found: KeyFile, text: str) -> None:
    keys: list[tuple[int, str, list[str]]] = []
    users: dict[str, list[str]] = defaultdict(list)
    joined = re.sub(r"\\\n", " ", text)
    for number, line in enumerate(joined.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            found.problems.append(f"line {number}: {error}")
            continue
        if words[:3] == ["gobgp", "keychain", "add"] and len(words) > 3:
            for flag, value in pairwise(words[4:]):
                if flag == "--key":
                    keys.append((number, words[3], value.split(",")))
        elif words[:3] == ["gobgp", "neighbor", "add"] and "tcp-ao-keychain" in words[:-1]:
            users[words[words.index("tcp-ao-keychain") + 1]].append(words[3])
    for number, chain, parts in keys:
        where = f"line {number} (keychain {chain} key {parts[0]})"
        if (
            len(parts) not in (4, 5)
            or parts[2] not in _ALGORITHMS
            or parts[4:]
            not in (
                [],
                ["exclude-tcp-options"],
            )
        ):
            found.problems.append(
                f"{where}: must be SENDID,RECVID,ALGORITHM,BASE64[,exclude-tcp-options] with one "
                f"of {', '.join(_ALGORITHMS)}"
            )
            continue
        algorithm, mac_length = _ALGORITHMS[parts[2]]
        try:
            secret = base64.b64decode(parts[3], validate=True)
            ids = int(parts[0]), int(parts[1])
        except (binascii.Error, ValueError):
            found.problems.append(f"{where}: an ID is no number, or the secret is not base64")
            continue
        for peer in users.get(chain) or [""]:
            label = f"{chain} key {parts[0]}"
            fields: dict[str, Any] = {
                "name": f"{label} for {peer}" if len(users.get(chain, [])) > 1 else label,
                "algorithm": algorithm, "mac_length": mac_length, "secret": secret,
                "send_id": ids[0], "recv_id": ids[1], "exclude_options": len(parts) == 5,
            }  # fmt: skip
            if peer:
                fields["remote"] = peer
            found.entries.append(Entry(where, fields))


def _name(key: MasterKey) -> str | None:
    return _WRITTEN.get((key.algorithm, key.mac_length or 0))


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
                f"tcp-ao-keychain tcpao-{number} tcp-ao-send-id {keys[0].send_id}"
            )
    lost = not_carried(chain, "no such algorithm and MAC length there", lambda k: _name(k) is None)
    lost += not_carried(usable, "names are numbers there", lambda k: k.name is not None)
    lost += not_carried(
        usable,
        "remote prefixes",
        lambda k: k.remote is not None and single_address(k.remote) is None,
    )
    lost += not_carried(usable, "lifetimes", lambda k: bool(k.send_lifetime or k.accept_lifetime))
    lost += not_carried(
        usable,
        "local addresses, ports, VRF, NAT flags",
        lambda k: any((k.local, k.local_port, k.remote_port, k.vrf, k.local_nat, k.remote_nat)),
    )
    if usable:
        lost.append("the AS number 64513 is made up")
    return Written("\n".join(lines) + "\n", tuple(lost))


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
        if isinstance(key.remote_port, tuple) and key.remote_port[0] == key.remote_port[1]:
            transport.append(f"    remote-port = {key.remote_port[0]}")
        if transport:
            lines += ["  [neighbors.transport.config]", *transport]
        lines.append("")
    lost = not_carried(
        chain, "no neighbor's address, or the secret is not plain text", lambda k: k not in usable
    )
    lost += not_carried(usable, "names are addresses there", lambda k: k.name is not None)
    lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n".join(lines), tuple(lost))


FORMAT = Format("gobgp", "GoBGP (TOML, or its command lines)", _looks_like, read_gobgp, write_gobgp)
