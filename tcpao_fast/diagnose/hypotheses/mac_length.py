"""MACs of another length than the key's."""

from __future__ import annotations

from tcpao_fast.diagnose.advice import dialect_of
from tcpao_fast.diagnose.cases import Case
from tcpao_fast.keys import MasterKey

Said = tuple[str, str, str]


def mac_length(case: Case, key: MasterKey) -> Said | None:
    """What is to be said where `key` fits but for the MAC's length: reason, what, advice."""
    carried = len(case.sample.segment.mac)
    if carried == key.mac_length:
        return None
    return (
        "wrong_mac_length",
        f"their MACs have {carried} bytes, but those of key {key.label} have {key.mac_length}",
        f"{dialect_of(key).set_mac_length(carried)}, or {key.mac_length} on the peer (routers "
        "always use 12; Linux defaults to 12)",
    )
