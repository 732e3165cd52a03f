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
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    network_text,
    not_carried,
    router_lifetime,
    router_text,
    text_secret,
)

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


class _Reader:
    """Line by line; a line's meaning depends on the section that it stands in."""

    def __init__(self) -> None:
        self.found = KeyFile()
        self.keys: dict[tuple[str, str], dict[str, Any]] = {}
        self.ids: dict[tuple[str, str], tuple[int, int]] = {}
        self.users: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.groups: dict[str, dict[str, Any]] = {}
        self.section = ""
        self.chain = ""
        self.key: dict[str, Any] | None = None
        self.peer: dict[str, Any] | None = None

    def read(self, text: str) -> KeyFile:
        for number, raw in enumerate(text.splitlines(), 1):
            words = raw.split()
            if not words or words[0].startswith("!"):
                continue
            self._line(number, words, raw.strip())
        self._finish()
        return self.found

    def _line(self, number: int, words: list[str], line: str) -> None:
        head = words[0].lower()
        if [word.lower() for word in words[:2]] == ["key", "chain"] and len(words) > 2:
            self.section, self.chain, self.key = "chain", words[2], None
        elif [word.lower() for word in words[:2]] == ["tcp", "ao"]:
            self.section = "ao"
        elif [word.lower() for word in words[:2]] == ["router", "bgp"]:
            self.section, self.peer = "bgp", None
        elif self.section == "chain":
            self._in_chain(number, head, words, line)
        elif self.section == "ao":
            self._in_ao(number, head, words)
        elif self.section == "bgp":
            self._in_bgp(head, words)

    def _in_chain(self, number: int, head: str, words: list[str], line: str) -> None:
        if head == "key" and len(words) == 2:
            self.key = self.keys.setdefault((self.chain, words[1]), {"line": number})
        elif head == "accept-tolerance" and len(words) == 2:
            infinite = words[1].lower() == "infinite"
            self.found.accept_tolerance = max(
                self.found.accept_tolerance,
                math.inf if infinite else int(words[1]) if words[1].isdecimal() else 0,
            )
        elif self.key is None:
            return
        elif head == "key-string":
            kind = words[1].lower() if len(words) > 2 else ""
            if kind in ("password", "7"):
                self.key["encrypted"] = "type 7"
            elif kind in ("password6", "6", "encrypted"):
                self.key["encrypted"] = "type 6"
            else:
                after = line.split(None, 2 if kind == "clear" else 1)
                self.key["secret"] = after[-1].encode()
        elif head == "cryptographic-algorithm" and len(words) == 2:
            self.key["algorithm"] = words[1].upper()
        elif head in ("send-lifetime", "accept-lifetime"):
            try:
                self.key[head.replace("-", "_")] = router_lifetime(words[1:])
            except ValueError:
                self.found.problems.append(f"line {number}: {head} is not START END")

    def _in_ao(self, number: int, head: str, words: list[str]) -> None:
        lowered = [word.lower() for word in words]
        if head == "keychain" and len(words) > 1:
            self.chain = words[1]
        elif head == "key" and "sendid" in lowered and "receiveid" in lowered:
            try:
                ids = tuple(int(words[lowered.index(name) + 1]) for name in ("sendid", "receiveid"))
                self.ids[self.chain, words[1]] = (ids[0], ids[1])
            except (IndexError, ValueError):
                self.found.problems.append(
                    f"line {number}: must be key NUMBER SendID NUMBER ReceiveID NUMBER"
                )

    def _in_bgp(self, head: str, words: list[str]) -> None:
        if head == "neighbor" and len(words) == 2:
            self.peer = {"neighbor": words[1]}
        elif head in ("neighbor-group", "session-group") and len(words) == 2:
            self.peer = self.groups.setdefault(words[1], {})
        elif self.peer is None:
            return
        elif head == "use" and len(words) == 3:
            inherited = dict(self.groups.get(words[2], {}))
            for name, value in inherited.items():
                self.peer.setdefault(name, value)
            if "neighbor" in self.peer and "chain" in inherited:
                self.users[inherited["chain"]].append(self.peer)
        elif head == "ao" and len(words) > 1:
            self.peer["chain"] = words[1]
            lowered = [word.lower() for word in words]
            self.peer["include"] = "include-tcp-options" in lowered and "disable" not in lowered
            if "neighbor" in self.peer:
                self.users[words[1]].append(self.peer)
        elif head == "local" and len(words) == 3:
            self.peer["local"] = words[2]
        elif head == "password" and len(words) > 1 and "neighbor" in self.peer:
            fields: dict[str, Any] = {
                "algorithm": "tcp-md5", "remote": self.peer["neighbor"],
                "name": f"neighbor {self.peer['neighbor']}",
            }  # fmt: skip
            clear = len(words) == 2 or words[1].lower() == "clear"
            if clear:
                fields["secret"] = words[-1].encode()
            self.found.entries.append(
                Entry(fields["name"], fields, None if clear else f"type {words[1]}")
            )

    def _finish(self) -> None:
        for (chain, number), key in self.keys.items():
            where = f"line {key['line']} (key chain {chain} key {number})"
            if (chain, number) not in self.ids:
                self.found.notes.append(
                    f"key chain {chain} key {number} has no SendID and ReceiveID under tcp ao: "
                    "left out"
                )
                continue
            peers = self.users.get(chain) or [{}]
            if peers == [{}]:
                self.found.notes.append(
                    f"key chain {chain}: no neighbor names it (ao {chain}): for any address, and "
                    "options left out of the MAC as IOS XR does"
                )
            for peer in peers:
                self._add(
                    where,
                    f"{chain} key {number}",
                    key,
                    self.ids[chain, number],
                    peer,
                    len(peers) > 1,
                )
        if any("send_lifetime" in key or "accept_lifetime" in key for key in self.keys.values()):
            self.found.notes.append("lifetimes are taken as UTC")

    def _add(
        self,
        where: str,
        name: str,
        key: dict[str, Any],
        ids: tuple[int, int],
        peer: dict[str, Any],
        several: bool,
    ) -> None:
        algorithm, mac_length = _ALGORITHMS.get(key.get("algorithm", ""), (None, 12))
        if algorithm is None:
            self.found.problems.append(
                f"{where}: cryptographic-algorithm {key.get('algorithm', 'is missing')}: TCP-AO "
                f"has {', '.join(_ALGORITHMS)}"
            )
            return
        if algorithm == "hmac(sha256)":
            self.found.notes.append(f"{where}: HMAC-SHA-256 is taken with RFC 5926's KDF")
        fields: dict[str, Any] = {
            "name": f"{name} for {peer['neighbor']}" if several else name,
            "algorithm": algorithm, "mac_length": mac_length,
            "send_id": ids[0], "recv_id": ids[1],
            "exclude_options": not peer.get("include", False),
        }  # fmt: skip
        for theirs, ours in (("neighbor", "remote"), ("local", "local")):
            if theirs in peer:
                fields[ours] = peer[theirs]
        for name in ("secret", "send_lifetime", "accept_lifetime"):
            if name in key:
                fields[name] = key[name]
        if "secret" not in key and "encrypted" not in key:
            self.found.problems.append(f"{where}: lacks a key-string")
            return
        self.found.entries.append(Entry(where, fields, key.get("encrypted")))


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
