"""What a capture shows of the connections that are not good: counts, and a few segments of each.

`verify` says what each segment is; whoever wants to know why looks here. Memory grows with the
connections and the few segments kept of each, not with the capture.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.wire.options import mss_of
from tcpao_fast.diagnose.copies import Copy, CopyFinder
from tcpao_fast.diagnose.fragments import FragmentCollector, Fragments
from tcpao_fast.diagnose.rows import Endpoint, Rows, ends_of
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.verdicts import BAD, GOOD, UNDECIDED, Verdict
from tcpao_fast.text import endpoint_text

#: Connections of which segments are kept; of the others there are the counts.
MAX_CONNECTIONS = 2000
#: Segments kept of a connection in each direction and with each verdict: with SYN, and without.
SYNS, OTHERS = 2, 4
#: Connections that are counted; those that come later are not looked at, and of none is kept.
MAX_COUNTED = 40_000
#: Connections whose SYNs are looked at for ISN and MSS.
MAX_HANDSHAKES = 50_000
#: Good segments that some receiver may drop all the same, looked at for being sent again.
MAX_WATCHED = 32

_SYN, _ACK = 2, 16
_AO, _MD5 = 1, 2
_RAW_IP = 101
_TROUBLE = np.zeros(256, bool)
_TROUBLE[[int(verdict) for verdict in BAD | UNDECIDED]] = True
_GOOD = np.zeros(256, bool)
_GOOD[[int(verdict) for verdict in GOOD]] = True
_BAD_MAC = np.zeros(256, bool)
_BAD_MAC[[Verdict.bad_mac, Verdict.md5_bad]] = True
_NEVER = 1 << 62
_COUNTED = len(Verdict)
#: What is kept of every connection, an entry each, and what it is at first.
_EMPTY = {
    "_counts": 0,
    "_options": 0,
    "_largest": 0,
    "_last_good": 0,
    "_first_bad": _NEVER,
    "_wanted": True,
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One segment that is not good.

    Attributes
    ----------
    number : int
        Of its packet, counted through all captures from 1.
    direction : int
        Which end sent it: index into `Connection.ends`.
    segment : ParsedSegment
        From its (innermost) IP header on.
    verdict : Verdict
    key : int
        Index into `Engine.keys` of the key that was tried, or -1.
    sne : int
        What it was tried with.
    """

    number: int
    direction: int
    segment: ParsedSegment
    verdict: Verdict
    key: int
    sne: int


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a SYN or SYN-ACK said.

    Attributes
    ----------
    number, direction : int
        As in `Sample`.
    isn : int
    answers : int or None
        The other side's ISN, of a SYN-ACK.
    mss : int or None
    rnext_key_id : int or None
        Of a signed one.
    verdict : Verdict
    """

    number: int
    direction: int
    isn: int
    answers: int | None
    mss: int | None
    rnext_key_id: int | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Watched:
    """A good segment that a receiver may have dropped, and how often it was sent again.

    Attributes
    ----------
    number, direction : int
        As in `Sample`.
    why : str
        ``checksum`` (its checksum field is 0) or ``isn`` (first data behind ISN 0xFFFFFFFF).
    seq : int
    repeats : int
    """

    number: int
    direction: int
    why: str
    seq: int
    repeats: int


@dataclass(slots=True)
class ConnectionEvidence:
    """What was seen of one connection. Where there are two values, each is of what one end sent.

    Attributes
    ----------
    id : int
        As in `VerifyResult.connection`.
    ends : two of (str, int)
        Address and port, the smaller first.
    vrf : int
    counts : int64[2, n]
        Segments by verdict (`Verdict`'s numbers).
    options : int64[2, 3]
        Segments without, with TCP-AO, with TCP-MD5.
    largest : int64[2]
        Bytes of the longest payload.
    last_good, first_bad : int64[2]
        Number of the last packet whose MAC was good, 0 without, and of the first whose MAC was bad.
    lowest : list of two (int or None)
        The lowest sequence number that the capture shows of each end, by SEQ and ACK.
    first : dict of Verdict to int
        Number of the first packet with each verdict of trouble.
    samples : list of Sample
    handshakes : list of Handshake
    watched : list of Watched
    copies : dict of int to Copy
        Samples, by number, that were captured elsewhere too, before or behind a change.
    changed : frozenset of int
        Numbers of packets of the connection that are such a copy of a segment that is not good.
    """

    id: int
    ends: tuple[Endpoint, Endpoint]
    vrf: int
    counts: npt.NDArray[np.int64]
    options: npt.NDArray[np.int64]
    largest: npt.NDArray[np.int64]
    last_good: npt.NDArray[np.int64]
    first_bad: npt.NDArray[np.int64]
    lowest: list[int | None] = field(default_factory=lambda: [None, None])
    first: dict[Verdict, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    handshakes: list[Handshake] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)
    copies: dict[int, Copy] = field(default_factory=dict)
    changed: frozenset[int] = frozenset()

    def total(self, verdict: Verdict) -> int:
        """Segments with a verdict, in both directions."""
        return int(self.counts[:, verdict].sum())

    def text(self, side: int) -> str:
        """One of the ends, with its port."""
        return endpoint_text(*self.ends[side])

    @property
    def client(self) -> int:
        """Which end is the client: it sent the SYN; without one, the higher port."""
        for one in self.handshakes:
            return one.direction if one.answers is None else 1 - one.direction
        return 0 if self.ends[0][1] >= self.ends[1][1] else 1

    def is_supposed(self, sample: Sample) -> bool:
        """Whether a segment's ISNs are merely supposed: the capture begins at a SYN-ACK, whose MAC
        is not that of the ISN which it acknowledges.
        """
        begin = min((one.number for one in self.handshakes), default=sample.number + 1)
        return (
            sample.verdict is Verdict.missing_isn
            and sample.number >= begin
            and all(
                one.answers is not None and one.verdict is Verdict.missing_isn
                for one in self.handshakes
            )
        )


class EvidenceCollector:
    """Gathers evidence beside verification."""

    def __init__(self) -> None:
        self._counts = np.zeros((0, 2, _COUNTED), np.int64)
        self._options = np.zeros((0, 2, 3), np.int64)
        self._largest = np.zeros((0, 2), np.int64)
        self._last_good = np.zeros((0, 2), np.int64)
        self._first_bad = np.zeros((0, 2), np.int64)
        # whether more segments are wanted, by direction, by SYN and by verdict
        self._wanted = np.zeros((0, 2, 2, _COUNTED), bool)
        self._known: dict[int, ConnectionEvidence] = {}
        self._beyond = 0  # connections that are not counted, about
        self._handshakes: dict[int, list[Handshake]] = {}
        self._watch: dict[tuple[int, int, int], list[Any]] = {}
        self._copies = CopyFinder()
        self._fragments = FragmentCollector()

    def add(self, result: VerifyResult) -> None:
        """Look at some records."""
        self._fragments.add(result)
        at = np.flatnonzero((result.verdict != Verdict.not_tcp) & (result.connection >= 0))
        if not len(at):
            return
        beyond = result.connection[at] >= MAX_COUNTED
        bad = beyond & _TROUBLE[result.verdict[at]]
        if bad.any():
            top = int(result.connection[at][bad].max()) + 1
            self._beyond = max(self._beyond, top - MAX_COUNTED)
        ports = result.segments[["source_port", "destination_port"]][at]
        there = (ports["source_port"] != 0) | (ports["destination_port"] != 0)
        rows = Rows.of(result, at[there & ~beyond])
        self._grow(int(rows.connection.max(initial=-1)) + 1)
        self._count(rows)
        self._note_handshakes(rows)
        self._watch_repeats(rows)
        self._note_dubious(rows)
        trouble = np.flatnonzero(_TROUBLE[rows.verdict])
        with_syn = (rows.segments["flags"] & _SYN) // _SYN
        fresh: list[Sample] = []
        for start in range(0, len(trouble), 256):
            some = trouble[start : start + 256]
            wanted = self._wanted[
                rows.connection[some], rows.direction[some], with_syn[some], rows.verdict[some]
            ]
            fresh += [sample for i in some[wanted].tolist() if (sample := self._keep(rows, i))]
        self._copies.add(rows, [(one.number, one.segment) for one in fresh])

    def _grow(self, top: int) -> None:
        known = len(self._counts)
        if top <= known:
            return
        more = max(top, known * 3 // 2) - known
        for name, empty in _EMPTY.items():
            old = getattr(self, name)
            grown = np.full((more, *old.shape[1:]), empty, old.dtype)
            setattr(self, name, np.concatenate((old, grown)))

    def _count(self, rows: Rows) -> None:
        where = rows.connection, rows.direction
        np.add.at(self._counts, (*where, rows.verdict), 1)
        np.add.at(self._options, (*where, np.minimum(rows.segments["auth"], 2)), 1)
        np.maximum.at(self._largest, where, rows.payload())
        good, bad = _GOOD[rows.verdict], _BAD_MAC[rows.verdict]
        np.maximum.at(self._last_good, where, np.where(good, rows.numbers, 0))
        np.minimum.at(self._first_bad, where, np.where(bad, rows.numbers, _NEVER))

    def _note_handshakes(self, rows: Rows) -> None:
        with_syn = (rows.segments["flags"] & _SYN) != 0
        whole = rows.segments["kind"] == 1
        for i in np.flatnonzero(with_syn & whole & (rows.connection < MAX_HANDSHAKES)).tolist():
            connection, direction = int(rows.connection[i]), int(rows.direction[i])
            noted = self._handshakes.setdefault(connection, [])
            if len(noted) >= 16:
                continue
            row = rows.segments[i]
            is_answer = bool(row["flags"] & _ACK)
            again = any(one.direction == direction for one in noted)
            if again and _GOOD[rows.verdict[i]]:
                self._evidence_of(connection, row)  # perhaps it is never answered
            noted.append(
                Handshake(
                    int(rows.numbers[i]),
                    direction,
                    int(row["seq"]),
                    (int(row["ack"]) - 1) & 0xFFFFFFFF if is_answer else None,
                    mss_of(rows.header(i)),
                    int(row["rnext_key_id"]) if row["auth"] == _AO else None,
                    Verdict(rows.verdict[i]),
                )
            )

    def _watch_repeats(self, rows: Rows) -> None:
        for (connection, direction, seq), noted in self._watch.items():
            noted[2] += rows.repeats(connection, direction, seq, noted[0])

    def _note_dubious(self, rows: Rows) -> None:
        """Good segments that Linux's receiving side is known to drop."""
        good = np.flatnonzero((rows.verdict == Verdict.good) & (rows.segments["kind"] == 1))
        records = rows.result.records
        octets = np.frombuffer(records.buffer, np.uint8)
        place = records.offsets[rows.at[good]] + rows.segments["tcp_offset"][good]
        unsummed = (octets[place + 16] == 0) & (octets[place + 17] == 0)
        starts = (rows.segments["seq"][good] == 0) & (rows.payload()[good] > 0)
        for i in good[unsummed | starts].tolist():
            if len(self._watch) >= MAX_WATCHED:
                return
            connection, direction = int(rows.connection[i]), int(rows.direction[i])
            seq, number = int(rows.segments["seq"][i]), int(rows.numbers[i])
            why = "checksum"
            if seq == 0 and starts[np.searchsorted(good, i)]:
                handshakes = self._handshakes.get(connection, ())
                if 0xFFFFFFFF not in [one.isn for one in handshakes if one.direction == direction]:
                    continue
                why = "isn"
            if (connection, direction, seq) in self._watch:
                continue
            repeats = rows.repeats(connection, direction, seq, number)
            self._watch[connection, direction, seq] = [number, why, repeats]
            self._evidence_of(connection, rows.segments[i])

    def _evidence_of(self, connection: int, row: Any) -> ConnectionEvidence | None:
        known = self._known.get(connection)
        if known is None:
            if len(self._known) >= MAX_CONNECTIONS:
                return None
            known = self._known[connection] = ConnectionEvidence(
                connection,
                ends_of(row),
                int(row["vlan"]),
                self._counts[connection],
                self._options[connection],
                self._largest[connection],
                self._last_good[connection],
                self._first_bad[connection],
            )
        return known

    def _keep(self, rows: Rows, i: int) -> Sample | None:
        connection, direction = int(rows.connection[i]), int(rows.direction[i])
        number, row = int(rows.numbers[i]), rows.segments[i]
        known = self._evidence_of(connection, row)
        if known is None:
            self._wanted[connection] = False
            return None
        verdict = Verdict(rows.verdict[i])
        known.first.setdefault(verdict, number)
        with_syn = bool(row["flags"] & _SYN)
        if row["kind"] != 1:  # there is nothing to try
            self._wanted[connection, direction, int(with_syn), verdict] = False
            return None
        self._lowest(known, row, direction)
        alike = sum(
            one.direction == direction
            and one.verdict is verdict
            and bool(one.segment.flags & _SYN) == with_syn
            for one in known.samples
        )
        if alike + 1 >= (SYNS if with_syn else OTHERS):
            self._wanted[connection, direction, int(with_syn), verdict] = False
        at = rows.at[i]
        sample = Sample(
            number,
            direction,
            ParsedSegment(rows.packet(i), _RAW_IP),
            verdict,
            int(rows.result.key[at]),
            int(rows.result.sne[at]),
        )
        known.samples.append(sample)
        return sample

    @staticmethod
    def _lowest(known: ConnectionEvidence, row: Any, direction: int) -> None:
        shown = [(direction, int(row["seq"]))]
        if row["flags"] & _ACK:
            shown.append((1 - direction, int(row["ack"])))
        for side, position in shown:
            before = known.lowest[side]
            if before is None or (position - before) & 0x80000000:
                known.lowest[side] = position

    def evidence(self) -> list[ConnectionEvidence]:
        """The connections with trouble (or something dubious), in the order they first appeared."""
        watched: Mapping[int, list[Watched]] = defaultdict(list)
        for (one, side, seq), (number, why, repeats) in self._watch.items():
            watched[one].append(Watched(number, side, why, seq, repeats))
        copies = self._copies.found
        changed: Mapping[int, set[int]] = defaultdict(set)
        for copy in copies.values():
            changed[copy.connection].add(copy.number)
        found = []
        for number in sorted(self._known):
            known = self._known[number]
            known.counts = self._counts[number]
            known.options = self._options[number]
            known.largest = self._largest[number]
            known.last_good = self._last_good[number]
            known.first_bad = self._first_bad[number]
            known.handshakes = self._handshakes.get(number, [])
            known.watched = watched[number]
            known.copies = {
                one.number: copies[one.number] for one in known.samples if one.number in copies
            }
            known.changed = frozenset(changed.get(number, ()))
            found.append(known)
        return found

    def fragments(self, truncated: int) -> Fragments | None:
        """What is known of IP datagrams that stayed incomplete, of which no connection is known.

        Parameters
        ----------
        truncated : int
            All segments that are `Verdict.truncated`.
        """
        return self._fragments.incomplete(truncated)

    @property
    def left_out(self) -> int:
        """Connections with trouble of which nothing but counts was kept."""
        trouble = np.asarray(self._counts[:, :, _TROUBLE[:_COUNTED]].any(axis=(1, 2)))
        kept = sum(bool(trouble[number]) for number in self._known if number < len(trouble))
        return int(trouble.sum()) - kept + self._beyond
