"""The same work done by others, each in a module of its own.

A module has ``contestants(work)``: a list of `Contestant` that can do this `Work` here, or raises
`UnavailableError` with the reason, which is printed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class UnavailableError(Exception):
    """What a peer needs is not here."""


@dataclass(frozen=True)
class Contestant:
    """One way to do a piece of work.

    Attributes
    ----------
    name : str
    run : callable
        Does the first `items` of the work; returns their MACs (uint8[items, n]; n bytes or more of
        each), or how many segments were good.
    items : int
        How many that is: slow ones do fewer.
    """

    name: str
    run: Callable[[], object]
    items: int
