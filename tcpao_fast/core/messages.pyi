from typing import Any

def message(
    frame: Any, sne: int = 0, exclude_options: bool = False, linktype: int = 1, nat: int = 0
) -> bytes: ...
