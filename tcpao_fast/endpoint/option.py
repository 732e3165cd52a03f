"""The option of one packet: put in and signed, computed again, taken out."""

from __future__ import annotations

import numpy as np

from tcpao_fast.core.batch.one import OneSegment
from tcpao_fast.core.batch.sign import strip, with_mac, with_option
from tcpao_fast.core.mac.mac import TrafficKeys
from tcpao_fast.core.wire.records import Records
from tcpao_fast.endpoint.keyring import nat_of
from tcpao_fast.engine.verdicts import SignOutcome
from tcpao_fast.errors import InvalidArgumentError
from tcpao_fast.keys import MasterKey

RAW_IP = 101
NO_AUTH, TCP_AO, TCP_MD5 = 0, 1, 2  # OneSegment.auth
AO_KIND, MD5_KIND = 29, 19  # TCP option kinds


def signed_ao(
    packet: bytes, keys: TrafficKeys, key: MasterKey, sne: int, key_id: int, rnext_key_id: int
) -> bytes:
    """A packet with its TCP-AO option, signed."""
    grown = _grown(packet, AO_KIND, 4 + (key.mac_length or 0), key_id, rnext_key_id)
    mac = ao_mac(keys, key, OneSegment(bytes(grown), RAW_IP), sne, outbound=True)
    with_mac(grown, RAW_IP, mac)
    return bytes(grown)


def signed_md5(packet: bytes, key: MasterKey) -> bytes:
    """A packet with its TCP-MD5 option, signed."""
    grown = _grown(packet, MD5_KIND, 18, 0, 0)
    with_mac(grown, RAW_IP, md5_digest(key, OneSegment(bytes(grown), RAW_IP)))
    return bytes(grown)


_WHY_NOT = {
    SignOutcome.no_option_space: "its TCP header has no room for the option",
    SignOutcome.already_signed: "it has a TCP-AO or TCP-MD5 option already",
    SignOutcome.malformed: "its TCP header is broken, or a length around it does not hold it",
    SignOutcome.fragment: "it is an IP fragment",
    SignOutcome.too_long: "a length around it would become more than its field can say",
    SignOutcome.ipsec: "an IPsec authentication header around it would become wrong",
    SignOutcome.too_many_headers: "more headers are around it than are looked after",
}


def _grown(packet: bytes, kind: int, length: int, key_id: int, rnext_key_id: int) -> bytearray:
    outcome, grown = with_option(packet, RAW_IP, kind, length, key_id, rnext_key_id)
    if grown is None:
        why = _WHY_NOT.get(SignOutcome(outcome), SignOutcome(outcome).name)
        raise InvalidArgumentError(f"packet cannot be signed: {why}")
    return grown


def ao_mac(
    keys: TrafficKeys, key: MasterKey, segment: OneSegment, sne: int, *, outbound: bool
) -> bytes:
    """The MAC of a segment with a TCP-AO option, as long as the key has it."""
    text = segment.message(sne, key.exclude_options, nat_of(key, outbound=outbound))
    return keys.mac(0, text)[: key.mac_length]


def md5_digest(key: MasterKey, segment: OneSegment) -> bytes:
    """The digest of a segment with a TCP-MD5 option (RFC 2385)."""
    keys = TrafficKeys(key.algorithm, np.frombuffer(key.secret, np.uint8)[None, :])
    return keys.mac(0, segment.message())


def stripped(packet: bytes) -> bytes:
    """A packet without its TCP-AO or TCP-MD5 option, lengths and checksums right."""
    buffer, _, _, _ = strip(Records(packet, [0], [len(packet)], RAW_IP))
    return buffer.tobytes()
