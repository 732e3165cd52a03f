"""Cisco IOS XE and NX-OS: ``key chain NAME tcp`` with the IDs, and the neighbors of ``router bgp``.

Options are left out of the MAC unless ``include-tcp-options`` is said, for the key and, where a
neighbor names the chain, for the neighbor too. A neighbor's ``password`` is TCP-MD5. Lifetimes are
taken as UTC. Secrets with another type before them than 0 are encrypted.
"""

from __future__ import annotations

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
    typed_secret,
)
from tcpao_fast.keys.files.sections import ChainKey, KeyChainReader, Line

_ALGORITHMS = {
    "hmac-sha-1": ("hmac-sha-1-96", 12),
    "hmac-sha1": ("hmac-sha-1-96", 12),
    "aes-128-cmac": ("aes-128-cmac-96", 12),
    "hmac-sha-256": ("hmac(sha256)", 16),
    "hmac-sha256": ("hmac(sha256)", 16),
}
_WRITTEN = {"hmac-sha-1-96": "hmac-sha-1", "aes-128-cmac-96": "aes-128-cmac"}


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?im)^\s*key chain \S+ tcp\s*$", text))


class _Reader(KeyChainReader):
    """Key chains with ``tcp`` behind their names, and what BGP says of neighbors, peer groups and
    templates.
    """

    openers: ClassVar[Mapping[tuple[str, ...], str]] = {
        ("key", "chain"): "open_chain",
        ("router", "bgp"): "open_bgp",
    }
    handlers: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "chain": {
            **KeyChainReader.handlers["chain"],
            "send-id": "on_id",
            "recv-id": "on_id",
            "include-tcp-options": "on_include",
            "accept-ao-mismatch": "on_mismatch",
        },
        "bgp": {"neighbor": "on_neighbor", "template": "on_template", "*": "on_below"},
    }

    def __init__(self) -> None:
        super().__init__()
        # neighbors, peer groups and templates, by name: what is said of them
        self.peers: dict[str, dict[str, Any]] = defaultdict(dict)
        self.peer: str | None = None

    def open_chain(self, line: Line) -> None:
        """``key chain NAME tcp``; those of other protocols have no ``tcp``."""
        if line.lowered[3:] == ("tcp",):
            super().open_chain(line)
        elif len(line.words) > 2:
            self.section = ""

    def open_bgp(self, line: Line) -> None:
        """``router bgp NUMBER``."""
        self.section, self.peer = "bgp", None

    def on_id(self, line: Line) -> None:
        """``send-id NUMBER``, ``recv-id NUMBER``."""
        if self.key is None or len(line.words) != 2:
            return
        if line.words[1].isdecimal():
            self.key.settings[line.head.replace("-", "_")] = int(line.words[1])
        else:
            self.found.problems.append(f"line {line.number}: {line.head} is not a number")

    def on_include(self, line: Line) -> None:
        """``include-tcp-options``."""
        if self.key is not None:
            self.key.settings["include"] = True

    def on_mismatch(self, line: Line) -> None:
        """``accept-ao-mismatch``."""
        if self.key is not None:
            self.found.notes.append(f"line {line.number}: {line.head} has no place in a key file")

    def on_neighbor(self, line: Line) -> None:
        """``neighbor A WORDS`` in one line (IOS XE), or words below ``neighbor A`` (NX-OS)."""
        if len(line.words) > 2:
            peer = line.words[1]
            self.peer = peer if line.lowered[2] == "remote-as" else None
            self._on_setting(peer, line.behind(2))
        elif len(line.words) == 2:
            self.peer = line.words[1]
            self.peers[self.peer]  # noted even where nothing else is said of it
        else:
            self.on_below(line)

    def on_template(self, line: Line) -> None:
        """``template peer NAME``."""
        if len(line.words) == 3:
            self.peer = line.words[2]
        else:
            self.on_below(line)

    def on_below(self, line: Line) -> None:
        """A line below ``neighbor A`` or ``template peer NAME``."""
        if self.peer is not None:
            self._on_setting(self.peer, line.text)

    def _on_setting(self, name: str, said: str) -> None:
        words = said.split()
        head = words[0].lower()
        if head == "ao" and len(words) > 1:
            self.peers[name]["chain"] = words[1]
            self.peers[name]["include"] = "include-tcp-options" in said.lower()
        elif head == "password" and len(words) > 1:
            self.peers[name]["password"] = said.split(None, 1)[1]
        elif head == "peer-group" and len(words) > 1:
            self.peers[name]["from"] = words[1]
        elif head == "inherit" and len(words) > 2:
            self.peers[name]["from"] = words[2]

    def finish(self) -> None:
        """Neighbors with a password, and each key for each neighbor that names its chain."""
        users: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for name, own in self.peers.items():
            if not re.search(r"[.:]", name):
                continue  # a group or a template
            peer = {**self.peers.get(own.get("from", ""), {}), **own, "neighbor": name}
            if "chain" in peer:
                users[peer["chain"]].append(peer)
            elif "password" in peer:
                secret, encrypted = typed_secret(peer["password"])
                fields = {"algorithm": "tcp-md5", "remote": name, "name": f"neighbor {name}"}
                self.found.entries.append(
                    Entry(f"neighbor {name}", {**fields, "secret": secret}, encrypted)
                )
        for key in self.keys.values():
            peers = users.get(key.chain) or [{}]
            if peers == [{}]:
                self.found.notes.append(
                    f"key chain {key.chain}: no neighbor names it (ao {key.chain}): for any address"
                )
            for peer in peers:
                self._add(key, peer, len(peers) > 1)
        self.note_time_zone()

    def _add(self, key: ChainKey, peer: dict[str, Any], several: bool) -> None:
        lacking = [
            said
            for said, value in (
                ("send-id", key.settings.get("send_id")),
                ("recv-id", key.settings.get("recv_id")),
                ("key-string", key.secret),
                ("cryptographic-algorithm", key.algorithm),
            )
            if value is None
        ]
        if lacking or key.secret is None or key.algorithm is None:
            self.found.problems.append(f"{key.where}: lacks {', '.join(lacking)}")
            return
        wanted = key.algorithm.lower()
        if wanted not in _ALGORITHMS:
            self.found.problems.append(
                f"{key.where}: cryptographic-algorithm {wanted}: TCP-AO has "
                f"{', '.join(_ALGORITHMS)}"
            )
            return
        algorithm, mac_length = _ALGORITHMS[wanted]
        if algorithm == "hmac(sha256)":
            self.found.notes.append(
                f"{key.where}: {wanted} is taken with RFC 5926's KDF and MACs of 16 bytes"
            )
        own = key.settings.get("include", False)
        included = own and peer.get("include", True)
        if peer and own != peer["include"]:
            who = "the key" if own else f"neighbor {peer['neighbor']}"
            self.found.notes.append(
                f"{key.where}: include-tcp-options is said for {who} alone: options are taken as "
                "left out of the MAC"
            )
        secret, encrypted = typed_secret(key.secret)
        name = f"{key.chain} key {key.number}"
        fields: dict[str, Any] = {
            "name": f"{name} for {peer['neighbor']}" if several else name,
            "algorithm": algorithm, "mac_length": mac_length, "secret": secret,
            "send_id": key.settings["send_id"], "recv_id": key.settings["recv_id"],
            "exclude_options": not included, **key.lifetimes,
        }  # fmt: skip
        if peer:
            fields["remote"] = peer["neighbor"]
        self.found.entries.append(Entry(key.where, fields, encrypted))


def read_cisco_xe(text: str) -> KeyFile:
    """The keys of an IOS XE or NX-OS configuration."""
    return _Reader().read(text)


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
    lost += not_carried(usable, "names are numbers there", lambda k: k.name is not None)
    lost += not_carried(
        usable,
        "ports, VRF, local addresses, NAT flags",
        lambda k: bool(
            k.local
            or k.local_port
            or k.remote_port
            or k.vrf is not None
            or k.local_nat
            or k.remote_nat
        ),
    )
    lost += not_carried(usable, "keys for any address need a neighbor", lambda k: k.remote is None)
    if chain.accept_tolerance:
        lost.append("accept_tolerance: widen accept-lifetime")
    lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n".join([*chains, *peers, "!"]) + "\n", tuple(lost))


def _fits(key: MasterKey) -> bool:
    return key.algorithm in _WRITTEN and key.mac_length == 12 and text_secret(key) is not None


FORMAT = Format(
    "cisco_xe", "Cisco IOS XE, NX-OS (key chain tcp)", _looks_like, read_cisco_xe, write_cisco_xe
)
