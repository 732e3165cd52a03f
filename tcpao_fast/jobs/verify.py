"""Whole captures through `Engine.verify`, and what was found, connection by connection."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tcpao_fast.capture.annotate import AnnotatedCapture
from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.isns import IsnsLike, read_isns
from tcpao_fast.capture.output import require_distinct
from tcpao_fast.capture.reader import (
    CHUNK_RECORDS,
    STANDARD_STREAM,
    CaptureReader,
    Chunk,
    in_time_order,
)
from tcpao_fast.capture.rows import RowWriter
from tcpao_fast.capture.state import StateFile
from tcpao_fast.core.flow.tally import NOTHING_BAD, Tally
from tcpao_fast.diagnose.evidence import EvidenceCollector
from tcpao_fast.diagnose.isn_search import SearchReport, find_isns
from tcpao_fast.engine import Engine, VerifyResult
from tcpao_fast.engine.connections import endpoint_of, reached_sne, sides
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.state import STATE_VERSION
from tcpao_fast.engine.verdicts import BAD, SEGMENT_VERDICTS, UNDECIDED, Verdict
from tcpao_fast.errors import CaptureError, InvalidArgumentError
from tcpao_fast.keys import MasterKey
from tcpao_fast.text import endpoint_text

PathLike = str | os.PathLike[str]
#: Called with the capture's path, bytes read of it, and its size (None: not known).
Progress = Callable[[str, int, int | None], None]

_NAMES = [verdict.name for verdict in Verdict]


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What was found of one connection.

    Attributes
    ----------
    id : int
        As in `VerifyResult.connection`.
    client, server : (str, int)
        Address and port; the client sent the SYN (without one: the side with the higher port).
    vrf : int
        VLAN ID; 0 without.
    counts : dict of str to int
        How many segments got each verdict; those that occur.
    keys : tuple of str
        Labels of the keys that good segments carried.
    sne : dict of str to (int or None)
        The SNE that each side has reached; None where nothing was proved.
    first_bad : int or None
        The first record, as Wireshark counts (from 1, through all captures), with a verdict of
        `tcpao_fast.engine.verdicts.BAD`.
    """

    id: int
    client: tuple[str, int]
    server: tuple[str, int]
    vrf: int
    counts: dict[str, int]
    keys: tuple[str, ...]
    sne: dict[str, int | None]
    first_bad: int | None

    def as_dict(self) -> dict[str, Any]:
        """The form of ``tcpao verify --json``."""
        return {
            "client": endpoint_text(*self.client),
            "server": endpoint_text(*self.server),
            "vrf": self.vrf,
            "verdicts": self.counts,
            "keys": list(self.keys),
            "sne": self.sne,
            "first_bad": self.first_bad,
        }


#: Connections that are reported one by one.
MOST_REPORTED = 40_000


@dataclass(frozen=True, slots=True)
class OtherConnections:
    """Connections that are not reported one by one, all together: there were more than are.

    Those without a good segment are the first that are not.

    Attributes
    ----------
    connections : int
        How many; one that was forgotten and came back counts again.
    counts : dict of str to int
        How many of their segments got each verdict; those that occur.
    first_bad : int or None
        As in `ConnectionReport`.
    """

    connections: int
    counts: dict[str, int]
    first_bad: int | None

    def as_dict(self) -> dict[str, Any]:
        """The form of ``tcpao verify --json``."""
        return {
            "connections": self.connections,
            "verdicts": self.counts,
            "first_bad": self.first_bad,
        }


