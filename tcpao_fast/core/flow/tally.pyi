from collections.abc import Container

import numpy as np
import numpy.typing as npt

NOTHING_BAD: int

class Tally:
    limit: int
    other_connections: int
    def __init__(self, bad: Container[int] = ..., limit: int = ...) -> None: ...
    def add(
        self,
        numbers: npt.NDArray[np.int64],
        connection: npt.NDArray[np.int64],
        verdict: npt.NDArray[np.uint8],
        key: npt.NDArray[np.int32],
    ) -> None: ...
    def rows(
        self,
    ) -> tuple[
        npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], list[set[int]]
    ]: ...
    def others(self) -> tuple[npt.NDArray[np.int64], int]: ...
