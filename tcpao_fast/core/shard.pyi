from collections.abc import Sequence
from typing import Any

from tcpao_fast.core.connections import ConnectionTable
from tcpao_fast.core.keys import KeyTable

class Shard:
    connections: ConnectionTable
    keys: KeyTable
    def __init__(self, keys: KeyTable, ao_required: bool = False) -> None: ...
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
    ) -> int: ...
