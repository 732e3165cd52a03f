"""Live sessions as text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tcpao_fast.engine.verdicts import BAD
from tcpao_fast.keys import MasterKey
from tcpao_fast.live.sessions import Session, Sessions
from tcpao_fast.text import endpoint_text

#: Sessions that a table shows; those with something bad first.
SHOWN = 20
_BAD = frozenset(one.name for one in BAD)


class Rates:
    """Segments a second of each session, between two looks."""

    def __init__(self) -> None:
        self._before: dict[int, int] = {}
        self._at = time.monotonic()

    def look(self, sessions: Sessions) -> dict[int, float]:
        """Of each session by its number."""
        now = time.monotonic()
        passed = max(now - self._at, 1e-3)
        rates = {
            number: (one.segments - self._before.get(number, 0)) / passed
            for number, one in sessions.sessions.items()
        }
        self._before = {number: one.segments for number, one in sessions.sessions.items()}
        self._at = now
        return rates


def sessions_table(
    sessions: Sessions, rates: dict[int, float], keys: Sequence[MasterKey]
) -> RenderableType:
    """The sessions: rate, verdicts, keys in use, and what was found out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Client", "Server", "Segments/s", "Verdicts", "Key", "Finding"):
        table.add_column(name, justify="right" if name == "Segments/s" else "left", overflow="fold")
    ordered = sorted(sessions.sessions.items(), key=lambda one: (not _is_bad(one[1]), -one[1].last))
    for number, one in ordered[:SHOWN]:
        table.add_row(
            endpoint_text(*one.client),
            endpoint_text(*one.server) + (f" vlan {one.vrf}" if one.vrf else ""),
            f"{rates.get(number, 0.0):,.0f}",
            ", ".join(f"{count:,} {name}" for name, count in one.counts.items()),
            key_text(one, keys),
            one.finding or "",
            style="red" if _is_bad(one) else "",
        )
    if len(ordered) <= SHOWN:
        return table
    return Group(table, Text(f"... and {len(ordered) - SHOWN:,} more"))


def _is_bad(one: Session) -> bool:
    return not _BAD.isdisjoint(one.counts)


def key_text(one: Session, keys: Sequence[MasterKey]) -> str:
    """The key in use, or both while one side rotates."""
    names = {side: keys[key].label for side, key in one.keys.items() if key < len(keys)}
    if len(set(names.values())) <= 1:
        return next(iter(names.values()), "-")
    return f"rotating: client {names['client']}, server {names['server']}"


def event_text(event: dict[str, Any]) -> str:
    """An event as a line."""
    kind = event["event"]
    at = event["time"]
    if kind == "session_up":
        return f"{at} up       {event['client']} -> {event['server']}"
    if kind == "key_change":
        return f"{at} key      {event['sender']}: {event['before']} -> {event['key']}"
    if kind == "silence":
        return f"{at} silence  {event['client']} -> {event['server']}: {event['reason']}"
    if kind == "bad":
        ends = f"{event['source']} -> {event['destination']}"
        return f"{at} bad      {ends}: {event['verdict']}: {event['reason']}"
    found = event["connection"]
    return f"{at} finding  {found['client']} -> {found['server']}: {event['sentence']}"
