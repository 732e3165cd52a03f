import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.pipeline import Pipeline
from tcpao_fast.core.wire.records import Records

Bytes = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Memory = tuple[Bytes, Wide, Wide, Bytes, Numbers, Wide, Bytes]

def new_memory(n: int, room: int) -> Memory: ...
def room_to_sign(records: Records) -> int: ...
def sign(
    pipeline: Pipeline,
    records: Records,
    make_room: bool = False,
    checksums: int = 0,
    memory: Memory | None = None,
) -> tuple[Memory, int]: ...
def sign_inplace(
    pipeline: Pipeline, records: Records, make_room: bool = False, checksums: int = 0
) -> tuple[Bytes, Numbers, Wide, Bytes]: ...
