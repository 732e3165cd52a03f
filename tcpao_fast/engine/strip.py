"""Segments without their options; no keys and no state are needed for that."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.narrow import strip_packet
from tcpao_fast.core.batch.sign import new_memory
from tcpao_fast.core.wire import rewrite
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine.inputs import (
    Buffer,
    Checksums,
    Integers,
    checksums_of,
    is_packet,
    memory_of,
    records_of,
)
from tcpao_fast.engine.results import InplaceResult, Rewritten
from tcpao_fast.engine.verdicts import OUTCOMES
from tcpao_fast.errors import InvalidArgumentError


def strip(
    buffer: Buffer | Records,
    offsets: Integers | None = None,
    lengths: Integers | None = None,
    linktype: int | Integers = 1,
    *,
    wire_lengths: Integers | None = None,
    vlan: Integers | None = None,
    checksums: Checksums = "full",
    out: Rewritten | None = None,
) -> Any:
    """Remove TCP-AO and TCP-MD5 options with the NOPs that align them, and mend what follows.

    Parameters
    ----------
    buffer, offsets, lengths, linktype, wire_lengths, vlan
        As for `Engine.verify`.
    checksums, out
        As for `Engine.sign`.

    Returns
    -------
    Rewritten, or RewrittenPacket for one packet
        ``outcome`` is `SignOutcome.stripped` where an option was removed.

    Raises
    ------
    InvalidArgumentError
        As for `Engine.verify`.
    """
    how = checksums_of(checksums)
    if offsets is None and lengths is None and is_packet(buffer):
        if out is not None:
            raise InvalidArgumentError("one packet needs no out")
        return strip_packet(buffer, linktype, wire_lengths, vlan, how, OUTCOMES)
    records = records_of(buffer, offsets, lengths, linktype, None, wire_lengths, vlan)
    return strip_records(records, how, out)


def strip_records(
    records: Records,
    how: int,
    out: Rewritten | None,
    good: npt.NDArray[np.bool_] | None = None,
) -> Rewritten:
    """`strip` of records; with `good` only of those."""
    memory = memory_of(out) or new_memory(len(records), rewrite.room_to_strip(records))
    buffer, offsets, lengths, outcome, *_ = memory
    used = rewrite.strip(records, buffer, offsets, lengths, outcome, how, good)
    return Rewritten.of(memory, len(records), used, signed=False)


def strip_inplace(
    buffer: Buffer | Records,
    offsets: Integers | None = None,
    lengths: Integers | None = None,
    linktype: int | Integers = 1,
    *,
    wire_lengths: Integers | None = None,
    vlan: Integers | None = None,
    headroom: int = 0,
    tailroom: int = 0,
    checksums: Checksums = "full",
) -> InplaceResult:
    """Remove options where the records are: headers move up to the payload, which stays.

    Parameters
    ----------
    buffer, offsets, lengths, linktype, wire_lengths, vlan, headroom, tailroom
        As for `Engine.sign_inplace`.
    checksums
        As for `Engine.sign`.

    Returns
    -------
    InplaceResult
        `offsets` and `lengths` say where the records are now.

    Raises
    ------
    InvalidArgumentError
        As for `Engine.sign_inplace`.
    """
    how = checksums_of(checksums)
    records = records_of(
        buffer, offsets, lengths, linktype, None, wire_lengths, vlan, writable=True,
        headroom=headroom, tailroom=tailroom,
    )  # fmt: skip
    return strip_records_inplace(records, how)


def strip_records_inplace(
    records: Records, how: int, good: npt.NDArray[np.bool_] | None = None
) -> InplaceResult:
    """`strip_inplace` of records; with `good` only of those."""
    outcome = np.empty(len(records), np.uint8)
    rewrite.strip_inplace(records, outcome, how, good)
    return InplaceResult(outcome, None, None, records.offsets, records.lengths)
