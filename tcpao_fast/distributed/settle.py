"""In the files' order: which verdicts stand, and which were found from a state that was not right.

Of each connection in each file a guess at the state before it stands beside the state that it
really had. The verdicts from the guess are those from the real state

* where both are the same, or nothing is known in either;
* where no verdict depends on a state (no segment was good or bad under ISNs): the state then is
  worked out when it is needed;
* where both have the same pair of ISNs in use, everything that is known of others is proved, and
  the positions are so close that every segment gets the same SNE. A good MAC proves the ISNs and
  SNE it was computed with, so with the same pair at hand it is found from both states; a bad one is
  bad under that pair (if the real state has no other) and the SNE nearest to the anchor, which lies
  between the two states' anchors.

Everything else is verified again from the real state. What is left to chance: a genuine segment
that comes again after 2 GiB less the megabyte or so that a guess is behind is good from one state
and bad from the other, as for one of them it is nearer to the next SNE.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.connections import INCARNATIONS
from tcpao_fast.core.flow.snapshot import CONNECTION
from tcpao_fast.engine.verdicts import Verdict

_PROVED = 2
#: Verdicts that depend on what is known of a connection.
_BY_STATE = (Verdict.good, Verdict.bad_mac, Verdict.missing_isn, Verdict.key_not_found)
_HALF = 1 << 31
#: Where numbers begin that are not those of the run: of connections that pass 1 did not see.
STRANGE = 1 << 40


@dataclass
class Guessed:
    """What pass 2 found of one file.

    Attributes
    ----------
    numbers : int64[n]
        The connections of the file, as the run counts.
    guess : rows of CONNECTION
        The states that it began with, by number.
    found : dict of str to array
        As `tcpao_fast.distributed.verify` puts it into the store.
    """

    numbers: npt.NDArray[np.int64]
    guess: npt.NDArray[np.void]
    found: dict[str, npt.NDArray[Any]]


class Truth:
    """The state of every connection behind the files that are settled; 220 bytes each.

    Attributes
    ----------
    rows : rows of CONNECTION
        By number; with ``version`` 0 where nothing is known.
    since : int32[n]
        From which file on the state was not worked out, as no verdict depended on it; -1: it was.
    """

    def __init__(self) -> None:
        self.rows = np.zeros(0, CONNECTION)
        self.since = np.zeros(0, np.int32)

    def grow(self, count: int) -> None:
        """Make room for as many connections."""
        if count > len(self.rows):
            room = max(count, 2 * len(self.rows))
            rows = np.zeros(room, CONNECTION)
            rows[: len(self.rows)] = self.rows
            since = np.full(room, -1, np.int32)
            since[: len(self.since)] = self.since
            self.rows, self.since = rows, since

    def put(self, rows: npt.NDArray[np.void]) -> None:
        """States that are known for sure."""
        if len(rows):
            self.grow(int(rows["id"].max()) + 1)
            self.rows[rows["id"]] = rows
            self.since[rows["id"]] = -1

    def of(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.void]:
        """The states of some connections, of those of which something is known."""
        self.grow(int(numbers.max(initial=-1)) + 1)
        rows = self.rows[numbers]
        known: npt.NDArray[np.void] = rows[rows["version"] != 0]
        return known

    def settle(self, file: int, guessed: Guessed) -> npt.NDArray[np.int64]:
        """Take in what was found in a file.

        Parameters
        ----------
        file : int
            Its place in the order.
        guessed : Guessed

        Returns
        -------
        int64[m]
            The connections that have to be verified again, for which nothing was taken in.
        """
        found = guessed.found
        behind = found["state"]
        numbers = behind["id"].astype(np.int64)
        self.grow(int(numbers.max(initial=-1)) + 1)
        truth = self.rows[numbers]
        known = truth["version"] != 0
        guess = np.zeros(len(numbers), CONNECTION)
        at, there = _places(numbers, guessed.guess["id"].astype(np.int64))
        guess[at[there]] = guessed.guess[there]
        counts = np.zeros((len(numbers), found["counts"].shape[1]), np.int64)
        low, high = np.full(len(numbers), -1, np.int64), np.full(len(numbers), -1, np.int64)
        at, there = _places(numbers, found["ids"])
        counts[at[there]] = found["counts"][there]
        low[at[there]], high[at[there]] = found["low"][there], found["high"][there]

        exact = self.since[numbers] < 0
        has_guess = guess["version"] != 0
        nothing = ~has_guess & (~known | (truth["count"] == 0)) & exact
        by_state = counts[:, [int(one) for one in _BY_STATE]].any(axis=1)
        same, merged = _same_pair(truth, guess, behind, counts, low, high)
        same &= known & has_guess & exact
        stands = ~nothing & ~same & ~by_state
        again = ~nothing & ~same & by_state

        # the client is whoever sent the last SYN, until one is proved to be
        silent = nothing & known & (behind["initiator"] < 0)
        behind["initiator"] = np.where(silent, truth["initiator"], behind["initiator"])
        self.rows[numbers[nothing]] = behind[nothing]
        self.rows[numbers[same]] = merged[same]
        late = numbers[stands & exact]
        self.since[late] = file
        # of a connection that was not known at all somebody has to be it
        unknown = numbers[stands & ~known]
        self.rows[unknown] = _bare(behind[stands & ~known])
        told = stands & ~has_guess & (truth["live"] < 0) & (behind["initiator"] >= 0)
        self.rows["initiator"][numbers[told]] = behind["initiator"][told]
        wrong: npt.NDArray[np.int64] = numbers[again]
        return wrong


def _bare(rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Connections of which only the ends are known."""
    bare = rows.copy()
    bare["count"] = 0
    bare["live"] = -1
    bare["initiator"] = -1
    bare["incarnations"] = np.zeros((), CONNECTION)["incarnations"]
    return bare


