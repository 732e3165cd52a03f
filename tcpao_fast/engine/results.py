"""What the calls of an engine give back, one entry a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.parse import parse_records
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine.verdicts import SignOutcome
from tcpao_fast.errors import InvalidArgumentError


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
    counts: dict[str, int]
    signed: int
    _given: Records | tuple[Any, ...] | None = field(default=None, repr=False, compare=False)

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
        return self._given if isinstance(self._given, Records) else Records(*self._given)

    @cached_property
    def segments(self) -> npt.NDArray[np.void]:
        """Each record parsed: n rows of `tcpao_fast.core.wire.parse.DTYPE`, parsed when they are
        first asked for.
        """
        return parse_records(self.records)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "key": self.key,
            "connection": self.connection,
            "sne": self.sne,
            "counts": self.counts,
            "signed": self.signed,
            "_given": None,
        }


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

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        return iter((self.buffer, self.offsets, self.lengths))

    @property
    def counts(self) -> dict[str, int]:
        """How many records had each outcome; only those that occur."""
        return outcome_counts(self.outcome)


@dataclass(frozen=True, slots=True)
class InplaceResult:
    """What `Engine.sign_inplace` did, one entry a record.

    Attributes
    ----------
    outcome : uint8[n]
        `SignOutcome` of each record.
    key, connection : int64[n]
        Index into `Engine.keys` and the connection's number, -1 without.
    """

    outcome: npt.NDArray[np.uint8]
    key: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int64]

    @property
    def counts(self) -> dict[str, int]:
        """How many records had each outcome; only those that occur."""
        return outcome_counts(self.outcome)


def outcome_counts(outcome: npt.NDArray[np.uint8]) -> dict[str, int]:
    """How many records had each outcome; only those that occur."""
    numbers = np.bincount(outcome, minlength=len(SignOutcome))
    return {one.name: int(numbers[one]) for one in SignOutcome if numbers[one]}
