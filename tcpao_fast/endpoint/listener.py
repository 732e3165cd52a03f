"""The end that waits: keys for many peers, handshakes in progress, connections to be accepted."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address
from typing import NoReturn

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.flow.sne import extend_position
from tcpao_fast.core.wire.options import window_scale_of
from tcpao_fast.endpoint.calls import NO_REPAIR
from tcpao_fast.endpoint.connection import Connection, Request
from tcpao_fast.endpoint.inbound import Arrival, Endpoint
from tcpao_fast.endpoint.keyring import SocketKey, traffic_keys
from tcpao_fast.endpoint.option import (
    NO_AUTH,
    TCP_AO,
    TCP_MD5,
    signed_ao,
    signed_md5,
)
from tcpao_fast.endpoint.receive import offered_window
from tcpao_fast.endpoint.uapi import ACK, FIN, RST, SYN, SYN_ACK, DropReason, Outcome, State
from tcpao_fast.engine.counters import Counters
from tcpao_fast.engine.events import Tracer
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.state import RepairState
from tcpao_fast.engine.verdicts import GOOD, Verdict
from tcpao_fast.errors import (
    InvalidArgumentError,
    KeyRejectedError,
    NotConnectedError,
    RepairModeError,
)
from tcpao_fast.keys.addresses import AddressAndPort, endpoint

Peer = tuple[bytes, int, bytes, int, int]  # the remote end, the local one, the VRF


class Listener(Endpoint):
    """A listening endpoint, without the TCP: it verifies and signs handshakes, and makes a
    `Connection` of each that is complete.

    Segments of a connection that `accept` has given out are that connection's to process. Not for
    two threads at a time.

    Parameters
    ----------
    local : (address, port)
        The address may be unspecified: ``0.0.0.0``, or ``::`` for both IP versions.
    policy : Policy
        `Policy.linux()` if not given.
    vrf : int or None
        The VRF it listens in; None for all.
    backlog : int
        The most connections waiting to be accepted; and the most handshakes in progress, signed
        and unsigned ones apart: beyond it the oldest gives way.
    syn_cookies : bool
        Whether an ACK whose handshake is not known may complete one, with the ISNs that it implies
        (SEQ - 1 and ACK - 1). The caller has checked its cookie.
    snmp : dict of str to int, optional
        Counters to share; the connections it makes share them too.
    trace : Tracer, optional
        Where events go; also those of its connections.
    """

    def __init__(
        self,
        local: AddressAndPort,
        *,
        policy: Policy | None = None,
        vrf: int | None = None,
        backlog: int = 4096,
        syn_cookies: bool = False,
        snmp: dict[str, int] | None = None,
        trace: Tracer | None = None,
    ) -> None:
        super().__init__(local, policy, vrf, State.LISTEN, snmp, trace)
        if not isinstance(backlog, int) or backlog < 1:
            raise InvalidArgumentError(f"backlog is {backlog!r}; it must be 1 or more")
        self._backlog = backlog
        self._syn_cookies = syn_cookies
        self._signed_requests: OrderedDict[Peer, Request] = OrderedDict()
        self._unsigned_requests: OrderedDict[Peer, Request] = OrderedDict()
        self._waiting: dict[Peer, Connection] = {}
        self._queue: deque[Peer] = deque()

    def __repr__(self) -> str:
        return f"<Listener {self.local} {len(self._keys)} keys>"

    # -- what arrives -------------------------------------------------------------------------

    def process(self, packet: bytes, *, vrf: int = 0, now: datetime | None = None) -> Outcome:
        """Verify a packet that arrived: a SYN, the ACK of a SYN-ACK, or what follows it before the
        connection is accepted.

        Parameters
        ----------
        packet : bytes
            A raw IP packet.
        vrf : int
            The VRF it arrived in.
        now : datetime, optional
            With it accept lifetimes count.

        Returns
        -------
        Outcome
        """
        packet = bytes(packet)
        segment = self._parsed(packet)
        if not self._is_ours(segment, vrf):
            return Outcome(False, Verdict.not_tcp, DropReason.NO_SOCKET)
        source = segment.source, segment.source_port
        destination = segment.destination, segment.destination_port
        peer = *source, *destination, vrf
        if peer in self._waiting:
            return self._waiting[peer].process(packet, now=now)
        request = self._request(peer)
        arrival = self._arrival(segment, vrf, now, request)
        outcome = self._inbound(arrival)
        if outcome.accepted and request is not None and _is_stray(segment, request):
            # it belongs to no handshake after all: Linux's tcp_check_req hands it to the listener,
            # which verifies it once more, as what may follow a SYN cookie
            request = None
            arrival = self._arrival(segment, vrf, now, None)
            outcome = self._inbound(arrival)
        if not outcome.accepted:
            return outcome
        # what was passed though nobody verified it counts as unsigned
        verified = outcome.verdict in GOOD
        auth = segment.auth if verified else NO_AUTH
        if request is not None and auth == TCP_AO:
            request.at_hand = segment.key_id, segment.rnext_key_id
        flags = segment.flags & (SYN_ACK | RST)
        if request is None and flags == SYN:
            self._begin(peer, _request_of(arrival, auth, segment.seq))
        elif request is None and flags == ACK and self._syn_cookies:
            request = _request_of(arrival, auth, _minus(segment.seq, 1))
            request.snt_isn, request.sent_length = _minus(segment.ack, 1), 1
        if request is not None and not self._progress(peer, request, segment, auth):
            return Outcome(False, outcome.verdict, DropReason.LISTEN_OVERFLOW)
        return self._passed(outcome, segment, packet)

    def _progress(self, peer: Peer, request: Request, segment: ParsedSegment, auth: int) -> bool:
        """Move a handshake on by a segment (Linux's ``tcp_check_req``): its ACK completes it, and a
        RST, or a SYN of another ISN, in its window ends it. Whether there was room for it.
        """
        flags = segment.flags & (SYN_ACK | RST)
        is_again = segment.seq == request.rcv_isn
        if (is_again and flags == SYN) or not _is_in_window(segment, request):
            return True  # the SYN-ACK again, or a challenge ACK, is the answer
        if is_again:  # what follows the SYN's own number counts
            flags &= ~SYN
        if flags & (SYN | RST):
            # a RST elsewhere in the window is answered by a challenge ACK (RFC 5961 section 3.2)
            is_next = segment.seq == _minus(request.rcv_isn, -1)
            if auth and (is_next or not flags & RST):
                self._end(peer)
        elif flags & ACK and _completes(segment, request):
            if len(self._queue) >= self._backlog:
                return False
            self._connection_of(peer, request)._move(segment, bool(auth))
        return True

    def _arrival(
        self, segment: ParsedSegment, vrf: int, now: datetime | None, request: Request | None
    ) -> Arrival:
        """A segment with the ISNs and the SNE that a listener verifies it under."""
        local = ip_address(segment.destination), segment.destination_port
        remote = ip_address(segment.source), segment.source_port
        ends = segment, local, remote, vrf, now
        if segment.flags & SYN_ACK == SYN or (request is None and segment.flags & SYN):
            of_request = None if request is None else request.option
            return Arrival(*ends, (segment.seq, 0), 0, handshake=of_request)
        if request is None:  # behind a SYN cookie the ACK says all
            isn = _minus(segment.seq, 1)
            sne = extend_position(isn, segment.seq) >> 32
            return Arrival(*ends, (isn, _minus(segment.ack, 1)), sne)
        position = extend_position(request.rcv_isn, segment.seq)
        isns = request.rcv_isn, request.snt_isn or 0
        sne_or_none = position >> 32 if position >= 0 else None
        return Arrival(*ends, isns, sne_or_none, handshake=request.option)

    # -- handshakes in progress ---------------------------------------------------------------

    def _request(self, peer: Peer) -> Request | None:
        return self._signed_requests.get(peer) or self._unsigned_requests.get(peer)

    def _begin(self, peer: Peer, request: Request) -> None:
        """Note a handshake.  Where there are too many the oldest of its kind gives way, so that
        those which nobody signed never push out one that was.
        """
        requests = self._signed_requests if request.auth else self._unsigned_requests
        if len(requests) >= self._backlog:
            requests.popitem(last=False)
        requests[peer] = request

    def _end(self, peer: Peer) -> None:
        self._signed_requests.pop(peer, None)
        self._unsigned_requests.pop(peer, None)

    def repair_state(self) -> NoReturn:
        """ISNs and SNEs, which a listener has none of.

        Raises
        ------
        RepairModeError (EPERM)
            Always: a listener cannot be in repair mode.
        """
        raise RepairModeError(NO_REPAIR)

    def repair(self, state: RepairState) -> NoReturn:
        """Take over ISNs and SNEs, which a listener cannot.

        Parameters
        ----------
        state : RepairState

        Raises
        ------
        RepairModeError (EPERM)
            Always: a listener cannot be in repair mode.
        """
        raise RepairModeError(NO_REPAIR)

    def forget(self, remote: AddressAndPort) -> None:
        """Give up the handshakes in progress with a peer, as when a SYN-ACK timed out.

        Parameters
        ----------
        remote : (address, port)
            The peer.
        """
        address, port = endpoint(remote, "remote")
        for requests in (self._signed_requests, self._unsigned_requests):
            for peer in [peer for peer in requests if peer[:2] == (address.packed, port)]:
                del requests[peer]

    def _is_ours(self, segment: ParsedSegment, vrf: int) -> bool:
        address, port = self._local
        if address.is_unspecified:  # "::" is for IPv4 too, as in Linux
            is_here = segment.version in (4, address.version)
        else:
            is_here = segment.destination == address.packed
        return is_here and segment.destination_port == port and self.vrf in (None, vrf)

    def _connection_of(self, peer: Peer, request: Request) -> Connection:
        """Make the connection of a handshake, which ends here: it copies the keys for its peer, its
        counters begin at 0, and it waits to be accepted.
        """
        self._end(peer)
        connection = Connection(
            (request.local[0], request.local[1]),
            policy=self.policy,
            vrf=request.vrf,
            snmp=self.snmp,
            trace=self.trace,
        )
        tcp_md5 = request.auth == TCP_MD5
        entries: Sequence[SocketKey] = ()
        if request.auth:
            entries = self._keys.matching(
                request.local, request.remote, request.vrf, tcp_md5=tcp_md5
            )
        ao = None
        if request.auth == TCP_AO and self._ao is not None:
            ao = replace(self._ao, counters=Counters(), current=None, rnext=None)
        connection._adopt(request, entries, ao)
        self._waiting[peer] = connection
        self._queue.append(peer)
        return connection

    def accept(self) -> Connection | None:
        """The connection that has waited longest; None if none waits.

        It has copies of the listener's keys for its peer as they were when the handshake ended: for
        Fast Open (RFC 7413), where the SYN-ACK acknowledges data of the SYN, when the SYN-ACK was
        sent; that connection is in SYN-RECEIVED, and processes the handshake's last ACK itself.
        Keys that were added or deleted since are not mirrored: compare `get_keys` of both.

        Returns
        -------
        Connection or None
        """
        return self._waiting.pop(self._queue.popleft()) if self._queue else None

    # -- what is sent -------------------------------------------------------------------------

    def sign(
        self, packet: bytes, *, vrf: int = 0, now: datetime | None = None, make_room: bool = False
    ) -> bytes:
        """A packet as it goes out: a SYN-ACK, with the key that the SYN asked for, or what else
        belongs to a handshake.

        Parameters
        ----------
        packet : bytes
            A raw IP packet without TCP-AO and TCP-MD5.
        vrf : int
            The VRF it goes out in.
        now : datetime, optional
            With it send lifetimes count.
        make_room : bool
            Where the TCP header has no room for the option, drop SACK blocks; of a SYN or SYN-ACK
            what Linux leaves out there: see `Engine.sign`.

        Returns
        -------
        bytes
            As it was where the handshake is unsigned.

        Raises
        ------
        KeyRejectedError (EKEYREJECTED)
            The SYN was signed, and no key has the SendID that it asked for (Linux then sends no
            SYN-ACK), or none is left for that peer.
        NotConnectedError (ENOTCONN)
            There is no handshake with that peer: without ISNs nothing can be signed, not even a
            RST.
        KeyExpiredError (ENOKEY)
            The key's send lifetime does not cover `now`.
        InvalidArgumentError
            Not a packet from here, or no room for the option.
        """
        packet = bytes(packet)
        segment = self._outgoing(packet)
        destination = segment.destination, segment.destination_port
        peer = *destination, segment.source, segment.source_port, vrf
        if peer in self._waiting:
            return self._waiting[peer].sign(packet, now=now)
        request = self._request(peer)
        if request is None:
            raise NotConnectedError(
                f"there is no handshake with {ip_address(segment.destination)} port "
                f"{segment.destination_port}: without ISNs a segment cannot be signed"
            )
        is_syn_ack = segment.flags & SYN_ACK == SYN_ACK
        if not is_syn_ack and request.snt_isn is None:
            raise NotConnectedError("there was no SYN-ACK yet, so the own ISN is not known")
        snt_isn = segment.seq if request.snt_isn is None or is_syn_ack else request.snt_isn
        signed = self._signed(packet, request, snt_isn, segment, now, make_room)
        if is_syn_ack:
            request.snt_isn = snt_isn
            request.sent_length = segment.payload_length + 1
            request.shift = window_scale_of(segment.header) or 0
            request.window = offered_window(segment)
            request.received = (segment.ack - request.rcv_isn) & 0xFFFFFFFF
            if request.received > 1 and len(self._queue) < self._backlog:
                # Fast Open: the data of the SYN was taken, and the connection is there at once
                self._connection_of(peer, request)._sent(segment)
        elif segment.flags & RST and (segment.flags & ACK or segment.seq == _minus(snt_isn, -1)):
            self._end(peer)  # another SEQ answers an ACK of something else
        return signed

    def _signed(
        self,
        packet: bytes,
        request: Request,
        snt_isn: int,
        segment: ParsedSegment,
        now: datetime | None,
        make_room: bool,
    ) -> bytes:
        ends = request.local, request.remote
        if request.auth == TCP_MD5:
            found = self._keys.matching(*ends, request.vrf, tcp_md5=True)
            if not found:
                raise KeyRejectedError(f"no TCP-MD5 key is left for {request.remote[0]}")
            return signed_md5(segment, found[0], make_room)
        if request.auth != TCP_AO:
            return packet
        key_id, asked = request.key_id, request.rnext_key_id
        is_syn_ack = segment.flags & SYN_ACK == SYN_ACK
        if not is_syn_ack and request.at_hand is not None:  # as tcp_v4_reqsk_send_ack
            key_id, asked = request.at_hand
        found = self._keys.matching(*ends, request.vrf, send_id=asked)
        if not found and not is_syn_ack:
            found = self._keys.matching(*ends, request.vrf)
        if not found:
            self._emit(
                "tcp_ao_synack_no_key",
                segment,
                request.vrf,
                key_id=request.rnext_key_id,
                rnext_key_id=request.key_id,
            )
            raise KeyRejectedError(
                f"the SYN asks for SendID {request.rnext_key_id}, which no key for "
                f"{request.remote[0]} has"
            )
        key = found[0].key
        self._check_lifetime(key, now)
        keys = traffic_keys(key, *ends, (snt_isn, request.rcv_isn), outbound=True)
        sne = extend_position(snt_isn, segment.seq) >> 32
        return signed_ao(segment, keys, found[0], max(sne, 0), key.send_id or 0, key_id, make_room)


def _request_of(arrival: Arrival, auth: int, rcv_isn: int) -> Request:
    segment = arrival.segment
    return Request(
        arrival.local,
        arrival.remote,
        arrival.vrf,
        auth,
        segment.auth,
        rcv_isn,
        segment.key_id,
        segment.rnext_key_id,
    )


def _minus(seq: int, step: int) -> int:
    return (seq - step) & 0xFFFFFFFF


def _is_in_window(segment: ParsedSegment, request: Request) -> bool:
    """Whether a segment of a handshake lies in the window that the SYN-ACK offered; else a
    challenge ACK is the answer (``tcp_check_req``, ``tcp_in_window``).
    """
    begin = _minus(segment.seq, request.rcv_isn + 1)
    if begin >= 1 << 31:
        begin -= 1 << 32
    end = begin + segment.payload_length + bool(segment.flags & FIN) + bool(segment.flags & SYN)
    return begin == 0 or (end > 0 and begin < request.window) or begin == end == request.window


def _is_stray(segment: ParsedSegment, request: Request) -> bool:
    """Whether an ACK does not acknowledge the SYN-ACK of the handshake in progress; a RST's does
    not count.
    """
    return segment.flags & (ACK | RST) == ACK and not _completes(segment, request)


def _completes(segment: ParsedSegment, request: Request) -> bool:
    """Whether an ACK acknowledges the SYN-ACK, its data included at most."""
    if request.snt_isn is None:
        return False
    return 0 < _minus(segment.ack, request.snt_isn) <= request.sent_length
