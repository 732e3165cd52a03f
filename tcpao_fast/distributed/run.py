"""A run: the passes as tasks of a Dask cluster, and what comes of them in the files' order."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.tally import NOTHING_BAD
from tcpao_fast.distributed.index import Indexed, extents_of, index_capture
from tcpao_fast.distributed.join import Join
from tcpao_fast.distributed.keys import KeySource
from tcpao_fast.distributed.result import CAPTURES, REPORT, describe_run
from tcpao_fast.distributed.settle import STRANGE, Guessed, Totals, Truth
from tcpao_fast.distributed.store import WORK, Store
from tcpao_fast.distributed.verify import Job, Verified, finish_rows, verify_from
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.state import states_of
from tcpao_fast.engine.verdicts import BAD, SEGMENT_VERDICTS, UNDECIDED, Verdict
from tcpao_fast.errors import CaptureError, InvalidArgumentError, MissingExtraError
from tcpao_fast.keys import KeyChain
from tcpao_fast.report.results import (
    MOST_REPORTED,
    CaptureReport,
    ConnectionReport,
    ConnectionReports,
    OtherConnections,
    Times,
)
from tcpao_fast.version import __version__

#: Called with what is done ("headers", "verified", "settled"), how many files, and of how many.
Progress = Callable[[str, int, int], None]
#: Files a worker that are verified ahead of those that are settled.
AHEAD = 8
#: How often a task is tried again that fails, or whose worker is lost.
RETRIES = 3
#: Files with segments that are not good which are kept in mind for each connection.
EXPLAINING = 3
_TROUBLE = [int(one) for one in BAD | UNDECIDED]
_NAMES = [verdict.name for verdict in Verdict]


def verify_distributed(
    captures: Sequence[str],
    keys: KeySource,
    *,
    output: str | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    client: Any = None,
    policy: Policy | None = None,
    fields: Sequence[str] | None = None,
    select: Sequence[str] = (),
    connections: Sequence[str] = (),
    packet_filter: str | None = None,
    max_connections: int | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> CaptureReport:
    """Verify many captures by many processes: the verdicts of `verify_capture`, in less time.

    Every capture is read twice: its headers first, and again to verify it. Connections go on from
    file to file, in the order of their first packets, whatever the order they are given in. IP
    datagrams whose fragments are in two files are incomplete in both.

    Parameters
    ----------
    captures : sequence of str
        Paths that every worker can read, or URLs for fsspec.
    keys : KeySource
        Where every worker finds the keys: the keys themselves never travel.
    output : str, optional
        A folder, which every worker can write to, or a URL: a Parquet file for each capture, with
        the columns of `tcpao_fast.capture.rows.COLUMNS`, each there when it is complete. What a run
        needs beside them is in its folder ``_tcpao``. Without it there is the report alone.
    workers : int, optional
        Run in so many processes on this machine.
    scheduler : str, optional
        Run on the Dask cluster with this scheduler, ``tcp://HOST:8786`` for instance.
    client : distributed.Client, optional
        Run on this client's cluster. One of the three has to be given.
    policy, packet_filter, max_connections
        As for `verify_capture`.
    fields, select, connections
        Which columns and segments the rows have; as for `verify_capture`.
    resume : bool
        Whether what an earlier run left in `output` counts: captures that are done are not done
        again.
    progress : callable, optional
        Called as ``progress(what, done, of)``.

    Returns
    -------
    CaptureReport

    Raises
    ------
    MissingExtraError
        There is no Dask, or no pyarrow for rows: ``pip install 'tcpao-fast[dask]'``.
    CaptureError
        No capture can be read, or the output cannot be written.
    InvalidArgumentError
        Not one cluster, or fields that are none.
    KeyFileError
        The keys cannot be read, here or by a worker.
    """
    if (workers is not None) + (scheduler is not None) + (client is not None) != 1:
        raise InvalidArgumentError("give one of workers, scheduler and client")
    if not captures:
        raise InvalidArgumentError("there is no capture")
    chain = keys.load()  # mistakes are told before any work
    if output is not None:
        _require_pyarrow()
    with contextlib.ExitStack() as held:
        place = output
        if place is None:
            place = tempfile.mkdtemp(prefix="tcpao-")
            held.callback(shutil.rmtree, place, ignore_errors=True)
        store = Store(place)
        store.make()
        options: dict[str, Any] = {} if fields is None else {"fields": tuple(fields)}
        job = Job(
            store, keys, tuple(key.identity() for key in chain), policy, packet_filter,
            connections=tuple(connections), max_connections=max_connections,
            with_rows=output is not None, run=uuid.uuid4().hex, **options,
        )  # fmt: skip
        if client is None:
            client = held.enter_context(_cluster(workers, scheduler))
        run = _Run(client, job, chain, tuple(select), resume, progress)
        report = run(list(captures))
    if report.damage and not report.records:
        raise report.damage[0]
    return report


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("rows need pyarrow: pip install 'tcpao-fast[dask]'") from error


@contextlib.contextmanager
def _cluster(workers: int | None, scheduler: str | None) -> Iterator[Any]:
    """A client of a cluster of our own, or of a running one."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise MissingExtraError(
            "several processes need Dask: pip install 'tcpao-fast[dask]'"
        ) from error
    if scheduler is not None:
        with Client(scheduler, set_as_default=False) as client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@dataclass
