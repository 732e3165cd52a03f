"""The option of one packet at an endpoint: signed, verified, and what kept it from being signed."""

from __future__ import annotations

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.mac.mac import TrafficKeys
from tcpao_fast.endpoint.keyring import SocketKey, nat_of
from tcpao_fast.engine.verdicts import SignOutcome
from tcpao_fast.errors import InvalidArgumentError

RAW_IP = 101
NO_AUTH, TCP_AO, TCP_MD5 = 0, 1, 2  # ParsedSegment.auth


def signed_ao(
    segment: ParsedSegment,
    keys: TrafficKeys,
    entry: SocketKey,
    sne: int,
    key_id: int,
    rnext_key_id: int,
    make_room: bool,
) -> bytes:
    """The packet of a segment with its TCP-AO option, signed."""
    key = entry.key
    nat = nat_of(key, outbound=True)
    return _packet(
        *segment.sign(
            keys,
            key.mac_length or 0,
            key_id,
            rnext_key_id,
            sne,
            key.exclude_options,
            nat,
            make_room,
        )
    )


def signed_md5(segment: ParsedSegment, entry: SocketKey, make_room: bool) -> bytes:
    """The packet of a segment with its TCP-MD5 option, signed."""
    return _packet(*segment.sign(entry.md5_keys(), 16, make_room=make_room))


def is_good_ao(segment: ParsedSegment, keys: TrafficKeys, entry: SocketKey, sne: int) -> bool:
    """Whether the MAC of a segment that arrived is right."""
    return segment.verify(keys, sne, entry.key.exclude_options, entry.nat_in)


_WHY_NOT = {
    SignOutcome.no_option_space: "its TCP header has no room for the option",
    SignOutcome.already_signed: "it already has a TCP-AO or TCP-MD5 option",
    SignOutcome.malformed: "its TCP header is invalid, or an enclosing length is too short",
    SignOutcome.fragment: "it is an IP fragment",
    SignOutcome.too_long: "an enclosing length field would overflow",
    SignOutcome.ipsec: "an enclosing IPsec authentication header would become invalid",
    SignOutcome.too_many_headers: "it has enclosing headers that cannot be adjusted",
}


def _packet(outcome: int, packet: bytes | None) -> bytes:
    if packet is None:
        why = _WHY_NOT.get(SignOutcome(outcome), SignOutcome(outcome).name)
        raise InvalidArgumentError(f"packet cannot be signed: {why}")
    return packet