def _places(
    numbers: npt.NDArray[np.int64], wanted: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Where each wanted number is among sorted ones, and which are there."""
    at = np.searchsorted(numbers, wanted)
    at = np.minimum(at, max(len(numbers) - 1, 0))
    there = numbers[at] == wanted if len(numbers) else np.zeros(len(wanted), bool)
    return at, there


def _live(rows: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The incarnation in use of each; without one the first."""
    found: npt.NDArray[Any] = rows["incarnations"][
        np.arange(len(rows)), np.maximum(rows["live"], 0)
    ]
    return found


def _same_pair(
    truth: npt.NDArray[np.void],
    guess: npt.NDArray[np.void],
    behind: npt.NDArray[np.void],
    counts: npt.NDArray[np.int64],
    low: npt.NDArray[np.int64],
    high: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.void]]:
    """Where the third rule holds, and the state behind the file there."""
    slots = np.arange(INCARNATIONS)
    t, g = _live(truth), _live(guess)
    pair = (truth["live"] >= 0) & (guess["live"] >= 0) & (t["isn"] == g["isn"]).all(axis=1)
    for rows in (truth, behind):
        used = slots < rows["count"][:, None]
        pair &= (~used | (rows["incarnations"]["proof"] == _PROVED)).all(axis=1)
    pair &= counts[:, int(Verdict.missing_isn)] == 0
    pair &= (counts[:, int(Verdict.bad_mac)] == 0) | (truth["count"] == 1)
    # the guess's pair is still the first that is known behind the file
    e = behind["incarnations"][:, 0]
    pair &= (e["isn"] == g["isn"]).all(axis=1) & (e["known"] == g["known"])
    added = behind["count"].astype(np.int64) - 1
    pair &= truth["count"] + added <= INCARNATIONS
    # a pair that is new here must not be one that is known from before
    for one in range(1, INCARNATIONS):
        new = behind["incarnations"][:, one]
        for old in range(INCARNATIONS):
            other = truth["incarnations"][:, old]
            pair &= ~(
                (one < behind["count"]) & (old < truth["count"])
                & (new["isn"] == other["isn"]).all(axis=1)
            )  # fmt: skip
    for d in (0, 1):
        # what the guess was ahead of may be there or not: it cannot be told
        ahead = (e["position"][:, d] <= g["position"][:, d]) & (
            g["position"][:, d] > t["position"][:, d]
        )
        pair &= ~ahead
        apart = np.abs(t["position"][:, d] - g["position"][:, d])
        pair &= apart < _HALF // 4
        top = np.maximum(e["position"][:, d], t["position"][:, d])
        bottom = np.minimum(g["position"][:, d], t["position"][:, d])
        pair &= top - bottom < _HALF - apart
        tried = high >= 0
        pair &= ~tried | ((high - bottom < _HALF - apart) & (top - low < _HALF - apart))
    return pair, _merged(truth, behind)


