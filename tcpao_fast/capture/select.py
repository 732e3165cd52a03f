"""Which segments are wanted: by verdict, and by connection."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

import numpy as np
import numpy.typing as npt

from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.verdicts import BAD, SEGMENT_VERDICTS, UNDECIDED, Verdict
from tcpao_fast.errors import InvalidArgumentError

#: Names for several verdicts.
GROUPS = {
    "all": frozenset(SEGMENT_VERDICTS),
    "bad": BAD,
    "undecided": UNDECIDED,
    "not-good": BAD | UNDECIDED,
}
#: All names that a selection takes.
SELECTABLE = (*GROUPS, *(verdict.name for verdict in SEGMENT_VERDICTS))


class Selection:
    """Segments with certain verdicts, of certain connections.

    Parameters
    ----------
    verdicts : iterable of str, optional
        Names of verdicts, or ``all``, ``bad``, ``undecided``, ``not-good``; all.
    connections : iterable of str, optional
        Each an end, or both with a comma between: an address, or ``ADDRESS:PORT``
        (``[ADDRESS]:PORT`` for IPv6). A connection is wanted if one of them is its; all.

    Raises
    ------
    InvalidArgumentError
        A name that is none, or an end that is none.
    """

    def __init__(self, verdicts: Iterable[str] = (), connections: Iterable[str] = ()) -> None:
        wanted: set[Verdict] = set()
        for name in verdicts:
            if name not in SELECTABLE:
                raise InvalidArgumentError(f"select is {name!r}; there are {', '.join(SELECTABLE)}")
            wanted |= GROUPS[name] if name in GROUPS else {Verdict[name]}
        self._wanted = np.zeros(256, bool)
        self._wanted[[int(one) for one in wanted or SEGMENT_VERDICTS]] = True
        self._ends = [tuple(_end(one) for one in _sides(text)) for text in connections]

    def names(self) -> list[str]:
        """The names of the verdicts that are wanted."""
        return [one.name for one in SEGMENT_VERDICTS if self._wanted[one]]

    def rows(self, result: VerifyResult) -> npt.NDArray[np.intp]:
        """The indices of the records that are wanted.

        Parameters
        ----------
        result : VerifyResult

        Returns
        -------
        int64[m]
        """
        at = np.flatnonzero(self._wanted[result.verdict])
        if not self._ends or not len(at):
            return at
        rows = result.segments[at]
        taken = np.zeros(len(at), bool)
        for ends in self._ends:
            one = [(_is(rows, "source", end), _is(rows, "destination", end)) for end in ends]
            if len(one) == 1:
                taken |= one[0][0] | one[0][1]
            else:
                taken |= (one[0][0] & one[1][1]) | (one[0][1] & one[1][0])
        return at[taken]


def _sides(text: str) -> list[str]:
    sides = text.split(",")
    if len(sides) > 2:
        raise InvalidArgumentError(
            f"connection is {text!r}; it must be an end, or two with a comma between"
        )
    return sides


def _end(text: str) -> tuple[bytes, int]:
    """An end as its address, and its port (0: any)."""
    address, port = text.strip(), ""
    if address.startswith("["):
        address, _, port = address[1:].partition("]")
        port = port.removeprefix(":")
    elif address.count(":") == 1:
        address, _, port = address.partition(":")
    try:
        found = ip_address(address).packed
        number = int(port) if port else 0
        if 0 <= number < 65536 and (not port or port.isdecimal()):
            return found, number
    except ValueError:
        pass
    raise InvalidArgumentError(
        f"connection has the end {text!r}; it must be ADDRESS or ADDRESS:PORT, or [ADDRESS]:PORT "
        "for IPv6"
    )


def _is(rows: npt.NDArray[np.void], side: str, end: tuple[bytes, int]) -> npt.NDArray[np.bool_]:
    address, port = end
    size = len(address)
    found = rows["version"] == (4 if size == 4 else 6)
    found &= (rows[side][:, :size] == np.frombuffer(address, np.uint8)).all(axis=1)
    if port:
        found &= rows[f"{side}_port"] == port
    return np.asarray(found, bool)
