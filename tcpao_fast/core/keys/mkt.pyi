Side = tuple[bytes | None, int, int, int, bool]

class MktSet:
    count: int
    def __init__(self) -> None: ...
    def add(
        self,
        *,
        tcp_md5: bool,
        send_id: int,
        recv_id: int,
        version: int,
        local: Side,
        remote: Side,
        vrf: int | None,
        send_lifetime: tuple[int, int],
        accept_lifetime: tuple[int, int],
        alternative: bool = False,
    ) -> int: ...
    def remove(self, number: int) -> None: ...
    def matching(
        self,
        version: int,
        local: bytes,
        local_port: int,
        remote: bytes,
        remote_port: int,
        vrf: int,
        *,
        send_id: int | None = None,
        recv_id: int | None = None,
        tcp_md5: bool = False,
    ) -> list[int]: ...
    def sharing(self, number: int) -> list[tuple[str, int]]: ...
    def of_other_kind(self, number: int) -> list[int]: ...
