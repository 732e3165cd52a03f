import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.connections import ConnectionTable
from tcpao_fast.core.keys.mkt import Side
from tcpao_fast.core.mac.algorithms import Algorithm
from tcpao_fast.core.mac.mac import TrafficKeys

class KeyTable:
    count: int
    evicted: int
    def __init__(self, owners: ConnectionTable) -> None: ...
    def add(
        self,
        *,
        algorithm: Algorithm,
        secret: bytes,
        mac_length: int | None,
        exclude_options: bool,
        tcp_md5: bool,
        send_id: int,
        recv_id: int,
        version: int,
        local: Side,
        remote: Side,
        vrf: int | None,
        send_lifetime: tuple[int, int],
        accept_lifetime: tuple[int, int],
    ) -> None: ...
    def adopt(
        self, other: KeyTable, same: npt.NDArray[np.int32], kin: npt.NDArray[np.int32]
    ) -> None: ...

def condition(algorithm: Algorithm, secret: bytes) -> bytes: ...
def derive_traffic_keys(
    algorithm: str, secret: bytes, contexts: npt.ArrayLike
) -> npt.NDArray[np.uint8]: ...
def run_kdf(
    prf: TrafficKeys,
    known: Algorithm,
    which: npt.NDArray[np.int32],
    contexts: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]: ...
