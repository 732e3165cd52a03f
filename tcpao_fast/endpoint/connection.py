"""One end of a TCP connection: its keys, ISNs and SNEs, and how current_key moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.flow.sne import extend_position
from tcpao_fast.core.wire.options import window_scale_of
from tcpao_fast.endpoint.calls import Ao
from tcpao_fast.endpoint.inbound import Arrival, Endpoint
from tcpao_fast.endpoint.keyring import End, SocketKey, traffic_keys
from tcpao_fast.endpoint.option import (
    NO_AUTH,
    TCP_AO,
    TCP_MD5,
    signed_ao,
    signed_md5,
)
from tcpao_fast.endpoint.receive import LARGEST_SHIFT, Received
from tcpao_fast.endpoint.uapi import ACK, FIN, RST, SYN, SYN_ACK, DropReason, Outcome, State
from tcpao_fast.engine.events import Tracer
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.sne import SequenceExtender
from tcpao_fast.engine.state import RepairState
from tcpao_fast.engine.verdicts import GOOD, Verdict
from tcpao_fast.errors import (
    AlreadyConnectedError,
    InvalidArgumentError,
    InvalidRequestError,
    KeyRejectedError,
    NotConnectedError,
    RepairModeError,
)
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.addresses import AddressAndPort, endpoint

#: ICMP errors that RFC 5925 section 7.8 has a connection with TCP-AO ignore: (type, codes) by IP
#: version.
_HARD_ICMP = {4: (3, (2, 3, 4)), 6: (1, (1, 4))}

# in the way of every packet: a member that is looked up by name costs 80 ns
_SYN_SENT, _SYN_RECEIVED = State.SYN_SENT, State.SYN_RECEIVED
_AFTER_FIN_SENT = {
    State.SYN_RECEIVED: State.FIN_WAIT_1,
    State.ESTABLISHED: State.FIN_WAIT_1,
    State.CLOSE_WAIT: State.LAST_ACK,
}
_AFTER_FIN_ACKED = {
    State.FIN_WAIT_1: State.FIN_WAIT_2,
    State.CLOSING: State.TIME_WAIT,
    State.LAST_ACK: State.CLOSED,
}
_AFTER_FIN_RECEIVED = {
    State.ESTABLISHED: State.CLOSE_WAIT,
    State.FIN_WAIT_1: State.CLOSING,
    State.FIN_WAIT_2: State.TIME_WAIT,
}
#: The peer has sent all that it had.
_FIN_CAME = (State.CLOSE_WAIT, State.LAST_ACK, State.CLOSING)


@dataclass(slots=True)
class Request:
    """A handshake in progress (Linux's ``request_sock``).

    `auth` is how its SYN was signed (`ParsedSegment.auth`; 0 also where it was passed unverified),
    `option` what it had; `key_id` and `rnext_key_id` are the SYN's; `sent_length` is how many
    numbers the SYN-ACK takes, `received` how many it acknowledges, `window` what it offers, `shift`
    its window scale (None: not known);
    `at_hand` are KeyID and RNextKeyID of the segment that was verified last.
    """

    local: End
    remote: End
    vrf: int
    auth: int
    option: int
    rcv_isn: int
    key_id: int = 0
    rnext_key_id: int = 0
    snt_isn: int | None = None
    sent_length: int = 0
    received: int = 1
    window: int = 0xFFFF
    shift: int | None = None
    at_hand: tuple[int, int] | None = None


class Connection(Endpoint):
    """One end of a TCP connection, without the TCP: it signs the packets that a stack sends and
    verifies those that arrive, as Linux does for its sockets.

    Packets are raw IP packets. State moves only on what was sent through `sign` and on what was
    verified: a forged segment changes nothing but counters. Not for two threads at a time.

    Parameters
    ----------
    local : (address, port)
    policy : Policy
        `Policy.linux()` if not given.
    vrf : int
        The VRF (Linux's ``l3index``) the connection is in.
    snmp : dict of str to int, optional
        Counters to share with other endpoints: see `snmp_counters`.
    trace : Tracer, optional
        Where events go.

    Attributes
    ----------
    policy : Policy
    vrf : int
    snmp : dict of str to int
        Linux's SNMP counters.
    trace : Tracer or None
    """

    def __init__(
        self,
        local: AddressAndPort,
        *,
        policy: Policy | None = None,
        vrf: int = 0,
        snmp: dict[str, int] | None = None,
        trace: Tracer | None = None,
    ) -> None:
        super().__init__(local, policy, vrf, State.CLOSED, snmp, trace)
        self._remote: End | None = None
        self._packed: tuple[bytes, bytes] | None = None  # the addresses, as packets have them
        self._signed_with = NO_AUTH  # what connect() settled: ParsedSegment.auth
        self._snt_isn: int | None = None
        self._rcv_isn: int | None = None
        self._snd_una = SequenceExtender()
        self._snd_nxt = SequenceExtender()
        self._rcv = Received()
        self._is_scaled = False  # whether both ends offered window scaling
        self._is_opener = False  # whether this end sent the first SYN, or both did
        self._fin_position: int | None = None

    def __repr__(self) -> str:
        remote = None if self._remote is None else self.remote
        return f"<Connection {self.local} - {remote} {self._state.value}>"

    @property
    def remote(self) -> tuple[str, int] | None:
        """The peer's address and port."""
        return None if self._remote is None else (str(self._remote[0]), self._remote[1])

    @property
    def has_ao(self) -> bool:
        """Whether the connection runs, or would run, TCP-AO."""
        return self._ao is not None and self._keys.has_ao

    def _check_peer(self, key: MasterKey) -> None:
        if self._remote is None or not self._is_open:
            return
        address, port = self._remote
        if key.remote is not None and address not in key.remote:  # type: ignore[operator]
            raise InvalidRequestError(
                f"key {key.label} is for {key.remote}, and the connection's peer is {address}"
            )
        if isinstance(key.remote_port, tuple) and not (
            key.remote_port[0] <= port <= key.remote_port[1]
        ):
            raise InvalidRequestError(
                f"key {key.label} is for port {key.remote_port}, and the peer's is {port}"
            )

    # -- opening ------------------------------------------------------------------------------

    def connect(self, remote: AddressAndPort, isn: int | None = None) -> None:
        """Begin a connection: from here on its peer and its keys are settled.

        Keys that do not match the peer are dropped; current_key and rnext_key that were not chosen
        become the first that match (with Linux's policy the one that was added last). In repair
        mode the connection is established at once, and `repair` says its ISNs.

        Parameters
        ----------
        remote : (address, port)
        isn : int, optional
            The own ISN; else the first SYN that `sign` sees tells it.

        Raises
        ------
        KeyRejectedError (EKEYREJECTED)
            Both a TCP-AO and a TCP-MD5 key match the peer, TCP-AO is required and a TCP-MD5 key
            matches, or there is TCP-AO here and no key matches (unless the policy lets the
            connection be unsigned then).
        AlreadyConnectedError (EISCONN)
            It is no closed connection.
        InvalidArgumentError
            `remote` or `isn` is none.
        """
        if self._state is not State.CLOSED or self._remote is not None:
            raise AlreadyConnectedError(f"the connection is {self._state.value} already")
        peer = endpoint(remote, "remote")
        if peer[0].version != self._local[0].version:
            raise InvalidArgumentError(f"{self._local[0]} and {peer[0]} are of two IP versions")
        if isn is not None and not _is_seq(isn):
            raise InvalidArgumentError(f"isn is {isn!r}; it must be 0 to 4294967295")
        signed_with = self._choose_keys(peer)
        self._remote = peer
        self._packed = None
        self._is_opener = True
        self._signed_with = signed_with
        if isn is not None:
            self._sent_isn(isn)
        self._state = State.ESTABLISHED if self._repair_mode else State.SYN_SENT

    def _choose_keys(self, peer: End) -> int:
        """Keep the keys that are for this peer; how the connection is signed."""
        vrf = self.vrf or 0
        ao_keys = self._keys.matching(self._local, peer, vrf)
        md5_keys = self._keys.matching(self._local, peer, vrf, tcp_md5=True)
        required = self._ao is not None and self._ao.ao_required
        if md5_keys and (ao_keys or required):
            raise KeyRejectedError(f"there are TCP-AO and TCP-MD5 keys for {peer[0]}")
        may_be_unsigned = self.policy.unsigned_connect and not required
        if self._ao is not None and not (md5_keys or ao_keys or may_be_unsigned):
            raise KeyRejectedError(f"there is TCP-AO here, and no key for {peer[0]}")
        for entry in list(self._keys):
            if entry not in ao_keys and entry not in md5_keys:
                self._keys.remove(entry)
        if not ao_keys:
            self._ao = None
            return TCP_MD5 if md5_keys else NO_AUTH
        assert self._ao is not None
        for role in ("current", "rnext"):
            if getattr(self._ao, role) not in ao_keys:
                setattr(self._ao, role, ao_keys[0])
        return TCP_AO

    def _sent_isn(self, isn: int) -> None:
        self._snt_isn = isn
        self._snd_una = SequenceExtender(isn)
        self._snd_nxt = SequenceExtender(isn)

    def _learned_isn(self, isn: int) -> None:
        self._rcv_isn = isn
        self._rcv.position = isn

    def _derive_all(self) -> None:
        for entry in self._keys.of_kind(tcp_md5=False):
            self._derive(entry)

    def _derive(self, entry: SocketKey) -> None:
        if self._remote is None or self._snt_isn is None or self._rcv_isn is None:
            return
        sent, received = self._snt_isn, self._rcv_isn
        entry.send = traffic_keys(
            entry.key, self._local, self._remote, (sent, received), outbound=True
        )
        entry.receive = traffic_keys(
            entry.key, self._remote, self._local, (received, sent), outbound=False
        )

    def _adopt(self, request: Request, entries: Sequence[SocketKey], ao: Ao | None) -> None:
        """Become the connection of a handshake whose SYN-ACK was sent, with copies of these keys,
        the preferred one first.
        """
        self._remote = request.remote
        self._packed = None
        self._signed_with = request.auth
        self._sent_isn(request.snt_isn or 0)
        self._learned_isn(request.rcv_isn)
        self._rcv.accept(request.rcv_isn, request.received)
        self._is_scaled = True
        self._rcv.shift = LARGEST_SHIFT if request.shift is None else request.shift
        self._snd_nxt.accept(request.snt_isn or 0, request.sent_length)
        self._state = State.SYN_RECEIVED
        self._ao = ao
        # Linux copies its list head to head, which turns it round
        for entry in entries if self.policy.newest_key_first else entries[::-1]:
            self._keys.add(entry.key)
        self._derive_all()
        if ao is not None:
            first = self._keys.first()
            ao.current = self._keys.first(send_id=request.rnext_key_id) or first
            ao.rnext = self._keys.first(recv_id=request.key_id) or first

    # -- repair -------------------------------------------------------------------------------

    def repair_state(self) -> RepairState:
        """ISNs and SNEs (``TCP_AO_REPAIR``), for `repair` on another `Connection` or socket.

        Returns
        -------
        RepairState

        Raises
        ------
        RepairModeError (EPERM)
            Not in repair mode.
        NoSuchKeyError (ENOENT)
            There is no TCP-AO here.
        """
        self._require_repair()
        return RepairState(
            self._snt_isn or 0,
            self._rcv_isn or 0,
            self._snd_una.position >> 32,
            self._rcv.position >> 32,
            self._snd_una.position & 0xFFFFFFFF,
            self._rcv.position & 0xFFFFFFFF,
        )

    def repair(self, state: RepairState) -> None:
        """Take over ISNs and SNEs, and derive every traffic key again.

        Parameters
        ----------
        state : RepairState

        Raises
        ------
        RepairModeError (EPERM)
            Not in repair mode.
        NoSuchKeyError (ENOENT)
            There is no TCP-AO here.
        InvalidRequestError (EINVAL)
            Values that are none.
        """
        self._require_repair()
        if not isinstance(state, RepairState) or not all(
            _is_seq(value) for value in (state.snt_isn, state.rcv_isn, state.snd_sne, state.rcv_sne)
        ):
            raise InvalidRequestError("state is not a RepairState with 32-bit ISNs and SNEs")
        if not all(value is None or _is_seq(value) for value in (state.snd_una, state.rcv_nxt)):
            raise InvalidRequestError("snd_una and rcv_nxt are 32-bit SEQs, or None")
        self._snt_isn = state.snt_isn
        self._rcv_isn = state.rcv_isn
        self._snd_una = _at(state.snt_isn, state.snd_sne, state.snd_una, self._snd_una)
        self._snd_nxt = _at(state.snt_isn, state.snd_sne, state.snd_una, self._snd_una)
        shift = self._rcv.shift
        self._rcv = Received(
            _position_at(state.rcv_isn, state.rcv_sne, state.rcv_nxt, self._rcv.position)
        )
        self._rcv.shift = shift or LARGEST_SHIFT
        self._derive_all()

    def _require_repair(self) -> None:
        if not self._repair_mode:
            raise RepairModeError("the connection is not in repair mode")
        self._require_ao()

    # -- what arrives -------------------------------------------------------------------------

    def process(
        self, packet: bytes, *, vrf: int | None = None, now: datetime | None = None
    ) -> Outcome:
        """Verify a packet that arrived, and move state if it is good.

        Parameters
        ----------
        packet : bytes
            A raw IP packet.
        vrf : int, optional
            The VRF it arrived in; the connection's.
        now : datetime, optional
            With it accept lifetimes count.

        Returns
        -------
        Outcome
        """
        packet = bytes(packet)
        segment = self._parsed(packet)
        if self._remote is None or not self._is_ours(segment, vrf):
            return Outcome(False, Verdict.not_tcp, DropReason.NO_SOCKET)
        outcome = self._inbound(self._arrival(segment, now))
        if not outcome.accepted:
            return outcome
        verified = outcome.verdict in GOOD
        if verified or (self._ao is None and self._signed_with == NO_AUTH):
            self._received(segment, verified)
        return self._passed(outcome, segment, packet)

    def _is_ours(self, segment: ParsedSegment, vrf: int | None) -> bool:
        assert self._remote is not None
        if self._packed is None:
            self._packed = self._remote[0].packed, self._local[0].packed
        source, destination = self._packed
        return segment.is_between(source, destination, self._remote[1], self._local[1]) and (
            vrf is None or vrf == self.vrf
        )

    def _arrival(self, segment: ParsedSegment, now: datetime | None) -> Arrival:
        """A segment with the ISNs and the SNE that the state of the connection gives it."""
        assert self._remote is not None
        flags, own = segment.flags, self._snt_isn or 0
        isn = self._rcv_isn
        if isn is not None and flags & SYN_ACK != SYN and (
            self._state.synchronized or not flags & SYN
        ):  # fmt: skip
            position = extend_position(self._rcv.position, segment.seq)
            sne = position >> 32 if position >= 0 else None
            return Arrival(
                segment, self._local, self._remote, self.vrf or 0, now, (isn, own), sne, True
            )
        ends = segment, self._local, self._remote, self.vrf or 0, now
        if flags & SYN_ACK == SYN:
            return Arrival(*ends, (segment.seq, 0), 0)
        says_its_isn = flags & (SYN | RST)
        return Arrival(*ends, (segment.seq if says_its_isn else 0, own), 0)

    def _received(self, segment: ParsedSegment, verified: bool) -> None:
        """Move state by a segment that is good, or on a connection that is unsigned throughout:
        as far as TCP would accept it (RFC 9293 section 3.10.7; Linux's ``tcp_validate_incoming``).
        """
        follows = verified and segment.auth == TCP_AO and segment.flags & SYN_ACK != SYN
        if follows and (self._state.synchronized or self.policy.rnext_before_established):
            self._follow_rnext(segment)
        self._move(segment, verified)

    def _move(self, segment: ParsedSegment, verified: bool) -> None:
        """Move the state of TCP; current_key is another matter."""
        if self._state is _SYN_SENT:
            self._received_in_syn_sent(segment, verified)
            return
        if segment.flags & SYN:
            if (
                self._state is _SYN_RECEIVED
                and segment.flags & (ACK | RST | FIN) == ACK
                and self._rcv_isn == segment.seq
                and not segment.payload_length
                and self._acknowledge(segment)
            ):
                self._state = State.ESTABLISHED  # both sides opened
            return  # else a challenge ACK is the answer
        if segment.flags & RST:
            # elsewhere in the window a challenge ACK is the answer (RFC 5961 section 3.2)
            if verified and self._is_reset(segment):
                self._state = State.CLOSED
            return
        if not self._rcv.is_in_window(segment):
            return
        if not segment.flags & ACK or not self._acknowledge(segment):
            return
        if self._state is _SYN_RECEIVED:
            self._state = State.ESTABLISHED
        if self._fin_position is not None and self._snd_una.position >= self._fin_position:
            self._state = _AFTER_FIN_ACKED.get(self._state, self._state)
        if self._state in _FIN_CAME and self._rcv.is_beyond_fin(segment):
            return  # TCP answers with a RST, which closes
        if self._advance_received(segment):
            self._state = _AFTER_FIN_RECEIVED.get(self._state, self._state)

    def _is_reset(self, segment: ParsedSegment) -> bool:
        """Whether a RST closes: at RCV.NXT, and at the peer's FIN, where some stacks send it
        (``tcp_reset_check``).
        """
        back = self._rcv.position - self._rcv.extend(segment.seq)
        return back == 0 or (back == 1 and self._state in _FIN_CAME)

    def _received_in_syn_sent(self, segment: ParsedSegment, verified: bool) -> None:
        if segment.flags & ACK and self._acknowledged(segment) is None:
            return
        if segment.flags & RST:
            if verified and segment.flags & ACK:
                self._state = State.CLOSED
            return
        if not segment.flags & SYN or self._snt_isn is None:
            return
        if segment.flags & ACK:
            self._acknowledge(segment)
        self._learned_isn(segment.seq)
        self._is_scaled &= window_scale_of(segment.header) is not None
        # its data come again; where the TCP above takes them, its ACK says so
        self._advance_received(segment, syn_alone=True)
        self._derive_all()
        self._state = State.ESTABLISHED if segment.flags & ACK else State.SYN_RECEIVED
        if segment.flags & ACK and self.policy.rnext_on_syn_ack and segment.auth == TCP_AO:
            self._follow_rnext(segment)

    def _advance_received(self, segment: ParsedSegment, syn_alone: bool = False) -> bool:
        """Take a segment, or of it the SYN alone; whether the FIN has come with it."""
        before, has_ended = self._rcv.position >> 32, False
        if syn_alone:
            self._rcv.accept(self._rcv.position, 1)
        else:
            has_ended = self._rcv.take(segment)
        after = self._rcv.position >> 32
        if after != before and self._ao is not None:
            self._emit("tcp_ao_rcv_sne_update", segment, self.vrf or 0, sne=after)
        return has_ended

    def _acknowledged(self, segment: ParsedSegment) -> int | None:
        """Up to where a segment acknowledges what was sent; None where it is anything else.

        An ACK that is late may acknowledge nothing new: of what was acknowledged before, which is
        the SYN where this side opened (Linux's ``tcp_ack``).
        """
        position = extend_position(self._snd_una.position, segment.ack)
        isn = self._snt_isn or 0
        least = isn if self._is_opener and self._snd_una.position > isn else isn + 1
        return position if least <= position <= self._snd_nxt.position else None

    def _acknowledge(self, segment: ParsedSegment) -> bool:
        """Move snd_una up to what a segment acknowledges; whether that is what was sent."""
        position = self._acknowledged(segment)
        if position is None:
            return False
        before = self._snd_una.position >> 32
        self._snd_una.position = max(position, self._snd_una.position)
        after = self._snd_una.position >> 32
        if after != before and self._ao is not None:
            self._emit("tcp_ao_snd_sne_update", segment, self.vrf or 0, sne=after)
        return True

    def _follow_rnext(self, segment: ParsedSegment) -> None:
        """The peer asks for a key: sign with it from now on, if it is there (RFC 5925 7.5 e)."""
        ao = self._ao
        if ao is None or ao.current is None or ao.current.key.send_id == segment.rnext_key_id:
            return
        own = ao.current.key.send_id
        self._emit("tcp_ao_rnext_request", segment, self.vrf or 0, key_id=own)
        wanted = self._keys.first(send_id=segment.rnext_key_id)
        if wanted is not None:
            ao.current = wanted

    # -- what is sent -------------------------------------------------------------------------

    def sign(self, packet: bytes, *, now: datetime | None = None, make_room: bool = False) -> bytes:
        """A packet as it goes out: with the option in it, lengths and checksums right.

        An unsigned connection's packets come back as they are.

        Parameters
        ----------
        packet : bytes
            A raw IP packet from `local` to `remote`, without TCP-AO and TCP-MD5.
        now : datetime, optional
            With it the send lifetime of current_key counts.
        make_room : bool
            Where the TCP header has no room for the option, drop SACK blocks; of a SYN or SYN-ACK
            what Linux leaves out there: see `Engine.sign`.

        Returns
        -------
        bytes

        Raises
        ------
        NotConnectedError (ENOTCONN)
            The connection is closed, or not open enough to sign this segment: ISNs are missing.
        KeyExpiredError (ENOKEY)
            current_key's send lifetime does not cover `now`.
        InvalidArgumentError
            Not a packet of this connection, no room for the option, or another ISN than before.
        """
        packet = bytes(packet)
        segment = self._outgoing(packet)
        if self._remote is None or self._state is State.CLOSED:
            raise NotConnectedError("the connection is closed: there is nothing to sign with")
        self._check_ours(segment)
        isns, sne = self._sending_isns(segment)
        signed = self._signed(packet, isns, sne, segment, now, make_room)
        self._sent(segment)
        return signed

    def _signed(
        self,
        packet: bytes,
        isns: tuple[int, int],
        sne: int,
        segment: ParsedSegment,
        now: datetime | None,
        make_room: bool,
    ) -> bytes:
        assert self._remote is not None
        if self._signed_with == TCP_MD5:
            entry = self._keys.matching(self._local, self._remote, self.vrf or 0, tcp_md5=True)
            return signed_md5(segment, entry[0], make_room) if entry else packet
        if self._ao is None or self._ao.current is None or self._ao.rnext is None:
            return packet
        current, rnext = self._ao.current, self._ao.rnext
        self._check_lifetime(current.key, now)
        keys = current.send
        if keys is None or segment.flags & SYN_ACK == SYN:
            keys = traffic_keys(current.key, self._local, self._remote, isns, outbound=True)
        return signed_ao(
            segment, keys, current, sne, current.key.send_id or 0, rnext.key.recv_id or 0, make_room
        )

    def _check_ours(self, segment: ParsedSegment) -> None:
        assert self._remote is not None
        ends = (
            (segment.source, segment.source_port),
            (segment.destination, segment.destination_port),
        )
        if ends != (
            (self._local[0].packed, self._local[1]),
            (self._remote[0].packed, self._remote[1]),
        ):
            found = " to ".join(f"{ip_address(address)} port {port}" for address, port in ends)
            raise InvalidArgumentError(
                f"packet goes from {found}; this connection from {self.local} to {self.remote}"
            )

    def _sending_isns(self, segment: ParsedSegment) -> tuple[tuple[int, int], int]:
        """ISNs and SNE to sign a segment with."""
        if segment.flags & SYN:
            if self._snt_isn is None:
                self._sent_isn(segment.seq)
            elif self._snt_isn != segment.seq:
                raise InvalidArgumentError(
                    f"the SYN has SEQ {segment.seq}; the connection's ISN is {self._snt_isn}"
                )
        if segment.flags & SYN_ACK == SYN:
            return (segment.seq, 0), 0
        if self._ao is None:
            return (0, 0), 0
        if self._snt_isn is None or self._rcv_isn is None:
            raise NotConnectedError(
                f"the connection is {self._state.value}: the peer's ISN is not known yet"
            )
        position = extend_position(self._snd_nxt.position, segment.seq)
        return (self._snt_isn, self._rcv_isn), max(position, 0) >> 32

    def _sent(self, segment: ParsedSegment) -> None:
        if segment.flags & RST:
            # before both are synchronized, a RST without ACK answers a wrong ACK (RFC 9293 section
            # 3.10.7.3), and the connection goes on
            if segment.flags & ACK or self._state.synchronized:
                self._state = State.CLOSED
            return
        if segment.flags & SYN:
            shift = window_scale_of(segment.header)
            self._rcv.shift = min(shift or 0, LARGEST_SHIFT)
            self._is_scaled = shift is not None and (self._is_scaled or not segment.flags & ACK)
        if segment.flags & ACK and self._rcv_isn is not None:
            self._rcv.offered(segment, self._is_scaled)
        flags = bool(segment.flags & SYN) + bool(segment.flags & FIN)
        self._snd_nxt.accept(segment.seq, segment.payload_length + flags)
        if segment.flags & FIN and self._state in _AFTER_FIN_SENT:
            self._fin_position = self._snd_nxt.position
            self._state = _AFTER_FIN_SENT[self._state]

    def icmp(self, icmp_type: int, code: int) -> bool:
        """Whether an ICMP error about this connection may have its effect.

        Hard errors are ignored on synchronized connections that run TCP-AO, and counted, unless
        ``accept_icmps`` is set (RFC 5925 section 7.8; Linux): ICMPv4 type 3 codes 2 to 4, ICMPv6
        type 1 codes 1 and 4.

        Parameters
        ----------
        icmp_type, code : int
            Of ICMP for IPv4, of ICMPv6 for IPv6.

        Returns
        -------
        bool
            Whether TCP should act on it.
        """
        hard_type, codes = _HARD_ICMP[self._local[0].version]
        if icmp_type != hard_type or code not in codes:
            return True
        if self._ao is None or self._ao.accept_icmps or not self._state.synchronized:
            return True
        self._ao.counters.dropped_icmp += 1
        self.snmp["TCPAODroppedIcmps"] += 1
        return False


def _is_seq(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFFFFFF


def _at(isn: int, sne: int, seq: int | None, known: SequenceExtender) -> SequenceExtender:
    """A direction with this ISN, at this SNE and SEQ; without SEQ where it was, or its ISN."""
    extender = SequenceExtender(isn)
    extender.position = _position_at(isn, sne, seq, known.position)
    return extender


def _position_at(isn: int, sne: int, seq: int | None, known: int) -> int:
    if seq is None:
        seq = known & 0xFFFFFFFF if known else isn
    return sne << 32 | seq
