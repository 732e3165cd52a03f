"""The words of an endpoint: its states, what it says of a segment and of itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from tcpao_fast.engine.counters import Counters
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.keys import MasterKey

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
SYN_ACK = SYN | ACK


class State(Enum):
    """The state of an endpoint (RFC 9293 section 3.3.2)."""

    CLOSED = "CLOSED"
    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"

    #: Whether both ends know both ISNs.
    synchronized: bool


# asked of each segment, so it is no property
for _state in State:
    _state.synchronized = _state not in (
        State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED
    )  # fmt: skip


class DropReason(Enum):
    """Why a segment was dropped, by Linux's names (``include/net/dropreason-core.h``)."""

    #: Broken, doubled or mixed authentication options.
    TCP_AUTH_HDR = "TCP_AUTH_HDR"
    #: Unsigned, where TCP-AO is required.
    TCP_AONOTFOUND = "TCP_AONOTFOUND"
    #: Signed, where there is no TCP-AO.
    TCP_AOUNEXPECTED = "TCP_AOUNEXPECTED"
    #: Signed with a KeyID that no key has.
    TCP_AOKEYNOTFOUND = "TCP_AOKEYNOTFOUND"
    #: The MAC is wrong, or of another length.
    TCP_AOFAILURE = "TCP_AOFAILURE"
    #: Without TCP-MD5, where there is a key for it.
    TCP_MD5NOTFOUND = "TCP_MD5NOTFOUND"
    #: TCP-MD5, where there is no key for it.
    TCP_MD5UNEXPECTED = "TCP_MD5UNEXPECTED"
    #: The TCP-MD5 digest is wrong.
    TCP_MD5FAILURE = "TCP_MD5FAILURE"
    #: The connection is closed.
    TCP_CLOSE = "TCP_CLOSE"
    #: Neither SYN nor ACK, for a listener.
    TCP_FLAGS = "TCP_FLAGS"
    #: As many connections wait to be accepted as may.
    LISTEN_OVERFLOW = "LISTEN_OVERFLOW"
    #: For another endpoint.
    NO_SOCKET = "NO_SOCKET"
    #: Not a whole TCP segment.
    NOT_A_SEGMENT = "NOT_A_SEGMENT"


class Outcome(NamedTuple):
    """What `process` says of a segment.

    Attributes
    ----------
    accepted : bool
        Whether TCP should see the segment.
    verdict : Verdict
    reason : DropReason or None
        Why it was not accepted.
    packet : bytes or None
        The packet without its TCP-AO or TCP-MD5 option, lengths and checksums right, if accepted.
    key : MasterKey or None
        The key that the KeyID names.
    warning : str or None
        Where a signed segment was passed unverified: why.
    """

    accepted: bool
    verdict: Verdict
    reason: DropReason | None = None
    packet: bytes | None = None
    key: MasterKey | None = None
    warning: str | None = None

    def with_packet(self, packet: bytes) -> Outcome:
        """The same of a segment that TCP gets to see as `packet`.

        Parameters
        ----------
        packet : bytes

        Returns
        -------
        Outcome
        """
        return Outcome(self.accepted, self.verdict, self.reason, packet, self.key, self.warning)


@dataclass(frozen=True, slots=True)
class AoInfo:
    """What ``TCP_AO_INFO`` says of an endpoint.

    Attributes
    ----------
    current : int or None
        The SendID of the key that it signs with.
    rnext : int or None
        The RecvID of the key that it asks its peer to sign with.
    ao_required, accept_icmps : bool
    counters : Counters
        A copy.
    """

    current: int | None
    rnext: int | None
    ao_required: bool
    accept_icmps: bool
    counters: Counters
