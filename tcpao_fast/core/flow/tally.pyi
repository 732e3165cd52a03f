from collections.abc import Container

import numpy as np
import numpy.typing as npt

NOTHING_BAD: int
FIRST: int
LAST: int
FIRST_BAD: int

Wide = npt.NDArray[np.int64]

class Tally:
    limit: int
    other_connections: int
    def __init__(self, bad: Container[int] = ..., limit: int = ...) -> None: ...
    def add(
        self,
        numbers: Wide,
        connection: Wide,
        verdict: npt.NDArray[np.uint8],
        key: npt.NDArray[np.int32],
        times: Wide,
    ) -> None: ...
    def rows(self) -> tuple[Wide, Wide, Wide, list[set[int]], Wide]: ...
    def others(self) -> tuple[Wide, int, Wide]: ...
