"""Whole captures through `Engine.verify`, and what was found, connection by connection."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tcpao_fast.capture.annotate import AnnotatedCapture
from tcpao_fast.capture.reader import CHUNK_RECORDS, CaptureReader, Chunk, in_time_order
from tcpao_fast.capture.rows import RowWriter
from tcpao_fast.capture.state import read_state, write_state
from tcpao_fast.core.tally import NOTHING_BAD, Tally
from tcpao_fast.engine import Engine, VerifyResult, endpoint_of, reached_sne, sides
from tcpao_fast.errors import CaptureError
from tcpao_fast.keys import MasterKey
from tcpao_fast.policy import Policy
from tcpao_fast.verdicts import BAD, SEGMENT_VERDICTS, UNDECIDED, Verdict

PathLike = str | os.PathLike[str]
#: Called with the capture's path, bytes read of it, and its size (None: not known).
Progress = Callable[[str, int, int | None], None]

_NAMES = [verdict.name for verdict in Verdict]


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What was found of one connection.

    Attributes
    ----------
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
        `tcpao_fast.verdicts.BAD`.
    """

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
            "client": endpoint(*self.client),
            "server": endpoint(*self.server),
            "vrf": self.vrf,
            "verdicts": self.counts,
            "keys": list(self.keys),
            "sne": self.sne,
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
        In the order in which they were first seen. Built when it is asked for.
    """

    captures: list[str] = field(default_factory=list)
    records: int = 0
    segments: int = 0
    signed: int = 0
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((v.name for v in SEGMENT_VERDICTS), 0)
    )
    _connections: Callable[[], list[ConnectionReport]] = field(default=list, repr=False)
    _built: list[ConnectionReport] | None = field(default=None, repr=False)

    @property
    def connections(self) -> list[ConnectionReport]:
        """What was found of each connection."""
        if self._built is None:
            self._built = self._connections()
        return self._built

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
        return {
            "captures": self.captures,
            "records": self.records,
            "segments": self.segments,
            "signed": self.signed,
            "verdicts": self.counts,
            "connections": [connection.as_dict() for connection in self.connections],
        }


def endpoint(address: str, port: int) -> str:
    """``10.0.0.1:179``, ``[fd00::1]:179``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class _Connections:
    """Adds up chunks by connection, in memory that grows with the connections alone."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tally = Tally()
        self.noted: list[dict[str, Any]] = []
        self.known = 0  # connections below this number are noted
        self.safe = engine.max_connections // engine.threads - 2 * CHUNK_RECORDS

    def add(self, first: int, result: VerifyResult) -> None:
        top = self.tally.add(first + 1, result.connection, result.verdict, result.key)
        if top > max(self.known, self.safe):
            # the engine may soon forget some: note who they are while it surely remembers
            self.noted += self.engine.connection_rows(self.known)
            self.known = top

    def report(self) -> Callable[[], list[ConnectionReport]]:
        """What builds the reports, from what is known now: many want the counts alone."""
        rows = {row["id"]: row for row in self.noted}
        rows.update((row["id"], row) for row in self.engine.connection_rows())
        labels = [key.label for key in self.engine.keys]
        return lambda: _connection_reports(rows, self.tally, labels)


def _connection_reports(
    rows: dict[int, dict[str, Any]], tally: Tally, labels: list[str]
) -> list[ConnectionReport]:
    counts = tally.counts.tolist()
    first_bad = tally.first_bad.tolist()
    found = []
    for number in sorted(rows):
        if number >= len(counts) or not any(counts[number]):
            continue
        row = rows[number]
        client, server = (endpoint_of(row, side) for side in sides(row))
        found.append(
            ConnectionReport(
                client=client,
                server=server,
                vrf=row["vrf"],
                counts={
                    name: count for name, count in zip(_NAMES, counts[number], strict=True) if count
                },
                keys=tuple(labels[i] for i in sorted(tally.keys.get(number, ()))),
                sne=dict(zip(("client", "server"), reached_sne(row), strict=True)),
                first_bad=None if first_bad[number] == NOTHING_BAD else first_bad[number],
            )
        )
    return found


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
        A file for one row a segment: ``.jsonl``, ``.csv`` or ``.parquet`` (with pyarrow); ``-`` is
        JSON lines on standard output. Its columns are `tcpao_fast.capture.rows.COLUMNS`. The
        verdict on a fragment that another record completes stands in that record's row.
    annotate : path-like, optional
        A pcapng file for all records, each segment that is signed or should be with its verdict
        as a packet comment.
    state : path-like, optional
        A JSON file that keeps what is known of connections from run to run: read if it is there,
        written at the end (`Engine.export_state`). So the pieces of a rotated capture verify one
        by one as in one; only IP fragments do not go on.

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
        `output` has another ending, or its format needs a library that is not here.
    StateError
        `state` is there and holds no state.
    """
    paths = [path] if isinstance(path, (str, os.PathLike)) else list(path)
    engine = Engine(chain, policy, threads)
    tally = _Connections(engine)
    report = CaptureReport()
    sinks: list[RowWriter | AnnotatedCapture] = []
    if state is not None:
        read_state(engine, state)
    try:
        if output is not None:
            sinks.append(RowWriter(output, engine.keys))
        if annotate is not None:
            sinks.append(AnnotatedCapture(annotate, engine.keys))
        damage = _verify_all(in_time_order(paths), engine, tally, report, sinks, progress)
        for sink in sinks:
            sink.commit()
    finally:
        for sink in sinks:
            sink.discard()
    engine.verify(b"", [], [])  # fragments that are still incomplete are given up
    if state is not None:
        write_state(engine, state)
    report.counts = dict(engine.counts)
    report.segments = sum(report.counts.values())
    report._connections = tally.report()
    if damage is not None:
        damage.report = report
        raise damage
    return report


def _verify_all(
    paths: Iterable[PathLike],
    engine: Engine,
    tally: _Connections,
    report: CaptureReport,
    sinks: Sequence[RowWriter | AnnotatedCapture],
    progress: Progress | None,
) -> CaptureError | None:
    """All captures through the engine, into tally, report and sinks; what ended it too early."""
    for path in paths:
        name = os.fspath(path)
        try:
            with CaptureReader(path) as reader:
                report.captures.append(name)
                before = report.records
                for chunk in reader:
                    result = verify_chunk(engine, chunk)
                    report.records += len(chunk.offsets)
                    report.signed += result.signed
                    tally.add(before + chunk.first, result)
                    for sink in sinks:
                        sink.add(name, chunk, result)
                    if progress is not None:
                        progress(name, chunk.read, reader.size)
        except CaptureError as error:
            if error.path in [sink.path for sink in sinks]:
                raise
            return error
    return None
