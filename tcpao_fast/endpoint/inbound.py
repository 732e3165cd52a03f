"""What becomes of a segment that arrives: Linux's order of questions, for listener and connection.

The questions that take a MAC are the engine's to answer: a segment is parsed, its message
assembled, its traffic key derived and its MAC computed by the stages of `tcpao_fast.core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from ipaddress import ip_address
from typing import NamedTuple

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.mac.mac import TrafficKeys
from tcpao_fast.endpoint.calls import KeyedEndpoint
from tcpao_fast.endpoint.keyring import End, SocketKey, traffic_keys
from tcpao_fast.endpoint.option import NO_AUTH, RAW_IP, TCP_AO, TCP_MD5, is_good_ao
from tcpao_fast.endpoint.uapi import SYN, SYN_ACK, DropReason, Outcome, State
from tcpao_fast.engine.counters import snmp_counters
from tcpao_fast.engine.events import Event, Tracer, flag_letters
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.errors import InvalidArgumentError, KeyExpiredError
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.addresses import AddressAndPort
from tcpao_fast.keys.lifetimes import covers, moment_ns

#: TCP-MD5 keys of one peer that a segment is tried under, as in the engine.
MOST_MD5_KEYS = 16

KIND_SEGMENT, KIND_CUT, KIND_MALFORMED = 1, 2, 3  # ParsedSegment.kind

# in the way of every packet: a member that is looked up by name costs 80 ns
_CLOSED, _GOOD = State.CLOSED, Verdict.good


class Arrival(NamedTuple):
    """A segment from `remote` to `local`, and what its endpoint says of it.

    `isns` (the sender's, the receiver's) and `sne` are what it is verified under; an SNE of None
    says that there is no such position.  `is_other`: the traffic key is the connection's own, for
    segments without SYN.  `handshake` is what the SYN of a handshake in progress had
    (`ParsedSegment.auth`).
    """

    segment: ParsedSegment
    local: End
    remote: End
    vrf: int
    now: datetime | None
    isns: tuple[int, int]
    sne: int | None
    is_other: bool = False
    handshake: int | None = None


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

    def _emit(self, name: str, segment: ParsedSegment, vrf: int, **fields: int | None) -> None:
        """An event about a segment; nothing where nobody asks."""
        if self.trace is None or not self.trace.wants(name):
            return
        if segment.auth == TCP_AO:
            option = {"key_id": segment.key_id, "rnext_key_id": segment.rnext_key_id}
            mac_length = len(segment.mac) if segment.whole else None
            fields = {**option, "mac_length": mac_length, **fields}
        self.trace.emit(
            Event(
                name,
                ip_address(segment.source),
                segment.source_port,
                ip_address(segment.destination),
                segment.destination_port,
                vrf=vrf,
                flags=flag_letters(segment.flags),
                state=self._state.value,
                **fields,
            )
        )

    def _inbound(self, arrival: Arrival) -> Outcome:
        """The verdict on a segment, and everything that it counts.  One that is good with TCP-AO
        comes with its packet; the others get theirs by `_passed`.
        """
        segment = arrival.segment
        if segment.kind not in (KIND_SEGMENT, KIND_CUT, KIND_MALFORMED):
            return Outcome(False, Verdict.not_tcp, DropReason.NOT_A_SEGMENT)
        auth = self._auth(segment)
        if auth is None:
            self._emit("tcp_hash_bad_header", segment, arrival.vrf)
            return Outcome(False, Verdict.malformed, DropReason.TCP_AUTH_HDR)
        if not segment.whole:
            return Outcome(False, Verdict.truncated, DropReason.NOT_A_SEGMENT)
        if arrival.handshake is not None and (auth == TCP_AO) != (arrival.handshake == TCP_AO):
            return self._drop(
                arrival,
                "TCPAOBad",
                "tcp_ao_handshake_failure",
                Verdict.bad_mac,
                DropReason.TCP_AOFAILURE,
            )
        if auth == NO_AUTH:
            return self._inbound_unsigned(arrival)
        return self._inbound_md5(arrival) if auth == TCP_MD5 else self._inbound_ao(arrival)

    def _passed(self, outcome: Outcome, segment: ParsedSegment, packet: bytes) -> Outcome:
        """The outcome of an accepted segment with the packet that TCP gets to see."""
        if outcome.packet is not None:
            return outcome
        return outcome.with_packet(segment.strip() if segment.auth else packet)

    def _auth(self, segment: ParsedSegment) -> int | None:
        """What a segment is signed with; None where its options are broken."""
        if segment.kind == KIND_MALFORMED:
            return None
        is_ao = segment.whole and segment.auth == TCP_AO
        if is_ao and segment.auth_length < self.policy.min_option_length:
            return None
        return segment.auth

    def _parsed(self, packet: bytes) -> ParsedSegment:
        """A packet that arrived, as the policy's stack sees its options: Linux stops looking where
        fewer bytes are left than its shortest TCP-AO option has (``tcp_parse_auth_options``).
        """
        least = self.policy.min_option_length
        return ParsedSegment(packet, RAW_IP, least if least > 4 else 1)

    def _drop(
        self,
        arrival: Arrival,
        counter: str,
        event: str,
        verdict: Verdict,
        reason: DropReason,
        entry: SocketKey | None = None,
    ) -> Outcome:
        """Count a segment, tell whoever traces, and drop it."""
        self.snmp[counter] += 1
        self._emit(event, arrival.segment, arrival.vrf)
        return Outcome(False, verdict, reason, key=None if entry is None else entry.key)

    def _matching(
        self, arrival: Arrival, recv_id: int | None = None, tcp_md5: bool = False
    ) -> Sequence[SocketKey]:
        found = self._keys.matching(
            arrival.local, arrival.remote, arrival.vrf, None, recv_id, tcp_md5
        )
        own = self._local[0]
        if (
            own.version != arrival.remote[0].version
            and self.policy.any_is_own_family and own.is_unspecified
        ):  # fmt: skip
            found = [entry for entry in found if entry.key.remote is not None]
        return found

    def _inbound_unsigned(self, arrival: Arrival) -> Outcome:
        required = self._ao is not None and self._ao.ao_required
        if required or (self._keys.has_ao and self._matching(arrival)):
            assert self._ao is not None
            self._ao.counters.ao_required += 1
            return self._drop(
                arrival,
                "TCPAORequired",
                "tcp_hash_ao_required",
                Verdict.ao_required,
                DropReason.TCP_AONOTFOUND,
            )
        return self._md5_missing(arrival) or Outcome(True, Verdict.unsigned)

    def _md5_missing(self, arrival: Arrival) -> Outcome | None:
        """The end of a segment without TCP-MD5 where there is a key for it."""
        if not self._keys.has_md5 or not self._matching(arrival, tcp_md5=True):
            return None
        return self._drop(
            arrival,
            "TCPMD5NotFound",
            "tcp_hash_md5_required",
            Verdict.md5_required,
            DropReason.TCP_MD5NOTFOUND,
        )

    def _inbound_md5(self, arrival: Arrival) -> Outcome:
        found = self._matching(arrival, tcp_md5=True)
        if not found:
            return self._drop(
                arrival,
                "TCPMD5Unexpected",
                "tcp_hash_md5_unexpected",
                Verdict.md5_unchecked,
                DropReason.TCP_MD5UNEXPECTED,
            )
        entry = self._verifying_md5(arrival, found)
        if entry is None:
            entry = found[0]
            entry.bad += 1
            return self._drop(
                arrival,
                "TCPMD5Failure",
                "tcp_hash_md5_mismatch",
                Verdict.md5_bad,
                DropReason.TCP_MD5FAILURE,
                entry,
            )
        entry.good += 1
        return Outcome(True, Verdict.md5_good, key=entry.key)

    def _verifying_md5(self, arrival: Arrival, found: Sequence[SocketKey]) -> SocketKey | None:
        """The TCP-MD5 key that gives a segment's digest."""
        if not self.policy.every_md5_key:
            return found[0] if arrival.segment.verify(found[0].md5_keys()) else None
        moment = None if arrival.now is None else moment_ns(arrival.now)
        for entry in found[:MOST_MD5_KEYS]:
            valid = moment is None or covers(entry.key.accept_lifetime, moment)
            if valid and arrival.segment.verify(entry.md5_keys()):
                if len(found) > 1:
                    self._keys.verified_md5(arrival.remote, entry)
                return entry
        return None

    def _inbound_ao(self, arrival: Arrival) -> Outcome:
        segment = arrival.segment
        if self._ao is None:
            passed = self._pass_unmatched(arrival)
            return passed or self._key_not_found(arrival, DropReason.TCP_AOUNEXPECTED)
        if self._state is _CLOSED:
            return Outcome(False, Verdict.missing_isn, DropReason.TCP_CLOSE)
        moment = None if arrival.now is None else moment_ns(arrival.now)
        for entry in self._matching(arrival, segment.key_id):
            if moment is None or covers(entry.key.accept_lifetime, moment):
                break
        else:
            is_syn = segment.flags & SYN_ACK == SYN
            passed = self._pass_unmatched(arrival) if is_syn else None
            if passed is None:
                self._ao.counters.key_not_found += 1
            return passed or self._key_not_found(arrival, DropReason.TCP_AOKEYNOTFOUND)
        if self._is_listening and arrival.handshake is None and not segment.flags & SYN_ACK:
            return Outcome(False, Verdict.missing_isn, DropReason.TCP_FLAGS, key=entry.key)
        if segment.auth_length - 4 != entry.key.mac_length:
            return self._bad(arrival, entry, "tcp_ao_wrong_maclen")
        if arrival.sne is None or not is_good_ao(
            segment, self._receive_keys(arrival, entry), entry, arrival.sne
        ):
            return self._bad(arrival, entry, "tcp_ao_mismatch")
        entry.good += 1
        self._ao.counters.good += 1
        self.snmp["TCPAOGood"] += 1
        return Outcome(True, _GOOD, None, segment.strip(), entry.key)

    def _pass_unmatched(self, arrival: Arrival) -> Outcome | None:
        """Pass a signed segment that no key is meant by, as if it were unsigned (RFC 5925 section
        7.5), where the policy does so and neither TCP-AO nor TCP-MD5 is required.
        """
        if not self.policy.pass_unmatched or (self._ao is not None and self._ao.ao_required):
            return None
        return self._md5_missing(arrival) or Outcome(
            True,
            Verdict.key_not_found,
            warning=f"no key for KeyID {arrival.segment.key_id}: passed unverified "
            "(RFC 5925 section 7.5)",
        )

    def _key_not_found(self, arrival: Arrival, reason: DropReason) -> Outcome:
        return self._drop(
            arrival, "TCPAOKeyNotFound", "tcp_ao_key_not_found", Verdict.key_not_found, reason
        )

    def _bad(self, arrival: Arrival, entry: SocketKey, event: str) -> Outcome:
        assert self._ao is not None
        entry.bad += 1
        self._ao.counters.bad += 1
        return self._drop(
            arrival, "TCPAOBad", event, Verdict.bad_mac, DropReason.TCP_AOFAILURE, entry
        )

    def _receive_keys(self, arrival: Arrival, entry: SocketKey) -> TrafficKeys:
        """The traffic key that a segment is verified with."""
        if arrival.is_other and entry.receive is not None:
            return entry.receive
        return traffic_keys(entry.key, arrival.remote, arrival.local, arrival.isns, outbound=False)

    # -- the way out --------------------------------------------------------------------------

    def _outgoing(self, packet: bytes) -> ParsedSegment:
        segment = ParsedSegment(packet, RAW_IP)
        if not segment.whole:
            raise InvalidArgumentError("packet is not a raw IP packet with a whole TCP segment")
        return segment

    def _check_lifetime(self, key: MasterKey, now: datetime | None) -> None:
        if now is not None and not covers(key.send_lifetime, moment_ns(now)):
            raise KeyExpiredError(f"key {key.label} may not be used to send at {now.isoformat()}")
