"""What callers give: buffers, arrays, numbers and names, as the core wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy.typing as npt

from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine.results import Rewritten
from tcpao_fast.engine.verdicts import CHECKSUMS
from tcpao_fast.errors import InvalidArgumentError

if TYPE_CHECKING:
    from tcpao_fast.core.batch.sign import Memory

Buffer = Any  # anything with the buffer protocol; collections.abc.Buffer is there from Python 3.12
Integers = npt.ArrayLike
Checksums = Literal["full", "incremental", "partial"]
#: What is one packet, told at a glance.
_PLAIN = frozenset({bytes, bytearray, memoryview})


def checksums_of(checksums: str) -> int:
    """The core's number for a way to make checksums."""
    if checksums not in CHECKSUMS:
        raise InvalidArgumentError(f"checksums is {checksums!r}; it must be one of {[*CHECKSUMS]}")
    return CHECKSUMS[checksums]


def memory_of(out: Rewritten | None) -> Memory | None:
    """The arrays that a caller has given room with."""
    if out is not None and (not isinstance(out, Rewritten) or out.memory is None):
        raise InvalidArgumentError(f"out is {out!r}; it must be a Rewritten, and not a pickled one")
    return None if out is None else out.memory


def is_packet(buffer: Any) -> bool:
    """Whether what stands alone is one packet, rather than many."""
    if type(buffer) in _PLAIN:
        return True
    return not (
        isinstance(buffer, (Records, list, tuple))
        or hasattr(buffer, "__arrow_c_array__")
        or hasattr(buffer, "__arrow_c_stream__")
    )


def records_of(
    buffer: Buffer | Records,
    offsets: Integers | None,
    lengths: Integers | None,
    linktype: int | Integers,
    timestamps: Integers | None,
    wire_lengths: Integers | None,
    vlan: Integers | None = None,
    *,
    writable: bool = False,
    headroom: int = 0,
    tailroom: int = 0,
) -> Records:
    """The records of a call, which says them as one object or piece by piece."""
    if not isinstance(buffer, Records):
        return Records(
            buffer,
            offsets,
            lengths,
            linktype,
            timestamps,
            wire_lengths,
            writable,
            vlan=vlan,
            headroom=headroom,
            tailroom=tailroom,
        )
    others = (offsets, lengths, timestamps, wire_lengths, vlan)
    alone = isinstance(linktype, int) and linktype == 1 and not headroom and not tailroom
    if not alone or any(one is not None for one in others):
        raise InvalidArgumentError("buffer is Records: offsets and the others go without saying")
    if writable and not buffer.writable:
        raise InvalidArgumentError("records are not writable: make them with writable=True")
    return buffer
