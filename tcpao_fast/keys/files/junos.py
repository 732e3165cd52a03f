"""Junos: ``security authentication-key-chains`` with ``algorithm ao``, in braces or ``set`` lines.

A key's lifetime begins at its start-time and has no end. Options are left out of the MAC unless
``tcp-ao-option enabled`` is said. Chains get their neighbors from ``protocols bgp``; a neighbor's
``authentication-key`` is TCP-MD5. Secrets with $8$ or $9$ are encrypted.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text
from tcpao_fast.keys.files.braces import paths, statements
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
    text_secret,
)

_ALGORITHMS = {"hmac-sha-1-96": "hmac-sha-1-96", "aes-128-cmac-96": "aes-128-cmac-96"}
_ENCRYPTED = re.compile(r"\$[0-9]\$")


def _looks_like(text: str) -> bool:
    return bool(re.search(r"\bauthentication-key-chains?\b|\bao-attribute\b", text))


def _words(text: str) -> list[tuple[tuple[str, ...], int]]:
    """Statements of both forms, as `set` lines without their first word."""
    lines = text.splitlines()
    if any(line.lstrip().startswith("set ") for line in lines):
        return [
            (tuple(shlex.split(line, comments=True)[1:]), number)
            for number, line in enumerate(lines, 1)
            if line.lstrip().startswith("set ")
        ]
    return list(paths(statements(text)))


def _behind(words: Sequence[str], name: str) -> tuple[str, ...]:
    """The words behind the first that is `name`."""
    return tuple(words[words.index(name) + 1 :]) if name in words else ()


def read_junos(text: str) -> KeyFile:
    """The keys of a Junos configuration."""
    found = KeyFile()
    try:
        listed = _words(text)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    keys: dict[tuple[str, str], dict[str, Any]] = {}
    lines: dict[tuple[str, str], int] = {}
    users: dict[str, list[dict[str, Any]]] = defaultdict(list)
    groups: dict[tuple[str, ...], dict[str, Any]] = defaultdict(dict)
    for words, line in listed:
        if "bgp" in words or "neighbor" in words or "authentication-key-chain" in words:
            _read_bgp(words, groups)
            continue
        chain = _behind(words, "key-chain")
        if len(chain) == 3 and chain[1] == "tolerance" and chain[2].isdecimal():
            found.accept_tolerance = max(found.accept_tolerance, int(chain[2]))
        if len(chain) < 4 or chain[1] != "key":
            continue
        key = keys.setdefault((chain[0], chain[2]), {})
        lines.setdefault((chain[0], chain[2]), line)
        rest = [word for word in chain[3:] if word != "ao-attribute"]
        for name, value in zip(rest[::2], rest[1::2], strict=False):
            key[name] = value
    for place, settings in groups.items():
        if "chain" in settings and (len(place) > 1 or not _has_neighbors(place, groups)):
            users[settings["chain"]].append(_inherited(place, groups))
        if len(place) > 1 and "chain" not in settings:
            inherited = _inherited(place, groups)
            if "chain" in inherited:
                users[inherited["chain"]].append(inherited)
            elif "md5" in inherited:
                found.entries.append(_md5(inherited))
    for (chain_name, number), key in keys.items():
        if key.get("algorithm") != "ao":
            found.notes.append(f"key-chain {chain_name} key {number} is not for TCP-AO: left out")
            continue
        where = f"line {lines[chain_name, number]} (key-chain {chain_name} key {number})"
        peers = users.get(chain_name) or [{}]
        if peers == [{}]:
            found.notes.append(f"key-chain {chain_name}: no BGP neighbor names it: for any address")
        for peer in peers:
            _read_key(found, where, f"{chain_name} key {number}", key, peer, len(peers) > 1)
    return found


def _has_neighbors(place: tuple[str, ...], groups: dict[tuple[str, ...], Any]) -> bool:
    return any(len(other) > 1 and other[0] == place[0] for other in groups)


def _inherited(
    place: tuple[str, ...], groups: dict[tuple[str, ...], dict[str, Any]]
) -> dict[str, Any]:
    settings = {**groups.get(("",), {}), **groups.get(place[:1], {}), **groups.get(place, {})}
    if len(place) > 1:
        settings["neighbor"] = place[1]
    return settings


def _read_bgp(words: tuple[str, ...], groups: dict[tuple[str, ...], dict[str, Any]]) -> None:
    """What one statement says of a group's or a neighbor's keys and addresses."""
    group = _behind(words, "group")
    neighbor = _behind(words, "neighbor")
    place: tuple[str, ...] = (group[0] if group else "",)
    if neighbor:
        place = (*place, neighbor[0])
        groups[place]  # noted even where nothing else is said of it
    for name, kept in (
        ("authentication-key-chain", "chain"),
        ("authentication-key", "md5"),
        ("local-address", "local"),
    ):
        value = _behind(words, name)
        if value:
            groups[place][kept] = value[0]


def _md5(settings: dict[str, Any]) -> Entry:
    fields = {"algorithm": "tcp-md5", "remote": settings["neighbor"]}
    if "local" in settings:
        fields["local"] = settings["local"]
    encrypted = "$9$" if _ENCRYPTED.match(settings["md5"]) else None
    if not encrypted:
        fields["secret"] = settings["md5"].encode()
    fields["name"] = f"neighbor {settings['neighbor']}"
    return Entry(fields["name"], fields, encrypted)


def _read_key(
    found: KeyFile, where: str, name: str, key: dict[str, Any], peer: dict[str, Any], several: bool
) -> None:
    fields: dict[str, Any] = {
        "name": f"{name} for {peer['neighbor']}" if several and "neighbor" in peer else name,
        "exclude_options": key.get("tcp-ao-option", "disabled") != "enabled",
    }
    wanted = key.get("cryptographic-algorithm", "hmac-sha-1-96")
    if wanted not in _ALGORITHMS:
        found.problems.append(f"{where}: cryptographic-algorithm {wanted} is not TCP-AO's")
    fields["algorithm"] = _ALGORITHMS.get(wanted, "hmac-sha-1-96")
    for theirs, ours in (("send-id", "send_id"), ("recv-id", "recv_id")):
        if key.get(theirs, "").isdecimal():
            fields[ours] = int(key[theirs])
        else:
            found.problems.append(f"{where}: lacks {theirs}")
            fields[ours] = 0
    if "neighbor" in peer:
        fields["remote"] = peer["neighbor"]
    if "local" in peer:
        fields["local"] = peer["local"]
    if "start-time" in key:
        try:
            fields["send_lifetime"] = (_moment(key["start-time"]), None)
        except ValueError:
            found.problems.append(f"{where}: start-time is not YYYY-MM-DD.HH:MM[:SS] [+ZZZZ]")
    secret = key.get("secret")
    encrypted = None
    if secret is None:
        found.problems.append(f"{where}: lacks a secret")
        fields["secret"] = b"?"
    elif match := _ENCRYPTED.match(secret):
        encrypted = match[0]
    else:
        fields["secret"] = secret.encode()
    found.entries.append(Entry(where, fields, encrypted))


def _moment(text: str) -> datetime:
    match = re.fullmatch(
        r"(\d{4})-(\d{1,2})-(\d{1,2})\.(\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([+-]\d{4}))?", text
    )
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    moment = datetime(year, month, day, hour, minute, second, tzinfo=timezone.utc)
    if match[7]:
        zone = datetime.strptime(match[7], "%z").tzinfo
        moment = moment.replace(tzinfo=zone)
    return moment


def write_junos(chain: KeyChain) -> Written:
    """A chain as ``set`` lines; a key-chain for each remote side."""
    lines: list[str] = []
    usable = [key for key in chain if _fits(key)]
    names: dict[str, str] = {}
    counts: dict[str, int] = defaultdict(int)
    for key in usable:
        remote = "any" if key.remote is None else network_text(key.remote)
        name = names.setdefault(remote, f"tcpao-{len(names) + 1}")
        number = counts[remote]
        counts[remote] += 1
        start = key.send_lifetime[0] if key.send_lifetime else None
        start = start or datetime(2000, 1, 1, tzinfo=timezone.utc)
        start = start.astimezone(timezone.utc)
        begin = f"set security authentication-key-chains key-chain {name} key {number}"
        option = "disabled" if key.exclude_options else "enabled"
        lines += [
            f"{begin} secret {text_secret(key)}",
            f'{begin} start-time "{start:%Y-%m-%d.%H:%M:%S} +0000"',
            f"{begin} algorithm ao",
            f"{begin} ao-attribute send-id {key.send_id}",
            f"{begin} ao-attribute recv-id {key.recv_id}",
            f"{begin} ao-attribute cryptographic-algorithm {key.algorithm}",
            f"{begin} ao-attribute tcp-ao-option {option}",
        ]
    for remote, name in names.items():
        if remote != "any":
            begin = f"set protocols bgp group {name} neighbor {remote}"
            lines += [
                f"{begin} authentication-algorithm ao",
                f"{begin} authentication-key-chain {name}",
            ]
    if chain.accept_tolerance:
        lines += [
            f"set security authentication-key-chains key-chain {name} tolerance "
            f"{int(min(chain.accept_tolerance, 2**32 - 1))}"
            for name in names.values()
        ]
    lost = not_carried(
        chain, "Junos has no such key (algorithm, MAC length or secret)", lambda k: not _fits(k)
    )
    lost += not_carried(usable, "names are numbers there", lambda k: k.name is not None)
    lost += not_carried(
        usable,
        "ports, VRF and local addresses",
        lambda k: any((k.local, k.local_port, k.remote_port, k.vrf)),
    )
    lost += not_carried(
        usable,
        "ends of lifetimes, and accept lifetimes",
        lambda k: bool(k.accept_lifetime or (k.send_lifetime and k.send_lifetime[1])),
    )
    lost += not_carried(
        usable,
        "no lifetime is start-time 2000-01-01",
        lambda k: not (k.send_lifetime and k.send_lifetime[0]),
    )
    lost += not_carried(usable, "NAT flags", lambda k: k.local_nat or k.remote_nat)
    return Written("\n".join(lines) + "\n", tuple(lost))


def _fits(key: MasterKey) -> bool:
    return key.algorithm in _ALGORITHMS and key.mac_length == 12 and text_secret(key) is not None


FORMAT = Format(
    "junos", "Junos (security authentication-key-chains)", _looks_like, read_junos, write_junos
)
