"""Cisco IOS XE and NX-OS: ``key chain NAME tcp`` with the IDs, and the neighbors of ``router bgp``.

Options are left out of the MAC unless ``include-tcp-options`` is said, for the key and, where a
neighbor names the chain, for the neighbor too. A neighbor's ``password`` is TCP-MD5. Lifetimes are
taken as UTC. Secrets with another type before them than 0 are encrypted.
"""

from __future__ import annotations

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
    typed_secret,
)

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


class _Reader:
    """Line by line; a line's meaning depends on the section that it stands in."""

    def __init__(self) -> None:
        self.found = KeyFile()
        self.keys: dict[tuple[str, str], dict[str, Any]] = {}
        # neighbors, peer groups and templates, by name: what is said of them
        self.peers: dict[str, dict[str, Any]] = defaultdict(dict)
        self.chain = ""
        self.key: dict[str, Any] | None = None
        self.peer: str | None = None
        self.in_bgp = False

    def read(self, text: str) -> KeyFile:
        for number, raw in enumerate(text.splitlines(), 1):
            words = raw.split()
            if words and not words[0].startswith("!"):
                self._line(number, words, raw.strip())
        self._finish()
        return self.found

    def _line(self, number: int, words: list[str], line: str) -> None:
        start = [word.lower() for word in words[:2]]
        if start == ["key", "chain"] and len(words) > 2:
            self.in_bgp, self.key = False, None
            self.chain = words[2] if [word.lower() for word in words[3:]] == ["tcp"] else ""
        elif start == ["router", "bgp"]:
            self.in_bgp, self.chain, self.peer = True, "", None
        elif self.chain:
            self._in_chain(number, words, line)
        elif self.in_bgp:
            self._in_bgp(words, line)

    def _in_chain(self, number: int, words: list[str], line: str) -> None:
        head = words[0].lower()
        if head == "key" and len(words) == 2:
            self.key = self.keys.setdefault((self.chain, words[1]), {"line": number})
        elif self.key is None:
            return
        elif head in ("send-id", "recv-id") and len(words) == 2:
            if words[1].isdecimal():
                self.key[head.replace("-", "_")] = int(words[1])
            else:
                self.found.problems.append(f"line {number}: {head} is not a number")
        elif head == "include-tcp-options":
            self.key["include"] = True
        elif head == "key-string" and len(words) > 1:
            self.key["secret"] = line.split(None, 1)[1]
        elif head == "cryptographic-algorithm" and len(words) == 2:
            self.key["algorithm"] = words[1].lower()
        elif head == "accept-ao-mismatch":
            self.found.notes.append(f"line {number}: {head} has no place in a key file")
        elif head in ("send-lifetime", "accept-lifetime"):
            try:
                self.key[head.replace("-", "_")] = router_lifetime(words[1:])
            except ValueError:
                self.found.problems.append(f"line {number}: {head} is not START END")

    def _in_bgp(self, words: list[str], line: str) -> None:
        """``neighbor A WORDS`` in one line (IOS XE), or words below ``neighbor A`` (NX-OS)."""
        if words[0].lower() == "neighbor" and len(words) > 2:
            peer, said = words[1], line.split(None, 2)[2]
            self.peer = peer if words[2].lower() == "remote-as" else None
        elif words[0].lower() == "neighbor" and len(words) == 2:
            self.peer = words[1]
            self.peers[words[1]]  # noted even where nothing else is said of it
            return
        elif words[0].lower() == "template" and len(words) == 3:
            self.peer = words[2]
            return
        elif self.peer is not None:
            peer, said = self.peer, line
        else:
            return
        rest = said.split()
        head = rest[0].lower()
        if head == "ao" and len(rest) > 1:
            self.peers[peer]["chain"] = rest[1]
            self.peers[peer]["include"] = "include-tcp-options" in said.lower()
        elif head == "password" and len(rest) > 1:
            self.peers[peer]["password"] = said.split(None, 1)[1]
        elif head == "peer-group" and len(rest) > 1:
            self.peers[peer]["from"] = rest[1]
        elif head == "inherit" and len(rest) > 2:
            self.peers[peer]["from"] = rest[2]

    def _finish(self) -> None:
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
        for (chain, number), key in self.keys.items():
            peers = users.get(chain) or [{}]
            if peers == [{}]:
                self.found.notes.append(
                    f"key chain {chain}: no neighbor names it (ao {chain}): for any address"
                )
            for peer in peers:
                self._add(chain, number, key, peer, len(peers) > 1)
        if any("send_lifetime" in key or "accept_lifetime" in key for key in self.keys.values()):
            self.found.notes.append("lifetimes are taken as UTC")

    def _add(
        self, chain: str, number: str, key: dict[str, Any], peer: dict[str, Any], several: bool
    ) -> None:
        where = f"line {key['line']} (key chain {chain} key {number})"
        needed = {
            "send_id": "send-id", "recv_id": "recv-id", "secret": "key-string",
            "algorithm": "cryptographic-algorithm",
        }  # fmt: skip
        missing = [said for name, said in needed.items() if name not in key]
        if missing:
            self.found.problems.append(f"{where}: lacks {', '.join(missing)}")
            return
        if key["algorithm"] not in _ALGORITHMS:
            self.found.problems.append(
                f"{where}: cryptographic-algorithm {key['algorithm']}: TCP-AO has "
                f"{', '.join(_ALGORITHMS)}"
            )
            return
        algorithm, mac_length = _ALGORITHMS[key["algorithm"]]
        if algorithm == "hmac(sha256)":
            self.found.notes.append(
                f"{where}: {key['algorithm']} is taken with RFC 5926's KDF and MACs of 16 bytes"
            )
        own = key.get("include", False)
        included = own and peer.get("include", True)
        if peer and own != peer["include"]:
            who = "the key" if own else f"neighbor {peer['neighbor']}"
            self.found.notes.append(
                f"{where}: include-tcp-options is said for {who} alone: options are taken as left "
                "out of the MAC"
            )
        secret, encrypted = typed_secret(key["secret"])
        name = f"{chain} key {number}"
        fields: dict[str, Any] = {
            "name": f"{name} for {peer['neighbor']}" if several else name,
            "algorithm": algorithm, "mac_length": mac_length, "secret": secret,
            "send_id": key["send_id"], "recv_id": key["recv_id"],
            "exclude_options": not included,
        }  # fmt: skip
        if peer:
            fields["remote"] = peer["neighbor"]
        for lifetime in ("send_lifetime", "accept_lifetime"):
            if lifetime in key:
                fields[lifetime] = key[lifetime]
        self.found.entries.append(Entry(where, fields, encrypted))


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
