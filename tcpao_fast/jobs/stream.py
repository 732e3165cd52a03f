"""Captures through an engine, into whatever takes results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
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
) -> tuple[CaptureReport, CaptureError | Interrupted | None]:
    """Captures through an engine, into sinks: what was found, and what ended it too early.

    That is damage, or Ctrl-C.

    Errors of a sink are raised.
    """
    tally = ConnectionTally(engine)
    report = CaptureReport()
    damage: CaptureError | Interrupted | None = None
    for source in sources:
        name = name_of(source)
        stream = _records(source, report, progress)
        while damage is None:
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
            except CaptureError as error:
                if error.path != name:  # an output's
                    raise
                damage = error
            except KeyboardInterrupt:
                damage = Interrupted()
    engine.flush()
    report.counts = dict(engine.counts)
    report.segments = sum(report.counts.values())
    report._tally = tally
    return report, damage


def count_unread(report: CaptureReport, records: Records) -> None:
    """Note records of link types that nothing here can read."""
    linktypes, counts = np.unique(records.linktypes, return_counts=True)
    for linktype, count in zip(linktypes.tolist(), counts.tolist(), strict=True):
        if linktype not in LINK_TYPES:
            report.unread[linktype] = report.unread.get(linktype, 0) + count


def _records(source: Source, report: CaptureReport, progress: Progress | None) -> Iterator[Records]:
    """The records of a capture, which the report and the progress count."""
    with open_source(source, report.records) as reader:
        report.captures.append(reader.path)
        for records in reader:
            count = len(records)
            yield records
            report.records += count
            if progress is not None:
                progress(reader.path, reader.read, reader.size)
