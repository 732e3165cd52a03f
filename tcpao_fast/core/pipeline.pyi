from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.buffers import Records
from tcpao_fast.core.connections import ConnectionTable
from tcpao_fast.core.keys import KeyTable

class Pipeline:
    connections: ConnectionTable
    keys: KeyTable
    threads: int
    rows_seen: int
    def __init__(
        self,
        keys: KeyTable,
        max_connections: int,
        ao_required: bool = False,
        threads: int = 1,
        pool: Executor | None = None,
    ) -> None: ...
    def verify(
        self, records: Records, final: bool = True
    ) -> tuple[
        npt.NDArray[np.uint8],
        npt.NDArray[np.int32],
        npt.NDArray[np.int32],
        npt.NDArray[np.uint32],
        npt.NDArray[np.int64],
    ]: ...
    def run_part(self, kernel: int, first: int, count: int, thread: int) -> None: ...
    def connection_rows(self, first_id: int = 0) -> list[dict[str, Any]]: ...
    def restore(
        self,
        *,
        version: int,
        address: Sequence[bytes],
        port: Sequence[int],
        vrf: int,
        initiator: int | None,
        isn: Sequence[int],
        position: Sequence[int],
        key_in_use: Sequence[int | None],
        rnext_key_id: Sequence[int],
    ) -> None: ...
