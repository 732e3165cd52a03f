"""Pass 2: a capture from the state that is guessed or known before it."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.capture.output import telling
from tcpao_fast.capture.rows import COLUMNS, RowWriter
from tcpao_fast.capture.select import Selection
from tcpao_fast.core.flow.extents import Extents
from tcpao_fast.core.flow.tally import Tally
from tcpao_fast.distributed.index import BY_VALUE, Indexed, chunks_of, extents_of, keys_of
from tcpao_fast.distributed.keys import KeySource, require_same
from tcpao_fast.distributed.settle import STRANGE
from tcpao_fast.distributed.store import WORK, Store
from tcpao_fast.engine import Engine, VerifyResult
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.verdicts import BAD, Verdict
from tcpao_fast.errors import CaptureError
from tcpao_fast.jobs.stream import count_unread
from tcpao_fast.keys import KeyChain
from tcpao_fast.report.results import CaptureReport

_MOST = 1 << 28
#: Columns that rows need until they are settled.
NEEDED = ("number", "connection", "verdict")


@dataclass(frozen=True)
class Job:
    """What all tasks of a run share: no secret is in it.

    Attributes
    ----------
    store : Store
    keys : KeySource
    identities : tuple of dict
        `MasterKey.identity` of each key: a worker that reads others is told so.
    policy : Policy or None
    packet_filter : str or None
    fields : tuple of str
        The columns of rows.
    connections : tuple of str
        As of `Selection`.
    max_connections : int or None
    with_rows : bool
    run : str
        What tells this run from others.
    """

    store: Store
    keys: KeySource
    identities: tuple[dict[str, Any], ...]
    policy: Policy | None = None
    packet_filter: str | None = None
    fields: tuple[str, ...] = tuple(COLUMNS)
    connections: tuple[str, ...] = ()
    max_connections: int | None = None
    with_rows: bool = True
    run: str = ""

    @property
    def written(self) -> tuple[str, ...]:
        """The columns of rows that are not settled yet."""
        return (*self.fields, *(one for one in NEEDED if one not in self.fields))


@functools.lru_cache(maxsize=1)
def _chain(keys: KeySource, run: str) -> KeyChain:
    """A worker's keys, read once for a run."""
    return keys.load()


def engine_of(job: Job) -> Engine:
    """A fresh engine with a job's keys."""
    chain = _chain(job.keys, job.run)
    require_same(chain, job.identities, ", ".join(job.keys.references))
    limits = () if job.max_connections is None else (job.max_connections,)
    return Engine(chain, job.policy, 1, *limits)


class _Numbers:
    """An engine's numbers of connections as those of the run; `STRANGE` and more of connections
    that pass 1 did not see.
    """

    def __init__(self, engine: Engine, known: dict[bytes, int]) -> None:
        self._engine = engine
        self._known = known
        self._map = np.zeros(0, np.int64)
        self.strangers: list[bytes] = []

    def of(self, result: VerifyResult) -> VerifyResult:
        """A result with the run's numbers."""
        top = int(result.connection.max(initial=-1)) + 1
        if top > len(self._map):
            self.learn()
        if top > len(self._map):  # forgotten already
            missing = np.full(top - len(self._map), STRANGE - 1, np.int64)
            self._map = np.concatenate((self._map, missing))
        mapped = np.where(result.connection >= 0, self._map[result.connection], -1)
        return replace(result, connection=mapped)

    def learn(self) -> None:
        """Look up who the connections are that came since."""
        rows = self._engine.connection_rows(len(self._map))
        if not len(rows):
            return
        found = np.full(int(rows["id"][-1]) + 1, -1, np.int64)
        found[: len(self._map)] = self._map
        for number, key in zip(rows["id"].tolist(), keys_of(rows), strict=True):
            if key not in self._known:
                self._known[key] = STRANGE + len(self.strangers)
                self.strangers.append(key)
            found[number] = self._known[key]
        self._map = found


