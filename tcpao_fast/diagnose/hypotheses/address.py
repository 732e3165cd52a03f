"""Addresses and ports that were changed on the way (NAT)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import numpy as np

from tcpao_fast.diagnose.advice import dialect_of
from tcpao_fast.diagnose.cases import Case, Variant
from tcpao_fast.diagnose.packets import with_ends
from tcpao_fast.engine.candidates import WORDS, Statement, search_address, search_port
from tcpao_fast.errors import TcpAoError
from tcpao_fast.text import address_text, endpoint_text

_ADVICE = "TCP-AO covers addresses and ports: remove the NAT between the peers, or use a tunnel"
_ADVICE_NAT = " (or set {} on both sides, if both support RFC 6978)"
_ADVICE_MD5 = (
    "TCP-MD5 covers addresses and ports (RFC 2385): remove the NAT between the peers, or use a "
    "tunnel"
)
#: The 65,536 addresses of each of these are tried.
_PRIVATE = (bytes([192, 168]), bytes([10, 0]), bytes([172, 16]))
_RFC_1918 = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


def nat_extension(case: Case, statement: Statement) -> Iterator[Variant]:
    """RFC 6978: one side's MACs take an address and port as zero, the other's do not."""
    if statement.algorithm == "tcp-md5":
        return
    sides = {0: "neither side", 1: "their own side", 2: "the peer's side", 3: "both sides"}
    for nat, side in sides.items():
        if nat != statement.nat:
            yield Variant(
                statement.but(nat=nat),
                "rewritten_address",
                f"their MACs treat the address and port of {side} as zero (RFC 6978), but key "
                f"{case.key.label} says {sides[statement.nat]}",
                "set the same NAT flags on both sides: local_nat and remote_nat here",
            )


def rewritten_address(case: Case, statement: Statement) -> Iterator[Variant]:
    """The addresses and ports that the key file knows, in place of those that were captured."""
    segment = statement.segment
    sources = [segment.source, *_addresses(case, segment.source)]
    destinations = [segment.destination, *_addresses(case, segment.destination)]
    for source in sources:
        for destination in destinations:
            for source_port in _ports(case, segment.source_port):
                for destination_port in _ports(case, segment.destination_port):
                    ends = (source, source_port, destination, destination_port)
                    variant = _with_ends(case, statement, ends)
                    if variant is not None:
                        yield variant


def rewritten_port(case: Case, statement: Statement) -> Iterator[Variant]:
    """Every port of one side, with the addresses that the key file knows: a NAT that maps ports."""
    segment = statement.segment
    for side in ("source", "destination"):
        own = getattr(segment, side)
        for address in [own, *_addresses(case, own)][:5]:
            source, destination = segment.source, segment.destination
            if side == "source":
                source = address
            else:
                destination = address
            ports = (segment.source_port, segment.destination_port)
            moved = with_ends(segment, source, ports[0], destination, ports[1])
            if moved is None:
                continue
            try:
                there = statement.but(segment=moved)
                found = search_port(there, side, case.sample.segment.mac)
            except TcpAoError:
                continue
            for port in found:
                ports = (port, ports[1]) if side == "source" else (ports[0], port)
                variant = _with_ends(case, statement, (source, ports[0], destination, ports[1]))
                if variant is not None:
                    yield variant


def private_address(case: Case, statement: Statement) -> Iterator[Variant]:
    """Private addresses (RFC 1918) in place of a public one, those that are used most: a NAT whose
    inside the key file does not know.
    """
    segment = statement.segment
    if segment.version != 4:
        return
    for side in ("source", "destination"):
        own = IPv4Address(getattr(segment, side))
        if any(own in network for network in _RFC_1918):
            continue
        for network in _PRIVATE:
            addresses = np.empty((1 << 16, 4), np.uint8)
            addresses[:, :2] = list(network)
            addresses[:, 2:] = WORDS
            try:
                found = search_address(statement, side, addresses, case.sample.segment.mac)
            except TcpAoError:
                return
            for at in found:
                ends = [segment.source, segment.destination]
                ends[side == "destination"] = addresses[at].tobytes()
                variant = _with_ends(
                    case,
                    statement,
                    (ends[0], segment.source_port, ends[1], segment.destination_port),
                )
                if variant is not None:
                    yield variant


def swapped_addresses(case: Case, statement: Statement) -> Iterator[Variant]:
    """Both ends exchanged, as where a stack takes the wrong side for its own."""
    segment = statement.segment
    ends = (
        segment.destination,
        segment.destination_port,
        segment.source,
        segment.source_port,
    )
    packet = with_ends(segment, *ends)
    if packet is not None:
        yield Variant(
            statement.but(segment=packet),
            "rewritten_address",
            "their MACs were computed with source and destination swapped",
            "a bug on the signing side (Linux mistakes a received segment with checksum 0 for an "
            "outgoing one)",
        )


def _with_ends(
    case: Case, statement: Statement, ends: tuple[bytes, int, bytes, int]
) -> Variant | None:
    segment = statement.segment
    seen = (segment.source, segment.source_port, segment.destination, segment.destination_port)
    if ends == seen or ends[:2] == ends[2:]:
        return None
    packet = with_ends(segment, *ends)
    if packet is None:
        return None
    signed = " to ".join(
        endpoint_text(address_text(one), port) for one, port in (ends[:2], ends[2:])
    )
    return Variant(
        statement.but(segment=packet),
        "rewritten_address",
        f"they were signed as going from {signed}: an address or port was changed in transit",
        _ADVICE_MD5 if statement.algorithm == "tcp-md5" else _advice(case),
    )


def _advice(case: Case) -> str:
    flags = dialect_of(case.key).nat
    return _ADVICE + (_ADVICE_NAT.format(flags) if flags else "")


def _addresses(case: Case, like: bytes) -> list[bytes]:
    """Single addresses of the key file, of the same IP version, the statement's key first."""
    found: dict[bytes, None] = {}
    for key in (case.key, *case.keys):
        for network in (key.local, key.remote):
            if isinstance(network, (IPv4Network, IPv6Network)) and network.num_addresses == 1:
                packed = network.network_address.packed
                if len(packed) == len(like) and packed != like:
                    found[packed] = None
    return list(found)[:32]


def _ports(case: Case, own: int) -> list[int]:
    found = {own: None, 179: None} if own < 1024 else {own: None}
    for key in (case.key, *case.keys):
        for ports in (key.local_port, key.remote_port):
            if isinstance(ports, tuple) and ports[1] - ports[0] < 4:
                found.update(dict.fromkeys(range(ports[0], ports[1] + 1)))
    return list(found)[:8]
