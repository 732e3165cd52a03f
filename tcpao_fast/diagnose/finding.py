"""What a reason is told as; apart from how it is found, which whoever tells it rarely needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tcpao_fast.text import endpoint_text


class Rank(IntEnum):
    """How bad a finding is; the worst first."""

    bad = 0
    undecided = 1
    remark = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why segments of one connection are not good.

    Attributes
    ----------
    client, server : (str, int)
        The connection; port 0 where ports are not known.
    vrf : int
    reason : str
        One of `tcpao_fast.diagnose.cases.REASONS`.
    sentence : str
        What is wrong.
    advice : str
        How to fix it.
    counts : dict of str to int
        How many segments it speaks of, by verdict.
    packets : tuple of int
        Some of them, as Wireshark counts (from 1, through all captures).
    tried : int
        How many readings of the keys were held against the MACs; 0 where that was not needed.
    rank : Rank
    others : tuple of (str, int)
        The other clients that it is about in the same way: other ports of one address, to one
        server; `client` is an example then.
    """

    client: tuple[str, int]
    server: tuple[str, int]
    vrf: int
    reason: str
    sentence: str
    advice: str
    counts: dict[str, int]
    packets: tuple[int, ...]
    tried: int = 0
    rank: Rank = Rank.bad
    others: tuple[tuple[str, int], ...] = ()

    @property
    def connections(self) -> int:
        """How many connections it is about."""
        return 1 + len(self.others)

    def as_dict(self) -> dict[str, Any]:
        """The form of ``tcpao diagnose --json``.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        return {
            "connection": {
                "client": endpoint_text(*self.client),
                "server": endpoint_text(*self.server),
                "vrf": self.vrf,
            },
            "connections": self.connections,
            "reason": self.reason,
            "sentence": self.sentence,
            "evidence": {
                "counts": self.counts,
                "packets": list(self.packets),
                "tried": self.tried,
            },
            "advice": self.advice,
        }
