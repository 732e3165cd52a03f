"""What a distributed run left: for whoever looks at it afterwards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from tcpao_fast.distributed.store import WORK, Store
from tcpao_fast.engine import Engine
from tcpao_fast.errors import InvalidArgumentError

#: What a run's folder has of its captures, and of its report.
CAPTURES, REPORT = "captures.json", "report.json"


def is_result(place: str) -> bool:
    """Whether a place is a distributed run's folder."""
    return os.path.exists(os.path.join(place, WORK, CAPTURES))  # noqa: PTH110, PTH118


class RunResult:
    """A finished run.

    Parameters
    ----------
    place : str
        Its folder.

    Attributes
    ----------
    captures : list of str
        All, in the order of their times.
    explaining : list of str
        Those that tell why connections are not good: where their handshakes are, and the first
        segments that are not good.

    Raises
    ------
    InvalidArgumentError
        It is none, or is not finished.
    """

    def __init__(self, place: str) -> None:
        self._store = Store(place)
        found = self._store.read_json(WORK, CAPTURES)
        if not isinstance(found, dict):
            raise InvalidArgumentError(f"{place}: holds no finished run; verify with --resume")
        listed = found["captures"]
        #: The first capture of each unit, and what the unit is called.
        self._units = {one["unit"]: one["capture"] for one in reversed(listed)}
        self._identities = found["keys"]
        self.captures: list[str] = [one["capture"] for one in listed]
        self.explaining: list[str] = [one["capture"] for one in listed if one["explains"]]

    def prepare(self, engine: Engine, capture: str) -> None:
        """Give an engine what was known before a capture of the connections that are not good in
        it.

        Parameters
        ----------
        engine : Engine
        capture : str
        """
        if [key.identity() for key in engine.keys] != self._identities:
            return  # under other keys it means nothing
        for unit, first in self._units.items():
            if first == capture:
                before = self._store.read_arrays(WORK, f"{unit}.done")["before"]
                if len(before):
                    engine.restore_rows(before)


def describe_run(
    captures: Sequence[tuple[str, str, str, bool]], identities: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What `CAPTURES` holds.

    Parameters
    ----------
    captures : sequence of (capture, name, unit, explains)
    identities : sequence of dict
    """
    return {
        "captures": [
            {"capture": capture, "rows": f"{name}.parquet", "unit": unit, "explains": explains}
            for capture, name, unit, explains in captures
        ],
        "keys": list(identities),
    }
