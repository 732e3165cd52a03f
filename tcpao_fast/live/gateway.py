"""TCP-AO for a host whose kernel has none: what becomes of each packet that comes in or goes out.

It knows nothing of queues: `Gateway.rule` takes packets and says what becomes of them, so that the
rules of this file can be tested, and run, on any packets.
"""

from __future__ import annotations

import struct
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from tcpao_fast.core.wire.parse import parse_records
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine import Engine, Rewritten, VerifyResult
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.update import KeyChanges
from tcpao_fast.engine.verdicts import SignOutcome, Verdict
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.live.nfqueue import LOCAL_OUT, Queued, Ruling
from tcpao_fast.live.sessions import Emit, Sessions
from tcpao_fast.text import address_text

_RAW_IP = 101
_SYN, _ACK = 0x02, 0x10
#: Incoming: what passes without its option, and what passes as it is.
_STRIPPED = frozenset({Verdict.good, Verdict.md5_good})
_UNTOUCHED = frozenset({Verdict.unsigned, Verdict.not_tcp})
#: Outgoing: what goes out signed, and what goes out as it is.
_PASSED = frozenset({SignOutcome.no_key, SignOutcome.not_tcp})
#: ICMP errors that Linux's TCP-AO does not heed (RFC 5925 section 7.8; ``tcp_ao_ignore_icmp``).
_IGNORED_ICMP = {4: (3, frozenset({2, 3, 4})), 6: (1, frozenset({1, 4}))}
_MSS_KIND = 2
_TCP = 6

#: Both ends of a connection: own address and port, the peer's.
Ends = tuple[bytes, int, bytes, int]


@dataclass(slots=True)
class GatewayCounts:
    """What a gateway did.

    Attributes
    ----------
    signed, verified : int
        Packets that went out signed, and came in verified and went on without their option.
    passed : int
        Packets that no key is for, and those of connections that are left alone.
    dropped : Counter of str
        Packets that were dropped, by reason: a `Verdict` of what came in, ``out_`` and a
        `SignOutcome` of what was to go out, ``icmp``.
    """

    signed: int = 0
    verified: int = 0
    passed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, object]:
        """Plain JSON types."""
        return {
            "signed": self.signed,
            "verified": self.verified,
            "passed": self.passed,
            "dropped": dict(self.dropped),
        }


