"""The same segment at two points of capture: before and behind a device that changed it.

A MAC is as good as a name: who has the MAC of a segment that is not good has seen that segment
before it was changed, or behind the change. Both are compared, field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.core.wire.options import options_of
from tcpao_fast.diagnose.rows import Rows
from tcpao_fast.engine.verdicts import GOOD, Verdict
from tcpao_fast.text import address_text

#: Records with the same MAC that are compared with one segment.
MOST = 16
#: Segments whose copy is still waited for.
MOST_OPEN = 1024
#: Bytes of a MAC that are compared, and how many different values they must have: a placeholder,
#: such as zeros, names no segment.
_NAME = 8
_LEAST_VALUES = 4

_NONE, _AO = 0, 1
_AUTH_KINDS = (19, 29)
_TIMESTAMPS = 8

Named = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Copy:
    """A segment that is not good, as it was captured elsewhere.

    Attributes
    ----------
    number : int
        Of the other packet, counted through all captures from 1.
    connection : int
        The connection that it was counted to.
    verdict : Verdict
        On the other packet.
    reason : str
        ``rewritten_address``, ``rewritten_header`` or ``rewritten_options``.
    fields : tuple of (str, str, str)
        What differs: the field, its value there, and its value in the segment that is not good.
    """

    number: int
    connection: int
    verdict: Verdict
    reason: str
    fields: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class _Sought:
    """A segment whose copy is looked for."""

    number: int
    segment: ParsedSegment
    name: int


class CopyFinder:
    """Looks among the records around each segment that is not good for the same one, unchanged."""

    def __init__(self) -> None:
        self._before: Rows | None = None
        self._open: list[_Sought] = []
        self.found: dict[int, Copy] = {}

    def add(self, rows: Rows, fresh: Sequence[tuple[int, ParsedSegment]]) -> None:
        """Look among some records, and those before them.

        Parameters
        ----------
        rows : Rows
        fresh : sequence of (int, ParsedSegment)
            Number and segment of what is not good in them, and kept.
        """
        new = [
            _Sought(number, segment, name)
            for number, segment in fresh
            if segment.whole and (name := _name_of(segment))
        ]
        sought = [*self._open, *new]
        if sought:
            self._look(rows, sought)
            if self._before is not None and new:
                self._look(self._before, new)
        # a copy comes with the next records, or not at all
        self._open = [one for one in new if one.number not in self.found][:MOST_OPEN]
        self._before = rows

    def _look(self, rows: Rows, sought: Sequence[_Sought]) -> None:
        signed = _signed(rows)
        for unsigned, names_of in ((False, _macs_of), (True, _places_of)):
            these = [one for one in sought if (one.segment.auth == _NONE) == unsigned]
            if not these or not len(signed):
                continue
            names = names_of(rows, signed)
            places: dict[int, list[int]] = {}
            for at in np.flatnonzero(
                np.isin(names, np.array([one.name for one in these], np.uint64))
            ).tolist():
                places.setdefault(int(names[at]), []).append(int(signed[at]))
            for one in these:
                # the nearest first
                found = np.array(places.get(one.name, ()), np.int64)
                order = np.argsort(np.abs(rows.numbers[found] - one.number), kind="stable")
                for at in found[order][:MOST].tolist():
                    self._compare(rows, at, one)

    def _compare(self, rows: Rows, at: int, one: _Sought) -> None:
        number, verdict = int(rows.numbers[at]), Verdict(rows.verdict[at])
        known = self.found.get(one.number)
        if number == one.number or (known is not None and known.verdict in GOOD):
            return
        if known is not None and verdict not in GOOD:
            return
        other = ParsedSegment(rows.packet(at), 101)
        if not other.whole or not _same_segment(one.segment, other):
            return
        fields = tuple(_differences(other, one.segment))
        if fields:
            self.found[one.number] = Copy(
                number, int(rows.connection[at]), verdict, _reason_of(fields), fields
            )


def _name_of(segment: ParsedSegment) -> int:
    """What a segment is found by: its MAC, or, unsigned, its place; 0 where there is nothing."""
    if segment.auth == _NONE:
        return segment.seq << 32 | segment.source_port << 16 | segment.destination_port
    mac = segment.mac
    if len(mac) < _NAME or len(set(mac)) < _LEAST_VALUES:
        return 0
    return int.from_bytes(mac[:_NAME], "little")


def _macs_of(rows: Rows, signed: npt.NDArray[np.int64]) -> Named:
    """The first bytes of the MACs of some rows."""
    segments = rows.segments[signed]
    begin = rows.result.records.offsets[rows.at[signed]] + segments["tcp_offset"]
    begin = begin + segments["auth_offset"] + np.where(segments["auth"] == _AO, 4, 2)
    octets = np.frombuffer(rows.result.records.buffer, np.uint8)
    macs = octets[begin[:, None] + np.arange(_NAME)]
    return np.ascontiguousarray(macs).view("<u8")[:, 0]


def _places_of(rows: Rows, signed: npt.NDArray[np.int64]) -> Named:
    """SEQ and ports of some rows, as in `_name_of`."""
    segments = rows.segments[signed]
    names = segments["seq"].astype(np.uint64) << np.uint64(32)
    names |= segments["source_port"].astype(np.uint64) << np.uint64(16)
    return names | segments["destination_port"].astype(np.uint64)


def _signed(rows: Rows) -> npt.NDArray[np.int64]:
    """The rows that have a MAC which is long enough to tell them by."""
    segments = rows.segments
    skip = np.where(segments["auth"] == _AO, 4, 2)
    long_enough = segments["auth_length"].astype(np.int64) - skip >= _NAME
    return np.flatnonzero((segments["kind"] == 1) & (segments["auth"] != _NONE) & long_enough)


def _same_segment(bad: ParsedSegment, other: ParsedSegment) -> bool:
    """Whether two segments, found by MAC or place, are one beyond doubt."""
    if bad.payload != other.payload or (bad.flags ^ other.flags) & 0x17:
        return False
    if bad.auth == _NONE:
        return _same_packet(bad, other)
    return bad.mac == other.mac


def _same_packet(bad: ParsedSegment, other: ParsedSegment) -> bool:
    """Whether a segment without an option was the other one: by IP ID, or by its timestamps."""
    if bad.version == other.version == 4 and bad.packet[4:6] == other.packet[4:6] != b"\0\0":
        return True
    stamps = [
        [option for kind, option in options_of(one.header) if kind == _TIMESTAMPS]
        for one in (bad, other)
    ]
    return bool(stamps[0]) and stamps[0] == stamps[1]


def _differences(other: ParsedSegment, bad: ParsedSegment) -> Iterator[tuple[str, str, str]]:
    """Field, value in the other segment, and in the one that is not good."""
    for name in ("source", "destination"):
        there, here = getattr(other, name), getattr(bad, name)
        if there != here:
            yield f"{name} address", address_text(there), address_text(here)
        ports = getattr(other, f"{name}_port"), getattr(bad, f"{name}_port")
        if ports[0] != ports[1]:
            yield f"{name} port", str(ports[0]), str(ports[1])
    before, behind = other.header, bad.header
    for field, begin, end in (
        ("sequence number", 4, 8),
        ("acknowledgment number", 8, 12),
        ("window", 14, 16),
        ("urgent pointer", 18, 20),
    ):
        numbers = [int.from_bytes(one[begin:end], "big") for one in (before, behind)]
        if numbers[0] != numbers[1]:
            yield field, str(numbers[0]), str(numbers[1])
    bits = [(one[12] & 0xF) << 8 | one[13] & 0xE8 for one in (before, behind)]
    if bits[0] != bits[1]:
        yield "flags and reserved bits", f"{bits[0]:#x}", f"{bits[1]:#x}"
    if before[20:] != behind[20:]:
        yield "options", _kinds_of(before), _kinds_of(behind)


def _kinds_of(header: bytes) -> str:
    """The options of a header, those that say something with their bytes."""
    shown = [
        f"{kind}" if kind in _AUTH_KINDS or len(option) <= 2 else f"{kind}:{option[2:].hex()}"
        for kind, option in options_of(header)
    ]
    return f"kinds {' '.join(shown)}" if shown else "none"


def _reason_of(fields: Sequence[tuple[str, str, str]]) -> str:
    names = " ".join(name for name, _, _ in fields)
    if "address" in names or "port" in names:
        return "rewritten_address"
    return "rewritten_options" if names == "options" else "rewritten_header"
