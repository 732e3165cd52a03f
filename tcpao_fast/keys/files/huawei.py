"""Huawei VRP: ``keychain`` with the secrets, ``tcp ao`` with the IDs, and the peers of ``bgp``, of
LDP and of MSDP.

Options are covered. ``cipher`` is not read. A peer's ``keychain`` without ``tcp-ao`` is the option
that came before TCP-AO, and left out; its ``password`` is TCP-MD5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone, tzinfo

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
    unquoted,
    users,
)
from tcpao_fast.keys.files.sections import Line, lines_of, section
from tcpao_fast.keys.files.times import router_zone
from tcpao_fast.keys.lifetimes import Lifetime

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha1-12": ("hmac-sha-1-96", 12),
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "hmac-sha1-20": ("hmac-sha-1-96", 20),
    "aes-128-cmac": ("aes-128-cmac-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
    "hmac-sha-256": ("hmac(sha256)", 16),
}
_PEERS = "peer group undo network import-route router-id graceful-restart timer"
_SECTIONS = (
    *(
        section(
            "keychain", size, "receive-tolerance tcp-kind tcp-algorithm-id",
            section("key-id", 2, "algorithm key-string send-time receive-time default"),
        )
        for size in (2, 4)
    ),
    section("tcp ao", 3, "binding", section("key-id", 2, "send-id receive-id")),
    section(
        "bgp", 2, _PEERS,
        *(section(kind, size, _PEERS) for kind in ("ipv4-family", "ipv6-family")
          for size in (2, 3)),
    ),
    section("mpls ldp", 2, "md5-password authentication"),
    *(section("msdp", size, "peer") for size in (1, 3)),
)  # fmt: skip


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?im)^\s*keychain \S+ mode ", text)
        or re.search(r"(?im)^\s*peer \S+ (password (cipher|simple)|tcp-ao policy|keychain) ", text)
        or re.search(r"(?im)^\s*md5-password (cipher|plain) ", text)
    )


def _secret(text: str) -> Secret:
    """``[cipher | plain | simple] SECRET``."""
    kind, _, rest = text.partition(" ")
    if kind.lower() == "cipher":
        return Secret.unread("cipher")
    if kind.lower() in ("plain", "simple") and rest:
        text = rest.strip()
    return refused(text) or plain(unquoted(text))


def read_huawei(text: str) -> KeyFile:
    """The keys of a VRP configuration."""
    found = KeyFile()
    zone = router_zone(text)
    keys: list[ChainKey] = []
    ids: dict[str, tuple[str, dict[str, tuple[int, int]]]] = {}
    peers: list[Peer] = []
    for line in lines_of(text, _SECTIONS, ("#", "!")):
        if line.head == "keychain" and len(line.words) > 1:
            keys += _keychain(line, found, zone)
        elif line.begins("tcp", "ao") and len(line.words) > 2:
            ids[line.words[2]] = _ids(line)
        elif line.head == "bgp":
            peers += _bgp(line)
        elif line.begins("mpls", "ldp") or line.head == "msdp":
            peers += _of_other_protocol(line)
    assembly = Assembly(found, Dialect(_ALGORITHMS, is_strict=False))
    assembly.passwords(peers)
    used = users(peers)
    for policy, (chain, numbers) in ids.items():
        for key in keys:
            if key.chain == chain and key.number in numbers:
                key.send_id, key.recv_id = numbers[key.number]
                if policy not in used:
                    found.notes.append(f"tcp ao {policy}: no peer names it: for any address")
                assembly.chain_key(key, used.get(policy, []))
    found.notes += [
        f"{peer.where}: keychain {peer.settings['keychain']} without tcp-ao is the option before "
        "TCP-AO: left out"
        for peer in peers
        if "keychain" in peer.settings and not peer.settings.get("chain")
    ]
    assembly.finish()
    return found


def _keychain(line: Line, found: KeyFile, zone: tzinfo | None) -> list[ChainKey]:
    keys = []
    for one in line.inside:
        if one.head == "receive-tolerance" and len(one.words) > 1 and one.words[1].isdecimal():
            found.tolerances[line.words[1]] = int(one.words[1]) * 60
        if one.head != "key-id" or len(one.words) < 2:
            continue
        key = ChainKey(line.words[1], one.words[1], one.number, noun="keychain")
        keys.append(key)
        for below in one.inside:
            if below.head == "algorithm" and len(below.words) > 1:
                key.algorithm = below.words[1]
            elif below.head == "key-string" and len(below.words) > 1:
                key.secret = _secret(below.behind(1))
            elif below.head in ("send-time", "receive-time"):
                ours = "send_lifetime" if below.head == "send-time" else "accept_lifetime"
                is_utc = "utc" in below.lowered
                if zone is None and not is_utc:
                    found.notes.append(f"line {below.number}: {below.head} is taken as UTC")
                try:
                    key.lifetimes[ours] = _lifetime(
                        below.words[1:], timezone.utc if is_utc or zone is None else zone
                    )
                except (ValueError, IndexError):
                    found.notes.append(f"line {below.number}: {below.head} is not read")
    return keys


def _lifetime(words: tuple[str, ...], zone: tzinfo) -> Lifetime:
    """``[utc] HH:MM YYYY-MM-DD to HH:MM YYYY-MM-DD``."""
    words = tuple(word for word in words if word.lower() not in ("utc", "lmt"))
    start, middle, end = words[:2], words[2], words[3:5]
    if middle.lower() != "to":
        raise ValueError(middle)
    return _moment(start, zone), _moment(end, zone)


def _moment(words: tuple[str, ...], zone: tzinfo) -> datetime:
    form = "%H:%M:%S" if words[0].count(":") == 2 else "%H:%M"
    moment = datetime.strptime(" ".join(words), f"{form} %Y-%m-%d")
    return moment.replace(tzinfo=zone)


def _ids(line: Line) -> tuple[str, dict[str, tuple[int, int]]]:
    """The keychain that a ``tcp ao`` is bound to, and the IDs that it gives its keys."""
    chain = ""
    numbers: dict[str, tuple[int, int]] = {}
    for one in line.inside:
        if one.begins("binding", "keychain") and len(one.words) > 2:
            chain = one.words[2]
        elif one.head == "key-id" and len(one.words) > 1:
            words = [word.lower() for below in (one, *one.inside) for word in below.words]
            pair = [
                int(words[words.index(name) + 1])
                for name in ("send-id", "receive-id")
                if name in words[:-1] and words[words.index(name) + 1].isdecimal()
            ]
            if len(pair) == 2:
                numbers[one.words[1]] = pair[0], pair[1]
    return chain, numbers


def _bgp(line: Line, vrf: str | None = None) -> list[Peer]:
    peers: dict[str, Peer] = {}
    found: list[Peer] = []
    for one in line.inside:
        words = one.lowered
        if one.head in ("ipv4-family", "ipv6-family"):
            inside = one.words[2] if "vpn-instance" in words[:-1] else None
            if inside is not None:
                found += _bgp(one, inside)
        elif one.head == "peer" and len(words) > 3:
            peer = peers.setdefault(one.words[1], Peer(one.words[1], one.number, vrf, noun="peer"))
            if words[2] == "password":
                peer.settings["password"] = _secret(one.behind(3))
            elif words[2] == "group":
                peer.inherits.append(one.words[3])
            elif words[2:4] == ("tcp-ao", "policy") and len(words) > 4:
                peer.settings["chain"] = one.words[4]
            elif words[2:4] == ("tcp-ao", "disable"):
                peer.settings["chain"] = None
            elif words[2] == "keychain":
                peer.settings["keychain"] = one.words[3]
            elif words[2] == "connect-interface" and is_address(one.words[-1]):
                peer.settings["local"] = one.words[-1]
    found += [inherited(peer, peers) for peer in peers.values() if is_address(peer.name)]
    return found


def _of_other_protocol(line: Line) -> list[Peer]:
    """``md5-password cipher|plain PEER SECRET`` and ``authentication tcp-ao peer PEER name NAME``
    of LDP; ``peer PEER password | tcp-ao`` of MSDP.
    """
    found = []
    noun = "MSDP peer" if line.head == "msdp" else "LDP peer"
    for one in line.inside:
        words, own = one.lowered, one.words
        peer = None
        if words[0] == "md5-password" and len(words) > 3 and is_address(own[2]):
            peer = Peer(own[2], one.number, noun=noun)
            peer.settings["password"] = _secret(f"{own[1]} {one.behind(3)}")
        elif words[:3] == ("authentication", "tcp-ao", "peer") and len(words) > 5:
            peer = Peer(own[3], one.number, None, {"chain": own[5]}, noun=noun)
        elif words[0] == "peer" and len(words) > 3 and words[2] == "password":
            peer = Peer(own[1], one.number, None, {"password": _secret(one.behind(3))}, noun=noun)
        elif words[0] == "peer" and len(words) > 3 and words[2] == "tcp-ao":
            peer = Peer(own[1], one.number, None, {"chain": own[3]}, noun=noun)
        if peer is not None and is_address(peer.name):
            found.append(peer)
    return found


FORMAT = Format("huawei", "Huawei VRP (keychain and tcp ao)", _looks_like, read_huawei)
