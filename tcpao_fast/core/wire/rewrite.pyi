from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.records import Records

Bytes = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.int64]

def add_up(data: Any, total: int = 0) -> int: ...
def strip(records: Records) -> tuple[Bytes, Wide, Wide, Bytes]: ...
