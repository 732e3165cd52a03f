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

from tcpao_fast.capture.reader import Chunk
from tcpao_fast.core.batch.one import OneSegment
from tcpao_fast.core.wire.parse import parse_records
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.verdicts import BAD, UNDECIDED, Verdict
from tcpao_fast.text import address_text, endpoint_text

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
_COUNTED = len(Verdict)

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """One segment that is not good.

    Attributes
    ----------
    number : int
        Of its packet, counted through all captures from 1.
    direction : int
        Which end sent it: index into `Connection.ends`.
    segment : OneSegment
        From its (innermost) IP header on.
    verdict : Verdict
    key : int
        Index into `Engine.keys` of the key that was tried, or -1.
    sne : int
        What it was tried with.
    """

    number: int
    direction: int
    segment: OneSegment
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
    lowest : list of two (int or None)
        The lowest sequence number that the capture shows of each end, by SEQ and ACK.
    first : dict of Verdict to int
        Number of the first packet with each verdict of trouble.
    samples : list of Sample
    handshakes : list of Handshake
    watched : list of Watched
    """

    id: int
    ends: tuple[Endpoint, Endpoint]
    vrf: int
    counts: npt.NDArray[np.int64]
    options: npt.NDArray[np.int64]
    largest: npt.NDArray[np.int64]
    lowest: list[int | None] = field(default_factory=lambda: [None, None])
    first: dict[Verdict, int] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    handshakes: list[Handshake] = field(default_factory=list)
    watched: list[Watched] = field(default_factory=list)

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


class EvidenceCollector:
    """Gathers evidence, chunk by chunk, beside verification."""

    def __init__(self) -> None:
        self._counts = np.zeros((0, 2, _COUNTED), np.int64)
        self._options = np.zeros((0, 2, 3), np.int64)
        self._largest = np.zeros((0, 2), np.int64)
        # whether more segments are wanted, by direction, by SYN and by verdict
        self._wanted = np.zeros((0, 2, 2, _COUNTED), bool)
        self._known: dict[int, ConnectionEvidence] = {}
        self._beyond = 0  # connections that are not counted, about
        self._handshakes: dict[int, list[Handshake]] = {}
        self._watch: dict[tuple[int, int, int], list[Any]] = {}

    def add(self, name: str, before: int, chunk: Chunk, result: VerifyResult) -> None:
        """Look at one chunk; `before` records came before the capture it is from."""
        at = np.flatnonzero((result.verdict != Verdict.not_tcp) & (result.connection >= 0))
        if not len(at):
            return
        records = chunk.records()
        rows = parse_records(records.subset(at))
        there = (rows["source_port"] != 0) | (rows["destination_port"] != 0)
        beyond = result.connection[at] >= MAX_COUNTED
        bad = beyond & _TROUBLE[result.verdict[at]]
        if bad.any():
            top = int(result.connection[at][bad].max()) + 1
            self._beyond = max(self._beyond, top - MAX_COUNTED)
        there &= ~beyond
        at, rows = at[there], rows[there]
        connection = result.connection[at].astype(np.int64)
        verdict = result.verdict[at]
        direction = directions(rows)
        self._grow(int(connection.max(initial=-1)) + 1)
        self._count(connection, direction, verdict, rows)
        numbers = before + chunk.numbers[at]
        self._note_handshakes(chunk, at, rows, connection, direction, verdict, numbers)
        self._watch_repeats(rows, connection, direction, numbers)
        self._note_dubious(chunk, at, rows, connection, direction, verdict, numbers)
        trouble = np.flatnonzero(_TROUBLE[verdict])
        with_syn = (rows["flags"] & _SYN) // _SYN
        for start in range(0, len(trouble), 256):
            some = trouble[start : start + 256]
            some = some[
                self._wanted[connection[some], direction[some], with_syn[some], verdict[some]]
            ]
            for i in some.tolist():
                self._keep(
                    chunk,
                    int(at[i]),
                    rows[i],
                    int(connection[i]),
                    int(direction[i]),
                    int(numbers[i]),
                    result,
                )

    def _grow(self, top: int) -> None:
        known = len(self._counts)
        if top <= known:
            return
        more = max(top, known * 3 // 2) - known
        for name in ("_counts", "_options", "_largest"):
            old = getattr(self, name)
            grown = np.zeros((more, *old.shape[1:]), old.dtype)
            setattr(self, name, np.concatenate((old, grown)))
        self._wanted = np.concatenate((self._wanted, np.ones((more, 2, 2, _COUNTED), bool)))

    def _count(
        self,
        connection: npt.NDArray[np.int64],
        direction: npt.NDArray[np.int64],
        verdict: npt.NDArray[np.uint8],
        rows: npt.NDArray[np.void],
    ) -> None:
        np.add.at(self._counts, (connection, direction, verdict), 1)
        np.add.at(self._options, (connection, direction, np.minimum(rows["auth"], 2)), 1)
        payload = rows["length"].astype(np.int64) - rows["header_length"]
        np.maximum.at(self._largest, (connection, direction), payload)

    def _note_handshakes(
        self,
        chunk: Chunk,
        at: npt.NDArray[np.int64],
        rows: npt.NDArray[np.void],
        connection: npt.NDArray[np.int64],
        direction: npt.NDArray[np.int64],
        verdict: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.int64],
    ) -> None:
        syns = np.flatnonzero(
            ((rows["flags"] & _SYN) != 0) & (rows["kind"] == 1) & (connection < MAX_HANDSHAKES)
        )
        for i in syns.tolist():
            noted = self._handshakes.setdefault(int(connection[i]), [])
            if len(noted) >= 16:
                continue
            row = rows[i]
            start = int(chunk.offsets[at[i]]) + int(row["tcp_offset"])
            header = bytes(memoryview(chunk.buffer)[start : start + int(row["header_length"])])
            is_answer = bool(row["flags"] & _ACK)
            again = any(one.direction == direction[i] for one in noted)
            if again and verdict[i] == Verdict.good:
                self._evidence_of(int(connection[i]), row)  # perhaps it is never answered
            noted.append(
                Handshake(
                    int(numbers[i]),
                    int(direction[i]),
                    int(row["seq"]),
                    (int(row["ack"]) - 1) & 0xFFFFFFFF if is_answer else None,
                    mss_of(header),
                    int(row["rnext_key_id"]) if row["auth"] == _AO else None,
                    Verdict(verdict[i]),
                )
            )

    def _watch_repeats(
        self,
        rows: npt.NDArray[np.void],
        connection: npt.NDArray[np.int64],
        direction: npt.NDArray[np.int64],
        numbers: npt.NDArray[np.int64],
    ) -> None:
        for (one, side, seq), noted in self._watch.items():
            again = (connection == one) & (direction == side) & (rows["seq"] == seq)
            noted[2] += int((again & (numbers > noted[0])).sum())

    def _note_dubious(
        self,
        chunk: Chunk,
        at: npt.NDArray[np.int64],
        rows: npt.NDArray[np.void],
        connection: npt.NDArray[np.int64],
        direction: npt.NDArray[np.int64],
        verdict: npt.NDArray[np.uint8],
        numbers: npt.NDArray[np.int64],
    ) -> None:
        """Good segments that Linux's receiving side is known to drop."""
        good = np.flatnonzero((verdict == Verdict.good) & (rows["kind"] == 1))
        octets = np.frombuffer(chunk.buffer, np.uint8)
        place = chunk.offsets[at[good]] + rows["tcp_offset"][good]
        unsummed = (octets[place + 16] == 0) & (octets[place + 17] == 0)
        payload = rows["length"][good].astype(np.int64) - rows["header_length"][good]
        starts = (rows["seq"][good] == 0) & (payload > 0)
        for i in good[unsummed | starts].tolist():
            if len(self._watch) >= MAX_WATCHED:
                return
            one, side, seq = int(connection[i]), int(direction[i]), int(rows["seq"][i])
            why = "checksum"
            if seq == 0 and starts[np.searchsorted(good, i)]:
                isns = [h.isn for h in self._handshakes.get(one, ()) if h.direction == side]
                if 0xFFFFFFFF not in isns:
                    continue
                why = "isn"
            if (one, side, seq) in self._watch:
                continue
            again = (connection == one) & (direction == side) & (rows["seq"] == seq)
            self._watch[one, side, seq] = [
                int(numbers[i]),
                why,
                int((again & (numbers > numbers[i])).sum()),
            ]
            self._evidence_of(one, rows[i])

    def _evidence_of(self, connection: int, row: Any) -> ConnectionEvidence | None:
        known = self._known.get(connection)
        if known is None:
            if len(self._known) >= MAX_CONNECTIONS:
                return None
            ends = sorted(((_packed(row, "source")), (_packed(row, "destination"))))
            known = self._known[connection] = ConnectionEvidence(
                connection,
                (
                    (address_text(ends[0][0]), ends[0][1]),
                    (address_text(ends[1][0]), ends[1][1]),
                ),
                int(row["vrf"]),
                self._counts[connection],
                self._options[connection],
                self._largest[connection],
            )
        return known

    def _keep(
        self,
        chunk: Chunk,
        at: int,
        row: Any,
        connection: int,
        direction: int,
        number: int,
        result: VerifyResult,
    ) -> None:
        known = self._evidence_of(connection, row)
        if known is None:
            self._wanted[connection] = False
            return
        verdict = Verdict(result.verdict[at])
        known.first.setdefault(verdict, number)
        with_syn = bool(row["flags"] & _SYN)
        if row["kind"] != 1:  # there is nothing to try
            self._wanted[connection, direction, int(with_syn), verdict] = False
            return
        self._lowest(known, row, direction)
        alike = sum(
            one.direction == direction
            and one.verdict is verdict
            and bool(one.segment.flags & _SYN) == with_syn
            for one in known.samples
        )
        if alike + 1 >= (SYNS if with_syn else OTHERS):
            self._wanted[connection, direction, int(with_syn), verdict] = False
        start = int(chunk.offsets[at]) + int(row["ip_offset"])
        end = int(chunk.offsets[at] + chunk.lengths[at])
        packet = bytes(memoryview(chunk.buffer)[start:end])
        known.samples.append(
            Sample(
                number,
                direction,
                OneSegment(packet, _RAW_IP),
                verdict,
                int(result.key[at]),
                int(result.sne[at]),
            )
        )

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
        found = []
        for number in sorted(self._known):
            known = self._known[number]
            known.counts = self._counts[number]
            known.options = self._options[number]
            known.largest = self._largest[number]
            known.handshakes = self._handshakes.get(number, [])
            known.watched = watched[number]
            found.append(known)
        return found

    @property
    def left_out(self) -> int:
        """Connections with trouble of which nothing but counts was kept."""
        trouble = np.asarray(self._counts[:, :, _TROUBLE[:_COUNTED]].any(axis=(1, 2)))
        kept = sum(bool(trouble[number]) for number in self._known if number < len(trouble))
        return int(trouble.sum()) - kept + self._beyond


