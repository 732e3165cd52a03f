import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.connections import ConnectionTable

INCARNATION: np.dtype[np.void]
CONNECTION: np.dtype[np.void]

def snapshot(
    table: ConnectionTable,
    first_id: int = 0,
    proved: bool = False,
    start: int = 0,
    stop: int = -1,
    only: set[int] | None = None,
) -> npt.NDArray[np.void]: ...
def restore(
    table: ConnectionTable,
    rows: npt.NDArray[np.void],
    keys: int,
    origins: npt.NDArray[np.int64] | None = None,
) -> None: ...