@dataclass(slots=True)
class CaptureReport:
    """What was found in one or several captures.

    Attributes
    ----------
    captures : list of str
        The files.
    records, segments, signed : int
        Records read; TCP segments among them; segments with a (sound) TCP-AO option.
    counts : dict of str to int
        How many segments got each verdict; all names are there.
    connections : list of ConnectionReport
        In the order in which they were first seen, up to `MOST_REPORTED` (and ``max_connections``).
        Built when it is asked for.
    others : OtherConnections or None
        What was found of all other connections.
    search : SearchReport or None
        What came of ``search_isn``.
    warnings : list of str
        What was not as it should be and did not end the run.
    """

    captures: list[str] = field(default_factory=list)
    records: int = 0
    segments: int = 0
    signed: int = 0
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((v.name for v in SEGMENT_VERDICTS), 0)
    )
    search: SearchReport | None = None
    warnings: list[str] = field(default_factory=list)
    _tally: _Connections | None = field(default=None, repr=False)
    _built: tuple[list[ConnectionReport], OtherConnections | None] | None = field(
        default=None, repr=False
    )

    def _build(self) -> tuple[list[ConnectionReport], OtherConnections | None]:
        if self._built is None:  # many want the counts alone
            self._built = ([], None) if self._tally is None else self._tally.report()
            self._tally = None
        return self._built

    @property
    def connections(self) -> list[ConnectionReport]:
        """What was found of each connection."""
        return self._build()[0]

    @property
    def others(self) -> OtherConnections | None:
        """What was found of those that are not reported one by one."""
        return self._build()[1]

    @property
    def exit_status(self) -> int:
        """0 everything signed is good, 1 something is bad, 3 undecided or nothing was signed."""
        if any(self.counts[v.name] for v in BAD):
            return 1
        if any(self.counts[v.name] for v in UNDECIDED):
            return 3
        return 0 if self.counts["good"] or self.counts["md5_good"] else 3

    def as_dict(self) -> dict[str, Any]:
        """The object that ``tcpao verify --json`` prints."""
        found: dict[str, Any] = {} if self.search is None else {"search": self.search.as_dict()}
        return {
            "captures": self.captures,
            "records": self.records,
            "segments": self.segments,
            "signed": self.signed,
            "verdicts": self.counts,
            "connections": [connection.as_dict() for connection in self.connections],
            **({} if self.others is None else {"others": self.others.as_dict()}),
            **found,
        }


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of captures.

    Attributes
    ----------
    report : CaptureReport or None
        What was found before it.
    """

    report: CaptureReport | None = None


class _Connections:
    """Adds up chunks by connection, in memory that does not grow beyond its limit."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tally = Tally(BAD, MOST_REPORTED)
        self._labels = [key.label for key in engine.keys]
        self._noted: dict[int, dict[str, Any]] = {}
        self._known = 0  # proved connections below this number are noted
        self._safe = engine.max_connections // engine.threads - 2 * CHUNK_RECORDS

    def add(self, numbers: npt.NDArray[np.int64], result: VerifyResult) -> None:
        self.tally.add(numbers, result.connection, result.verdict, result.key)
        top = int(result.connection.max(initial=-1)) + 1
        if top > max(self._known, self._safe) and len(self._noted) < MOST_REPORTED:
            # the engine may soon forget some: note who they are while it surely remembers
            rows = self.engine.connection_rows(self._known, proved=True)
            self._noted.update((row["id"], row) for row in rows)
            self._known = top

    def report(self) -> tuple[list[ConnectionReport], OtherConnections | None]:
        """The reports, and what is known of all others together."""
        ids, counts, first_bad, keys = self.tally.rows()
        other_counts, other_first = self.tally.others()
        others = self.tally.other_connections
        rows = self._noted
        followed = set(ids.tolist())
        rows.update((row["id"], row) for row in self.engine.connection_rows(only=followed))
        found = []
        for number, its_counts, its_first, its_keys in zip(
            ids.tolist(), counts.tolist(), first_bad.tolist(), keys, strict=True
        ):
            row = rows.pop(number, None)
            if row is None:  # the engine has forgotten who it was
                others += 1
                other_counts = other_counts + np.array(its_counts)
                other_first = min(other_first, its_first)
                continue
            client, server = (endpoint_of(row, side) for side in sides(row))
            found.append(
                ConnectionReport(
                    id=number,
                    client=client,
                    server=server,
                    vrf=row["vrf"],
                    counts=_named(its_counts),
                    keys=tuple(self._labels[i] for i in sorted(its_keys)),
                    sne=dict(zip(("client", "server"), reached_sne(row), strict=True)),
                    first_bad=None if its_first == NOTHING_BAD else its_first,
                )
            )
        if not others:
            return found, None
        first = None if other_first == NOTHING_BAD else other_first
        return found, OtherConnections(others, _named(other_counts.tolist()), first)


def _named(counts: list[int]) -> dict[str, int]:
    return {name: count for name, count in zip(_NAMES, counts, strict=True) if count}


#: How far back ISNs are searched at most.
MOST_SEARCHED = 1 << 20


