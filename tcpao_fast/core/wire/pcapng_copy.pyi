from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.records import Records

class BlockCopier:
    def __init__(self, growth: int = 0) -> None: ...
    def copy(
        self,
        file: Any,
        start: int,
        end: int,
        records: Records,
        buffer: Any = None,
        offsets: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
        comment_of: npt.ArrayLike | None = None,
        comments: Sequence[bytes] = ...,
    ) -> npt.NDArray[np.uint8]: ...
