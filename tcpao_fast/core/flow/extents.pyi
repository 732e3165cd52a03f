import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.records import Records

EXTENT: np.dtype[np.void]

class Extents:
    count: int
    def add(self, records: Records) -> npt.NDArray[np.int64]: ...
    def rows(self) -> npt.NDArray[np.void]: ...
