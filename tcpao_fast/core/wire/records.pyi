from typing import Any

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.int64]

def as_column(
    name: str, values: npt.ArrayLike, dtype: npt.DTypeLike, count: int
) -> npt.NDArray[Any]: ...

class Records:
    buffer: Any
    count: int
    source: str
    blocks: tuple[Any, int, int] | None
    preceding: int
    def __init__(
        self,
        buffer: Any,
        offsets: npt.ArrayLike | None = None,
        lengths: npt.ArrayLike | None = None,
        linktype: int | npt.ArrayLike = 1,
        timestamps: npt.ArrayLike | None = None,
        wire_lengths: npt.ArrayLike | None = None,
        writable: bool = False,
        numbers: npt.ArrayLike | None = None,
        source: str = "",
        preceding: int = 0,
        vlan: npt.ArrayLike | None = None,
        headroom: int = 0,
        tailroom: int = 0,
    ) -> None: ...
    def __len__(self) -> int: ...
    @property
    def offsets(self) -> Wide: ...
    @property
    def lengths(self) -> Wide: ...
    @property
    def wire_lengths(self) -> Wide: ...
    @property
    def timestamps(self) -> Wide: ...
    @property
    def linktypes(self) -> npt.NDArray[np.int32]: ...
    @property
    def vlan(self) -> npt.NDArray[np.int32]: ...
    @property
    def numbers(self) -> Wide: ...
    @property
    def writable(self) -> bool: ...
    def data(self, i: int) -> bytes: ...
    def subset(self, rows: npt.ArrayLike) -> Records: ...