def as_paths(path: PathLike | Sequence[PathLike]) -> list[PathLike]:
    """One path, or several, as a list.

    Raises
    ------
    InvalidArgumentError
        It is neither.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else path
    if isinstance(paths, (bytes, bytearray)) or not isinstance(paths, Iterable):
        raise InvalidArgumentError(f"path is {path!r}; it must be a path, or several")
    paths = list(paths)
    for one in paths:
        if not isinstance(one, (str, os.PathLike)):
            raise InvalidArgumentError(f"path is {one!r}; it must be a str or path-like")
    return paths


def verify_chunk(engine: Engine, chunk: Chunk) -> VerifyResult:
    """One chunk of a capture through the engine; fragments may go on in the next."""
    return engine.verify(
        chunk.buffer,
        chunk.offsets,
        chunk.lengths,
        chunk.linktypes,
        chunk.timestamps,
        wire_lengths=chunk.wire_lengths,
        final=False,
    )


class Sink(Protocol):
    """Where results go, chunk by chunk."""

    def add(self, name: str, before: int, chunk: Chunk, result: VerifyResult) -> None:
        """One chunk of the capture `name`; `before` records came before that capture."""


def verify_into(
    engine: Engine,
    paths: Iterable[PathLike],
    sinks: Sequence[Sink] = (),
    *,
    packets: PacketFilter | None = None,
    progress: Progress | None = None,
) -> tuple[CaptureReport, CaptureError | Interrupted | None]:
    """Captures through an engine, into sinks: what was found, and what ended it too early.

    That is damage, or Ctrl-C.

    Errors of a sink are raised.
    """
    tally = _Connections(engine)
    report = CaptureReport()
    damage: CaptureError | Interrupted | None = None
    for path in paths:
        name = os.fspath(path)
        before = report.records
        chunks = _chunks(path, report, progress)
        while damage is None:
            try:
                chunk = next(chunks, None)
                if chunk is None:
                    break
                if packets is not None:
                    chunk = packets.choose(chunk)
                result = verify_chunk(engine, chunk)
                report.signed += result.signed
                tally.add(before + chunk.numbers, result)
                for sink in sinks:
                    sink.add(name, before, chunk, result)
            except CaptureError as error:
                if error.path != name:  # an output's
                    raise
                damage = error
            except KeyboardInterrupt:
                damage = Interrupted()
    engine.verify(b"", [], [])  # fragments that are still incomplete are given up
    report.counts = dict(engine.counts)
    report.segments = sum(report.counts.values())
    report._tally = tally
    return report, damage


def _chunks(path: PathLike, report: CaptureReport, progress: Progress | None) -> Iterator[Chunk]:
    """The chunks of a capture, which the report and the progress count."""
    with CaptureReader(path) as reader:
        report.captures.append(reader.path)
        for chunk in reader:
            count = len(chunk.offsets)
            yield chunk
            report.records += count
            if progress is not None:
                progress(reader.path, chunk.read, reader.size)


def verify_capture(
    path: PathLike | Sequence[PathLike],
    chain: Iterable[MasterKey],
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    output: PathLike | None = None,
    annotate: PathLike | None = None,
    state: PathLike | None = None,
    fields: Sequence[str] | None = None,
    packet_filter: str | None = None,
    isns: IsnsLike | None = None,
    search_isn: int | None = None,
    max_connections: int | None = None,
) -> CaptureReport:
    """Verify every TCP-AO and TCP-MD5 segment of a capture, or of several as one stream.

    Parameters
    ----------
    path : path-like, or sequence of path-like
        pcap or pcapng; ``-`` is standard input. Several are taken in the order of their first
        packets (unless one is standard input), and connections go on from file to file.
    chain : KeyChain, or iterable of MasterKey
    policy : Policy
    threads : int
    progress : callable, optional
        Called now and then as ``progress(path, bytes_read, size_or_None)``.
    output : path-like, optional
        A file for one row a segment: ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` (with
        pyarrow); ``-`` is JSON lines on standard output. Its columns are
        `tcpao_fast.capture.rows.COLUMNS`. The verdict on a fragment that another record completes
        stands in that record's row.
    annotate : path-like, optional
        A pcapng file for all records, each segment that is signed or should be with its verdict
        as a packet comment.
    state : path-like, optional
        A JSON file that keeps what is known of connections from run to run: read if it is there,
        written at the end (`Engine.export_state`). So the pieces of a rotated capture verify one
        by one as in one; only IP fragments do not go on.
    fields : sequence of str, optional
        The columns of `output`, in this order; all.
    packet_filter : str, optional
        A filter expression of libpcap, as tcpdump takes it: other packets are as if they were not
        there.
    isns : path-like, mapping, or sequence of those, optional
        ISNs and SNEs of connections that the capture joins in the middle, as ``TCP_AO_REPAIR``
        has them: see `tcpao_fast.capture.isns.read_isns`.
    search_isn : int, optional
        Search the ISNs of connections whose handshake is missing, this many bytes back in both
        directions (`tcpao_fast.engine.candidates.search_isns`). The captures are read twice. What
        came of it is the report's ``search``.
    max_connections : int, optional
        How many verified connections are remembered; others give way first (`Engine`: 1,048,576).

    Returns
    -------
    CaptureReport

    Raises
    ------
    CaptureError
        A file cannot be read or is damaged, or an output cannot be written. The attribute
        ``report`` is the `CaptureReport` of everything before the damage, which the outputs then
        have too.
    InvalidArgumentError, MissingExtraError
        `output` or `annotate` has another ending, is an input too, or a format needs a library that
        is not here; a
        filter that libpcap does not take; `search_isn` on standard input.
    StateError
        `state` is there and holds no state, is no regular file, or is in another run's use; `isns`
        that are none.
    KeyboardInterrupt
        The attribute ``report`` is the `CaptureReport` of what came before; no output is written.
    """
    paths = as_paths(path)
    if search_isn is not None and (
        isinstance(search_isn, bool)
        or not isinstance(search_isn, int)
        or not 0 <= search_isn <= MOST_SEARCHED
    ):
        raise InvalidArgumentError(
            f"search_isn is {search_isn!r}; it must be 0 to {MOST_SEARCHED} bytes"
        )
    require_distinct([output, annotate], [*paths, state])
    require_distinct([state], paths)
    limits = () if max_connections is None else (max_connections,)
    engine = Engine(chain, policy, threads, *limits)
    sinks: list[RowWriter | AnnotatedCapture] = []
    chosen = None if packet_filter is None else PacketFilter(packet_filter)
    known = [] if isns is None else read_isns(isns)

    warnings: list[str] = []
    with contextlib.ExitStack() as held:
        kept = None if state is None else held.enter_context(StateFile(state))

        def begin(fresh: Engine) -> None:
            if kept is not None:
                warnings[:] = [f"{kept.path}: {one}" for one in kept.read(fresh)]
            fresh.import_state({"version": STATE_VERSION, "connections": known})

        begin(engine)
        ordered = in_time_order(paths)
        search: SearchReport | None = None
        if search_isn is not None:
            if STANDARD_STREAM in [os.fspath(one) for one in ordered]:
                raise InvalidArgumentError("search_isn reads captures twice: not standard input")
            scout = Engine(chain, policy, threads, *limits)
            begin(scout)
            search = search_in(scout, ordered, search_isn, packets=chosen, progress=progress)
            engine.import_state({"version": STATE_VERSION, "connections": search.state()})
        try:
            if output is not None:
                sinks.append(RowWriter(output, engine.keys, fields))
            if annotate is not None:
                sinks.append(AnnotatedCapture(annotate, engine.keys))
            report, damage = verify_into(engine, ordered, sinks, packets=chosen, progress=progress)
            for sink in sinks if not isinstance(damage, KeyboardInterrupt) else ():
                sink.commit()
        finally:
            for sink in sinks:
                sink.discard()
        report.search = search
        report.warnings += warnings
        if kept is not None and not isinstance(damage, KeyboardInterrupt):
            kept.write(engine)
        if damage is not None:
            damage.report = report
            raise damage
        return report


def search_in(
    engine: Engine,
    paths: Iterable[PathLike],
    reach: int,
    *,
    packets: PacketFilter | None = None,
    progress: Progress | None = None,
) -> SearchReport:
    """Look captures through, and search the ISNs of connections whose handshake they lack."""
    collector = EvidenceCollector()
    _, damage = verify_into(engine, paths, [collector], packets=packets)
    if isinstance(damage, KeyboardInterrupt):
        raise damage
    return find_isns(
        collector.evidence(),
        engine.keys,
        reach,
        progress=None if progress is None else lambda done, all_: progress("ISNs", done, all_),
    )
