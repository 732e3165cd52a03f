from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.pipeline import Pipeline
from tcpao_fast.core.wire.records import Records

Bytes = npt.NDArray[np.uint8]
Wide = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]

def add_up(data: Any, total: int = 0) -> int: ...
def sign(
    pipeline: Pipeline, records: Records
) -> tuple[Bytes, Wide, Wide, Bytes, Numbers, Wide]: ...
def sign_inplace(pipeline: Pipeline, records: Records) -> tuple[Bytes, Numbers, Wide]: ...
def strip(records: Records) -> tuple[Bytes, Wide, Wide, Bytes]: ...
def with_option(
    frame: Any, linktype: int, kind: int, length: int, key_id: int = 0, rnext_key_id: int = 0
) -> tuple[int, bytearray | None]: ...
def with_mac(frame: bytearray, linktype: int, mac: Any) -> None: ...
