from typing import Any

from tcpao_fast.core.mac.mac import TrafficKeys

def context_between(
    source: bytes,
    source_port: int,
    destination: bytes,
    destination_port: int,
    isn_source: int,
    isn_destination: int,
    nat: int = 0,
) -> bytes: ...

class ParsedSegment:
    kind: int
    auth: int
    whole: bool
    version: int
    packet: bytes
    source: bytes
    destination: bytes
    source_port: int
    destination_port: int
    flags: int
    seq: int
    ack: int
    vlan: int
    header_length: int
    payload_length: int
    auth_offset: int
    auth_length: int
    key_id: int
    rnext_key_id: int
    mac: bytes
    tcp_offset: int
    header: bytes
    payload: bytes
    def __init__(self, frame: Any, linktype: int = 101, least_options: int = 1) -> None: ...
    def is_between(
        self, source: bytes, destination: bytes, source_port: int, destination_port: int
    ) -> bool: ...
    def message(self, sne: int = 0, exclude_options: bool = False, nat: int = 0) -> bytes: ...
    def verify(
        self,
        traffic_keys: TrafficKeys,
        sne: int = 0,
        exclude_options: bool = False,
        nat: int = 0,
    ) -> bool: ...
    def sign(
        self,
        traffic_keys: TrafficKeys,
        mac_length: int,
        key_id: int = 0,
        rnext_key_id: int = 0,
        sne: int = 0,
        exclude_options: bool = False,
        nat: int = 0,
        make_room: bool = False,
    ) -> tuple[int, bytes | None]: ...
    def strip(self) -> bytes: ...
