"""FRR: ``neighbor A password SECRET`` of ``router bgp`` (TCP-MD5), and ``key chain`` sections.

FRR's BGP has no TCP-AO; its key chains have one number a key and no IDs for both directions. They
are read with that number as both, for use with a peer that has TCP-AO.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import single_address
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
    text_secret,
    typed_secret,
)
from tcpao_fast.keys.files.sections import ChainKey, KeyChainReader, Line

_ALGORITHMS = {
    "hmac-sha-1": "hmac-sha-1-96",
    "hmac-sha-256": "hmac(sha256)",
    "hmac-sha-384": "hmac(sha384)",
    "hmac-sha-512": "hmac(sha512)",
}


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?m)^\s*(key chain \S+|neighbor \S+ password \S+)", text))


class _Reader(KeyChainReader):
    """Key chains, and the passwords of neighbors, wherever they stand."""

    openers: ClassVar[Mapping[tuple[str, ...], str]] = {
        ("key", "chain"): "open_chain",
        ("router",): "open_router",
        ("neighbor",): "on_neighbor",
    }
    comments = ("!", "#")

    def __init__(self) -> None:
        super().__init__()
        self.sources: dict[str, str] = {}
        self.passwords: list[tuple[int, str, str, str | None]] = []
        self.vrf: str | None = None

    def open_router(self, line: Line) -> None:
        """``router bgp NUMBER [vrf NAME]``."""
        self.section, self.key = "router", None
        words = line.words
        self.vrf = words[words.index("vrf") + 1] if "vrf" in words[:-1] else None

    def on_neighbor(self, line: Line) -> None:
        """``neighbor A password SECRET``, ``neighbor A update-source ADDRESS``."""
        words = line.words
        if len(words) > 3 and words[2] == "password":
            self.passwords.append((line.number, words[1], line.behind(3), self.vrf))
        elif len(words) > 3 and words[2] == "update-source":
            self.sources[words[1]] = words[3]

    def finish(self) -> None:
        """Passwords, then keys."""
        for number, neighbor, password, vrf in self.passwords:
            secret, encrypted = _secret(password)
            fields: dict[str, Any] = {
                "algorithm": "tcp-md5", "secret": secret, "name": f"neighbor {neighbor}",
            }  # fmt: skip
            if not re.search(r"[.:]", neighbor):
                self.found.notes.append(
                    f"line {number}: neighbor {neighbor} has no address: left out"
                )
                continue
            fields["remote"] = neighbor
            if re.search(r"[.:]", self.sources.get(neighbor, "")):
                fields["local"] = self.sources[neighbor]
            if vrf is not None:
                self.found.notes.append(f"line {number}: VRF {vrf} is not known by number: for any")
            where = f"line {number} (neighbor {neighbor})"
            self.found.entries.append(Entry(where, fields, encrypted))
        for key in self.keys.values():
            self._add(key)
        if self.keys:
            self.found.notes.append(
                "FRR's key chains have no SendID and RecvID: the key's number is taken for both"
            )

    def _add(self, key: ChainKey) -> None:
        if key.algorithm not in _ALGORITHMS:
            self.found.notes.append(
                f"{key.where}: cryptographic-algorithm {key.algorithm or 'is missing'} is not "
                "TCP-AO's: left out"
            )
            return
        if key.secret is None:
            self.found.problems.append(f"{key.where}: lacks key-string")
            return
        if not key.number.isdecimal() or int(key.number) > 255:
            self.found.notes.append(f"{key.where}: a KeyID is 0 to 255: left out")
            return
        secret, encrypted = _secret(key.secret)
        number = int(key.number)
        fields: dict[str, Any] = {
            "name": f"{key.chain} key {number}", "algorithm": _ALGORITHMS[key.algorithm],
            "secret": secret, "send_id": number, "recv_id": number, **key.lifetimes,
        }  # fmt: skip
        self.found.entries.append(Entry(key.where, fields, encrypted))


def read_frr(text: str) -> KeyFile:
    """The keys of an FRR configuration."""
    return _Reader().read(text)


def _secret(text: str) -> tuple[bytes, str | None]:
    """A secret, and how it is encrypted: the file may be of IOS, which has types before secrets."""
    return typed_secret(text) if re.fullmatch(r"\d \S+", text) else (text.encode(), None)


def _fits(key: MasterKey) -> bool:
    return (
        key.is_tcp_md5 and single_address(key.remote) is not None and text_secret(key) is not None
    )


def write_frr(chain: KeyChain) -> Written:
    """The TCP-MD5 keys of a chain as neighbors."""
    usable = [key for key in chain if _fits(key)]
    lines = ["router bgp 64512"]
    for key in usable:
        remote = single_address(key.remote)
        lines.append(f" neighbor {remote} remote-as 64513")
        lines.append(f" neighbor {remote} password {text_secret(key)}")
        if single_address(key.local):
            lines.append(f" neighbor {remote} update-source {single_address(key.local)}")
    lost = not_carried(chain, "FRR's BGP has TCP-MD5 alone", lambda k: not k.is_tcp_md5)
    lost += not_carried(
        chain, "no neighbor's address, or the secret is not plain text",
        lambda k: k.is_tcp_md5 and not _fits(k),
    )  # fmt: skip
    lost += not_carried(
        usable, "names, ports, VRF", lambda k: any((k.name, k.local_port, k.remote_port, k.vrf))
    )
    lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n".join([*lines, "!"]) + "\n", tuple(lost))


FORMAT = Format("frr", "FRR (neighbor passwords, key chains)", _looks_like, read_frr, write_frr)
