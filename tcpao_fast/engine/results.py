"""What the calls of an engine give back, one entry a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.pipeline import Results
from tcpao_fast.core.batch.sign import new_memory
from tcpao_fast.core.wire.parse import parse_records
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine.verdicts import SEGMENT_VERDICTS, SignOutcome, Verdict
from tcpao_fast.errors import InvalidArgumentError

if TYPE_CHECKING:
    from tcpao_fast.core.batch.sign import Memory


@dataclass(frozen=True)
class VerifyResult:
    """What `Engine.verify` found, one entry a record.

    Attributes
    ----------
    verdict : uint8[n]
        `Verdict` of each record; `Verdict.not_tcp` where there is no segment.
    key : int32[n]
        Index into `Engine.keys`, -1 without: the key that was right, or the one that was tried.
    connection : int64[n]
        A number of the connection that is never used again, -1 without.
    sne : uint32[n]
        The sequence number extension the segment was verified with.
    counts : dict of str to int
        How many segments got each verdict; all names but ``not_tcp`` are there.
    signed : int
        How many segments have a (sound) TCP-AO option.

    Notes
    -----
    A result refers to the buffer that was verified for as long as it lives, for `records` and
    `segments`; a pickled one leaves that behind.
    """

    verdict: npt.NDArray[np.uint8]
    key: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int64]
    sne: npt.NDArray[np.uint32]
    _tally: npt.NDArray[np.int64] = field(repr=False, compare=False)
    _given: Records | tuple[Any, ...] | None = field(default=None, repr=False, compare=False)
    _columns: Results | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        columns: Results,
        rows: int,
        tally: npt.NDArray[np.int64],
        given: Records | tuple[Any, ...] | None,
    ) -> VerifyResult:
        """The result that a pipeline's columns are.

        Parameters
        ----------
        columns : Results
            The pipeline's.
        rows : int
            How many of them count.
        tally : int64[n]
            How many segments got each verdict, and last how many have a TCP-AO option.
        given : Records or tuple
            What was verified.

        Returns
        -------
        VerifyResult
        """
        of = columns
        verdict, key, connection, sne = of.verdict, of.mkt, of.connection, of.sne
        if len(verdict) != rows:
            verdict, key, connection, sne = (
                verdict[:rows],
                key[:rows],
                connection[:rows],
                sne[:rows],
            )
        made = cls.__new__(cls)
        made.__dict__.update(  # as its __init__ does, in a third of the time
            verdict=verdict, key=key, connection=connection, sne=sne, _tally=tally, _given=given,
            _columns=columns,
        )  # fmt: skip
        return made

    @classmethod
    def room(cls, rows: int) -> VerifyResult:
        """Memory for the results of so many records, for ``out`` of `Engine.verify`.

        Parameters
        ----------
        rows : int

        Returns
        -------
        VerifyResult
        """
        if isinstance(rows, bool) or not isinstance(rows, int) or rows < 0:
            raise InvalidArgumentError(f"rows is {rows!r}; it must be a number of records")
        columns = Results(rows, False)
        return cls.of(columns, rows, np.zeros(len(Verdict), np.int64), None)

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many segments got each verdict; all names but ``not_tcp`` are there."""
        return named_counts(self._tally.tolist())

    @property
    def signed(self) -> int:
        """How many segments have a (sound) TCP-AO option."""
        return int(self._tally[-1])

    @property
    def columns(self) -> Results | None:
        """The memory behind the columns; None in a pickled result."""
        return self._columns

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A row a record, for whatever reads Arrow (polars, pandas, pyarrow, DuckDB).

        Columns are those of `tcpao_fast.capture.rows.COLUMNS`; ``key`` is the key's number.
        """
        from tcpao_fast.engine.columns import table_of

        return table_of(self).__arrow_c_stream__(requested_schema)

    @cached_property
    def records(self) -> Records:
        """The records that were verified.

        Raises
        ------
        InvalidArgumentError
            The result was pickled, or the buffer is no longer what it was.
        """
        if self._given is None:
            raise InvalidArgumentError("the result was pickled: it has no records")
        if isinstance(self._given, Records):
            return self._given
        buffer, offsets, lengths, linktype, times, wire_lengths, vlan = self._given
        return Records(buffer, offsets, lengths, linktype, times, wire_lengths, vlan=vlan)

    @cached_property
    def segments(self) -> npt.NDArray[np.void]:
        """Each record parsed: n rows of `tcpao_fast.core.wire.parse.DTYPE`, parsed when they are
        first asked for.
        """
        return parse_records(self.records)

    def __getstate__(self) -> dict[str, Any]:
        names = ("verdict", "key", "connection", "sne", "_tally")
        return {name: getattr(self, name) for name in names} | {"_given": None, "_columns": None}


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Rewritten records, ready for `Engine.verify`: iterating yields buffer, offsets and lengths.

    Attributes
    ----------
    buffer : uint8[m]
        The records, one behind the other.
    offsets, lengths : int64[n]
        As many as went in, in the same order.
    outcome : uint8[n]
        `SignOutcome` of each record.
    key, connection : int64[n] or None
        Index into `Engine.keys` and the connection's number, -1 without; None from `strip`.
    dropped : uint8[n] or None
        Bytes of other TCP options that were given up to make room; None from `strip`.
    """

    buffer: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    outcome: npt.NDArray[np.uint8]
    key: npt.NDArray[np.int32] | None = None
    connection: npt.NDArray[np.int64] | None = None
    dropped: npt.NDArray[np.uint8] | None = None
    _memory: Memory | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, memory: Memory, rows: int, used: int, *, signed: bool = True) -> Rewritten:
        """The result that arrays are.

        Parameters
        ----------
        memory : tuple of arrays
            As of `new_memory`.
        rows, used : int
            How many rows, and how many bytes of the buffer, count.
        signed : bool
            Whether keys and connections are among them.

        Returns
        -------
        Rewritten
        """
        buffer, offsets, lengths, outcome, key, connection, dropped = memory
        return cls(
            buffer[:used],
            offsets[:rows],
            lengths[:rows],
            outcome[:rows],
            key[:rows] if signed else None,
            connection[:rows] if signed else None,
            dropped[:rows] if signed else None,
            memory,
        )

    @classmethod
    def room(cls, rows: int, size: int) -> Rewritten:
        """Memory for so many rewritten records, for ``out`` of `Engine.sign` and `strip`.

        Parameters
        ----------
        rows : int
        size : int
            Bytes: those of the records, and 40 for each that is signed.

        Returns
        -------
        Rewritten
        """
        for name, value in (("rows", rows), ("size", size)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise InvalidArgumentError(f"{name} is {value!r}; it must be 0 or more")
        return cls.of(new_memory(rows, size + 1), 0, 0)

    @property
    def memory(self) -> Memory | None:
        """The arrays behind the columns, as `new_memory` makes them; None in a pickled result."""
        return self._memory

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return iter((self.buffer, self.offsets, self.lengths))

    def __getstate__(self) -> list[Any]:
        return [*self, self.outcome, self.key, self.connection, self.dropped, None]

    def __setstate__(self, state: list[Any]) -> None:
        for one, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, one.name, value)

    @property
    def counts(self) -> dict[str, int]:
        """How many records had each outcome; only those that occur."""
        return outcome_counts(self.outcome)


