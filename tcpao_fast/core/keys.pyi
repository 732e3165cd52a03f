from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tcpao_fast.algorithms import Algorithm
from tcpao_fast.core.connections import ConnectionTable

Side = tuple[bytes | None, int, int, int]

class KeyTable:
    count: int
    evicted: int
    def __init__(self, owners: ConnectionTable) -> None: ...
    def add(
        self,
        *,
        algorithm: Algorithm,
        secret: bytes,
        send_id: int,
        recv_id: int,
        mac_length: int | None,
        exclude_options: bool,
        version: int,
        local: Side,
        remote: Side,
        vrf: int | None,
        send_lifetime: Sequence[int],
        accept_lifetime: Sequence[int],
    ) -> None: ...
    def freeze(self) -> None: ...

def condition(algorithm: Algorithm, secret: bytes) -> bytes: ...
def derive_traffic_keys(
    algorithm: str, secret: bytes, contexts: npt.ArrayLike
) -> npt.NDArray[np.uint8]: ...