def _merged(truth: npt.NDArray[np.void], behind: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """The real state behind a file: the one before it, with what the file proved."""
    merged = truth.copy()
    every = np.arange(len(truth))
    live = np.maximum(truth["live"], 0)
    t, e = _live(truth), behind["incarnations"][:, 0]
    one = t.copy()
    one["position"] = np.maximum(t["position"], e["position"])
    moved = e["key"] >= 0
    for name in ("key", "rnext_key_id", "key_id"):
        one[name] = np.where(moved, e[name], t[name])
    incarnations = merged["incarnations"]
    incarnations[every, live] = one
    for place in range(1, INCARNATIONS):
        which = np.flatnonzero(place < behind["count"])
        to = np.minimum(truth["count"][which] + place - 1, INCARNATIONS - 1)
        incarnations[which, to] = behind["incarnations"][which, place]
    merged["incarnations"] = incarnations
    added = behind["count"].astype(np.int64) - 1
    is_new = behind["live"] > 0
    merged["count"] = np.minimum(truth["count"] + added, INCARNATIONS)
    merged["live"] = np.where(is_new, truth["count"] + behind["live"] - 1, truth["live"])
    # who sent the SYN of what is in use now, not who sent some SYN
    merged["initiator"] = np.where(is_new, behind["initiator"], truth["initiator"])
    return merged


class Totals:
    """What was found of all connections so far, by number."""

    def __init__(self, verdicts: int) -> None:
        self.counts = np.zeros((0, verdicts), np.int64)
        self.first_bad = np.zeros(0, np.int64)
        self.times = np.zeros((0, 3), np.int64)
        self.keys: dict[int, set[int]] = {}

    def grow(self, count: int) -> None:
        """Make room for as many connections."""
        old = len(self.counts)
        if count <= old:
            return
        room = max(count, 2 * old)
        never = np.iinfo(np.int64).max
        for name, empty in (("counts", 0), ("first_bad", never), ("times", -1)):
            before = getattr(self, name)
            grown = np.full((room, *before.shape[1:]), empty, np.int64)
            grown[:old] = before
            setattr(self, name, grown)

    def add(
        self,
        found: dict[str, npt.NDArray[Any]],
        preceding: int,
        without: Sequence[int] | npt.NDArray[np.int64] = (),
    ) -> None:
        """Add what was found in a file, but of some connections, and of strangers."""
        ids = found["ids"]
        kept = ~np.isin(ids, np.asarray(without, np.int64)) & (ids < STRANGE)
        self.grow(int(ids[kept].max(initial=-1)) + 1)
        to = ids[kept]
        self.counts[to] += found["counts"][kept]
        never = np.iinfo(np.int64).max
        bad = found["first_bad"][kept]
        is_first = (self.first_bad[to] == never) & (bad != never)
        self.first_bad[to] = np.where(
            bad == never, self.first_bad[to], np.minimum(self.first_bad[to], preceding + bad)
        )
        times = found["times"][kept]
        mine = self.times[to]
        first = np.where(
            (mine[:, 0] < 0) | ((times[:, 0] >= 0) & (times[:, 0] < mine[:, 0])),
            times[:, 0], mine[:, 0],
        )  # fmt: skip
        last = np.maximum(mine[:, 1], times[:, 1])
        at_bad = np.where(is_first, times[:, 2], mine[:, 2])
        self.times[to] = np.stack([first, last, at_bad], axis=1)
        dropped = set(np.asarray(without).tolist())
        for number, key in found["keys"].tolist():
            if number not in dropped and number < STRANGE:
                self.keys.setdefault(number, set()).add(key)
