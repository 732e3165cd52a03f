import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.records import Records

def choose(records: Records, function: int, program: int) -> npt.NDArray[np.bool_]: ...
