"""What happened on connections in the course of a capture: counts over time, keys, SNE steps.

Memory grows with the connections and with what changed on them, not with the capture: counts go
into a fixed number of bins that become wider when the capture goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tcpao_fast.diagnose.rows import directions
from tcpao_fast.engine import VerifyResult, verdicts
from tcpao_fast.engine.verdicts import BAD, UNDECIDED, Verdict

#: Bins a time line.
BINS = 120
#: Connections of which there is a time line: those that came first.
MAX_CONNECTIONS = 10_000
#: Changes that are kept of a connection.
MAX_CHANGES = 400
#: How segments are counted.
CLASSES = ("good", "bad", "undecided", "unsigned")
GOOD, BAD_, UNDECIDED_, OTHER = range(4)

_CLASS = np.full(256, OTHER, np.int64)
_CLASS[[int(verdict) for verdict in verdicts.GOOD]] = GOOD
_CLASS[[int(verdict) for verdict in BAD]] = BAD_
_CLASS[[int(verdict) for verdict in UNDECIDED]] = UNDECIDED_

Wide = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Change:
    """Something that a good segment did for the first time.

    Attributes
    ----------
    time : int
        Nanoseconds since 1970.
    number : int
        The packet's, through all captures from 1.
    direction : int
        Who sent it: 0 the smaller end.
    kind : str
        ``key`` (signed with another key), ``asks`` (another RNextKeyID), ``sne``.
    value : int
        The key's number, the RNextKeyID, the SNE.
    before : int or None
        What it was before; None at the beginning.
    """

    time: int
    number: int
    direction: int
    kind: str
    value: int
    before: int | None


@dataclass(slots=True)
class TimeLine:
    """One connection.

    Attributes
    ----------
    first, last : int
        Times of its first and last segment, in nanoseconds since 1970.
    width : int
        Of a bin, in nanoseconds.
    counts : int64[2, 4, BINS]
        Segments by direction, `CLASSES` and bin; bin 0 begins at `first`.
    changes : list of Change
    dropped : int
        Changes beyond `MAX_CHANGES`.
    used : dict of (int, int) to (int, int)
        By direction and key: time and packet of the last good segment.
    """

    first: int
    last: int
    width: int = 1
    counts: Wide = field(default_factory=lambda: np.zeros((2, len(CLASSES), BINS), np.int64))
    changes: list[Change] = field(default_factory=list)
    dropped: int = 0
    used: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    now: dict[tuple[int, str], int] = field(default_factory=dict)

    def add(self, times: Wide, direction: Wide, classes: Wide) -> None:
        """Count segments."""
        low, high = int(times.min()), int(times.max())
        if low < self.first:  # time went backwards: count into the first bin
            times = np.maximum(times, self.first)
        self.last = max(self.last, high)
        while self.last - self.first >= self.width * BINS:
            halves = self.counts.reshape(2, len(CLASSES), BINS // 2, 2).sum(axis=3)
            self.counts = np.zeros_like(self.counts)
            self.counts[:, :, : BINS // 2] = halves
            self.width *= 2
        np.add.at(self.counts, (direction, classes, (times - self.first) // self.width), 1)

    def note(self, kind: str, direction: int, times: Wide, numbers: Wide, values: Wide) -> None:
        """Take down where a value of one direction changes."""
        at = np.flatnonzero(np.concatenate(([True], values[1:] != values[:-1])))
        for i in at.tolist():
            value = int(values[i])
            before = self.now.get((direction, kind))
            if value == before:
                continue
            self.now[direction, kind] = value
            if len(self.changes) >= MAX_CHANGES:
                self.dropped += 1
                continue
            self.changes.append(
                Change(int(times[i]), int(numbers[i]), direction, kind, value, before)
            )


class TimeLines:
    """Gathers time lines, chunk by chunk, beside verification.

    Attributes
    ----------
    lines : dict of int to TimeLine
        By the connection's number.
    """

    def __init__(self) -> None:
        self.lines: dict[int, TimeLine] = {}

    def add(self, result: VerifyResult) -> None:
        """Look at some records."""
        at = np.flatnonzero(
            (result.verdict != Verdict.not_tcp)
            & (result.connection >= 0)
            & (result.connection < MAX_CONNECTIONS)
        )
        if not len(at):
            return
        records = result.records
        at = at[np.argsort(result.connection[at], kind="stable")]
        rows = result.segments[at]
        connection = result.connection[at]
        starts = np.flatnonzero(np.concatenate(([True], connection[1:] != connection[:-1])))
        direction = directions(rows)
        times = records.timestamps[at]
        classes = _CLASS[result.verdict[at]]
        good = result.verdict[at] == Verdict.good
        numbers = records.preceding + records.numbers[at]
        columns = {
            "key": result.key[at].astype(np.int64),
            "asks": rows["rnext_key_id"].astype(np.int64),
            "sne": result.sne[at].astype(np.int64),
        }
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(at)], strict=True):
            part = slice(start, end)
            line = self.lines.get(int(connection[start]))
            if line is None:
                moment = int(times[start])
                line = self.lines[int(connection[start])] = TimeLine(moment, moment)
            line.add(times[part], direction[part], classes[part])
            for side in (0, 1):
                chosen = np.flatnonzero(good[part] & (direction[part] == side)) + start
                if not len(chosen):
                    continue
                for kind, values in columns.items():
                    line.note(kind, side, times[chosen], numbers[chosen], values[chosen])
                keys, last = np.unique(columns["key"][chosen][::-1], return_index=True)
                for key, i in zip(keys.tolist(), last.tolist(), strict=True):
                    where = chosen[len(chosen) - 1 - i]
                    line.used[side, key] = (int(times[where]), int(numbers[where]))


@dataclass(frozen=True, slots=True)
class Rotation:
    """One request for another key, and how it was followed.

    Attributes
    ----------
    asked : Change
        Of kind ``asks``.
    followed : Change or None
        Of kind ``key``, of the other side.
    """

    asked: Change
    followed: Change | None


def rotations(line: TimeLine, key_ids: Sequence[tuple[int | None, int | None]]) -> list[Rotation]:
    """Who asked for the next key, and when the other side followed.

    Parameters
    ----------
    line : TimeLine
    key_ids : sequence of (int, int)
        SendID and RecvID of each key, by its number: a side follows with a key that has the
        RNextKeyID that was asked for as one of its own.
    """
    found = []
    for asked in line.changes:
        if asked.kind != "asks" or asked.before is None:
            continue
        followed = next(
            (
                one
                for one in line.changes
                if one.kind == "key"
                and one.direction != asked.direction
                and one.number > asked.number
                and asked.value in key_ids[one.value]
            ),
            None,
        )
        found.append(Rotation(asked, followed))
    return found
