"""BIRD 2.17 and 3: BGP protocols with ``authentication ao`` and ``keys``, or ``password`` (MD5).

BIRD covers options and has MACs of 12 bytes. ``preferred`` and ``deprecated`` choose the key to
send and have no place in a key file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text, single_address
from tcpao_fast.keys.files.braces import Statement, statements
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
)


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?m)^\s*(protocol|template)\s+bgp\b", text))


def read_bird(text: str) -> KeyFile:
    """The keys of a BIRD configuration."""
    found = KeyFile()
    try:
        blocks = statements(text)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    templates: dict[str, list[Statement]] = {}
    for block in blocks:
        if block.words[:2] not in (["protocol", "bgp"], ["template", "bgp"]):
            continue
        own = list(block.inside)
        if "from" in block.words[:-1]:
            own = templates.get(block.words[block.words.index("from") + 1], []) + own
        name = block.words[2] if len(block.words) > 2 and block.words[2] != "from" else ""
        if block.words[0] == "template":
            templates[name] = own
        else:
            _read_protocol(found, name or f"bgp of line {block.line}", block.line, own)
    return found


def _read_protocol(found: KeyFile, name: str, line: int, inside: list[Statement]) -> None:
    fields: dict[str, Any] = {}
    kind = ""
    password: str | None = None
    keys: list[Statement] = []
    for one in inside:
        words = one.words or [""]
        if words[0] in ("local", "neighbor"):
            side = "local" if words[0] == "local" else "remote"
            if len(words) > 1 and re.search(r"[.:]", words[1]):
                fields[side] = words[1].partition("%")[0]
            if "port" in words[:-1]:
                fields[f"{side}_port"] = _number(words[words.index("port") + 1])
            if words[:2] == ["neighbor", "range"]:
                fields[side] = words[2]
        elif words[:2] == ["source", "address"] and len(words) > 2:
            fields["local"] = words[2]
        elif words[0] == "authentication" and len(words) > 1:
            kind = words[1]
        elif words[0] == "password" and len(words) > 1:
            password = words[1]
        elif words[0] == "keys":
            keys = one.inside
    if kind in ("", "md5") and password is not None:
        secret = _bytes(password)
        fields |= {"algorithm": "tcp-md5", "secret": secret, "name": name}
        found.entries.append(Entry(f"line {line} (protocol {name})", fields))
    elif kind == "ao":
        for number, key in enumerate(keys, 1):
            _read_key(found, name, number, key, fields, len(keys))


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else -1


def _bytes(word: str) -> bytes:
    """A string, or BIRD's bytestring ``hex:00:ff``."""
    match = re.fullmatch(r"hex:((?:[0-9a-fA-F]{2}:?)+)", word)
    return bytes.fromhex(match[1].replace(":", "")) if match else word.encode()


def _read_key(
    found: KeyFile, name: str, number: int, key: Statement, common: dict[str, Any], of: int
) -> None:
    where = f"line {key.line} (protocol {name} key {number})"
    fields = {**common, "name": name if of == 1 else f"{name} key {number}"}
    for one in key.inside:
        words = one.words or [""]
        if words[0] == "id" and len(words) == 2:
            fields["send_id"] = fields["recv_id"] = _number(words[1])
        elif words[0] in ("send", "recv") and words[1:2] == ["id"] and len(words) == 3:
            fields[f"{words[0]}_id"] = _number(words[2])
        elif words[0] == "secret" and len(words) == 2:
            fields["secret"] = _bytes(words[1])
        elif words[0] == "algorithm" and len(words) > 1:
            fields["algorithm"] = (
                f"{words[1]}({words[2]})" if len(words) == 3 else " ".join(words[1:])
            )
        elif words[0] in ("preferred", "deprecated"):
            found.notes.append(f"{where}: {words[0]} has no place in a key file")
        else:
            found.problems.append(f"{where}: unknown {words[0]}")
    if fields.get("algorithm") == "cmac(aes128)":
        fields["algorithm"] = "aes-128-cmac-96"
    for needed in ("algorithm", "secret"):
        if needed not in fields:
            found.problems.append(f"{where}: lacks {needed}")
            return
    fields["mac_length"] = 12
    found.entries.append(Entry(where, fields))


_WRITTEN = {"hmac-sha-1-96": "hmac sha1", "aes-128-cmac-96": "cmac aes128"}


def _algorithm(key: MasterKey) -> str | None:
    match = re.fullmatch(r"hmac\((md5|sha224|sha256|sha384|sha512)\)", key.algorithm)
    return _WRITTEN.get(key.algorithm) or (f"hmac {match[1]}" if match else None)


def _secret(key: MasterKey) -> str:
    text = key.secret.decode("latin-1")
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return "hex:" + ":".join(f"{byte:02x}" for byte in key.secret)


def _fits(key: MasterKey) -> bool:
    if single_address(key.remote) is None:
        return False
    if key.is_tcp_md5:
        return _secret(key).startswith('"')
    return _algorithm(key) is not None and key.mac_length == 12 and not key.exclude_options


def write_bird(chain: KeyChain) -> Written:
    """A chain as BGP protocols; one for each pair of addresses."""
    usable = [key for key in chain if _fits(key)]
    groups: dict[tuple[object, object, object, bool], list[MasterKey]] = defaultdict(list)
    for key in usable:
        groups[key.local, key.remote, key.remote_port, key.is_tcp_md5].append(key)
    blocks = []
    for number, ((local, remote, ports, md5), keys) in enumerate(groups.items(), 1):
        source = single_address(local)
        here = f" {source}" if source else ""
        there = network_text(remote)
        if isinstance(ports, tuple) and ports[0] == ports[1]:
            there += f" port {ports[0]}"
        lines = [
            f"protocol bgp tcpao{number} {{",
            f"\tlocal{here} as 64512;",
            f"\tneighbor {there} as 64513;",
        ]
        if md5:
            lines += ["\tauthentication md5;", f"\tpassword {_secret(keys[0])};"]
        else:
            lines += ["\tauthentication ao;", "\tkeys {"]
            for key in keys:
                lines += [
                    "\t\tkey {",
                    f"\t\t\tsend id {key.send_id};",
                    f"\t\t\trecv id {key.recv_id};",
                    f"\t\t\tsecret {_secret(key)};",
                    f"\t\t\talgorithm {_algorithm(key)};",
                    "\t\t};",
                ]
            lines.append("\t};")
        blocks.append("\n".join([*lines, "}"]))
    lost = not_carried(
        chain,
        "BIRD has no such key (algorithm, a MAC of 12 bytes, options covered, one neighbor)",
        lambda k: not _fits(k),
    )
    lost += not_carried(usable, "names are numbers there", lambda k: k.name is not None)
    lost += not_carried(usable, "lifetimes", lambda k: bool(k.send_lifetime or k.accept_lifetime))
    lost += not_carried(
        usable,
        "local ports, port ranges, VRF, NAT flags",
        lambda k: bool(
            k.local_port
            or k.vrf is not None
            or k.local_nat
            or k.remote_nat
            or (isinstance(k.remote_port, tuple) and k.remote_port[0] != k.remote_port[1])
        ),
    )
    lost += not_carried(
        usable, "local prefixes", lambda k: k.local is not None and single_address(k.local) is None
    )
    if usable:
        lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n\n".join(blocks) + "\n", tuple(lost))


FORMAT = Format("bird", "BIRD (protocol bgp)", _looks_like, read_bird, write_bird)
