from typing import Any

import numpy as np
import numpy.typing as npt

Wide = npt.NDArray[np.int64]

class Scanner:
    big_endian: bool
    nanoseconds: bool
    snap_length: int
    linktype: int
    linktype_field: int
    damage_at: int
    @property
    def format(self) -> str: ...
    @property
    def damage(self) -> str | None: ...
    def scan(
        self, window: Any, start: int = 0, limit: int = 65536, final: bool = True
    ) -> tuple[tuple[Wide, Wide, Wide, Wide, npt.NDArray[np.int32]], int]: ...
    def recover(
        self, window: Any, start: int, damaged: int, final: bool = True
    ) -> tuple[bool, int]: ...
