from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.shard import Shard
from tcpao_fast.core.batch.turn import Turn
from tcpao_fast.core.wire.records import Records

T = TypeVar("T")

ASKED_FOR_KEY: int
STEPPED_SNE: int

class Runs(Protocol):
    def run(self, work: Callable[[int], Any]) -> list[Any]: ...

class Results:
    verdict: npt.NDArray[np.uint8]
    mkt: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int64]
    sne: npt.NDArray[np.uint32]
    origin: npt.NDArray[np.int64] | None
    effects: npt.NDArray[np.uint8] | None
    def __init__(self, rows: int, own_order: bool, tracing: bool = False) -> None: ...

class Pipeline:
    shards: list[Shard]
    threads: int
    rows_seen: int
    turn: Turn
    def __init__(self, shards: list[Shard], workers: Runs | None = None) -> None: ...
    def verify(
        self,
        records: Records,
        final: bool = True,
        tracing: bool = False,
        room: Results | None = None,
    ) -> tuple[Results, npt.NDArray[np.int64]]: ...
    def counts(self) -> list[int]: ...
    def key_tally(self) -> npt.NDArray[np.int64]: ...
    def all_threads(self, part: Callable[[int], T], rows: int) -> list[T]: ...
    def verify_part(self, shard: Shard, records: Records, out: Results) -> int: ...
    def scatter_part(
        self, n: int, thread: int, parts: list[Results], counts: list[int]
    ) -> None: ...
    def snapshot(
        self, first_id: int = 0, proved: bool = False, only: set[int] | None = None
    ) -> npt.NDArray[np.void]: ...
    def restore(self, rows: npt.NDArray[np.void]) -> None: ...