@dataclass(frozen=True, slots=True)
class InplaceResult:
    """What `Engine.sign_inplace` or `strip_inplace` did, one entry a record.

    Attributes
    ----------
    outcome : uint8[n]
        `SignOutcome` of each record.
    key, connection : int64[n] or None
        Index into `Engine.keys` and the connection's number, -1 without; None from `strip_inplace`.
    offsets, lengths : int64[n]
        Where each record is now: in the buffer, or in its own.
    dropped : uint8[n] or None
        Bytes of other TCP options that were given up to make room; None from `strip_inplace`.
    """

    outcome: npt.NDArray[np.uint8]
    key: npt.NDArray[np.int32] | None
    connection: npt.NDArray[np.int64] | None
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    dropped: npt.NDArray[np.uint8] | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many records had each outcome; only those that occur."""
        return outcome_counts(self.outcome)


def outcome_counts(outcome: npt.NDArray[np.uint8]) -> dict[str, int]:
    """How many records had each outcome; only those that occur."""
    numbers = np.bincount(outcome, minlength=len(SignOutcome))
    return {one.name: int(numbers[one]) for one in SignOutcome if numbers[one]}


#: Name and number of each verdict that is counted: an enum's `name` is slow where calls are small.
_COUNTED = tuple((v.name, int(v)) for v in SEGMENT_VERDICTS)


def named_counts(numbers: list[int]) -> dict[str, int]:
    """Counts by the names of the verdicts whose numbers they stand at."""
    return {name: numbers[index] for name, index in _COUNTED}
