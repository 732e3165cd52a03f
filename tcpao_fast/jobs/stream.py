"""Captures through an engine, chunk by chunk, into whatever takes results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.reader import CaptureReader, Chunk
from tcpao_fast.engine import Engine, VerifyResult
from tcpao_fast.errors import CaptureError, InvalidArgumentError
from tcpao_fast.report.results import CaptureReport, ConnectionTally, Interrupted

PathLike = str | os.PathLike[str]
#: Called with the capture's path, bytes read of it, and its size (None: not known).
Progress = Callable[[str, int, int | None], None]


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
    tally = ConnectionTally(engine)
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
