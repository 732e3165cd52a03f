from typing import Any

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.int64]

def is_ours(ring: Any, start: int) -> bool: ...
def give_back(ring: Any, start: int) -> None: ...
def scan_block(
    ring: Any, start: int, size: int
) -> tuple[Wide, Wide, Wide, Wide, npt.NDArray[np.int32]]: ...