class _File:
    """One capture on its way."""

    indexed: Indexed
    numbers: npt.NDArray[np.int64]
    guess: npt.NDArray[np.void]
    opening: npt.NDArray[np.bool_]  # which connections begin in it
    trouble: npt.NDArray[np.int64]  # those with segments that are not good
    mark: str = ""
    future: Any = None


class _Run:
    def __init__(
        self,
        client: Any,
        job: Job,
        chain: KeyChain,
        select: tuple[str, ...],
        resume: bool,
        progress: Progress | None,
    ) -> None:
        self._client = client
        self._job = job
        self._store = job.store
        self._labels = [key.label for key in chain]
        self._select = select
        self._resume = resume
        self._tell = progress or (lambda what, done, of: None)
        self._join = Join()
        self._truth = Truth()
        self._totals = Totals(len(Verdict))
        self._files: list[_File] = []
        self._chain_mark = hashlib.sha256(
            json.dumps([__version__, [*job.identities], repr(job.policy), job.packet_filter,
                        job.fields, select, job.connections, job.max_connections],
                       default=str).encode()
        ).hexdigest()  # fmt: skip

    def __call__(self, captures: list[str]) -> CaptureReport:
        ordered = self._index(captures)
        report = CaptureReport(captures=[one.capture for one in ordered])
        counts: Counter[str] = Counter()
        workers = max(1, len(self._client.nthreads()))
        window = AHEAD * workers
        waiting = iter(ordered)
        for place in range(len(ordered)):
            while len(self._files) < min(place + window, len(ordered)):
                self._files.append(self._begin(next(waiting)))
            verified = self._settle(place, counts, report.records)
            report.records += verified.records
            report.signed += verified.signed
            for linktype, count in verified.unread.items():
                report.unread[linktype] = report.unread.get(linktype, 0) + count
            for one in verified.damage:
                report.note_damage(one)
            self._tell("settled", place + 1, len(ordered))
        report.counts = {one.name: counts[one.name] for one in SEGMENT_VERDICTS}
        report.segments = sum(report.counts.values())
        self._describe(report)
        if self._job.with_rows:
            explains = self._explaining()
            described = describe_run(
                [
                    (one.indexed.capture, one.indexed.name, its)
                    for one, its in zip(self._files, explains, strict=True)
                ],
                self._job.identities,
            )
            self._store.write_json(report.as_dict(), WORK, REPORT)
            self._store.write_json(described, WORK, CAPTURES)
        return report

    def _explaining(self) -> list[bool]:
        """Which files tell why connections are not good: those with their handshakes, and the first
        few with segments that are not.
        """
        counts = self._totals.counts
        trouble = np.zeros(max(self._join.count, len(counts)), bool)
        trouble[: len(counts)] = counts[:, _TROUBLE].any(axis=1)
        shown = np.zeros(len(trouble), np.int64)
        found = []
        for file in self._files:
            its = trouble[file.numbers]
            wrong = its & np.isin(file.numbers, file.trouble) & (shown[file.numbers] < EXPLAINING)
            shown[file.numbers[wrong]] += 1
            found.append(bool((wrong | (its & file.opening)).any()))
        return found

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._client.submit(function, *arguments, retries=RETRIES, pure=False)

    def _index(self, captures: list[str]) -> list[Indexed]:
        """Pass 1, and the files in the order of time."""
        from distributed import as_completed

        futures = [
            self._client.submit(
                index_capture, self._store, one, self._job.packet_filter, resume=self._resume,
                retries=RETRIES, pure=False,
            )
            for one in captures
        ]  # fmt: skip
        for done, _ in enumerate(as_completed(futures, loop=self._client.loop), 1):
            self._tell("headers", done, len(captures))
        return sorted(self._client.gather(futures), key=lambda one: one.order)

    def _begin(self, indexed: Indexed) -> _File:
        """Take a file's extents in, and have it verified from what is guessed."""
        extents = extents_of(self._store, indexed.name)
        numbers, guess = self._join.enter(extents)
        nothing = np.zeros(0, np.int64)
        file = _File(indexed, numbers, guess, extents["handshakes"] > 0, nothing)
        mark = hashlib.sha256(
            repr((self._chain_mark, indexed.identity)).encode()
            + numbers.tobytes() + guess.tobytes()
        ).hexdigest()  # fmt: skip
        file.mark = mark
        known = self._store.read_json(WORK, f"{indexed.name}.guess.json") if self._resume else None
        there = not self._job.with_rows or self._store.exists(WORK, f"{indexed.name}.guess.parquet")
        if isinstance(known, dict) and known.get("mark") == mark and there:
            file.future = _Done(_from_json(known["verified"]))
        elif self._resume and self._is_done(indexed, numbers, mark):
            file.future = _Done(None)
        else:
            file.future = self._submit(
                _verify_guess, self._job, indexed.capture, indexed.name, numbers, guess, mark
            )
        return file

    def _is_done(self, indexed: Indexed, numbers: npt.NDArray[np.int64], mark: str) -> bool:
        known = self._store.read_json(WORK, f"{indexed.name}.done.json")
        return (
            isinstance(known, dict)
            and known.get("guess") == mark
            and (not self._job.with_rows or self._store.exists(f"{indexed.name}.parquet"))
        )

    def _settle(self, place: int, counts: Counter[str], preceding: int) -> Verified:
        """What was found in a file, made sure of."""
        file = self._files[place]
        verified: Verified | None = file.future.result()
        file.future = None
        name = file.indexed.name
        self._chain_mark_next(file)
        if verified is None:  # done by an earlier run: is what was before it the same?
            known = self._store.read_json(WORK, f"{name}.done.json")
            if known["mark"] == self._chain_mark:
                return self._take_over(file, known, counts, preceding)
            verified = self._submit(
                _verify_guess, self._job, file.indexed.capture, name, file.numbers, file.guess,
                file.mark,
            ).result()  # fmt: skip
            assert verified is not None
        found = self._store.read_arrays(WORK, f"{name}.guess.npz")
        self._truth.grow(self._join.count)
        before = self._truth.rows[file.numbers]
        again = self._truth.settle(place, Guessed(file.numbers, file.guess, found))
        strangers = self._number(verified.strangers)
        again = np.unique(np.concatenate([again, [number for _, number in strangers]])).astype(
            np.int64
        )
        totals: Counter[str] = Counter(verified.counts)
        parts = [(found, again)]
        if len(again):
            truth = self._again(place, again, strangers)
            dropped = np.isin(found["ids"], again) | (found["ids"] >= STRANGE)
            for verdict, old, new in zip(
                _NAMES, found["counts"][dropped].sum(axis=0).tolist(),
                truth["counts"].sum(axis=0).tolist(), strict=True,
            ):  # fmt: skip
                totals[verdict] += new - old
            totals.pop("not_tcp", None)
            parts.append((truth, np.zeros(0, np.int64)))
        for part, without in parts:
            self._totals.add(part, preceding, without)
        counts.update(totals)
        if self._job.with_rows:
            self._submit(finish_rows, self._job, name, again, self._select).result()
        file.trouble = np.unique(
            np.concatenate(
                [part["ids"][part["counts"][:, _TROUBLE].any(axis=1)] for part, _ in parts]
            )
        )
        known = (before["version"] != 0) & np.isin(file.numbers, file.trouble)
        self._note_done(file, verified, totals, parts, before[known])
        return verified

    def _number(self, strangers: list[bytes]) -> list[tuple[bytes, int]]:
        return [(key, self._join.number(key)) for key in strangers]

    def _again(
        self,
        place: int,
        numbers: npt.NDArray[np.int64],
        strangers: list[tuple[bytes, int]],
    ) -> dict[str, npt.NDArray[Any]]:
        """Verify some connections of a file from their real states, which are worked out first."""
        truth = self._truth
        truth.grow(self._join.count)
        late = numbers[truth.since[numbers] >= 0]
        if len(late):
            for before in range(int(truth.since[late].min()), place):
                here = late[truth.since[late] <= before]
                here = here[np.isin(here, self._files[before].numbers)]
                if len(here):
                    self._verify_again(before, here, ())
                    self._store.remove(WORK, f"{self._files[before].indexed.name}.again.parquet")
        return self._verify_again(place, numbers, strangers)

    def _verify_again(
        self,
        place: int,
        numbers: npt.NDArray[np.int64],
        strangers: Sequence[tuple[bytes, int]],
    ) -> dict[str, npt.NDArray[Any]]:
        file = self._files[place]
        self._submit(
            verify_from, self._job, file.indexed.capture, file.indexed.name, file.numbers,
            self._truth.of(numbers), numbers, tuple(strangers),
        ).result()  # fmt: skip
        found = self._store.read_arrays(WORK, f"{file.indexed.name}.again.npz")
        self._truth.put(found["state"])
        return found

    def _chain_mark_next(self, file: _File) -> None:
        """What stands for everything that a file's verdicts depend on."""
        self._chain_mark = hashlib.sha256(
            repr((self._chain_mark, file.indexed.capture, file.indexed.identity)).encode()
        ).hexdigest()

    def _note_done(
        self,
        file: _File,
        verified: Verified,
        totals: Counter[str],
        parts: list[tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64]]],
        before: npt.NDArray[np.void],
    ) -> None:
        name = file.indexed.name
        if not self._job.with_rows:
            return
        arrays: dict[str, npt.NDArray[Any]] = {}
        for part, (found, without) in enumerate(parts):
            arrays |= {f"{part}.{key}": value for key, value in found.items() if key != "state"}
            arrays[f"{part}.without"] = without
        numbers = np.unique(np.concatenate([found["state"]["id"] for found, _ in parts]))
        numbers = numbers.astype(np.int64)
        self._truth.grow(self._join.count)
        arrays["state"] = self._truth.rows[numbers]
        arrays["since"] = self._truth.since[numbers]
        arrays["numbers"] = numbers
        arrays["before"] = before
        arrays["trouble"] = file.trouble
        self._store.write_arrays(arrays, WORK, f"{name}.done.npz")
        self._store.write_json(
            {
                "mark": self._chain_mark,
                "guess": file.mark,
                "parts": len(parts),
                "totals": dict(totals),
                "verified": _to_json(verified),
            },
            WORK,
            f"{name}.done.json",
        )
        for ending in ("guess.npz", "guess.json", "again.npz"):
            self._store.remove(WORK, f"{name}.{ending}")

    def _take_over(
        self, file: _File, known: dict[str, Any], counts: Counter[str], preceding: int
    ) -> Verified:
        """A file that an earlier run was done with."""
        arrays = self._store.read_arrays(WORK, f"{file.indexed.name}.done.npz")
        for part in range(known["parts"]):
            found = {
                key.split(".", 1)[1]: value
                for key, value in arrays.items()
                if key.startswith(f"{part}.")
            }
            self._totals.add(found, preceding, found["without"])
        self._truth.grow(self._join.count)
        self._truth.rows[arrays["numbers"]] = arrays["state"]
        self._truth.since[arrays["numbers"]] = arrays["since"]
        counts.update(known["totals"])
        file.trouble = arrays["trouble"]
        return _from_json(known["verified"])

    def _describe(self, report: CaptureReport) -> None:
        """Reports of connections, from what was added up."""
        totals, truth = self._totals, self._truth
        count = min(self._join.count, len(totals.counts))
        truth.grow(count)
        seen = np.flatnonzero(totals.counts[:count].any(axis=1))
        good = totals.counts[seen][:, [int(Verdict.good), int(Verdict.md5_good)]].any(axis=1)
        # as in one process: those with a good segment are reported first, as many as there are
        chosen = np.sort(np.concatenate([seen[good], seen[~good]])[:MOST_REPORTED])
        rows = truth.rows[chosen].copy()
        rows["id"] = chosen
        reports = []
        for number, state in states_of(rows):
            live = state.live
            first = int(totals.first_bad[number])
            reports.append(
                ConnectionReport(
                    id=number,
                    client=state.client,
                    server=state.server,
                    vrf=state.vrf,
                    counts=_named(totals.counts[number]),
                    keys=tuple(self._labels[one] for one in sorted(totals.keys.get(number, ()))),
                    sne={
                        "client": None if live is None else live.client.sne,
                        "server": None if live is None else live.server.sne,
                    },
                    first_bad=None if first == NOTHING_BAD else first,
                    times=Times.of(totals.times[number].tolist()),
                )
            )
        others = np.setdiff1d(seen, chosen)
        rest = None
        if len(others):
            times = Times()
            for one in totals.times[others].tolist():
                times = times.joined(Times.of(one))
            first = int(totals.first_bad[others].min())
            rest = OtherConnections(
                len(others),
                _named(totals.counts[others].sum(axis=0)),
                None if first == NOTHING_BAD else first,
                times,
            )
        report._built = ConnectionReports(reports), rest


