from typing import Any

import numpy.typing as npt

def as_column(
    name: str, values: npt.ArrayLike, dtype: npt.DTypeLike, count: int
) -> npt.NDArray[Any]: ...

class Records:
    count: int
    def __init__(
        self,
        buffer: Any,
        offsets: npt.ArrayLike,
        lengths: npt.ArrayLike,
        linktype: int | npt.ArrayLike = 1,
        timestamps: npt.ArrayLike | None = None,
        wire_lengths: npt.ArrayLike | None = None,
        writable: bool = False,
    ) -> None: ...
    def subset(self, rows: npt.ArrayLike) -> Records: ...
