"""The engine: verifies and signs batches of records, with state that moves only on proof."""

from tcpao_fast.engine.engine import Engine, strip
from tcpao_fast.engine.results import InplaceResult, Rewritten, VerifyResult

__all__ = ["Engine", "InplaceResult", "Rewritten", "VerifyResult", "strip"]
