import numpy as np
import numpy.typing as npt

NOTHING_BAD: int

class Tally:
    counts: npt.NDArray[np.int64]
    first_bad: npt.NDArray[np.int64]
    keys: dict[int, set[int]]
    def __init__(self) -> None: ...
    def add(
        self,
        numbers: npt.NDArray[np.int64],
        connection: npt.NDArray[np.int64],
        verdict: npt.NDArray[np.uint8],
        key: npt.NDArray[np.int32],
    ) -> int: ...
