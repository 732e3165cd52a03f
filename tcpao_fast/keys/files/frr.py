"""FRR: ``neighbor A password SECRET`` of ``router bgp`` (TCP-MD5), and ``key chain`` sections.

FRR's BGP has no TCP-AO; its key chains have one number a key and no IDs for both directions. They
are read with that number as both, for use with a peer that has TCP-AO.
"""

from __future__ import annotations

import re
from typing import Any

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.files.entries import (
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
    router_lifetime,
    single_address,
    text_secret,
    typed_secret,
)

_ALGORITHMS = {
    "hmac-sha-1": "hmac-sha-1-96",
    "hmac-sha-256": "hmac(sha256)",
    "hmac-sha-384": "hmac(sha384)",
    "hmac-sha-512": "hmac(sha512)",
}


def _looks_like(text: str) -> bool:
    return bool(re.search(r"(?m)^\s*(key chain \S+|neighbor \S+ password \S+)", text))


def read_frr(text: str) -> KeyFile:
    """The keys of an FRR configuration."""
    found = KeyFile()
    keys: dict[tuple[str, str], dict[str, Any]] = {}
    sources: dict[str, str] = {}
    passwords: list[tuple[int, str, str, str | None]] = []
    chain, key, vrf = "", None, None
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.split()
        if not words or words[0] in ("!", "#"):
            continue
        if words[:2] == ["key", "chain"] and len(words) == 3:
            chain, key = words[2], None
        elif words[0] == "router":
            chain, key = "", None
            vrf = words[words.index("vrf") + 1] if "vrf" in words[:-1] else None
        elif chain and words[0] == "key" and len(words) == 2:
            key = keys.setdefault((chain, words[1]), {"line": number})
        elif key is not None and words[0] == "key-string" and len(words) > 1:
            key["secret"] = raw.strip().split(None, 1)[1]
        elif key is not None and words[0] == "cryptographic-algorithm" and len(words) == 2:
            key["algorithm"] = words[1]
        elif key is not None and words[0] in ("send-lifetime", "accept-lifetime"):
            try:
                key[words[0].replace("-", "_")] = router_lifetime(words[1:])
            except ValueError:
                found.problems.append(f"line {number}: {words[0]} is not START END")
        elif words[0] == "neighbor" and len(words) > 3 and words[2] == "password":
            passwords.append((number, words[1], raw.strip().split(None, 3)[3], vrf))
        elif words[0] == "neighbor" and len(words) > 3 and words[2] == "update-source":
            sources[words[1]] = words[3]
    for line, neighbor, password, name in passwords:
        secret, encrypted = _secret(password)
        fields: dict[str, Any] = {
            "algorithm": "tcp-md5", "secret": secret, "name": f"neighbor {neighbor}",
        }  # fmt: skip
        if not re.search(r"[.:]", neighbor):
            found.notes.append(f"line {line}: neighbor {neighbor} has no address: left out")
            continue
        fields["remote"] = neighbor
        if re.search(r"[.:]", sources.get(neighbor, "")):
            fields["local"] = sources[neighbor]
        if name is not None:
            found.notes.append(f"line {line}: VRF {name} is not known by number: for any")
        found.entries.append(Entry(f"line {line} (neighbor {neighbor})", fields, encrypted))
    for (chain, number_), one in keys.items():
        _read_key(found, chain, number_, one)
    if keys:
        found.notes.append(
            "FRR's key chains have no SendID and RecvID: the key's number is taken for both"
        )
    return found


def _secret(text: str) -> tuple[bytes, str | None]:
    """A secret, and how it is encrypted: the file may be of IOS, which has types before secrets."""
    return typed_secret(text) if re.fullmatch(r"\d \S+", text) else (text.encode(), None)


def _read_key(found: KeyFile, chain: str, number: str, key: dict[str, Any]) -> None:
    where = f"line {key['line']} (key chain {chain} key {number})"
    algorithm = key.get("algorithm", "")
    if algorithm not in _ALGORITHMS:
        found.notes.append(
            f"{where}: cryptographic-algorithm {algorithm or 'is missing'} is not TCP-AO's: "
            "left out"
        )
        return
    if "secret" not in key:
        found.problems.append(f"{where}: lacks key-string")
        return
    if not number.isdecimal() or int(number) > 255:
        found.notes.append(f"{where}: a KeyID is 0 to 255: left out")
        return
    secret, encrypted = _secret(key["secret"])
    fields: dict[str, Any] = {
        "name": f"{chain} key {number}", "algorithm": _ALGORITHMS[algorithm],
        "secret": secret, "send_id": int(number), "recv_id": int(number),
    }  # fmt: skip
    for name in ("send_lifetime", "accept_lifetime"):
        if name in key:
            fields[name] = key[name]
    found.entries.append(Entry(where, fields, encrypted))


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
