"""The engine: verifies and signs batches of records, with state that moves only on proof."""

from tcpao_fast.core.batch.narrow import RewrittenPacket, Verified
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine.engine import Engine
from tcpao_fast.engine.results import InplaceResult, Rewritten, VerifyResult
from tcpao_fast.engine.strip import strip, strip_inplace
from tcpao_fast.engine.update import KeyChanges

__all__ = [
    "Engine",
    "InplaceResult",
    "KeyChanges",
    "Records",
    "Rewritten",
    "RewrittenPacket",
    "Verified",
    "VerifyResult",
    "strip",
    "strip_inplace",
]
