"""Arista EOS: ``session shared-secret profile`` with the secrets, and the neighbors of
``router bgp``.

A secret's number is SendID and RecvID, the neighbor says the algorithm, options are covered. A
neighbor's ``password`` is TCP-MD5. Types 7 and 8a are Arista's own, and not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone, tzinfo

from tcpao_fast.keys.files.entries import Format, KeyFile
from tcpao_fast.keys.files.neighbors import Neighbors
from tcpao_fast.keys.files.records import (
    Assembly,
    ChainKey,
    Dialect,
    Peer,
    Secret,
    plain,
    refused,
    unquoted,
    users,
)
from tcpao_fast.keys.files.sections import Line, lines_of, section
from tcpao_fast.keys.files.times import router_zone
from tcpao_fast.keys.lifetimes import Lifetime

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha1-96": ("hmac-sha-1-96", 12),
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
    "hmac-sha-256": ("hmac-sha256-128", 16),
    "hmac-sha-256-128": ("hmac-sha256-128", 16),
}
_INSIDE = "neighbor bgp no network redistribute maximum-paths router-id timers distance vlan rd"
_SECTIONS = (
    section(
        "management security", 2, "password ssl entropy",
        section("session shared-secret profile", 4, "secret no"),
    ),
    section(
        "router bgp", 3, _INSIDE,
        section("vrf", 2, _INSIDE, section("address-family", 2, _INSIDE)),
        *(section("address-family", size, _INSIDE) for size in (2, 3)),
    ),
)  # fmt: skip
_DATES = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M:%S")


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"(?im)^\s*(?:\S*[#>]\s*)?session shared-secret profile ", text)
        or re.search(r"(?im)^\s*neighbor \S+ (peer group|password (7 \S*[^0-9A-Fa-f\s]|8a ))", text)
        or re.search(r"(?im)^service routing protocols model ", text)
        or re.search(r"(?im)^! (device: .*EOS|Command: show running-config$)", text)
    )


def _secret(text: str) -> Secret:
    kind, _, rest = text.partition(" ")
    if rest and kind in ("0", "7", "8a"):
        if kind != "0":
            return Secret.unread(f"Arista's type {kind}")
        text = rest.strip()
    return refused(text) or plain(unquoted(text))


class _Neighbors(Neighbors):
    password = staticmethod(_secret)

    def say(self, peer: Peer, line: Line, text: str) -> None:
        words = text.lower().split()
        if words[:3] == ["password", "shared-secret", "profile"] and len(words) > 5:
            own = text.split()
            peer.settings |= {"chain": own[3], "algorithm": own[5], "password": None}
        else:
            super().say(peer, line, text)


def read_arista(text: str) -> KeyFile:
    """The keys of an EOS configuration."""
    found = KeyFile()
    zone = router_zone(text)
    keys: list[ChainKey] = []
    tables: list[Neighbors] = []
    for line in lines_of(text, _SECTIONS):
        if line.begins("management", "security"):
            for profile in line.inside:
                if profile.begins("session", "shared-secret", "profile"):
                    keys += _profile(profile, found, zone)
        elif line.begins("router", "bgp"):
            tables.append(_Neighbors())
            tables[-1].read(line.inside)
    peers = [peer for table in tables for peer in table.resolved()]
    assembly = Assembly(found, Dialect(_ALGORITHMS))
    assembly.passwords(peers)
    used = users(peers)
    for key in keys:
        listed = used.get(key.chain, [])
        if not listed:
            found.notes.append(
                f"{key.where}: no neighbor names the profile, so no algorithm is known: left out"
            )
        for algorithm in dict.fromkeys(peer.settings.get("algorithm") for peer in listed):
            of_it = [peer for peer in listed if peer.settings.get("algorithm") == algorithm]
            assembly.chain_key(replace(key, algorithm=algorithm), of_it)
    assembly.note_missing(used, (key.chain for key in keys), "the profile")
    assembly.finish()
    return found


def _profile(line: Line, found: KeyFile, zone: tzinfo | None) -> list[ChainKey]:
    """``secret NUMBER [TYPE] SECRET [receive-lifetime L] [transmit-lifetime L] [local-time]``;
    times are UTC without the last word.
    """
    keys = []
    for one in line.inside:
        words = one.words
        if one.head != "secret" or len(words) < 3:
            continue
        key = ChainKey(line.words[3], words[1], one.number, noun="profile")
        at = 4 if words[2] in ("0", "7", "8a") and len(words) > 3 else 3
        key.secret = _secret(" ".join(words[2:at]))
        if words[1].isdecimal():
            key.send_id = key.recv_id = int(words[1])
        rest = " ".join(words[at:])
        pieces = re.split(r"(receive-lifetime|transmit-lifetime|local-time)\s*", rest)
        is_local = "local-time" in pieces
        if is_local and zone is None:
            found.notes.append(f"{key.where}: local-time is taken as UTC")
        named = dict(zip(pieces[1::2], pieces[2::2], strict=False))
        for name, ours in (
            ("receive-lifetime", "accept_lifetime"), ("transmit-lifetime", "send_lifetime"),
        ):  # fmt: skip
            try:
                lifetime = _lifetime(
                    named.get(name, pieces[0]), (is_local and zone) or timezone.utc
                )
            except ValueError:
                found.problems.append(f"{key.where}: {name} is not infinite, or START END")
                continue
            if lifetime is not None:
                key.lifetimes[ours] = lifetime
        keys.append(key)
    return keys


def _lifetime(text: str, zone: tzinfo) -> Lifetime | None:
    words = text.split()
    if not words or words == ["infinite"]:
        return None
    start = _moment(" ".join(words[:2]), zone)
    return start, None if words[2:] in ([], ["infinite"]) else _moment(" ".join(words[2:4]), zone)


def _moment(text: str, zone: tzinfo) -> datetime:
    for form in _DATES:
        try:
            return datetime.strptime(text, form).replace(tzinfo=zone)
        except ValueError:
            continue
    raise ValueError(text)


FORMAT = Format("arista", "Arista EOS (shared-secret profiles)", _looks_like, read_arista)