class _Reach:
    """How far from the anchors segments with a bad MAC are, by connection and direction."""

    def __init__(self) -> None:
        self.low: dict[int, int] = {}
        self.high: dict[int, int] = {}

    def add(self, result: VerifyResult) -> None:
        """Look at some records."""
        at = np.flatnonzero((result.verdict == Verdict.bad_mac) & (result.connection >= 0))
        if not len(at):
            return
        position = result.sne[at].astype(np.int64) << 32 | result.segments["seq"][at]
        numbers, which = np.unique(result.connection[at], return_inverse=True)
        low = np.full(len(numbers), 1 << 62, np.int64)
        high = np.full(len(numbers), -1, np.int64)
        np.minimum.at(low, which, position)
        np.maximum.at(high, which, position)
        for number, a, b in zip(numbers.tolist(), low.tolist(), high.tolist(), strict=True):
            self.low[number] = min(a, self.low.get(number, a))
            self.high[number] = max(b, self.high.get(number, b))


@dataclass(frozen=True)
class Verified:
    """What became of one or several captures.

    Attributes
    ----------
    counts : dict of str to int
        How many segments got each verdict.
    records, signed : int
    unread : dict of int to int
    damage : list of CaptureError
    strangers : list of bytes
        Connections that pass 1 did not see, as all of their segments are IP fragments.
    found : dict of str to array, or None
        What is known behind them, and was found in them (`_behind`); None where it is in the store.
    """

    counts: dict[str, int]
    records: int
    signed: int
    unread: dict[int, int]
    damage: list[CaptureError]
    strangers: list[bytes]
    found: dict[str, npt.NDArray[Any]] | None = None


@dataclass(frozen=True)
class Unit:
    """Captures that follow one another, and are verified as one stream by one worker.

    Attributes
    ----------
    name : str
        What is kept of it in the store is called.
    captures : tuple of Indexed
        Without their extents, where many are in the store.
    numbers : tuple of int64[n]
        For each capture the run's numbers of its connections, in the order of its extents.
    """

    name: str
    captures: tuple[Indexed, ...]
    numbers: tuple[npt.NDArray[np.int64], ...]


def verify_unit(
    job: Job,
    unit: Unit,
    state: npt.NDArray[np.void],
    only: npt.NDArray[np.int64] | None = None,
    strangers: Sequence[tuple[bytes, int]] = (),
) -> Verified:
    """Verify captures from a state; rows go to the store, and what is known behind them.

    Parameters
    ----------
    job : Job
    unit : Unit
    state : rows of CONNECTION
    only : int64[m], optional
        Numbers: only these connections' records are looked at, and their rows are apart.
    strangers : sequence of (bytes, int), optional
        Numbers of connections that pass 1 did not see.
    """
    engine = engine_of(job)
    if len(state):
        engine.restore_rows(state)
    known: dict[bytes, int] = {}
    for indexed, numbers in zip(unit.captures, unit.numbers, strict=True):
        known.update(zip(keys_of(extents_of(job.store, indexed)), numbers.tolist(), strict=True))
    known.update(strangers)
    mapping = _Numbers(engine, known)
    mapping.learn()
    report = CaptureReport()
    sums = _Sums(Tally(BAD, _MOST), _Reach())
    for indexed, numbers in zip(unit.captures, unit.numbers, strict=True):
        _verify_capture(job, indexed, numbers, engine, mapping, report, sums, only)
    engine.flush()
    found = _behind(engine, known, sums, only)
    is_small = sum(one.nbytes for one in found.values()) <= BY_VALUE
    if not is_small or (job.with_rows and only is None):
        job.store.write_arrays(found, WORK, f"{unit.name}.{_ending(only)}")
    return Verified(
        dict(engine.counts),
        report.records,
        report.signed,
        report.unread,
        report.damage,
        mapping.strangers,
        found if is_small else None,
    )


def _ending(only: npt.NDArray[np.int64] | None) -> str:
    return "guess" if only is None else "again"


@dataclass(frozen=True)
class _Sums:
    """What is added up of a unit."""

    tally: Tally
    reach: _Reach


