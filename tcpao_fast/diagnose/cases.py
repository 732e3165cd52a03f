"""What a hypothesis is asked about, and what it answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.diagnose.evidence import ConnectionEvidence, Sample
from tcpao_fast.diagnose.rows import Endpoint
from tcpao_fast.engine.candidates import Statement
from tcpao_fast.keys import MasterKey

#: Every reason that `diagnose` gives, and what it says in general.
REASONS = {
    "wrong_secret": "nothing that was tried produces the MACs; most likely another master key",
    "secret_changed": "from some packet on, segments no longer match the key",
    "options_coverage": "one side's MACs cover the TCP options, the other's leave them out",
    "wrong_algorithm": "the two sides use different algorithms",
    "wrong_mac_length": "the two sides use different MAC lengths",
    "swapped_ids": "SendID and RecvID are swapped",
    "wrong_key_id": "the KeyID belongs to another key, or to none",
    "secret_encoding": "the same secret was entered differently on the two sides",
    "cmac_key_length": "a CMAC master key that is not 16 bytes long was padded or truncated",
    "wrong_kdf": "same MAC, but traffic keys are derived differently",
    "sne": "the sequence number extension differs",
    "isn": "the traffic key was derived from other ISNs",
    "rewritten_address": "an address or port was changed in transit",
    "rewritten_header": "a field of the TCP header was changed in transit",
    "rewritten_options": "TCP options were changed in transit",
    "tcp_md5": "TCP-MD5 instead of TCP-AO",
    "unsigned_peer": "segments are not signed",
    "unsigned_reset": "unsigned RSTs on a connection that is signed",
    "no_answer": "good SYNs that nobody answers",
    "pre_standard_option": "an experimental option (kind 253 or 254) instead of TCP-AO",
    "missing_handshake": "the handshake was not captured",
    "truncated": "not all bytes covered by the MAC were captured",
    "offload": "the segments were not captured as they were sent (offloading)",
}


@dataclass(frozen=True, slots=True)
class Case:
    """One segment that is not good, with all that is known around it.

    Attributes
    ----------
    sample : Sample
    connection : ConnectionEvidence
    key : MasterKey
        The key that the statement was made from.
    keys : tuple of MasterKey
        The whole key file.
    isns : tuple of (tuple of int, tuple of int)
        ISNs that the capture shows of the segment's sender and of its receiver, likeliest first.
    """

    sample: Sample
    connection: ConnectionEvidence
    key: MasterKey
    keys: tuple[MasterKey, ...]
    isns: tuple[tuple[int, ...], tuple[int, ...]]

    @property
    def sender(self) -> Endpoint:
        """Address and port of who sent the segment."""
        return self.connection.ends[self.sample.direction]

    @property
    def is_syn(self) -> bool:
        """Whether the segment has SYN and not ACK."""
        return self.sample.segment.flags & 0x12 == 0x02


@dataclass(frozen=True, slots=True)
class Variant:
    """How a segment's MAC may have been made other than the key file says.

    Attributes
    ----------
    statement : Statement
    reason : str
        One of `REASONS`.
    what : str
        A clause for behind "segments from X:".
    advice : str
        How to fix it.
    """

    statement: Statement
    reason: str
    what: str
    advice: str


#: Gives variants of a statement, the likeliest first; none where it has nothing to say.
Hypothesis = Callable[[Case, Statement], Iterator[Variant]]


def macs_of(key: MasterKey) -> str:
    """What its MACs are called."""
    return "digests" if key.is_tcp_md5 else "MACs"


def matches(key: MasterKey, one: ParsedSegment) -> bool:
    """Whether addresses and ports of a key match a segment, seen from either end."""
    side = key.sent_by_local(one.source, one.source_port, one.destination, one.destination_port)
    return side is not None
