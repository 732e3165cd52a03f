"""FRR: ``neighbor A password SECRET`` of ``router bgp`` (TCP-MD5), and ``key chain`` sections; also
LDP's and MSDP's passwords.

FRR's BGP has no TCP-AO; its key chains have one number a key and no IDs for both directions. They
are read with that number as both, for use with a peer that has TCP-AO, unless an OSPF, IS-IS, EIGRP
or RIP statement names the chain.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import single_address
from tcpao_fast.keys.files.chains import chain_section, note_zone, read_chain
from tcpao_fast.keys.files.entries import (
    Format,
    KeyFile,
    Written,
    not_carried,
    text_secret,
)
from tcpao_fast.keys.files.neighbors import Neighbors
from tcpao_fast.keys.files.records import (
    Assembly,
    ChainKey,
    Dialect,
    Peer,
    Secret,
    is_address,
    plain,
    refused,
    typed,
)
from tcpao_fast.keys.files.sections import Line, lines_of, section

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha-1": ("hmac-sha-1-96", 12),
    "hmac-sha-256": ("hmac(sha256)", 12),
    "hmac-sha-384": ("hmac(sha384)", 12),
    "hmac-sha-512": ("hmac(sha512)", 12),
}
_INSIDE = "neighbor bgp no network redistribute maximum-paths exit-address-family timers"
_SECTIONS = (
    chain_section(3),
    *(
        section(
            "router bgp", size, _INSIDE,
            *(section("address-family", words, _INSIDE) for words in (2, 3)),
        )
        for size in (3, 5, 7)
    ),
    section("mpls ldp", 2, "router-id neighbor address-family dual-stack"),
    section("router msdp", 2, "neighbor"),
)  # fmt: skip
#: Statements of other protocols that name a key chain.
_OTHER_USERS = re.compile(
    r"(?im)^\s*(?:ip(?:v6)? (?:ospf\d? authentication key-chain|rip authentication key-chain"
    r"|authentication key-chain eigrp \d+)|(?:isis|area-password) \S+ (?:.* )?key-chain"
    r"|ipv6 ospf6 authentication keychain|isis authentication key-chain"
    r"|ip authentication key-chain eigrp \d+|authentication key-chain) (\S+)"
)


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?m)^\s*(key chain \S+|neighbor \S+ password \S+)", text)
        or re.search(r"(?m)^frr (version|defaults) ", text)
    )


def _password(text: str) -> Secret:
    """FRR has no types of passwords; a file of IOS that looks like FRR's has."""
    if re.fullmatch(r"\d \S+", text):
        return typed(text)
    return refused(text) or plain(text)


class _Neighbors(Neighbors):
    password = staticmethod(_password)


def read_frr(text: str) -> KeyFile:
    """The keys of an FRR configuration."""
    found = KeyFile()
    keys: list[ChainKey] = []
    tables: list[Neighbors] = []
    others: list[Peer] = []
    for line in lines_of(text, _SECTIONS, ("!", "#")):
        if line.begins("key", "chain") and len(line.words) > 2:
            keys += read_chain(line, found, None, _password)
        elif line.begins("router", "bgp") or line.head == "neighbor":
            words = line.words
            vrf = words[words.index("vrf") + 1] if "vrf" in words[:-1] else None
            tables.append(_Neighbors())
            tables[-1].read(line.inside if line.head == "router" else [line], vrf)
        elif line.begins("mpls", "ldp") or line.begins("router", "msdp"):
            others += _of_other_protocol(line)
    peers = [peer for table in tables for peer in table.resolved()]
    assembly = Assembly(found, Dialect(_ALGORITHMS))
    assembly.passwords([*peers, *others])
    _note_unused(found, tables, peers)
    elsewhere = set(_OTHER_USERS.findall(text))
    for key in keys:
        _add(assembly, key, elsewhere)
    if keys and found.chains:
        found.notes.append(
            "FRR's key chains have no SendID and RecvID: the key's number is taken for both"
        )
    note_zone([key for key in keys if key.chain in found.chains], found, None)
    assembly.finish()
    return found


def _note_unused(found: KeyFile, tables: list[Neighbors], peers: list[Peer]) -> None:
    """Groups with a password that no neighbor has."""
    inherits = {name for table in tables for peer in table.peers.values() for name in peer.inherits}
    found.notes.extend(
        f"line {peer.line}: neighbor {peer.name} has no address: left out"
        for table in tables
        for peer in table.peers.values()
        if peer.settings.get("password") and not is_address(peer.name) and peer.name not in inherits
    )


def _add(assembly: Assembly, key: ChainKey, elsewhere: set[str]) -> None:
    notes = assembly.found.notes
    if key.chain in elsewhere:
        notes.append(f"{key.where}: the key chain is another protocol's: left out")
    elif (key.algorithm or "").lower() not in _ALGORITHMS:
        said = (
            f"cryptographic-algorithm {key.algorithm} is not TCP-AO's"
            if key.algorithm
            else "states no cryptographic-algorithm"
        )
        notes.append(f"{key.where}: {said}: left out")
    elif key.secret is None:
        assembly.found.problems.append(f"{key.where}: lacks key-string")
    elif not key.number.isdecimal() or int(key.number) > 255:
        notes.append(f"{key.where}: a KeyID is 0 to 255: left out")
    else:
        key.send_id = key.recv_id = int(key.number)
        assembly.chain_key(key, [])


def _of_other_protocol(line: Line) -> list[Peer]:
    """``neighbor A password S`` of LDP and MSDP."""
    noun = "LDP neighbor" if line.head == "mpls" else "MSDP peer"
    return [
        Peer(one.words[1], one.number, None, {"password": _password(one.behind(3))}, noun=noun)
        for one in line.all()
        if one.head == "neighbor" and len(one.words) > 3 and one.lowered[2] == "password"
        and is_address(one.words[1])
    ]  # fmt: skip


def _fits(key: MasterKey) -> bool:
    return (
        key.is_tcp_md5 and single_address(key.remote) is not None and text_secret(key) is not None
    )


#: What the text has of keys.
_CARRIES = frozenset({"addresses of peers", "local addresses"})


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
    lost.append("the AS numbers 64512 and 64513 are made up")
    return Written("\n".join([*lines, "!"]) + "\n", usable, _CARRIES, tuple(lost))


FORMAT = Format("frr", "FRR (neighbor passwords, key chains)", _looks_like, read_frr, write_frr)
