"""Between the passes: extents, in the files' order, into a guess at the state before each file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.extents import EXTENT
from tcpao_fast.core.flow.snapshot import CONNECTION
from tcpao_fast.distributed.index import keys_of

#: By how many bytes a guess stays behind what headers say: it should not be ahead of what is
#: proved, and not far behind it either.
MARGIN = 1 << 20
_PROVED = 2
_BOTH = 3


class Join:
    """What is guessed of every connection; 61 bytes each, and its key (about 190 with the index).

    Attributes
    ----------
    count : int
        Connections so far; they are numbered as they first appear, as an `Engine` does.
    """

    def __init__(self) -> None:
        self._known: dict[bytes, int] = {}
        self.isn = np.zeros((0, 2), np.uint32)
        self.position = np.zeros((0, 2), np.int64)
        self.both = np.zeros(0, bool)
        self.with_ao = np.zeros(0, bool)
        self.initiator = np.zeros(0, np.int8)

    @property
    def count(self) -> int:
        """Connections so far."""
        return len(self._known)

    def number(self, key: bytes) -> int:
        """The number of a connection that no file's extents have."""
        number = self._known.setdefault(key, len(self._known))
        self._grow()
        return number

    def enter(
        self, extents: npt.NDArray[np.void]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.void]]:
        """Take in the next file.

        Parameters
        ----------
        extents : n rows of `EXTENT`

        Returns
        -------
        tuple of (int64[n], m rows of CONNECTION)
            The connections' numbers; and the guess at the state before the file, of those of which
            there is one, with their numbers as ids.
        """
        assert extents.dtype == EXTENT
        known, before = self._known, len(self._known)
        numbers = np.array(
            [known.setdefault(one, len(known)) for one in keys_of(extents)], np.int64
        )
        self._grow()
        guessed = np.flatnonzero((numbers < before) & self.both[numbers] & self.with_ao[numbers])
        guess = self._rows(extents[guessed], numbers[guessed])
        self._move(extents, numbers)
        return numbers, guess

    def _grow(self) -> None:
        for name in ("isn", "position", "both", "with_ao", "initiator"):
            old = getattr(self, name)
            if len(old) < self.count:
                room = max(self.count, 2 * len(old))
                grown = np.zeros((room, *old.shape[1:]), old.dtype)
                grown[: len(old)] = old
                setattr(self, name, grown)

    def _rows(
        self, extents: npt.NDArray[np.void], numbers: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.void]:
        rows = np.zeros(len(numbers), CONNECTION)
        rows["id"] = numbers
        for name in ("vrf", "port", "version", "address"):
            rows[name] = extents[name]
        rows["initiator"] = self.initiator[numbers]
        rows["count"] = 1
        one = rows["incarnations"][:, 0]
        isn = self.isn[numbers]
        one["isn"] = isn
        one["position"] = np.maximum(self.position[numbers] - MARGIN, isn.astype(np.int64))
        one["key"] = -1
        one["known"] = _BOTH
        one["proof"] = _PROVED
        one["initiator"] = self.initiator[numbers]
        rows["incarnations"][:, 0] = one
        return rows

    def _move(self, extents: npt.NDArray[np.void], numbers: npt.NDArray[np.int64]) -> None:
        self.with_ao[numbers] |= extents["with_ao"] != 0
        shaken = extents["known"] == _BOTH
        to = numbers[shaken]
        self.isn[to] = extents["isn"][shaken]
        self.both[to] = True
        self.initiator[to] = extents["initiator"][shaken]
        self.position[to] = extents["isn"][shaken].astype(np.int64) + extents["reach"][shaken]
        # the others go on from where they were, if that is known and no other handshake began
        on = (extents["known"] == 0) & self.both[numbers]
        for d in (0, 1):
            which = np.flatnonzero(on & (extents["begun"] >> d & 1 != 0))
            at = numbers[which]
            step = (extents["base"][which, d].astype(np.int64) - self.position[at, d]) & 0xFFFFFFFF
            step = np.where(step >= 1 << 31, step - (1 << 32), step)
            reached = self.position[at, d] + step + extents["reach"][which, d]
            self.position[at, d] = np.maximum(reached, self.isn[at, d].astype(np.int64))
