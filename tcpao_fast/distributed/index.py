"""Pass 1: what a capture's headers say, by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.core.flow.extents import Extents
from tcpao_fast.core.wire.records import Records
from tcpao_fast.distributed.store import (
    WORK,
    Store,
    file_name_of,
    identity_of,
    open_capture,
)
from tcpao_fast.errors import CaptureError


@dataclass(frozen=True)
class Indexed:
    """One capture, looked through.

    Attributes
    ----------
    capture : str
    name : str
        What its files in the run's folder are called.
    identity : tuple of (int, str)
        Its size, and when it was written.
    first_time : int or None
        Of its first packet, in nanoseconds since 1970; None where it has none.
    records, connections : int
    damage : list of CaptureError
    extents : rows of EXTENT, or None
        Where there are many: in the store.
    """

    capture: str
    name: str
    identity: tuple[int, str]
    first_time: int | None
    records: int
    connections: int
    damage: list[CaptureError] = field(default_factory=list)
    extents: npt.NDArray[np.void] | None = field(default=None, repr=False)

    @property
    def order(self) -> tuple[bool, int]:
        """Where it comes in the order of time; what has no packet at the end."""
        return self.first_time is None, self.first_time or 0


def chunks_of(
    capture: str, expression: str | None, damage: list[CaptureError]
) -> Iterator[Records]:
    """A capture's records, filtered; damage goes to a list."""
    packets = None if expression is None else PacketFilter(expression)
    try:
        source = open_capture(capture)
        try:
            with CaptureReader(source, on_damage=damage.append) as reader:
                reader.path = capture
                for records in reader:
                    yield records if packets is None else packets.choose(records)
        finally:
            if not isinstance(source, str):
                source.close()
    except CaptureError as error:
        damage.append(error)


#: Bytes that travel between processes and stay at the client; more goes through the store.
BY_VALUE = 1 << 16


def index_captures(
    store: Store, captures: Sequence[str], expression: str | None, *, resume: bool, keep: bool
) -> list[Indexed]:
    """`index_capture` of several: a task costs as much as some megabytes."""
    return [index_capture(store, one, expression, resume=resume, keep=keep) for one in captures]


def index_capture(
    store: Store, capture: str, expression: str | None, *, resume: bool, keep: bool
) -> Indexed:
    """Look a capture through.

    Parameters
    ----------
    store : Store
    capture : str
    expression : str or None
        As of `PacketFilter`.
    resume : bool
        Whether what is there of an earlier run counts.
    keep : bool
        Whether what was found goes to the store, for a run that goes on.
    """
    name = file_name_of(capture)
    damage: list[CaptureError] = []
    try:
        identity = identity_of(capture)
    except CaptureError as error:
        identity = (-1, str(error))
    wanted = {"identity": list(identity), "filter": expression}
    if resume:
        known = store.read_json(WORK, f"{name}.index.json")
        if isinstance(known, dict) and {k: known.get(k) for k in wanted} == wanted:
            return Indexed(
                capture, name, identity, known["first_time"], known["records"],
                known["connections"],
                [CaptureError(capture, *rest) for rest in known["damage"]],
            )  # fmt: skip
    extents = Extents()
    first_time: int | None = None
    count = 0
    for records in chunks_of(capture, expression, damage):
        if first_time is None and len(records):
            first_time = int(records.timestamps[0])
        count += len(records)
        extents.add(records)
    rows = extents.rows()
    is_small = rows.nbytes <= BY_VALUE
    if keep or not is_small:
        store.write_arrays({"extents": rows}, WORK, f"{name}.extents")
    if keep:
        store.write_json(
            {
                **wanted,
                "first_time": first_time,
                "records": count,
                "connections": len(rows),
                "damage": [(one.what, one.offset, one.resumed) for one in damage],
            },
            WORK,
            f"{name}.index.json",
        )
    return Indexed(
        capture, name, identity, first_time, count, len(rows), damage, rows if is_small else None
    )


def extents_of(store: Store, indexed: Indexed) -> npt.NDArray[np.void]:
    """What `index_capture` found."""
    if indexed.extents is not None:
        return indexed.extents
    found: npt.NDArray[Any] = store.read_arrays(WORK, f"{indexed.name}.extents")["extents"]
    return found


def keys_of(rows: npt.NDArray[np.void]) -> list[bytes]:
    """What tells a connection from all others, of rows of `EXTENT` or `CONNECTION`."""
    joined = np.zeros((len(rows), 41), np.uint8)
    if not len(rows):
        return []
    joined[:, :32] = rows["address"].reshape(len(rows), 32)
    joined[:, 32:36] = np.ascontiguousarray(rows["port"], "<u2").view(np.uint8).reshape(-1, 4)
    joined[:, 36:40] = np.ascontiguousarray(rows["vrf"], "<u4").view(np.uint8).reshape(-1, 4)
    joined[:, 40] = rows["version"]
    data = joined.tobytes()
    return [data[at : at + 41] for at in range(0, len(data), 41)]
