"""The jobs of ``tcpao sign`` and ``tcpao strip``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable

from tcpao_fast.capture.output import require_distinct
from tcpao_fast.capture.reader import CaptureReader, Chunk
from tcpao_fast.capture.writer import PcapWriter
from tcpao_fast.engine import Engine, Rewritten, strip
from tcpao_fast.engine.policy import Policy
from tcpao_fast.jobs.stream import PathLike, Progress
from tcpao_fast.keys import MasterKey
from tcpao_fast.report.results import RewriteReport


def _rewrite(
    source: PathLike,
    target: PathLike,
    action: str,
    work: Callable[[Chunk], Rewritten],
    progress: Progress | None,
) -> RewriteReport:
    counts: Counter[str] = Counter()
    records = 0
    require_distinct([target], [source])
    with CaptureReader(source) as reader, PcapWriter(target) as writer:
        for chunk in reader:
            rewritten = work(chunk)
            counts.update(rewritten.counts)
            records += len(chunk.offsets)
            writer.write(
                reader.scanner, chunk, rewritten.buffer, rewritten.offsets, rewritten.lengths
            )
            if progress is not None:
                progress(reader.path, chunk.read, reader.size)
        writer.commit(reader.scanner)
    other = counts.pop("not_tcp", 0)
    done = counts.pop(action, 0)
    return RewriteReport(
        capture=os.fspath(source),
        output=os.fspath(target),
        records=records,
        segments=records - other,
        done=done,
        left=dict(counts),
        action=action,
    )


def sign_capture(
    path_in: PathLike,
    path_out: PathLike,
    chain: Iterable[MasterKey],
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> RewriteReport:
    """Sign every segment of an unsigned capture for which there is a key; see `Engine.sign`.

    Parameters
    ----------
    path_in, path_out : path-like
        ``-`` is standard input and output. The output is pcap, in the input's byte order and
        precision, and appears only when it is complete.
    chain : KeyChain, or iterable of MasterKey
    policy, threads, progress
        As for `verify_capture`.

    Returns
    -------
    RewriteReport

    Raises
    ------
    CaptureError
        A file cannot be read or written, or the input is damaged; no output is left behind.
    InvalidArgumentError
        `path_out` ends in .pcapng, .gz or .zst: pcap is written, not compressed.
    """
    engine = Engine(chain, policy, threads)

    def work(chunk: Chunk) -> Rewritten:
        return engine.sign(
            chunk.buffer,
            chunk.offsets,
            chunk.lengths,
            chunk.linktypes,
            chunk.timestamps,
            wire_lengths=chunk.wire_lengths,
        )

    return _rewrite(path_in, path_out, "signed", work, progress)


def strip_capture(
    path_in: PathLike, path_out: PathLike, *, progress: Progress | None = None
) -> RewriteReport:
    """Remove the TCP-AO and TCP-MD5 options of a capture; see `strip`.

    Parameters and errors are those of `sign_capture`.
    """

    def work(chunk: Chunk) -> Rewritten:
        return strip(
            chunk.buffer,
            chunk.offsets,
            chunk.lengths,
            chunk.linktypes,
            wire_lengths=chunk.wire_lengths,
        )

    return _rewrite(path_in, path_out, "stripped", work, progress)
