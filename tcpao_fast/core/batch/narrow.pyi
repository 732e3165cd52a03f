from collections.abc import Sequence
from typing import Any

from tcpao_fast.core.batch.pipeline import Pipeline

class Verified:
    verdict: Any
    key: int
    connection: int
    sne: int
    @staticmethod
    def of(verdict: Any, key: int, connection: int, sne: int) -> Verified: ...

class RewrittenPacket:
    packet: bytes
    outcome: Any
    key: int
    connection: int
    dropped: int
    @staticmethod
    def of(packet: Any, outcome: Any) -> RewrittenPacket: ...

class NarrowWay:
    def __init__(
        self, pipeline: Pipeline, verdicts: Sequence[Any], outcomes: Sequence[Any]
    ) -> None: ...
    def verify(
        self,
        packet: Any,
        linktype: Any,
        timestamp: Any,
        wire_length: Any,
        vlan: Any,
        final: bool,
    ) -> Verified: ...
    def sign(
        self,
        packet: Any,
        linktype: Any,
        timestamp: Any,
        wire_length: Any,
        vlan: Any,
        make_room: bool,
        checksums: int,
    ) -> RewrittenPacket: ...

def strip_packet(
    packet: Any,
    linktype: Any,
    wire_length: Any,
    vlan: Any,
    checksums: int,
    outcomes: Sequence[Any],
) -> RewrittenPacket: ...