class Gateway:
    """Signs what goes out, verifies and strips what comes in, drops what is not good.

    Parameters
    ----------
    chain : KeyChain, or iterable of MasterKey
        Here is the local side of each.
    ao_required : bool
        Whether unsigned TCP is dropped even where no key is for the peer.
    accept_icmps : bool
        Whether ICMP errors on protected connections reach the host, as Linux's socket option has
        it.
    fail_open : bool
        Whether what cannot be signed goes out as it is, rather than not at all.
    left_alone : iterable of Ends
        Connections that were up before: they go on as they are until they end.
    emit : callable, optional
        Gets events (`Sessions`).
    """

    def __init__(
        self,
        chain: Iterable[MasterKey],
        *,
        ao_required: bool = False,
        accept_icmps: bool = False,
        fail_open: bool = False,
        left_alone: Iterable[Ends] = (),
        emit: Emit | None = None,
        max_connections: int = 1 << 16,
    ) -> None:
        policy = Policy(ao_required=ao_required, follow_rnext=True, as_endpoint=True)
        self.engine = Engine(chain, policy, max_connections=max_connections)
        self.accept_icmps = accept_icmps
        self.fail_open = fail_open
        self.left_alone = set(left_alone)
        self.counts = GatewayCounts()
        self.sessions = Sessions(self.engine, emit or (lambda event: None))
        self._chain = chain if isinstance(chain, KeyChain) else KeyChain(chain)

    def update(self, chain: Iterable[MasterKey]) -> KeyChanges:
        """Go on with other keys; see `Engine.update`.

        Parameters
        ----------
        chain : KeyChain, or iterable of MasterKey

        Returns
        -------
        KeyChanges
        """
        before = self.engine.keys
        chain = chain if isinstance(chain, KeyChain) else KeyChain(chain)
        changes = self.engine.update(chain)
        self._chain = chain
        self.sessions.renumber(before, self.engine.keys)
        return changes

    def rule(self, packets: Sequence[Queued], now: int | None = None) -> list[Ruling]:
        """What becomes of packets, in their order.

        Parameters
        ----------
        packets : sequence of Queued
        now : int, optional
            Nanoseconds since 1970, for the lifetimes of keys; the system's clock.

        Returns
        -------
        list of Ruling
            One for each.
        """
        now = time.time_ns() if now is None else now
        rulings: list[Ruling] = []
        start = 0
        while start < len(packets):  # runs of one direction: state moves in the packets' order
            out = packets[start].hook == LOCAL_OUT
            end = start + 1
            while end < len(packets) and (packets[end].hook == LOCAL_OUT) == out:
                end += 1
            run = packets[start:end]
            rulings += self._outgoing(run, now) if out else self._incoming(run, now)
            start = end
        return rulings

    # -- what goes out --------------------------------------------------------------------------

    def _outgoing(self, run: Sequence[Queued], now: int) -> Iterator[Ruling]:
        packets = [one.packet for one in run]
        signed = self.engine.sign(
            packets, linktype=_RAW_IP, timestamps=[now] * len(run), make_room=True
        )
        for one, outcome, packet in zip(run, signed.outcome.tolist(), _split(signed), strict=True):
            if outcome == SignOutcome.signed and not self._is_left_alone(one.packet, out=True):
                self.counts.signed += 1
                self._watch_syn(packet)
                yield Ruling(one.number, True, packet)
            elif outcome in _PASSED or self._is_left_alone(one.packet, out=True):
                self.counts.passed += 1
                yield Ruling(one.number, True)
            else:
                self.counts.dropped[f"out_{SignOutcome(outcome).name}"] += 1
                yield Ruling(one.number, self.fail_open)

    def _watch_syn(self, packet: bytes) -> None:
        """An answer is due to a SYN."""
        at = _tcp_at(packet)
        if at and packet[at + 13] & (_SYN | _ACK) == _SYN:
            ends, _ = _ends_of(packet, out=True)
            own, own_port, peer, peer_port = ends
            self.sessions.await_answer(
                (address_text(own), own_port), (address_text(peer), peer_port)
            )

    # -- what comes in --------------------------------------------------------------------------

    def _incoming(self, run: Sequence[Queued], now: int) -> Iterator[Ruling]:
        packets = [one.packet for one in run]
        found: VerifyResult
        found, stripped = self.engine.verify_and_strip(
            packets, linktype=_RAW_IP, timestamps=[now] * len(run)
        )
        self.sessions.add(found, both_ways=False)
        for one, number, packet in zip(run, found.verdict.tolist(), _split(stripped), strict=True):
            verdict = Verdict(number)
            if verdict in _STRIPPED:
                self.counts.verified += 1
                if self.left_alone:
                    self.left_alone.discard(_ends_of(one.packet, out=False)[0])
                grown = len(one.packet) - len(packet)
                yield Ruling(one.number, True, lower_mss(packet, grown))
            elif verdict is Verdict.not_tcp and self._is_icmp_to_drop(one.packet):
                self.counts.dropped["icmp"] += 1
                yield Ruling(one.number, False)
            elif verdict in _UNTOUCHED or self._is_left_alone(one.packet, out=False):
                self.counts.passed += 1
                yield Ruling(one.number, True)
            else:
                self.counts.dropped[verdict.name] += 1
                yield Ruling(one.number, False)

    # -- connections that were there before -----------------------------------------------------

    def _is_left_alone(self, packet: bytes, *, out: bool) -> bool:
        """Whether it is of a connection that was up before, and has not begun anew."""
        if not self.left_alone:
            return False
        ends, flags = _ends_of(packet, out=out)
        if ends not in self.left_alone:
            return False
        if out and flags & _SYN:  # what comes in unverified ends nothing
            self.left_alone.discard(ends)
            return False
        return True

    # -- ICMP -----------------------------------------------------------------------------------

    def _is_icmp_to_drop(self, packet: bytes) -> bool:
        """Whether it is an ICMP error about a connection with a key: anybody could have sent it."""
        if self.accept_icmps:
            return False
        inner = _inner_of_icmp(packet)
        if inner is None:
            return False
        ends = _ends_of_inner(inner)
        if ends is None or ends in self.left_alone:
            return False
        own, own_port, peer, peer_port = ends
        keys = self._chain.matching(
            (str(ip_address(own)), own_port), (str(ip_address(peer)), peer_port)
        )
        return bool(keys)


