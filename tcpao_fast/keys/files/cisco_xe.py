"""Cisco IOS, IOS XE and NX-OS: ``key chain NAME tcp`` with the IDs, and the neighbors of
``router bgp``, of LDP and of MSDP.

Options are left out of the MAC unless ``include-tcp-options`` is said. Where a neighbor names the
chain, releases and documents differ in whose word counts: the key's, the neighbor's, or only both.
Where the two differ, both readings are carried, and MACs decide. A neighbor's ``password`` is
TCP-MD5. Lifetimes go by the ``clock timezone`` that the configuration states, else by UTC.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text
from tcpao_fast.keys.files.chains import chain_section, note_zone, read_chain
from tcpao_fast.keys.files.entries import (
    LIFETIMES,
    PEERS,
    Format,
    KeyFile,
    Written,
    not_carried,
    text_secret,
)
from tcpao_fast.keys.files.neighbors import Neighbors
from tcpao_fast.keys.files.records import (
    BOTH_READINGS,
    Assembly,
    ChainKey,
    Dialect,
    Peer,
    dashed,
    is_address,
    typed,
    users,
)
from tcpao_fast.keys.files.sections import Line, lines_of, section
from tcpao_fast.keys.files.times import router_text, router_zone

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha-1": ("hmac-sha-1-96", 12),
    "hmac-sha1": ("hmac-sha-1-96", 12),
    "aes-128-cmac": ("aes-128-cmac-96", 12),
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "hmac-sha1-96": ("hmac-sha-1-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
    "hmac-sha-256": ("hmac(sha256)", 16),
    "hmac-sha256": ("hmac(sha256)", 16),
}
_WRITTEN = {"hmac-sha-1-96": "hmac-sha-1", "aes-128-cmac-96": "aes-128-cmac"}
_SETTINGS = (
    "ao password inherit peer-group update-source remote-as description ebgp-multihop timers bfd "
    "local-as shutdown no"
)
_FAMILY = section("address-family", 2, "neighbor network redistribute no maximum-paths")
_BGP = section(
    "router bgp", 3,
    "bgp neighbor network redistribute no aggregate-address maximum-paths distance timers template "
    "exit-address-family exit-peer-session exit-peer-policy router-id log-neighbor-changes "
    f"{_SETTINGS}",
    section("template peer-session", 3, _SETTINGS), section("template peer-policy", 3),
    section("template peer", 3, _SETTINGS), section("neighbor", 2, _SETTINGS),
    *(section("address-family", size, "neighbor network no redistribute") for size in (2, 3, 4, 5)),
    section("vrf", 2, "neighbor bgp no address-family", section("neighbor", 2, _SETTINGS), _FAMILY),
)  # fmt: skip
_SECTIONS = (chain_section(4), chain_section(3), _BGP)


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?im)^\s*(?:\S*[#>]\s*)?key chain \S+ tcp\s*$", text)
        or re.search(r"(?im)^\s*neighbor \S+ ao \S+", text)
        or re.search(r"(?im)^\s*(mpls ldp neighbor|ip msdp( vrf \S+)? password) ", text)
        or re.search(r"(?im)^\s*(address-family ipv[46] vrf|template peer-(session|policy)) ", text)
        or re.search(r"(?im)^\s*neighbor \S+ password [07] \S|^line (con|vty) 0", text)
        # NX-OS
        or re.search(r"(?im)^\s*(inherit|template) peer \S|^\s+password 3 [0-9a-f]+\s*$", text)
        or re.search(r"(?im)^  +password 7 [0-9a-f]{4,}\s*$|^!Command: show running", text)
        or re.search(r"(?im)^(version 1\d\.\d|boot-start-marker|feature bgp)\b", text)
    )


class _Neighbors(Neighbors):
    def more(self, peer: Peer, line: Line, text: str) -> None:
        words = text.split()
        if words[0].lower() == "ao" and len(words) > 1:
            peer.settings["chain"] = words[1]
            peer.settings["include"] = "include-tcp-options" in text.lower()


class _Assembly(Assembly):
    def algorithm(self, where: str, name: str) -> tuple[str, int] | None:
        known = super().algorithm(where, name)
        if known is not None and known[0] == "hmac(sha256)":
            self.found.notes.append(
                f"{where}: {name.lower()} is taken with RFC 5926's KDF and MACs of 16 bytes"
            )
        return known

    def readings(self, key: ChainKey, peer: Peer | None) -> list[tuple[str | None, bool]]:
        own = bool(key.include)
        if peer is None or own == bool(peer.settings.get("include")):
            return [(None, own)]
        who = "the key" if own else peer.label
        self.found.notes.append(
            f"{key.where}: include-tcp-options is said for {who} alone: releases differ in what "
            "that means, so both readings are tried: options covered, and left out of the MAC"
        )
        return BOTH_READINGS


def read_cisco_xe(text: str) -> KeyFile:
    """The keys of an IOS, IOS XE or NX-OS configuration."""
    found = KeyFile()
    zone = router_zone(text)
    keys: list[ChainKey] = []
    tables: list[Neighbors] = []
    others: list[Peer] = []
    for line in lines_of(text, _SECTIONS):
        words = line.lowered
        if line.begins("key", "chain") and words[3:] == ("tcp",):
            keys += read_chain(line, found, zone)
        elif line.begins("router", "bgp"):
            tables.append(_Neighbors())
            tables[-1].read(line.inside)
        elif line.begins("mpls", "ldp", "neighbor") or line.begins("ip", "msdp"):
            others += _of_other_protocol(line)
    peers = [peer for table in tables for peer in table.resolved()]
    assembly = _Assembly(found, Dialect(_ALGORITHMS, dashed, covered=False))
    assembly.passwords([*peers, *others])
    used = users(peers)
    for chain in dict.fromkeys(key.chain for key in keys):
        if chain not in used:
            found.notes.append(
                f"key chain {chain}: no neighbor names it (ao {chain}): for any address"
            )
    for key in keys:
        assembly.chain_key(key, used.get(key.chain, []))
    assembly.note_missing(used, (key.chain for key in keys))
    note_zone(keys, found, zone)
    assembly.finish()
    return found


def _of_other_protocol(line: Line) -> list[Peer]:
    """``mpls ldp neighbor [vrf V] A password S``, ``ip msdp [vrf V] password peer A S``."""
    words = line.lowered
    vrf = line.words[words.index("vrf") + 1] if "vrf" in words[:-1] else None
    if "password" not in words[:-1]:
        return []
    at = words.index("password")
    if words[0] == "mpls":
        name, secret, noun = line.words[at - 1], line.behind(at + 1), "LDP neighbor"
    elif words[at + 1] == "peer" and len(words) > at + 3:
        name, secret, noun = line.words[at + 2], line.behind(at + 3), "MSDP peer"
    else:
        return []
    if not is_address(name):
        return []
    return [Peer(name, line.number, vrf, {"password": typed(secret)}, noun=noun)]


#: What the text has of keys.
_CARRIES = LIFETIMES | PEERS | {"options left out of the MAC"}


def write_cisco_xe(chain: KeyChain) -> Written:
    """A chain as IOS XE configuration; a key chain for each remote side."""
    usable = [key for key in chain if _fits(key)]
    groups: dict[object, list[MasterKey]] = defaultdict(list)
    for key in usable:
        groups[key.remote].append(key)
    chains: list[str] = []
    peers: list[str] = ["router bgp 64512"]
    for number, (remote, keys) in enumerate(groups.items(), 1):
        chains.append(f"key chain tcpao-{number} tcp")
        for place, key in enumerate(keys, 1):
            chains += [
                f" key {place}",
                f"  send-id {key.send_id}",
                f"  recv-id {key.recv_id}",
                *([] if key.exclude_options else ["  include-tcp-options"]),
                f"  cryptographic-algorithm {_WRITTEN[key.algorithm]}",
                f"  key-string 0 {text_secret(key)}",
            ]
            for word, lifetime in (("send", key.send_lifetime), ("accept", key.accept_lifetime)):
                if lifetime is not None:
                    start, end = lifetime
                    begin = "00:00:00 january 01 1993" if start is None else router_text(start)
                    until = "infinite" if end is None else router_text(end)
                    chains.append(f"  {word}-lifetime {begin} {until}")
        chains.append("!")
        if remote is not None:
            covered = any(not key.exclude_options for key in keys)
            include = " include-tcp-options" if covered else ""
            peers += [
                f" neighbor {network_text(remote)} remote-as 64513",
                f" neighbor {network_text(remote)} ao tcpao-{number}{include}",
            ]
    lost = not_carried(
        chain, "IOS XE has no such key (algorithm, MAC length or secret)", lambda k: not _fits(k)
    )
    mixed = [
        key
        for keys in groups.values()
        for key in keys
        if key.exclude_options and not all(other.exclude_options for other in keys)
    ]
    lost += not_carried(
        mixed,
        "options covered by another key of the neighbor: releases differ there",
        lambda k: True,
    )
    lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n".join([*chains, *peers, "!"]) + "\n", usable, _CARRIES, tuple(lost))


def _fits(key: MasterKey) -> bool:
    return key.algorithm in _WRITTEN and key.mac_length == 12 and text_secret(key) is not None


FORMAT = Format(
    "cisco_xe", "Cisco IOS XE, NX-OS (key chain tcp)", _looks_like, read_cisco_xe, write_cisco_xe
)
