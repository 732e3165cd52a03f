import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.pipeline import Pipeline
from tcpao_fast.core.wire.records import Records

Bytes = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

def sign(
    pipeline: Pipeline, records: Records, make_room: bool = False
) -> tuple[Bytes, Wide, Wide, Bytes, Numbers, Wide, Bytes]: ...
def sign_inplace(pipeline: Pipeline, records: Records) -> tuple[Bytes, Numbers, Wide]: ...
