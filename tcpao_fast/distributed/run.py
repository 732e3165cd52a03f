"""A run: the passes as tasks of a Dask cluster, and what comes of them in the files' order."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.tally import NOTHING_BAD
from tcpao_fast.distributed.index import Indexed, extents_of, index_captures
from tcpao_fast.distributed.join import Join
from tcpao_fast.distributed.keys import KeySource
from tcpao_fast.distributed.result import CAPTURES, REPORT, describe_run
from tcpao_fast.distributed.settle import STRANGE, Guessed, Totals, Truth
from tcpao_fast.distributed.store import WORK, Store
from tcpao_fast.distributed.verify import Job, Unit, Verified, finish_rows, verify_unit
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
    named_verdicts,
)
from tcpao_fast.version import __version__

#: Called with what is done ("headers", "verified", "settled"), how many files, and of how many.
Progress = Callable[[str, int, int], None]
#: Units a worker that are verified ahead of those that are settled.
AHEAD = 4
#: Bytes of captures that are verified as one by a worker: a share of all, between these.
LEAST_AT_ONCE, MOST_AT_ONCE, SHARES = 8 << 20, 256 << 20, 8
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
    bytes_at_once: int | None = None,
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
    bytes_at_once : int, optional
        How much of the captures a worker takes at once, whole files: what is lost with a worker.
        By default an eighth of each worker's share, from 8 MiB to 256 MiB.
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
        run = _Run(client, job, chain, tuple(select), resume, bytes_at_once, progress)
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
        try:
            found = Client(scheduler, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InvalidArgumentError(f"{scheduler}: no Dask scheduler: {error}") from error
        with found as client:
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
class _Part:
    """A unit on its way."""

    unit: Unit
    guess: npt.NDArray[np.void]
    numbers: npt.NDArray[np.int64]  # of its connections, sorted
    opening: npt.NDArray[np.int64]  # those that begin in it
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
        bytes_at_once: int | None,
        progress: Progress | None,
    ) -> None:
        self._client = client
        self._job = job
        self._store = job.store
        self._labels = [key.label for key in chain]
        self._select = select
        self._resume = resume
        self._at_once = bytes_at_once
        self._tell = progress or (lambda what, done, of: None)
        self._workers = max(1, len(client.nthreads()))
        self._join = Join()
        self._truth = Truth()
        self._totals = Totals(len(Verdict))
        self._parts: list[_Part] = []
        options = [
            __version__, [*job.identities], repr(job.policy), job.packet_filter, job.fields,
            select, job.connections, job.max_connections,
        ]  # fmt: skip
        self._chain_mark = _digest(
            json.dumps(options, default=str).encode(), _secrets_mark(self._store, chain)
        )

    def __call__(self, captures: list[str]) -> CaptureReport:
        ordered = self._index(captures)
        report = CaptureReport(captures=[one.capture for one in ordered])
        counts: Counter[str] = Counter()
        groups = self._groups(ordered)
        settled = 0
        for place, group in enumerate(groups):
            while len(self._parts) < min(place + AHEAD * self._workers, len(groups)):
                self._parts.append(self._begin(groups[len(self._parts)]))
            verified = self._settle(place, counts, report.records)
            report.records += verified.records
            report.signed += verified.signed
            for linktype, count in verified.unread.items():
                report.unread[linktype] = report.unread.get(linktype, 0) + count
            for one in verified.damage:
                report.note_damage(one)
            settled += len(group)
            self._tell("settled", settled, len(ordered))
        report.counts = {one.name: counts[one.name] for one in SEGMENT_VERDICTS}
        report.segments = sum(report.counts.values())
        self._describe(report)
        if self._job.with_rows:
            described = describe_run(
                [
                    (one.capture, one.name, part.unit.name, explains)
                    for part, explains in zip(self._parts, self._explaining(), strict=True)
                    for one in part.unit.captures
                ],
                self._job.identities,
            )
            self._store.write_json(report.as_dict(), WORK, REPORT)
            self._store.write_json(described, WORK, CAPTURES)
        return report

    def _submit(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return self._client.submit(function, *arguments, retries=RETRIES, pure=False, **options)

    def _index(self, captures: list[str]) -> list[Indexed]:
        """Pass 1, and the files in the order of time."""
        from distributed import as_completed

        share = max(1, min(64, len(captures) // (self._workers * SHARES)))
        futures = [
            self._submit(
                index_captures, self._store, captures[at : at + share], self._job.packet_filter,
                resume=self._resume, keep=self._job.with_rows,
            )
            for at in range(0, len(captures), share)
        ]  # fmt: skip
        done = 0
        for future in as_completed(futures, loop=self._client.loop):
            done += len(future.result())
            self._tell("headers", done, len(captures))
        found = [one for future in futures for one in future.result()]
        return sorted(found, key=lambda one: one.order)

    def _groups(self, ordered: list[Indexed]) -> list[list[Indexed]]:
        """Files that follow one another, as many as a worker takes at once."""
        sizes = [max(one.identity[0], 0) for one in ordered]
        wanted = self._at_once
        if wanted is None:
            share = sum(sizes) // (self._workers * SHARES)
            wanted = max(LEAST_AT_ONCE, min(MOST_AT_ONCE, share))
        groups: list[list[Indexed]] = []
        room = 0
        for one, size in zip(ordered, sizes, strict=True):
            if not groups or room < size:
                groups.append([])
                room = wanted
            groups[-1].append(one)
            room -= size
        return groups

    def _begin(self, group: list[Indexed]) -> _Part:
        """Take the extents of some files in, and have them verified from what is guessed."""
        numbers, guesses, opening = [], [], []
        known = np.zeros(0, np.int64)
        for one in group:
            extents = extents_of(self._store, one)
            its, guess = self._join.enter(extents)
            numbers.append(its)
            # of what is in several of the files, the guess before the first of them
            guesses.append(guess[~np.isin(guess["id"], known)])
            opening.append(its[extents["handshakes"] > 0])
            known = np.union1d(known, its)
        guess = np.concatenate(guesses)
        guess = guess[np.argsort(guess["id"], kind="stable")]
        name = f"unit-{group[0].name}"
        part = _Part(
            Unit(name, tuple(group), tuple(numbers)), guess, known, np.concatenate(opening),
            np.zeros(0, np.int64),
        )  # fmt: skip
        part.mark = _digest(
            repr((self._chain_mark, [(one.capture, one.identity) for one in group])).encode(),
            *(one.tobytes() for one in numbers), guess.tobytes(),
        )  # fmt: skip
        if self._resume and self._has_rows(group, "guess.parquet", (WORK,)):
            kept = self._store.read_json(WORK, f"{name}.guess.json")
            if isinstance(kept, dict) and kept.get("mark") == part.mark:
                part.future = _Done(_from_json(kept["verified"]))
                return part
        if self._resume and self._has_rows(group, "parquet", ()):
            kept = self._store.read_json(WORK, f"{name}.done.json")
            if isinstance(kept, dict) and kept.get("guess") == part.mark:
                part.future = _Done(None)
                return part
        part.future = self._verify(part)
        return part

    def _has_rows(self, group: list[Indexed], ending: str, folder: tuple[str, ...]) -> bool:
        return self._job.with_rows and all(
            self._store.exists(*folder, f"{one.name}.{ending}") for one in group
        )

    def _verify(self, part: _Part) -> Any:
        return self._submit(_verify_guess, self._job, part.unit, part.guess, part.mark)

    def _found(self, verified: Verified, part: _Part, ending: str) -> dict[str, npt.NDArray[Any]]:
        if verified.found is not None:
            return verified.found
        return self._store.read_arrays(WORK, f"{part.unit.name}.{ending}")

    def _explaining(self) -> list[bool]:
        """Which files tell why connections are not good: those with their handshakes, and the first
        few with segments that are not.
        """
        counts = self._totals.counts
        trouble = np.zeros(max(self._join.count, len(counts)), bool)
        trouble[: len(counts)] = counts[:, _TROUBLE].any(axis=1)
        shown = np.zeros(len(trouble), np.int64)
        found = []
        for part in self._parts:
            wrong = part.trouble[trouble[part.trouble] & (shown[part.trouble] < EXPLAINING)]
            shown[wrong] += 1
            found.append(bool(len(wrong)) or bool(trouble[part.opening].any()))
        return found

    def _settle(self, place: int, counts: Counter[str], preceding: int) -> Verified:
        """What was found in a unit, made sure of."""
        part = self._parts[place]
        verified: Verified | None = part.future.result()
        part.future = None
        self._chain_mark = _digest(f"{self._chain_mark} {part.mark}".encode())
        if verified is None:  # done by an earlier run: is what was before it the same?
            kept = self._store.read_json(WORK, f"{part.unit.name}.done.json")
            if kept["mark"] == self._chain_mark:
                return self._take_over(part, kept, counts, preceding)
            verified = self._verify(part).result()
            assert verified is not None
        found = self._found(verified, part, "guess")
        truth = self._truth
        truth.grow(self._join.count)
        before = truth.rows[part.numbers]
        again = truth.settle(place, Guessed(part.numbers, part.guess, found))
        strangers = [(key, self._join.number(key)) for key in verified.strangers]
        again = np.union1d(again, np.array([number for _, number in strangers], np.int64))
        totals: Counter[str] = Counter(verified.counts)
        parts = [(found, again)]
        if len(again):
            right = self._again(place, again, strangers)
            dropped = np.isin(found["ids"], again) | (found["ids"] >= STRANGE)
            old = found["counts"][dropped].sum(axis=0).tolist()
            new = right["counts"].sum(axis=0).tolist()
            for verdict, less, more in zip(_NAMES, old, new, strict=True):
                totals[verdict] += more - less
            totals.pop("not_tcp", None)
            parts.append((right, np.zeros(0, np.int64)))
        for one, without in parts:
            self._totals.add(one, preceding, without)
        counts.update(totals)
        part.trouble = np.unique(
            np.concatenate([one["ids"][one["counts"][:, _TROUBLE].any(axis=1)] for one, _ in parts])
        )
        part.trouble = part.trouble[part.trouble < STRANGE]
        if self._job.with_rows:
            self._finish(part, again)
            was_known = (before["version"] != 0) & np.isin(part.numbers, part.trouble)
            self._note_done(part, verified, totals, parts, before[was_known])
        return verified

    def _finish(self, part: _Part, again: npt.NDArray[np.int64]) -> None:
        """Give rows their place."""
        names = [one.name for one in part.unit.captures]
        if not len(again) and self._job.written == self._job.fields and not self._select:
            for name in names:
                self._store.move((WORK, f"{name}.guess.parquet"), (f"{name}.parquet",))
            return
        futures = [
            self._submit(finish_rows, self._job, name, again, self._select) for name in names
        ]
        for future in futures:
            future.result()

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
                here = here[np.isin(here, self._parts[before].numbers)]
                if len(here):
                    self._verify_again(before, here, ())
                    for one in self._parts[before].unit.captures:
                        self._store.remove(WORK, f"{one.name}.again.parquet")
        return self._verify_again(place, numbers, strangers)

    def _verify_again(
        self,
        place: int,
        numbers: npt.NDArray[np.int64],
        strangers: Sequence[tuple[bytes, int]],
    ) -> dict[str, npt.NDArray[Any]]:
        part = self._parts[place]
        verified = self._submit(
            verify_unit, self._job, part.unit, self._truth.of(numbers), numbers, tuple(strangers)
        ).result()
        found = self._found(verified, part, "again")
        self._truth.put(found["state"])
        return found

    def _note_done(
        self,
        part: _Part,
        verified: Verified,
        totals: Counter[str],
        parts: list[tuple[dict[str, npt.NDArray[Any]], npt.NDArray[np.int64]]],
        before: npt.NDArray[np.void],
    ) -> None:
        """What a run that goes on needs of a unit that is done."""
        name = part.unit.name
        arrays: dict[str, npt.NDArray[Any]] = {}
        for place, (found, without) in enumerate(parts):
            arrays |= {f"{place}.{key}": value for key, value in found.items() if key != "state"}
            arrays[f"{place}.without"] = without
        numbers = np.unique(np.concatenate([found["state"]["id"] for found, _ in parts]))
        numbers = numbers.astype(np.int64)
        self._truth.grow(self._join.count)
        arrays["state"] = self._truth.rows[numbers]
        arrays["since"] = self._truth.since[numbers]
        arrays["numbers"] = numbers
        arrays["before"] = before
        arrays["trouble"] = part.trouble
        self._store.write_arrays(arrays, WORK, f"{name}.done")
        self._store.write_json(
            {
                "mark": self._chain_mark,
                "guess": part.mark,
                "parts": len(parts),
                "totals": dict(totals),
                "verified": _to_json(verified),
            },
            WORK,
            f"{name}.done.json",
        )
        for ending in ("guess", "guess.json", "again"):
            self._store.remove(WORK, f"{name}.{ending}")

    def _take_over(
        self, part: _Part, kept: dict[str, Any], counts: Counter[str], preceding: int
    ) -> Verified:
        """A unit that an earlier run was done with."""
        arrays = self._store.read_arrays(WORK, f"{part.unit.name}.done")
        for place in range(kept["parts"]):
            found = {
                key.split(".", 1)[1]: value
                for key, value in arrays.items()
                if key.startswith(f"{place}.")
            }
            self._totals.add(found, preceding, found["without"])
        self._truth.grow(self._join.count)
        self._truth.rows[arrays["numbers"]] = arrays["state"]
        self._truth.since[arrays["numbers"]] = arrays["since"]
        counts.update(kept["totals"])
        part.trouble = arrays["trouble"]
        return _from_json(kept["verified"])

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
                    counts=named_verdicts(totals.counts[number].tolist()),
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
                named_verdicts(totals.counts[others].sum(axis=0).tolist()),
                None if first == NOTHING_BAD else first,
                times,
            )
        report._built = ConnectionReports(reports), rest


class _Done:
    """A future that is there already."""

    def __init__(self, value: Verified | None) -> None:
        self._value = value

    def result(self) -> Verified | None:
        return self._value


def _secrets_mark(store: Store, chain: KeyChain) -> bytes:
    """What changes with a key's secret, for a run that goes on; what is kept is made of it with a
    salt and scrypt, and says less than the MACs in the captures do.
    """
    name = "salt"
    if not store.exists(WORK, name):
        store.write(os.urandom(16), WORK, name)
    secrets = b"".join(len(key.secret).to_bytes(4, "big") + key.secret for key in chain)
    return hashlib.scrypt(secrets, salt=store.read(WORK, name), n=1 << 14, r=8, p=1)


def _digest(*pieces: bytes) -> str:
    found = hashlib.sha256()
    for one in pieces:
        found.update(one)
    return found.hexdigest()


def _verify_guess(job: Job, unit: Unit, guess: npt.NDArray[np.void], mark: str) -> Verified:
    """Pass 2 of a unit; what it was done from is noted, for a run that goes on."""
    if not job.with_rows:
        return verify_unit(job, unit, guess)
    job.store.remove(WORK, f"{unit.name}.guess.json")
    verified = verify_unit(job, unit, guess)
    job.store.write_json({"mark": mark, "verified": _to_json(verified)}, WORK,
                         f"{unit.name}.guess.json")  # fmt: skip
    return verified


def _to_json(verified: Verified) -> dict[str, Any]:
    return {
        "counts": verified.counts,
        "records": verified.records,
        "signed": verified.signed,
        "unread": verified.unread,
        "damage": [(one.path, one.what, one.offset, one.resumed) for one in verified.damage],
        "strangers": [one.hex() for one in verified.strangers],
    }


def _from_json(found: dict[str, Any]) -> Verified:
    return Verified(
        found["counts"],
        found["records"],
        found["signed"],
        {int(one): count for one, count in found["unread"].items()},
        [CaptureError(*one) for one in found["damage"]],
        [bytes.fromhex(one) for one in found["strangers"]],
    )
