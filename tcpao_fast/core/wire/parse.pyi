from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.records import Records

LINK_TYPES: dict[int, str]
DTYPE: np.dtype[np.void]

def parse_records(records: Records, in_full: bool = False) -> npt.NDArray[np.void]: ...
def parse(
    buffer: Any,
    offsets: npt.ArrayLike,
    lengths: npt.ArrayLike,
    linktype: int | npt.ArrayLike = 1,
) -> npt.NDArray[np.void]: ...
