from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

class RowText:
    def __init__(
        self,
        names: Sequence[str],
        times: Collection[str],
        befores: Sequence[bytes],
        end: bytes,
        nothing: bytes,
        quoted: bool,
    ) -> None: ...
    def write(
        self,
        columns: Mapping[str, Any],
        encode: Callable[[Sequence[str]], tuple[bytes, npt.NDArray[np.int64]]],
        put: Callable[[memoryview], object],
    ) -> None: ...