def _packed(row: Any, side: str) -> tuple[bytes, int]:
    size = 16 if row["version"] == 6 else 4
    return row[side][:size].tobytes(), int(row[f"{side}_port"])


def directions(rows: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """0 where the sender is the smaller end, else 1."""
    source = np.ascontiguousarray(rows["source"]).view(">u8").reshape(-1, 2)
    destination = np.ascontiguousarray(rows["destination"]).view(">u8").reshape(-1, 2)
    larger = np.zeros(len(rows), bool)
    same = np.ones(len(rows), bool)
    for mine, other in (
        (source[:, 0], destination[:, 0]),
        (source[:, 1], destination[:, 1]),
        (rows["source_port"], rows["destination_port"]),
    ):
        larger |= same & (mine > other)
        same &= mine == other
    return larger.astype(np.int64)


def options_of(header: bytes) -> list[tuple[int, bytes]]:
    """The options of a TCP header, whole, NOPs and what ends the list with them."""
    found = []
    at = 20
    while at < len(header):
        kind = header[at]
        length = 1 if kind in (0, 1) else header[at + 1] if at + 1 < len(header) else 0
        if length < 1 or (kind > 1 and length < 2) or at + length > len(header):
            found.append((-1, header[at:]))
            break
        found.append((kind, header[at : at + length]))
        at += length
    return found


def mss_of(header: bytes) -> int | None:
    """What the MSS option of a TCP header says."""
    for kind, option in options_of(header):
        if kind == 2 and len(option) == 4:
            return int.from_bytes(option[2:], "big")
    return None
