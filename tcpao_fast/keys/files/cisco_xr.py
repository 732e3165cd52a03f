"""Cisco IOS XR: ``key chain`` and ``tcp ao`` sections, and the neighbors of ``router bgp``, of LDP
and of MSDP; also in one line each (``show running-config formal``).

The key chain has secrets, algorithms and lifetimes, ``tcp ao`` the IDs, and the neighbor says
whether the MAC covers options (it does not unless ``include-tcp-options enable`` is said). A
neighbor's ``password`` is TCP-MD5. Neighbors inherit from neighbor-groups, session-groups and
af-groups, unless ``inheritance-disable`` is said. Lifetimes go by the chain's ``timezone`` or the
``clock timezone`` that the configuration states, else by UTC.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text
from tcpao_fast.keys.files.chains import chain_section, note_zone, read_chain
from tcpao_fast.keys.files.entries import (
    LIFETIMES,
    PEERS,
    TOLERANCE,
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
    Secret,
    inherited,
    is_address,
    plain,
    refused,
    type_7,
    users,
)
from tcpao_fast.keys.files.sections import Line, lines_of, section
from tcpao_fast.keys.files.times import router_text, router_zone

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "HMAC-SHA1-96": ("hmac-sha-1-96", 12),
    "HMAC-SHA-1-96": ("hmac-sha-1-96", 12),
    "HMAC-SHA1-12": ("hmac-sha-1-96", 12),
    "HMAC-SHA1-20": ("hmac-sha-1-96", 20),
    "AES-128-CMAC-96": ("aes-128-cmac-96", 12),
    "HMAC-SHA-256": ("hmac(sha256)", 16),
}
_WRITTEN = {"hmac-sha-1-96": "HMAC-SHA1-96", "aes-128-cmac-96": "AES-128-CMAC-96"}
_PEER = "ao password keychain use remote-as local update-source description ebgp-multihop timers"
_INSIDE = tuple(
    section(kind, 2, _PEER) for kind in ("neighbor", "neighbor-group", "session-group", "af-group")
)
_SECTIONS = (
    chain_section(3),
    section("tcp ao", 2, "keychain key no", section("keychain", 2, "key")),
    section(
        "router bgp", 3, "bgp address-family nsr timers no", *_INSIDE,
        section("vrf", 2, "rd address-family no", *_INSIDE),
    ),
    section("mpls ldp", 2, "router-id interface neighbor", section("neighbor", 1, "password")),
    section("router msdp", 2, "originator-id", section("peer", 2, "password remote-as")),
    section("pce", 1, "address", section("peer ipv4", 3, "password tcp-ao")),
)  # fmt: skip


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?im)^\s*(?:\S*[#>]\s*)?tcp ao\b|\bSendID\b|^\s*ao \S+ include-tcp", text)
        or re.search(r"(?im)^\s*(neighbor-group|session-group|af-group) \S", text)
        or re.search(r"(?im)^!! IOS XR|^\s*password (clear|encrypted) \S", text)
    )


def _secret(text: str) -> Secret:
    """``[clear | encrypted | password | password6 | 6 | 7 | 0] SECRET``; a text alone is clear, or
    of type 7 as a running configuration shows it, which is not told apart.
    """
    kind, _, rest = text.partition(" ")
    rest = rest.strip()
    if not rest:
        return refused(text) or plain(text)
    kind = kind.lower()
    if kind in ("clear", "0"):
        return refused(rest) or plain(rest)
    if kind in ("password", "encrypted", "7"):
        return type_7(rest)
    if kind in ("password6", "6"):
        return Secret.unread("type 6", rest)
    return refused(text) or plain(text)


class _Bgp:
    """The neighbors and groups of one ``router bgp``."""

    def __init__(self) -> None:
        self.neighbors: dict[tuple[str | None, str], Peer] = {}
        self.groups: dict[str, Peer] = {}

    def read(self, lines: list[Line], vrf: str | None = None) -> None:
        for line in lines:
            if line.head == "neighbor" and len(line.words) > 1:
                fresh = Peer(line.words[1], line.number, vrf)
                _read_peer(self.neighbors.setdefault((vrf, line.words[1]), fresh), line)
            elif line.head in ("neighbor-group", "session-group", "af-group"):
                if len(line.words) > 1:
                    group = Peer(line.words[1], line.number)
                    _read_peer(self.groups.setdefault(line.words[1], group), line)
            elif line.head == "vrf" and len(line.words) > 1:
                self.read(line.inside, line.words[1])

    def resolved(self) -> list[Peer]:
        return [
            inherited(peer, self.groups)
            for peer in self.neighbors.values()
            if is_address(peer.name)
        ]


def _read_peer(peer: Peer, line: Line) -> None:
    for one in line.inside:
        words = one.lowered
        if words[0] == "use" and len(words) > 2:
            peer.inherits.append(one.words[2])
        elif words[0] == "ao" and len(words) > 1:
            if "inheritance-disable" in words:
                peer.settings["chain"] = None
            else:
                peer.settings["chain"] = one.words[1]
                peer.settings["include"] = "include-tcp-options" in words and "disable" not in words
        elif words[0] == "local" and len(words) == 3 and words[1] == "address":
            peer.settings["local"] = one.words[2]
        elif words[0] == "password" and len(words) > 1:
            disabled = words[1] == "inheritance-disable"
            peer.settings["password"] = None if disabled else _secret(one.behind(1))


def read_cisco_xr(text: str) -> KeyFile:
    """The keys of an IOS XR configuration."""
    found = KeyFile()
    zone = router_zone(text)
    keys: list[ChainKey] = []
    ids: dict[tuple[str, str], tuple[int, int]] = {}
    bgp = _Bgp()
    others: list[Peer] = []
    for line in lines_of(text, _SECTIONS):
        if line.begins("key", "chain") and len(line.words) > 2:
            keys += read_chain(line, found, zone, _secret)
            _read_tolerance(line, found)
        elif line.begins("tcp", "ao"):
            _read_ids(line, ids, found)
        elif line.begins("router", "bgp"):
            bgp.read(line.inside)
            others += _named(line, ("rpki", "server"), 2, "RPKI session")
        elif line.begins("mpls", "ldp") or line.begins("router", "msdp"):
            others += _of_other_protocol(line)
        elif line.head in ("pce", "segment-routing", "mpls"):
            others += _named(line, ("peer", "ipv4"), 2, "PCEP peer")
    peers = bgp.resolved()
    assembly = Assembly(found, Dialect(_ALGORITHMS, str.upper, covered=False))
    assembly.passwords([*peers, *others])
    used = users([*peers, *others])
    _add_keys(assembly, keys, ids, used)
    assembly.note_missing(used, (key.chain for key in keys))
    note_zone(keys, found, zone)
    assembly.finish()
    return found


def _read_tolerance(line: Line, found: KeyFile) -> None:
    for one in line.inside:
        if one.head == "accept-tolerance" and len(one.words) == 2:
            said = one.words[1]
            seconds = math.inf if said.lower() == "infinite" else 0
            seconds = int(said) if said.isdecimal() else seconds
            found.tolerances[line.words[2]] = seconds


def _read_ids(line: Line, ids: dict[tuple[str, str], tuple[int, int]], found: KeyFile) -> None:
    """``keychain NAME`` with ``key NUMBER SendID NUMBER ReceiveID NUMBER`` below ``tcp ao``."""
    for chain in line.inside:
        if chain.head != "keychain" or len(chain.words) < 2:
            continue
        for one in chain.inside:
            lowered = one.lowered
            if one.head != "key" or not {"sendid", "receiveid"} <= set(lowered):
                continue
            try:
                send_id, recv_id = (
                    int(one.words[lowered.index(name) + 1]) for name in ("sendid", "receiveid")
                )
                ids[chain.words[1], one.words[1]] = send_id, recv_id
            except (IndexError, ValueError):
                found.problems.append(
                    f"line {one.number}: must be key NUMBER SendID NUMBER ReceiveID NUMBER"
                )


def _add_keys(
    assembly: Assembly,
    keys: list[ChainKey],
    ids: Mapping[tuple[str, str], tuple[int, int]],
    used: Mapping[str, list[Peer]],
) -> None:
    """Each key that has IDs, for each neighbor that names its chain."""
    notes = assembly.found.notes
    for key in keys:
        pair = ids.get((key.chain, key.number))
        if pair is None:
            notes.append(
                f"key chain {key.chain} key {key.number} has no SendID and ReceiveID under tcp ao: "
                "left out"
            )
            continue
        key.send_id, key.recv_id = pair
        if key.chain not in used:
            notes.append(
                f"key chain {key.chain}: no neighbor names it (ao {key.chain}): for any address, "
                "and options left out of the MAC as IOS XR does"
            )
        if assembly.dialect.algorithms.get((key.algorithm or "").upper()) == ("hmac(sha256)", 16):
            notes.append(f"{key.where}: HMAC-SHA-256 is taken with RFC 5926's KDF")
        assembly.chain_key(key, used.get(key.chain, []))


def _named(line: Line, opener: tuple[str, ...], at: int, noun: str) -> list[Peer]:
    """Sessions that open a section with these words and their address: their ``password`` or
    ``tcp-ao``.
    """
    found = []
    for one in line.all():
        if not one.begins(*opener) or len(one.words) <= at or not is_address(one.words[at]):
            continue
        peer = Peer(one.words[at], one.number, noun=noun)
        for below in one.inside:
            words = below.lowered
            if words[0] == "password" and len(words) > 1:
                peer.settings["password"] = _secret(below.behind(1))
            elif words[0] == "tcp-ao" and len(words) > 1:
                peer.settings["chain"] = below.words[1]
                peer.settings["include"] = "include-tcp-options" in words
        found.append(peer)
    return found


def _of_other_protocol(line: Line) -> list[Peer]:
    """``neighbor A password S`` or ``neighbor`` with lines below it of ``mpls ldp``; ``peer A``
    with ``password S`` below it of ``router msdp``.
    """
    found = []
    ldp = line.begins("mpls", "ldp")
    noun = "LDP neighbor" if ldp else "MSDP peer"
    for one in line.all():
        words = one.lowered
        if ldp and "password" in words[:-1]:
            at = words.index("password")
            name = next((word for word in one.words[:at] if is_address(word.split(":")[0])), "")
            name, secret = name.split(":")[0], one.behind(at + 1)
        elif not ldp and words[0] == "peer" and len(words) > 1:
            below = next((b for b in one.inside if b.begins("password")), None)
            if below is None or len(below.words) < 2:
                continue
            name, secret = one.words[1], below.behind(1)
        else:
            continue
        if is_address(name):
            peer = Peer(name, one.number, None, {"password": _secret(secret)}, noun=noun)
            found.append(peer)
    return found


#: What the text has of keys.
_CARRIES = (
    LIFETIMES
    | PEERS
    | {
        "options left out of the MAC",
        "lifetimes without a start",
        TOLERANCE,
    }
)


def write_cisco_xr(chain: KeyChain) -> Written:
    """A chain as IOS XR configuration; a key chain for each remote side."""
    usable = [key for key in chain if _fits(key)]
    groups: dict[object, list[MasterKey]] = defaultdict(list)
    for key in usable:
        groups[key.remote].append(key)
    # a neighbor covers options, or leaves them out, with all its keys
    other = [
        key
        for keys in groups.values()
        for key in keys
        if key.exclude_options != keys[0].exclude_options
    ]
    usable = [key for key in usable if key not in other]
    chains: list[str] = []
    ids: list[str] = ["tcp ao"]
    peers: list[str] = ["router bgp 64512"]
    for number, (remote, listed) in enumerate(groups.items(), 1):
        keys = [key for key in listed if key not in other]
        excluded = keys[0].exclude_options
        name = f"tcpao-{number}"
        chains.append(f"key chain {name}")
        ids.append(f" keychain {name}")
        for place, key in enumerate(keys, 1):
            chains += [
                f" key {place}",
                f"  key-string clear {text_secret(key)}",
                f"  cryptographic-algorithm {_WRITTEN[key.algorithm]}",
            ]
            for word, lifetime in (("send", key.send_lifetime), ("accept", key.accept_lifetime)):
                start, end = lifetime or (None, None)
                begin = "00:00:00 january 01 1993" if start is None else router_text(start)
                until = "infinite" if end is None else router_text(end)
                chains.append(f"  {word}-lifetime {begin} {until}")
            chains.append(" !")
            ids.append(f"  key {place} SendID {key.send_id} ReceiveID {key.recv_id}")
        if chain.accept_tolerance:
            tolerance = chain.accept_tolerance
            chains.append(
                f" accept-tolerance {'infinite' if math.isinf(tolerance) else int(tolerance)}"
            )
        chains.append("!")
        ids.append(" !")
        if remote is not None:
            word = "disable" if excluded else "enable"
            peers += [
                f" neighbor {network_text(remote)}",
                f"  ao {name} include-tcp-options {word}",
                " !",
            ]
    lost = not_carried(
        chain, "IOS XR has no such key (algorithm, MAC length or secret)", lambda k: not _fits(k)
    )
    lost += not_carried(
        other, "options covered by one key and not by another of the same neighbor", lambda k: True
    )
    lost += not_carried(
        usable,
        "open lifetimes begin in 1993",
        lambda k: (
            not (
                k.send_lifetime
                and k.send_lifetime[0]
                and k.accept_lifetime
                and k.accept_lifetime[0]
            )
        ),
    )
    lost.append("the AS number 64512 is made up")
    return Written(
        "\n".join([*chains, *ids, "!", *peers, "!"]) + "\n", usable, _CARRIES, tuple(lost)
    )


def _fits(key: MasterKey) -> bool:
    return key.algorithm in _WRITTEN and key.mac_length == 12 and text_secret(key) is not None


FORMAT = Format(
    "cisco_xr", "Cisco IOS XR (key chain and tcp ao)", _looks_like, read_cisco_xr, write_cisco_xr
)
