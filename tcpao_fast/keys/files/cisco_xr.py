"""Cisco IOS XR: ``key chain`` and ``tcp ao`` sections, and the neighbors of ``router bgp``.

The key chain has secrets, algorithms and lifetimes, ``tcp ao`` the IDs, and the neighbor says
whether the MAC covers options (it does not unless ``include-tcp-options enable`` is said). A
neighbor's ``password`` is TCP-MD5. Lifetimes are taken as UTC. Secrets behind ``password`` (type 7)
and ``password6`` are encrypted.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
    router_text,
    text_secret,
)
from tcpao_fast.keys.files.sections import ChainKey, KeyChainReader, Line

_ALGORITHMS = {
    "HMAC-SHA1-96": ("hmac-sha-1-96", 12),
    "HMAC-SHA1-12": ("hmac-sha-1-96", 12),
    "HMAC-SHA1-20": ("hmac-sha-1-96", 20),
    "AES-128-CMAC-96": ("aes-128-cmac-96", 12),
    "HMAC-SHA-256": ("hmac(sha256)", 16),
}
_WRITTEN = {"hmac-sha-1-96": "HMAC-SHA1-96", "aes-128-cmac-96": "AES-128-CMAC-96"}


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?im)^\s*tcp ao\b|\bSendID\b|^\s*ao \S+ include-tcp-options", text))


class _Reader(KeyChainReader):
    """Key chains, the IDs that ``tcp ao`` gives their keys, and the neighbors of BGP."""

    openers: ClassVar[Mapping[tuple[str, ...], str]] = {
        ("key", "chain"): "open_chain",
        ("tcp", "ao"): "open_ao",
        ("router", "bgp"): "open_bgp",
    }
    handlers: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "chain": {**KeyChainReader.handlers["chain"], "accept-tolerance": "on_tolerance"},
        "ao": {"keychain": "on_keychain", "key": "on_ids"},
        "bgp": {
            "neighbor": "on_neighbor",
            "neighbor-group": "on_group",
            "session-group": "on_group",
            "use": "on_use",
            "ao": "on_ao",
            "local": "on_local",
            "password": "on_password",
        },
    }

    def __init__(self) -> None:
        super().__init__()
        self.ids: dict[tuple[str, str], tuple[int, int]] = {}
        self.users: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.groups: dict[str, dict[str, Any]] = {}
        self.peer: dict[str, Any] | None = None

    def open_ao(self, line: Line) -> None:
        """``tcp ao``."""
        self.section = "ao"

    def open_bgp(self, line: Line) -> None:
        """``router bgp NUMBER``."""
        self.section, self.peer = "bgp", None

    def on_tolerance(self, line: Line) -> None:
        """``accept-tolerance SECONDS`` or ``infinite``."""
        if len(line.words) == 2:
            said = line.words[1]
            seconds = math.inf if said.lower() == "infinite" else 0
            seconds = int(said) if said.isdecimal() else seconds
            self.found.accept_tolerance = max(self.found.accept_tolerance, seconds)

    def on_key_string(self, line: Line) -> None:
        """``key-string [clear | password | password6] SECRET``."""
        if self.key is None:
            return
        kind = line.lowered[1] if len(line.words) > 2 else ""
        if kind in ("password", "7"):
            self.key.settings["encrypted"] = "type 7"
        elif kind in ("password6", "6", "encrypted"):
            self.key.settings["encrypted"] = "type 6"
        else:
            self.key.secret = line.text.split(None, 2 if kind == "clear" else 1)[-1]

    def on_keychain(self, line: Line) -> None:
        """``keychain NAME`` below ``tcp ao``."""
        if len(line.words) > 1:
            self.chain = line.words[1]

    def on_ids(self, line: Line) -> None:
        """``key NUMBER SendID NUMBER ReceiveID NUMBER``."""
        lowered = line.lowered
        if "sendid" not in lowered or "receiveid" not in lowered:
            return
        try:
            send_id, recv_id = (
                int(line.words[lowered.index(name) + 1]) for name in ("sendid", "receiveid")
            )
            self.ids[self.chain, line.words[1]] = send_id, recv_id
        except (IndexError, ValueError):
            self.found.problems.append(
                f"line {line.number}: must be key NUMBER SendID NUMBER ReceiveID NUMBER"
            )

    def on_neighbor(self, line: Line) -> None:
        """``neighbor ADDRESS``."""
        if len(line.words) == 2:
            self.peer = {"neighbor": line.words[1]}

    def on_group(self, line: Line) -> None:
        """``neighbor-group NAME``, ``session-group NAME``."""
        if len(line.words) == 2:
            self.peer = self.groups.setdefault(line.words[1], {})

    def on_use(self, line: Line) -> None:
        """``use neighbor-group NAME``."""
        if self.peer is None or len(line.words) != 3:
            return
        inherited = dict(self.groups.get(line.words[2], {}))
        for name, value in inherited.items():
            self.peer.setdefault(name, value)
        if "neighbor" in self.peer and "chain" in inherited:
            self.users[inherited["chain"]].append(self.peer)

    def on_ao(self, line: Line) -> None:
        """``ao CHAIN include-tcp-options enable``."""
        if self.peer is None or len(line.words) < 2:
            return
        self.peer["chain"] = line.words[1]
        lowered = line.lowered
        self.peer["include"] = "include-tcp-options" in lowered and "disable" not in lowered
        if "neighbor" in self.peer:
            self.users[line.words[1]].append(self.peer)

    def on_local(self, line: Line) -> None:
        """``local address ADDRESS``."""
        if self.peer is not None and len(line.words) == 3:
            self.peer["local"] = line.words[2]

    def on_password(self, line: Line) -> None:
        """``password [clear | encrypted] SECRET``."""
        if self.peer is None or len(line.words) < 2 or "neighbor" not in self.peer:
            return
        fields: dict[str, Any] = {
            "algorithm": "tcp-md5", "remote": self.peer["neighbor"],
            "name": f"neighbor {self.peer['neighbor']}",
        }  # fmt: skip
        clear = len(line.words) == 2 or line.lowered[1] == "clear"
        if clear:
            fields["secret"] = line.words[-1].encode()
        encrypted = None if clear else f"type {line.words[1]}"
        self.found.entries.append(Entry(fields["name"], fields, encrypted))

    def finish(self) -> None:
        """Each key that has IDs, for each neighbor that names its chain."""
        for key in self.keys.values():
            ids = self.ids.get((key.chain, key.number))
            if ids is None:
                self.found.notes.append(
                    f"key chain {key.chain} key {key.number} has no SendID and ReceiveID under "
                    "tcp ao: left out"
                )
                continue
            peers = self.users.get(key.chain) or [{}]
            if peers == [{}]:
                self.found.notes.append(
                    f"key chain {key.chain}: no neighbor names it (ao {key.chain}): for any "
                    "address, and options left out of the MAC as IOS XR does"
                )
            for peer in peers:
                self._add(key, ids, peer, len(peers) > 1)
        self.note_time_zone()

    def _add(
        self, key: ChainKey, ids: tuple[int, int], peer: dict[str, Any], several: bool
    ) -> None:
        wanted = (key.algorithm or "").upper()
        algorithm, mac_length = _ALGORITHMS.get(wanted, (None, 12))
        if algorithm is None:
            self.found.problems.append(
                f"{key.where}: cryptographic-algorithm {wanted or 'is missing'}: TCP-AO has "
                f"{', '.join(_ALGORITHMS)}"
            )
            return
        if algorithm == "hmac(sha256)":
            self.found.notes.append(f"{key.where}: HMAC-SHA-256 is taken with RFC 5926's KDF")
        name = f"{key.chain} key {key.number}"
        fields: dict[str, Any] = {
            "name": f"{name} for {peer['neighbor']}" if several else name,
            "algorithm": algorithm, "mac_length": mac_length,
            "send_id": ids[0], "recv_id": ids[1],
            "exclude_options": not peer.get("include", False), **key.lifetimes,
        }  # fmt: skip
        for theirs, ours in (("neighbor", "remote"), ("local", "local")):
            if theirs in peer:
                fields[ours] = peer[theirs]
        encrypted = key.settings.get("encrypted")
        if key.secret is not None:
            fields["secret"] = key.secret.encode()
        elif encrypted is None:
            self.found.problems.append(f"{key.where}: lacks a key-string")
            return
        self.found.entries.append(Entry(key.where, fields, encrypted))


def read_cisco_xr(text: str) -> KeyFile:
    """The keys of an IOS XR configuration."""
    return _Reader().read(text)


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
    lost += not_carried(usable, "names are numbers there", lambda k: k.name is not None)
    lost += not_carried(
        usable,
        "ports, VRF and local addresses",
        lambda k: any((k.local, k.local_port, k.remote_port, k.vrf)),
    )
    lost += not_carried(usable, "keys for any address need a neighbor", lambda k: k.remote is None)
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
    lost += not_carried(usable, "NAT flags", lambda k: k.local_nat or k.remote_nat)
    lost.append("the AS number 64512 is made up")
    return Written("\n".join([*chains, *ids, "!", *peers, "!"]) + "\n", tuple(lost))


def _fits(key: MasterKey) -> bool:
    return key.algorithm in _WRITTEN and key.mac_length == 12 and text_secret(key) is not None


FORMAT = Format(
    "cisco_xr", "Cisco IOS XR (key chain and tcp ao)", _looks_like, read_cisco_xr, write_cisco_xr
)
