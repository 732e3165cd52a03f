"""The jobs of ``tcpao sign`` and ``tcpao strip``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np

from tcpao_fast.capture.output import require_distinct
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.capture.sources import PathLike
from tcpao_fast.capture.writer import CaptureWriter
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine import Engine, Rewritten, strip
from tcpao_fast.engine.policy import Policy
from tcpao_fast.errors import CaptureError
from tcpao_fast.jobs.stream import Progress
from tcpao_fast.keys import MasterKey
from tcpao_fast.report.results import RewriteReport


def _rewrite(
    source: PathLike,
    target: PathLike,
    action: str,
    work: Callable[[Records], Rewritten],
    progress: Progress | None,
    strict: bool,
    make_room: bool = False,
) -> RewriteReport:
    counts: Counter[str] = Counter()
    shortened = 0
    damage: list[CaptureError] = []
    require_distinct([target], [source])
    told = None if strict else damage.append
    with (
        CaptureReader(source, on_damage=told) as reader,
        CaptureWriter(target, grows=action == "signed") as writer,
    ):
        for records in reader:
            rewritten = work(records)
            counts.update(rewritten.counts)
            if rewritten.dropped is not None:
                shortened += int(np.count_nonzero(rewritten.dropped))
            writer.write(reader.scanner, records, rewritten)
            if progress is not None:
                progress(reader.path, reader.read, reader.size)
        if damage and not counts:
            raise damage[0]  # there is nothing to write
        writer.commit(reader.scanner)
    total = counts.total()
    other = counts.pop("not_tcp", 0)
    done = counts.pop(action, 0)
    return RewriteReport(
        capture=os.fspath(source),
        output=os.fspath(target),
        records=total,
        segments=total - other,
        done=done,
        left=dict(counts),
        action=action,
        shortened=shortened if make_room else None,
        damage=damage,
    )


def sign_capture(
    path_in: PathLike,
    path_out: PathLike,
    chain: Iterable[MasterKey],
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    make_room: bool = False,
    strict: bool = False,
) -> RewriteReport:
    """Sign every segment of an unsigned capture for which there is a key; see `Engine.sign`.

    Parameters
    ----------
    path_in, path_out : path-like
        ``-`` is standard input and output. The output is of the input's form, unless its name ends
        in ``.pcap``, ``.cap`` or ``.pcapng``, and appears only when it is complete. pcap keeps byte
        order and precision; pcapng keeps interfaces, options, comments, names and unknown blocks.
    chain : KeyChain, or iterable of MasterKey
    policy, threads, progress
        As for `verify_capture`.
    make_room : bool
        Drop other options where a TCP header has no room; see `Engine.sign`.
    strict : bool
        Damage of the input is an error. Without it the output has the records before the damage
        (of pcapng also those behind it, as of `CaptureReader`), and the report says where it is.

    Returns
    -------
    RewriteReport

    Raises
    ------
    CaptureError
        A file cannot be read or written, or the input is damaged from the beginning, or at all
        with `strict`; no output is left behind.
    InvalidArgumentError
        `path_out` ends like a compressed file.
    """
    engine = Engine(chain, policy, threads)

    def sign(records: Records) -> Rewritten:
        return engine.sign(records, make_room=make_room)

    return _rewrite(path_in, path_out, "signed", sign, progress, strict, make_room)


def strip_capture(
    path_in: PathLike,
    path_out: PathLike,
    *,
    progress: Progress | None = None,
    strict: bool = False,
) -> RewriteReport:
    """Remove the TCP-AO and TCP-MD5 options of a capture; see `strip`.

    Parameters
    ----------
    path_in, path_out, progress, strict
        As for `sign_capture`.

    Returns
    -------
    RewriteReport

    Raises
    ------
    CaptureError, InvalidArgumentError
        As for `sign_capture`.
    """
    return _rewrite(path_in, path_out, "stripped", lambda records: strip(records), progress, strict)