def _ends_of(packet: bytes, *, out: bool) -> tuple[Ends, int]:
    """The ends of a raw IP packet, the own one first, and its TCP flags."""
    (row,) = parse_records(Records([packet], linktype=_RAW_IP))
    size = 16 if row["version"] == 6 else 4
    source = row["source"][:size].tobytes(), int(row["source_port"])
    destination = row["destination"][:size].tobytes(), int(row["destination_port"])
    return ((*source, *destination) if out else (*destination, *source)), int(row["flags"])


def _split(found: Rewritten) -> Iterator[bytes]:
    """The packets of a rewritten batch."""
    data = found.buffer.tobytes()
    for offset, length in zip(found.offsets.tolist(), found.lengths.tolist(), strict=True):
        yield data[offset : offset + length]


def _inner_of_icmp(packet: bytes) -> bytes | None:
    """The packet that an ICMP error of a kind to be ignored is about; None where it is another."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 28 and packet[9] == 1:
        at = (packet[0] & 15) * 4
    elif version == 6 and len(packet) >= 48 and packet[6] == 58:
        at = 40
    else:
        return None
    kind, codes = _IGNORED_ICMP[version]
    if len(packet) < at + 8 or packet[at] != kind or packet[at + 1] not in codes:
        return None
    return packet[at + 8 :]


def _ends_of_inner(packet: bytes) -> Ends | None:
    """Who sent the packet that an ICMP error quotes (this host), and to whom; None: not TCP."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20 and packet[9] == 6:
        at, addresses = (packet[0] & 15) * 4, (packet[12:16], packet[16:20])
    elif version == 6 and len(packet) >= 40 and packet[6] == 6:
        at, addresses = 40, (packet[8:24], packet[24:40])
    else:
        return None
    if len(packet) < at + 4:
        return None
    source, destination = struct.unpack_from(">HH", packet, at)
    return addresses[0], source, addresses[1], destination


def _tcp_at(packet: bytes) -> int:
    """Where a whole TCP header begins in a raw IP packet; 0 where it is behind IPv6's extension
    headers, or there is none.
    """
    if len(packet) < 40:
        return 0
    if packet[0] >> 4 == 4:
        at = (packet[0] & 15) * 4 if packet[9] == _TCP else 0
    else:
        at = 40 if packet[6] == _TCP else 0
    return at if len(packet) >= at + 20 else 0


def lower_mss(packet: bytes, by: int) -> bytes:
    """A raw IP packet; of a SYN or SYN-ACK the MSS is made less, so that what is sent in answer has
    room for an option of so many bytes (RFC 5925 section 7.6: the option counts).

    Parameters
    ----------
    packet : bytes
        Whole, with right checksums.
    by : int

    Returns
    -------
    bytes
    """
    at = _tcp_at(packet)
    if by <= 0 or not at or not packet[at + 13] & _SYN:
        return packet
    place, end = at + 20, min(len(packet), at + (packet[at + 12] >> 4) * 4)
    while place + 4 <= end:
        kind = packet[place]
        if kind == 0:
            break
        if kind == 1:
            place += 1
            continue
        if kind == _MSS_KIND and packet[place + 1] == 4:
            return _with_less_mss(packet, at, place, by)
        place += max(packet[place + 1], 2)
    return packet


def _with_less_mss(packet: bytes, tcp: int, option: int, by: int) -> bytes:
    changed = bytearray(packet)
    (before,) = struct.unpack_from(">H", packet, option + 2)
    after = max(before - by, 1)
    struct.pack_into(">H", changed, option + 2, after)
    (checksum,) = struct.unpack_from(">H", packet, tcp + 16)
    # RFC 1624; a value at an odd place of the segment counts with its bytes swapped
    old, new = before, after
    if (option + 2 - tcp) % 2:
        old, new = (old & 255) << 8 | old >> 8, (new & 255) << 8 | new >> 8
    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into(">H", changed, tcp + 16, ~total & 0xFFFF)
    return bytes(changed)
