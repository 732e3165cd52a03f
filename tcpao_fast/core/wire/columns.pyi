from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.records import Records

def segment_columns(
    records: Records, rows: npt.NDArray[np.intp]
) -> tuple[dict[str, npt.NDArray[Any]], list[bytes]]: ...
