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
    batches: int
    as_endpoint: bool
    def __init__(self, limit: int, provisional: bool = False) -> None: ...
    def chosen(self, only: set[int] | None, since: int = -1) -> list[int]: ...
