"""Captures through an engine, into whatever takes results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Protocol

import numpy as np

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.sources import Source, name_of, open_source
from tcpao_fast.core.wire.parse import LINK_TYPES
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine import Engine, VerifyResult
from tcpao_fast.errors import CaptureError
from tcpao_fast.report.results import CaptureReport, ConnectionTally, Interrupted

#: Called with the capture's path, bytes read of it, and its size (None: not known).
Progress = Callable[[str, int, int | None], None]


#: Called with the engine and the name of each capture, before it is read.
Prepare = Callable[[Engine, str], None]


class Sink(Protocol):
    """Where results go."""

    def add(self, result: VerifyResult) -> None:
        """Some consecutive records of a capture with their verdicts."""


def verify_into(
    engine: Engine,
    sources: Iterable[Source],
    sinks: Sequence[Sink] = (),
    *,
    packets: PacketFilter | None = None,
    progress: Progress | None = None,
    strict: bool = False,
    prepare: Prepare | None = None,
) -> tuple[CaptureReport, CaptureError | Interrupted | None]:
    """Captures through an engine, into sinks: what was found, and what ended it too early.

    That is Ctrl-C; damage, if `strict`; or that there was nothing but damage. Other damage is the
    report's.

    Errors of a sink are raised.
    """
    tally = ConnectionTally(engine)
    report = CaptureReport()
    ended: CaptureError | Interrupted | None = None
    for source in sources:
        report.captures.append(name_of(source))
        if prepare is not None:
            prepare(engine, name_of(source))
        stream = _records(source, report, progress, strict)
        while ended is None:
            try:
                records = next(stream, None)
                if records is None:
                    break
                count_unread(report, records)
                if packets is not None:
                    records = packets.choose(records)
                result = engine.verify(records, final=False)
                report.signed += result.signed
                tally.add(result)
                for sink in sinks:
                    sink.add(result)
            except KeyboardInterrupt:
                ended = Interrupted()
        if ended is not None or (strict and report.damage):
            break
    engine.flush()
    report.counts = dict(engine.counts)
    report.segments = sum(report.counts.values())
    report._tally = tally
    if ended is None and report.damage and (strict or not report.records):
        ended = report.damage[0]
    return report, ended


def count_unread(report: CaptureReport, records: Records) -> None:
    """Note records of link types that nothing here can read."""
    linktypes = records.linktypes
    if len(linktypes) and int(linktypes[0]) in LINK_TYPES and (linktypes == linktypes[0]).all():
        return  # nearly always, and found without sorting
    linktypes, counts = np.unique(linktypes, return_counts=True)
    for linktype, count in zip(linktypes.tolist(), counts.tolist(), strict=True):
        if linktype not in LINK_TYPES:
            report.unread[linktype] = report.unread.get(linktype, 0) + count


def _records(
    source: Source, report: CaptureReport, progress: Progress | None, strict: bool
) -> Generator[Records, None, None]:
    """The records of a capture; the report counts them, and has the damage."""
    told = None if strict else report.note_damage
    try:
        with open_source(source, report.records, told) as reader:
            for records in reader:
                count = len(records)
                yield records
                report.records += count
                if progress is not None:
                    progress(reader.path, reader.read, reader.size)
    except CaptureError as error:
        report.note_damage(error)
