"""The end that waits: keys for many peers, handshakes in progress, connections to be accepted."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import replace
from datetime import datetime
from ipaddress import ip_address

from tcpao_fast.core.mac import TrafficKeys
from tcpao_fast.core.single import OneSegment
from tcpao_fast.core.sne import extend_position
from tcpao_fast.counters import Counters
from tcpao_fast.endpoint.connection import Connection, Request
from tcpao_fast.endpoint.inbound import Endpoint, Stated
from tcpao_fast.endpoint.keyring import End, SocketKey, traffic_keys
from tcpao_fast.endpoint.option import (
    RAW_IP,
    TCP_AO,
    TCP_MD5,
    signed_ao,
    signed_md5,
    stripped,
)
from tcpao_fast.endpoint.states import ACK, RST, SYN, SYN_ACK, DropReason, Outcome, State
from tcpao_fast.errors import InvalidArgumentError, KeyRejectedError, NotConnectedError
from tcpao_fast.events import Tracer
from tcpao_fast.keys import AddressAndPort
from tcpao_fast.policy import Policy
from tcpao_fast.verdicts import Verdict

Peer = tuple[bytes, int, bytes, int]  # the remote end, then the local one


class Listener(Endpoint):
    """A listening endpoint, without the TCP: it verifies and signs handshakes, and makes a
    `Connection` of each that is complete.

    Segments of a connection that `accept` has given out are that connection's to process.

    Parameters
    ----------
    local : (address, port)
        The address may be unspecified: ``0.0.0.0`` or ``::``.
    policy : Policy
        `Policy.linux()` if not given.
    vrf : int or None
        The VRF it listens in; None for all.
    backlog : int
        The most handshakes in progress, and the most connections waiting to be accepted.
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
        self._requests: OrderedDict[Peer, Request] = OrderedDict()
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
        segment = OneSegment(packet, RAW_IP)
        if not self._is_ours(segment, vrf):
            return Outcome(False, Verdict.not_tcp, DropReason.NO_SOCKET)
        peer = _peer_of(segment)
        if peer in self._waiting:
            return self._waiting[peer].process(packet, now=now)
        local = ip_address(segment.destination), segment.destination_port
        remote = ip_address(segment.source), segment.source_port
        request = self._requests.get(peer)
        is_syn = segment.flags & SYN_ACK == SYN
        outcome = self._inbound(
            segment,
            local,
            remote,
            vrf,
            now,
            _stated(segment, request),
            None if request is None or is_syn else request.auth,
        )
        if not outcome.accepted:
            return outcome
        # what was passed though nobody verified it counts as unsigned
        auth = segment.auth if outcome.verdict in (Verdict.good, Verdict.md5_good) else 0
        if is_syn:
            if request is None:
                if len(self._requests) >= self._backlog:
                    return Outcome(False, outcome.verdict, DropReason.LISTEN_OVERFLOW)
                self._requests[peer] = Request(
                    local, remote, vrf, auth, segment.seq, segment.key_id, segment.rnext_key_id
                )
        elif segment.flags & RST:
            if auth and request is not None:
                del self._requests[peer]
        elif segment.flags & SYN_ACK == ACK:
            if request is None and self._syn_cookies:
                request = Request(
                    local,
                    remote,
                    vrf,
                    auth,
                    _minus(segment.seq, 1),
                    segment.key_id,
                    segment.rnext_key_id,
                    _minus(segment.ack, 1),
                    1,
                )
            if request is not None and _completes(segment, request):
                if len(self._queue) >= self._backlog:
                    return Outcome(False, outcome.verdict, DropReason.LISTEN_OVERFLOW)
                self._requests.pop(peer, None)
                self._complete(peer, request, segment)
        return replace(outcome, packet=stripped(packet) if segment.auth else packet)

    def _is_ours(self, segment: OneSegment, vrf: int) -> bool:
        address, port = self._local
        return (
            segment.version == address.version
            and segment.destination_port == port
            and (address.is_unspecified or segment.destination == address.packed)
            and self.vrf in (None, vrf)
        )

    def _receive_keys(
        self, entry: SocketKey, local: End, remote: End, stated: Stated
    ) -> TrafficKeys:
        return traffic_keys(entry.key, remote, local, stated.isns, outbound=False)

    def _complete(self, peer: Peer, request: Request, segment: OneSegment) -> None:
        """Make the connection: it copies the keys for its peer, and its counters begin at 0."""
        connection = Connection(
            (request.local[0], request.local[1]),
            policy=self.policy,
            vrf=request.vrf,
            snmp=self.snmp,
            trace=self.trace,
        )
        tcp_md5 = request.auth == TCP_MD5
        entries: list[SocketKey] = []
        if request.auth:
            entries = self._keys.matching(
                request.local, request.remote, request.vrf, tcp_md5=tcp_md5
            )
        ao = None
        if request.auth == TCP_AO and self._ao is not None:
            ao = replace(self._ao, counters=Counters(), current=None, rnext=None)
        connection._adopt(request, entries, ao, segment)
        self._waiting[peer] = connection
        self._queue.append(peer)

    def accept(self) -> Connection | None:
        """The connection that has waited longest; None if none waits.

        It has copies of the listener's keys for its peer as they were when the handshake ended.
        Keys that were added or deleted since are not mirrored: compare `get_keys` of both.
        """
        return self._waiting.pop(self._queue.popleft()) if self._queue else None

    def forget(self, remote: AddressAndPort) -> None:
        """Give up the handshakes in progress with a peer, as when a SYN-ACK timed out."""
        address, port = ip_address(remote[0]), remote[1]
        for peer, request in list(self._requests.items()):
            if request.remote == (address, port):
                del self._requests[peer]

    # -- what is sent -------------------------------------------------------------------------

    def sign(self, packet: bytes, *, now: datetime | None = None) -> bytes:
        """A packet as it goes out: a SYN-ACK, with the key that the SYN asked for, or what else
        belongs to a handshake.

        Parameters
        ----------
        packet : bytes
            A raw IP packet without TCP-AO and TCP-MD5.
        now : datetime, optional
            With it send lifetimes count.

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
        peer = (
            segment.destination,
            segment.destination_port,
            segment.source,
            segment.source_port,
        )
        if peer in self._waiting:
            return self._waiting[peer].sign(packet, now=now)
        request = self._requests.get(peer)
        if request is None:
            raise NotConnectedError(
                f"there is no handshake with {ip_address(segment.destination)} port "
                f"{segment.destination_port}: without ISNs a segment cannot be signed"
            )
        is_syn_ack = segment.flags & SYN_ACK == SYN_ACK
        if not is_syn_ack and request.snt_isn is None:
            raise NotConnectedError("there was no SYN-ACK yet, so the own ISN is not known")
        snt_isn = segment.seq if request.snt_isn is None or is_syn_ack else request.snt_isn
        signed = self._signed(packet, request, snt_isn, segment, now)
        if is_syn_ack:
            request.snt_isn = snt_isn
            request.sent_length = segment.payload_length + 1
        elif segment.flags & RST:
            del self._requests[peer]
        return signed

    def _signed(
        self,
        packet: bytes,
        request: Request,
        snt_isn: int,
        segment: OneSegment,
        now: datetime | None,
    ) -> bytes:
        ends = request.local, request.remote
        if request.auth == TCP_MD5:
            found = self._keys.matching(*ends, request.vrf, tcp_md5=True)
            if not found:
                raise KeyRejectedError(f"no TCP-MD5 key is left for {request.remote[0]}")
            return signed_md5(packet, found[0].key)
        if request.auth != TCP_AO:
            return packet
        found = self._keys.matching(*ends, request.vrf, send_id=request.rnext_key_id)
        if not found:
            self._emit(
                "tcp_ao_synack_no_key",
                segment,
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
        return signed_ao(packet, keys, key, max(sne, 0), request.rnext_key_id, request.key_id)


def _peer_of(segment: OneSegment) -> Peer:
    return segment.source, segment.source_port, segment.destination, segment.destination_port


def _minus(seq: int, step: int) -> int:
    return (seq - step) & 0xFFFFFFFF


def _stated(segment: OneSegment, request: Request | None) -> Stated:
    """ISNs and SNE of a segment that a listener verifies."""
    if segment.flags & SYN:
        return Stated((segment.seq, 0), 0)
    if request is None:  # behind a SYN cookie the ACK says all
        isn = _minus(segment.seq, 1)
        return Stated((isn, _minus(segment.ack, 1)), extend_position(isn, segment.seq) >> 32)
    position = extend_position(request.rcv_isn, segment.seq)
    return Stated(
        (request.rcv_isn, request.snt_isn or 0), position >> 32 if position >= 0 else None
    )


def _completes(segment: OneSegment, request: Request) -> bool:
    """Whether an ACK acknowledges the SYN-ACK, its data included at most."""
    if request.snt_isn is None:
        return False
    return 0 < _minus(segment.ack, request.snt_isn) <= request.sent_length
