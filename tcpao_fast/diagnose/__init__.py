"""Why segments are not good: hypotheses, tried on a few segments of each connection."""

from tcpao_fast.diagnose.cases import REASONS
from tcpao_fast.diagnose.findings import Finding, Rank, findings_of

__all__ = ["REASONS", "Finding", "Rank", "findings_of"]
