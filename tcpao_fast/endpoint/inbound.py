"""What becomes of a segment that arrives: Linux's order of questions, for listener and connection.

The questions that take a MAC are the engine's to answer: a segment is parsed, its message
assembled, its traffic key derived and its MAC computed by the stages of `tcpao_fast.core`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from tcpao_fast.core.mac import TrafficKeys
from tcpao_fast.core.single import OneSegment
from tcpao_fast.counters import snmp_counters
from tcpao_fast.endpoint.calls import KeyedEndpoint
from tcpao_fast.endpoint.keyring import End, SocketKey
from tcpao_fast.endpoint.option import NO_AUTH, RAW_IP, TCP_AO, TCP_MD5, ao_mac, md5_digest
from tcpao_fast.endpoint.states import SYN, SYN_ACK, DropReason, Outcome, State
from tcpao_fast.errors import InvalidArgumentError, KeyExpiredError
from tcpao_fast.events import Event, Tracer, flag_letters
from tcpao_fast.keys import AddressAndPort, MasterKey, covers, moment_ns
from tcpao_fast.policy import Policy
from tcpao_fast.verdicts import Verdict

KIND_SEGMENT, KIND_CUT, KIND_MALFORMED = 1, 2, 3  # OneSegment.kind


@dataclass(slots=True)
class Stated:
    """ISNs and SNE that a segment is verified under."""

    isns: tuple[int, int]
    sne: int | None
    #: the traffic key is the connection's own, for segments without SYN
    is_other: bool = False


class Endpoint(KeyedEndpoint):
    """An endpoint that verifies: what listener and connection have in common.

    Parameters
    ----------
    local, policy, vrf, state
        As for `KeyedEndpoint`.
    snmp : dict of str to int, optional
        Counters to share with other endpoints (`snmp_counters`), as a network namespace does.
    trace : Tracer, optional
        Where events go.
    """

    def __init__(
        self,
        local: AddressAndPort,
        policy: Policy | None,
        vrf: int | None,
        state: State,
        snmp: dict[str, int] | None,
        trace: Tracer | None,
    ) -> None:
        super().__init__(local, policy, vrf, state)
        self.snmp = snmp_counters() if snmp is None else snmp
        self.trace = trace

    # -- the verdict on a segment -------------------------------------------------------------

    def _emit(self, name: str, segment: OneSegment, **fields: int | None) -> None:
        """An event about a segment; nothing where nobody asks."""
        if self.trace is None or not self.trace.wants(name):
            return
        given: dict[str, int | None] = {}
        if segment.auth == TCP_AO:
            given = {
                "key_id": segment.key_id,
                "rnext_key_id": segment.rnext_key_id,
                "mac_length": len(segment.mac) if segment.whole else None,
            }
        event = Event(
            name,
            ip_address(segment.source),
            segment.source_port,
            ip_address(segment.destination),
            segment.destination_port,
            vrf=self.vrf or segment.vrf,
            flags=flag_letters(segment.flags),
            state=self._state.value,
            **{**given, **fields},
        )
        self.trace.emit(event)

    def _inbound(
        self,
        segment: OneSegment,
        local: End,
        remote: End,
        vrf: int,
        now: datetime | None,
        stated: Stated,
        handshake: int | None,
    ) -> Outcome:
        """The verdict on a segment from `remote` to `local`, and everything that it counts.

        `handshake` is how the SYN of a handshake in progress was signed (`OneSegment.auth`).
        """
        if segment.kind not in (KIND_SEGMENT, KIND_CUT, KIND_MALFORMED):
            return Outcome(False, Verdict.not_tcp, DropReason.NOT_A_SEGMENT)
        auth = self._auth(segment)
        if auth is None:
            self._emit("tcp_hash_bad_header", segment)
            return Outcome(False, Verdict.malformed, DropReason.TCP_AUTH_HDR)
        if not segment.whole:
            return Outcome(False, Verdict.truncated, DropReason.NOT_A_SEGMENT)
        if handshake is not None and (auth == TCP_AO) != (handshake == TCP_AO):
            self.snmp["TCPAOBad"] += 1
            self._emit("tcp_ao_handshake_failure", segment)
            return Outcome(False, Verdict.bad_mac, DropReason.TCP_AOFAILURE)
        if auth == NO_AUTH:
            return self._inbound_unsigned(segment, local, remote, vrf)
        if auth == TCP_MD5:
            return self._inbound_md5(segment, local, remote, vrf)
        return self._inbound_ao(segment, local, remote, vrf, now, stated)

    def _auth(self, segment: OneSegment) -> int | None:
        """What a segment is signed with; None where its options are broken."""
        if segment.kind == KIND_MALFORMED:
            return None
        if segment.whole and segment.auth == TCP_AO:
            length = 4 + len(segment.mac)
            if length < self.policy.min_option_length:
                # Linux looks for options of 5 bytes: a shorter one at the very end is not seen
                at_end = segment.auth_offset + length == segment.header_length
                return NO_AUTH if at_end else None
        return segment.auth

    def _inbound_unsigned(self, segment: OneSegment, local: End, remote: End, vrf: int) -> Outcome:
        if (self._ao is not None and self._ao.ao_required) or (
            self._keys.has_ao and self._keys.matching(local, remote, vrf)
        ):
            self.snmp["TCPAORequired"] += 1
            if self._ao is not None:
                self._ao.counters.ao_required += 1
            self._emit("tcp_hash_ao_required", segment)
            return Outcome(False, Verdict.ao_required, DropReason.TCP_AONOTFOUND)
        if self._keys.has_md5 and self._keys.matching(local, remote, vrf, tcp_md5=True):
            self.snmp["TCPMD5NotFound"] += 1
            self._emit("tcp_hash_md5_required", segment)
            return Outcome(False, Verdict.unsigned, DropReason.TCP_MD5NOTFOUND)
        return Outcome(True, Verdict.unsigned)

    def _inbound_md5(self, segment: OneSegment, local: End, remote: End, vrf: int) -> Outcome:
        found = self._keys.matching(local, remote, vrf, tcp_md5=True)
        if not found:
            self.snmp["TCPMD5Unexpected"] += 1
            self._emit("tcp_hash_md5_unexpected", segment)
            return Outcome(False, Verdict.md5_unchecked, DropReason.TCP_MD5UNEXPECTED)
        entry = found[0]
        if not hmac.compare_digest(md5_digest(entry.key, segment), segment.mac):
            entry.bad += 1
            self.snmp["TCPMD5Failure"] += 1
            self._emit("tcp_hash_md5_mismatch", segment)
            return Outcome(False, Verdict.md5_bad, DropReason.TCP_MD5FAILURE, key=entry.key)
        entry.good += 1
        return Outcome(True, Verdict.md5_good, key=entry.key)

    def _inbound_ao(
        self,
        segment: OneSegment,
        local: End,
        remote: End,
        vrf: int,
        now: datetime | None,
        stated: Stated,
    ) -> Outcome:
        if self._ao is None:
            return self._not_found(segment, DropReason.TCP_AOUNEXPECTED, may_pass=True)
        if self._state is State.CLOSED:
            return Outcome(False, Verdict.missing_isn, DropReason.TCP_CLOSE)
        moment = None if now is None else moment_ns(now)
        for entry in self._keys.matching(local, remote, vrf, recv_id=segment.key_id):
            if moment is None or covers(entry.key.accept_lifetime, moment):
                break
        else:
            self._ao.counters.key_not_found += 1
            is_syn = segment.flags & SYN_ACK == SYN
            return self._not_found(segment, DropReason.TCP_AOKEYNOTFOUND, may_pass=is_syn)
        if self._is_listening and not segment.flags & SYN_ACK:
            return Outcome(False, Verdict.missing_isn, DropReason.TCP_FLAGS, key=entry.key)
        key = entry.key
        if len(segment.mac) != key.mac_length:
            return self._bad(segment, entry, "tcp_ao_wrong_maclen")
        if stated.sne is None or not self._is_good(entry, segment, local, remote, stated):
            return self._bad(segment, entry, "tcp_ao_mismatch")
        entry.good += 1
        self._ao.counters.good += 1
        self.snmp["TCPAOGood"] += 1
        return Outcome(True, Verdict.good, key=key)

    def _not_found(self, segment: OneSegment, reason: DropReason, *, may_pass: bool) -> Outcome:
        if may_pass and self.policy.pass_unmatched:
            return Outcome(
                True,
                Verdict.key_not_found,
                warning=f"no key for KeyID {segment.key_id}: passed unverified "
                "(RFC 5925 section 7.5)",
            )
        self.snmp["TCPAOKeyNotFound"] += 1
        self._emit("tcp_ao_key_not_found", segment)
        return Outcome(False, Verdict.key_not_found, reason)

    def _bad(self, segment: OneSegment, entry: SocketKey, event: str) -> Outcome:
        assert self._ao is not None
        entry.bad += 1
        self._ao.counters.bad += 1
        self.snmp["TCPAOBad"] += 1
        self._emit(event, segment)
        return Outcome(False, Verdict.bad_mac, DropReason.TCP_AOFAILURE, key=entry.key)

    def _is_good(
        self, entry: SocketKey, segment: OneSegment, local: End, remote: End, stated: Stated
    ) -> bool:
        keys = self._receive_keys(entry, local, remote, stated)
        mac = ao_mac(keys, entry.key, segment, stated.sne or 0, outbound=False)
        return hmac.compare_digest(mac, segment.mac)

    def _receive_keys(
        self, entry: SocketKey, local: End, remote: End, stated: Stated
    ) -> TrafficKeys:
        raise NotImplementedError

    # -- the way out --------------------------------------------------------------------------

    def _outgoing(self, packet: bytes) -> OneSegment:
        segment = OneSegment(packet, RAW_IP)
        if not segment.whole:
            raise InvalidArgumentError("packet is not a raw IP packet with a whole TCP segment")
        return segment

    def _check_lifetime(self, key: MasterKey, now: datetime | None) -> None:
        if now is not None and not covers(key.send_lifetime, moment_ns(now)):
            raise KeyExpiredError(f"key {key.label} may not be used to send at {now.isoformat()}")
