"""The ISNs of connections that a capture joins in the middle, found by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tcpao_fast.diagnose.evidence import ConnectionEvidence
from tcpao_fast.engine.candidates import Statement, first_sne, fitting, nat_of, search_isns
from tcpao_fast.engine.state import ConnectionState, RepairState
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.keys import MasterKey

_SYN = 2
#: Bytes of MACs that must be right before ISNs are believed.
_ENOUGH = 8


@dataclass(frozen=True, slots=True)
class Found:
    """One connection that was searched.

    Attributes
    ----------
    connection : ConnectionEvidence
    isns : (int, int) or None
        Of `ConnectionEvidence.ends`, in their order; None where none were found.
    tried : int
        Pairs of ISNs.
    """

    connection: ConnectionEvidence
    isns: tuple[int, int] | None
    tried: int


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What came of a search.

    Attributes
    ----------
    reach : int
        Bytes back in each direction.
    found : tuple of Found
        Every connection that was searched.
    seconds : float
    """

    reach: int
    found: tuple[Found, ...]
    seconds: float

    @property
    def tried(self) -> int:
        """How many pairs of ISNs were tried in all."""
        return sum(one.tried for one in self.found)

    def states(self) -> list[ConnectionState]:
        """The ISNs that were found, for `Engine.restore`."""
        return [_state(one.connection, one.isns) for one in self.found if one.isns is not None]

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "reach": self.reach,
            "tried": self.tried,
            "seconds": round(self.seconds, 3),
            "connections": [
                {
                    "ends": [one.connection.text(side) for side in (0, 1)],
                    "isns": None if one.isns is None else list(one.isns),
                    "tried": one.tried,
                }
                for one in self.found
            ],
        }


def _state(connection: ConnectionEvidence, isns: tuple[int, int]) -> ConnectionState:
    near, far = connection.client, 1 - connection.client
    # positions count from the ISN, which has SNE 0
    positions = [_position(connection, side) for side in (0, 1)]
    snes = [first_sne(isn, position) for isn, position in zip(isns, positions, strict=True)]
    return ConnectionState.joined(
        connection.ends[near],
        connection.ends[far],
        RepairState(isns[near], isns[far], snes[near], snes[far], positions[near], positions[far]),
        connection.vrf,
    )


def _position(connection: ConnectionEvidence, side: int) -> int:
    return connection.lowest[side] or 0


def find_isns(
    evidence: Sequence[ConnectionEvidence],
    keys: Sequence[MasterKey],
    reach: int,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> SearchReport:
    """Search the ISNs of every connection that has segments with `Verdict.missing_isn`.

    Parameters
    ----------
    evidence : sequence of ConnectionEvidence
    keys : sequence of MasterKey
        Those of the engine that the evidence is from.
    reach : int
        Bytes back in each direction.
    progress : callable, optional
        Called now and then as ``progress(pairs_tried, pairs_at_most)``.
    """
    begun = time.perf_counter()
    wanted = [one for one in evidence if one.total(Verdict.missing_isn) and None not in one.lowest]
    most = len(wanted) * (reach + 1) ** 2
    found: list[Found] = []
    for connection in wanted:
        before = sum(one.tried for one in found)
        found.append(
            _find(
                connection,
                keys,
                reach,
                None if progress is None else lambda n, b=before: progress(b + n, most),  # type: ignore[misc]
            )
        )
    return SearchReport(reach, tuple(found), time.perf_counter() - begun)


def _find(
    connection: ConnectionEvidence,
    keys: Sequence[MasterKey],
    reach: int,
    progress: Callable[[int], None] | None,
) -> Found:
    samples = [
        one
        for one in connection.samples
        if one.verdict is Verdict.missing_isn
        and one.key >= 0
        and one.segment.whole
        and not one.segment.flags & _SYN
    ]
    if not samples:
        return Found(connection, None, 0)
    # a long MAC proves most, a short message is quickest
    first = max(samples, key=lambda one: (len(one.segment.mac), -one.segment.payload_length))
    key = keys[first.key]
    side = first.direction

    def confirm(isn: int, other: int) -> bool:
        proof = 0
        for sample in samples:
            isns = (isn, other) if sample.direction == side else (other, isn)
            mine = keys[sample.key]
            sne = first_sne(isns[0], sample.segment.seq)
            statement = Statement(
                sample.segment, mine.algorithm, mine.secret, *isns, sne,
                mine.exclude_options, nat_of(mine, sample.segment),
            )  # fmt: skip
            if fitting([statement], sample.segment.mac):
                proof += len(sample.segment.mac)
        return proof >= min(_ENOUGH, sum(len(sample.segment.mac) for sample in samples))

    result = search_isns(
        first.segment,
        key.algorithm,
        key.secret,
        source_position=_position(connection, side),
        destination_position=_position(connection, 1 - side),
        reach=reach,
        exclude_options=key.exclude_options,
        nat=nat_of(key, first.segment),
        confirm=confirm,
        progress=progress,
    )
    if result.isn_source is None or result.isn_destination is None:
        return Found(connection, None, result.tried)
    isns = result.isn_source, result.isn_destination
    return Found(connection, isns if side == 0 else (isns[1], isns[0]), result.tried)
