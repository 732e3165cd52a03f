from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy.typing as npt

Column = tuple[npt.NDArray[Any], npt.NDArray[Any] | None, Sequence[str] | None]

class ArrowTable:
    rows: int
    column_names: list[str]
    def __init__(self, columns: Mapping[str, Column], times: Collection[str] = ()) -> None: ...
    def __len__(self) -> int: ...
    def __arrow_c_schema__(self) -> object: ...
    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...
