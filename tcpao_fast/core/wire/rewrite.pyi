from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.records import Records

Bytes = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.int64]

def add_up(data: Any, total: int = 0) -> int: ...
def room_to_strip(records: Records) -> int: ...
def strip(
    records: Records,
    buffer: Bytes,
    offsets: Wide,
    lengths: Wide,
    outcomes: Bytes,
    checksums: int = 0,
    good: npt.NDArray[np.bool_] | None = None,
) -> int: ...
def strip_inplace(
    records: Records,
    outcomes: Bytes,
    checksums: int = 0,
    good: npt.NDArray[np.bool_] | None = None,
) -> None: ...