def _verify_capture(
    job: Job,
    indexed: Indexed,
    numbers: npt.NDArray[np.int64],
    engine: Engine,
    mapping: _Numbers,
    report: CaptureReport,
    sums: _Sums,
    only: npt.NDArray[np.int64] | None,
) -> None:
    """One of a unit's captures."""
    chooser, wanted = (None, None) if only is None else (Extents(), np.isin(numbers, only))
    local = _local(job)
    preceding = report.records
    try:
        writer = None
        if job.with_rows:
            writer = RowWriter(local, engine.keys, job.written, Selection((), job.connections))
        damage: list[CaptureError] = []
        for records in chunks_of(indexed.capture, job.packet_filter, damage):
            count_unread(report, records)
            report.records += len(records)
            if chooser is not None and wanted is not None:
                which = chooser.add(records)
                # what states no ports may be a fragment of theirs
                its = (which < 0) | (wanted[np.maximum(which, 0)] if len(wanted) else False)
                records = records.subset(np.flatnonzero(its))
            result = mapping.of(engine.verify(records, final=False))
            report.signed += result.signed
            if only is not None:
                result = _of(result, only)
            sums.tally.add(
                preceding + records.numbers,
                result.connection,
                result.verdict,
                result.key,
                records.timestamps,
            )
            sums.reach.add(result)
            if writer is not None:
                shown = np.where(result.connection >= STRANGE - 1, -1, result.connection)
                writer.add(replace(result, connection=shown))
        for one in damage:
            report.note_damage(one)
        if writer is not None:
            writer.commit()
            job.store.put(local, WORK, f"{indexed.name}.{_ending(only)}.parquet")
    finally:
        if os.path.exists(local):  # noqa: PTH110
            os.unlink(local)  # noqa: PTH108


def _of(result: VerifyResult, only: npt.NDArray[np.int64]) -> VerifyResult:
    """A result in which there are no segments of other connections."""
    its = np.isin(result.connection, only)
    return replace(
        result,
        verdict=np.where(its, result.verdict, np.uint8(Verdict.not_tcp)).astype(np.uint8),
        connection=np.where(its, result.connection, -1),
    )


def _local(job: Job) -> str:
    handle, path = tempfile.mkstemp(dir=job.store.scratch(), prefix=".", suffix=".parquet")
    os.close(handle)
    os.unlink(path)  # noqa: PTH108
    return path


def _behind(
    engine: Engine,
    known: dict[bytes, int],
    sums: _Sums,
    only: npt.NDArray[np.int64] | None,
) -> dict[str, npt.NDArray[Any]]:
    """What is known behind a capture, and what was found in it, by the run's numbers."""
    rows = engine.connection_rows()
    rows["id"] = [known[key] for key in keys_of(rows)]
    rows = rows[rows["id"] < STRANGE]
    rows = rows[np.argsort(rows["id"], kind="stable")]
    if only is not None:
        rows = rows[np.isin(rows["id"], only)]
    reach = sums.reach
    ids, counts, first_bad, keys, times = sums.tally.rows()
    used = [(number, key) for number, its in zip(ids.tolist(), keys, strict=True) for key in its]
    low = np.array([reach.low.get(one, -1) for one in ids.tolist()], np.int64)
    high = np.array([reach.high.get(one, -1) for one in ids.tolist()], np.int64)
    return {
        "state": rows,
        "ids": ids,
        "counts": counts,
        "first_bad": first_bad,
        "times": times,
        "keys": np.array(used, np.int64).reshape(-1, 2),
        "low": low,
        "high": high,
    }


def finish_rows(job: Job, name: str, again: npt.NDArray[np.int64], select: Sequence[str]) -> None:
    """Rows that are settled get their place: those of connections that were verified again from
    there, the others from the guess.
    """
    store = job.store
    source, target = (WORK, f"{name}.guess.parquet"), (f"{name}.parquet",)
    if not len(again) and job.written == job.fields and not select:
        store.move(source, target)
        return
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(pyarrow.BufferReader(store.read(*source)))
    if len(again):
        other = pyarrow.parquet.read_table(
            pyarrow.BufferReader(store.read(WORK, f"{name}.again.parquet"))
        )
        replaced = pyarrow.compute.or_kleene(
            pyarrow.compute.is_in(
                table["connection"], value_set=pyarrow.array(again, pyarrow.int32())
            ),
            pyarrow.compute.is_in(table["number"], value_set=other["number"].combine_chunks()),
        )
        table = pyarrow.concat_tables([table.filter(pyarrow.compute.invert(replaced)), other])
        table = table.sort_by("number")
    if select:
        names = Selection(select).names()
        table = table.filter(
            pyarrow.compute.is_in(table["verdict"], value_set=pyarrow.array(names))
        )
    table = table.select(list(job.fields))
    local = _local(job)
    with telling(store.place):
        pyarrow.parquet.write_table(table, local, compression="zstd", store_schema=False)
    store.put(local, *target)
    store.remove(*source)
    store.remove(WORK, f"{name}.again.parquet")