def _named(counts: npt.NDArray[np.int64]) -> dict[str, int]:
    return {name: count for name, count in zip(_NAMES, counts.tolist(), strict=True) if count}


class _Done:
    """A future that is there already."""

    def __init__(self, value: Verified | None) -> None:
        self._value = value

    def result(self) -> Verified | None:
        return self._value


def _verify_guess(
    job: Job,
    capture: str,
    name: str,
    numbers: npt.NDArray[np.int64],
    guess: npt.NDArray[np.void],
    mark: str,
) -> Verified:
    """Pass 2 of one file; what it was done from is noted, for a run that goes on."""
    job.store.remove(WORK, f"{name}.guess.json")
    verified = verify_from(job, capture, name, numbers, guess)
    job.store.write_json({"mark": mark, "verified": _to_json(verified)}, WORK, f"{name}.guess.json")
    return verified


def _to_json(verified: Verified) -> dict[str, Any]:
    found = asdict(verified)
    found["damage"] = [(one.path, one.what, one.offset, one.resumed) for one in verified.damage]
    found["strangers"] = [one.hex() for one in verified.strangers]
    return found


def _from_json(found: dict[str, Any]) -> Verified:
    return Verified(
        found["name"],
        found["counts"],
        found["records"],
        found["signed"],
        {int(one): count for one, count in found["unread"].items()},
        [CaptureError(*one) for one in found["damage"]],
        [bytes.fromhex(one) for one in found["strangers"]],
    )
