class ConnectionTable:
    limit: int
    count: int
    next_id: int
    evicted: int
    def __init__(self, limit: int, provisional: bool = False) -> None: ...
