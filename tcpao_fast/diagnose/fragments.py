"""IP fragments whose datagram stayed incomplete: no connection of theirs is known."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from tcpao_fast.diagnose.rows import packed_address
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.text import address_text

_FRAGMENT = 4
#: Pairs of hosts, and packets of each, that are remembered.
_PAIRS, _PACKETS = 64, 8


@dataclass(frozen=True, slots=True)
class Fragments:
    """Datagrams with TCP of which a part is missing.

    Attributes
    ----------
    incomplete : int
        How many there are.
    hosts : tuple of (str, str)
        Between which hosts fragments were seen: source and destination, those with most first.
    packets : tuple of int
        Some of the fragments between the first of them, counted through all captures from 1.
    """

    incomplete: int
    hosts: tuple[tuple[str, str], ...]
    packets: tuple[int, ...]


class FragmentCollector:
    """Notes which hosts send fragments."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[bytes, bytes]] = Counter()
        self._packets: dict[tuple[bytes, bytes], list[int]] = {}
        self._explained = 0  # truncated segments of which the connection is known

    def add(self, result: VerifyResult) -> None:
        """Look at some records."""
        known = (result.verdict == Verdict.truncated) & (result.connection >= 0)
        self._explained += int(known.sum())
        for at in np.flatnonzero(result.segments["kind"] == _FRAGMENT).tolist():
            row = result.segments[at]
            pair = packed_address(row, "source"), packed_address(row, "destination")
            if pair not in self._counts and len(self._counts) >= _PAIRS:
                continue
            self._counts[pair] += 1
            packets = self._packets.setdefault(pair, [])
            if len(packets) < _PACKETS:
                packets.append(int(result.records.preceding + result.records.numbers[at]))

    def incomplete(self, truncated: int) -> Fragments | None:
        """What is known, where more segments are truncated than belong to connections."""
        missing = truncated - self._explained
        if missing <= 0 or not self._counts:
            return None
        pairs = [pair for pair, _ in self._counts.most_common()]
        hosts = tuple((address_text(source), address_text(there)) for source, there in pairs)
        return Fragments(missing, hosts, tuple(self._packets[pairs[0]]))
