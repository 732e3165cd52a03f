"""What the calls of an engine give back, one entry a record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tcpao_fast.engine.verdicts import SignOutcome


@dataclass(frozen=True, slots=True)
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
    """

    verdict: npt.NDArray[np.uint8]
    key: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int64]
    sne: npt.NDArray[np.uint32]
    counts: dict[str, int]
    signed: int


class Rewritten(tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]):
    """Rewritten records: ``buffer, offsets, lengths``, ready for `Engine.verify`.

    Attributes
    ----------
    buffer : uint8[m]
        The records, one behind the other.
    offsets, lengths : int64[n]
        As many as went in, in the same order.
    outcome : uint8[n]
        `SignOutcome` of each record.
    counts : dict of str to int
        How many records had each outcome; only those that occur.
    key, connection : int64[n] or None
        Index into `Engine.keys` and the connection's number, -1 without; None from `strip`.
    """

    outcome: npt.NDArray[np.uint8]
    counts: dict[str, int]
    key: npt.NDArray[np.int32] | None
    connection: npt.NDArray[np.int64] | None

    @classmethod
    def _make(
        cls,
        buffer: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        outcome: npt.NDArray[np.uint8],
        key: npt.NDArray[np.int32] | None = None,
        connection: npt.NDArray[np.int64] | None = None,
        done: str = "signed",
    ) -> Rewritten:
        self = cls((buffer, offsets, lengths))
        self.outcome = outcome
        self.counts = outcome_counts(outcome, done)
        self.key = key
        self.connection = connection
        return self

    @property
    def buffer(self) -> npt.NDArray[np.uint8]:
        """The records' bytes."""
        return self[0]

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each record begins in `buffer`."""
        return self[1]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each record."""
        return self[2]


@dataclass(frozen=True, slots=True)
class InplaceResult:
    """What `Engine.sign_inplace` did, one entry a record.

    Attributes
    ----------
    outcome : uint8[n]
        `SignOutcome` of each record.
    counts : dict of str to int
        How many records had each outcome; only those that occur.
    key, connection : int64[n]
        Index into `Engine.keys` and the connection's number, -1 without.
    """

    outcome: npt.NDArray[np.uint8]
    counts: dict[str, int]
    key: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int64]


def outcome_counts(outcome: npt.NDArray[np.uint8], done: str) -> dict[str, int]:
    """How many records had each outcome; `done` names the first."""
    numbers = np.bincount(outcome, minlength=len(SignOutcome))
    return {
        done if value is SignOutcome.signed else value.name: int(numbers[value])
        for value in SignOutcome
        if numbers[value]
    }
