import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.connections import ConnectionTable
from tcpao_fast.core.flow.traffic_keys import KeyTable
from tcpao_fast.core.wire.fragments import Reassembler

class Shard:
    number: int
    shards: int
    connections: ConnectionTable
    fragments: Reassembler
    keys: KeyTable
    def __init__(
        self,
        keys: KeyTable,
        ao_required: bool = False,
        number: int = 0,
        shards: int = 1,
        follow_rnext: bool = False,
    ) -> None: ...
    def add_key_tally(self, total: npt.NDArray[np.int64]) -> None: ...
    def adopt(
        self, keys: KeyTable, same: npt.NDArray[np.int32], kin: npt.NDArray[np.int32]
    ) -> None: ...
    def forget(self, only: set[int] | None, since: int = -1) -> int: ...
    def restore(
        self, rows: npt.NDArray[np.void], origins: npt.NDArray[np.int64] | None = None
    ) -> None: ...
