from collections.abc import Sequence
from typing import Any

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
        self, keys: KeyTable, ao_required: bool = False, number: int = 0, shards: int = 1
    ) -> None: ...
    def add_key_tally(self, total: npt.NDArray[np.int64]) -> None: ...
    def connection_rows(
        self,
        first_id: int = 0,
        whole: bool = False,
        proved: bool = False,
        start: int = 0,
        stop: int = -1,
        only: set[int] | None = None,
    ) -> list[dict[str, Any]]: ...
    def restore(
        self,
        *,
        version: int,
        address: Sequence[bytes],
        port: Sequence[int],
        vrf: int,
        initiator: int | None,
        incarnations: Sequence[dict[str, Any]],
        live_index: int | None,
    ) -> None: ...
