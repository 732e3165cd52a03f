from typing import Any

class PacketColumn:
    count: int
    def __init__(self, column: Any) -> None: ...
