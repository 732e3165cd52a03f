INCARNATIONS: int

def flow_hash(
    random: bytes, words: list[int], with_aes: bool = True
) -> tuple[int, list[int] | None, bool]: ...

class ConnectionTable:
    limit: int
    capacity: int
    unproved: int
    count: int
    next_id: int
    evicted: int
    def __init__(self, limit: int, provisional: bool = False) -> None: ...
