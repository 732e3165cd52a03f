"""The job of ``tcpao diagnose``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.isns import IsnsLike, read_isns
from tcpao_fast.capture.sources import (
    PacketIterator,
    PathLike,
    Source,
    as_sources,
    in_time_order,
)
from tcpao_fast.diagnose.evidence import EvidenceCollector
from tcpao_fast.diagnose.findings import findings_of
from tcpao_fast.diagnose.secret_search import OpenSide, SecretSearch
from tcpao_fast.engine import Engine
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.secrets import read_secrets
from tcpao_fast.errors import KeyFileError
from tcpao_fast.jobs.stream import Prepare, Progress, Sink, verify_into
from tcpao_fast.keys import MasterKey
from tcpao_fast.report.results import Diagnosis, Interrupted


def diagnose_capture(
    path: Source | PacketIterator | Sequence[Source],
    chain: Iterable[MasterKey],
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    packet_filter: str | None = None,
    isns: IsnsLike | None = None,
    try_secrets: PathLike | BinaryIO | None = None,
    show_secrets: bool = False,
    strict: bool = False,
    prepare: Prepare | None = None,
) -> Diagnosis:
    """Verify captures, and say of every connection that is not good why, by trying.

    A few segments of each direction are tried under everything that is known to go wrong: see
    `tcpao_fast.diagnose.hypotheses`.

    Parameters
    ----------
    path, chain, policy, threads, progress, packet_filter, isns, strict
        As for `verify_capture`.
    try_secrets : path-like or binary file, optional
        Candidates for the secret, one a line: where no key gives the MACs, these are tried, with
        every algorithm that is computed in batches and both options coverages.
    prepare : callable, optional
        Called as ``prepare(engine, capture)`` before each capture is read.
    show_secrets : bool
        Whether a finding shows the candidate that fits, and not just its line.

    Returns
    -------
    Diagnosis

    Raises
    ------
    CaptureError
        No file can be read (`strict`: one cannot be read, or is damaged). The attributes
        ``report`` and ``found`` are the `CaptureReport` and the `Diagnosis` of everything before
        the damage.
    InvalidArgumentError, MissingExtraError, StateError
        As for `verify_capture`.
    KeyFileError
        The file of candidates cannot be read.
    """
    return diagnose_with(
        path,
        chain,
        policy=policy,
        threads=threads,
        progress=progress,
        packet_filter=packet_filter,
        isns=isns,
        try_secrets=try_secrets,
        show_secrets=show_secrets,
        strict=strict,
        prepare=prepare,
    )[1]


def diagnose_with(
    path: Source | PacketIterator | Sequence[Source],
    chain: Iterable[MasterKey],
    sinks: Sequence[Sink] = (),
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    packet_filter: str | None = None,
    isns: IsnsLike | None = None,
    try_secrets: PathLike | BinaryIO | None = None,
    show_secrets: bool = False,
    strict: bool = False,
    prepare: Prepare | None = None,
) -> tuple[Engine, Diagnosis]:
    """`diagnose_capture` with more sinks for the results, and the engine that gave them."""
    sources = as_sources(path)
    engine = Engine(chain, policy, threads)
    if isns is not None:
        engine.restore(read_isns(isns))
    collector = EvidenceCollector()
    report, damage = verify_into(
        engine,
        in_time_order(sources),
        [collector, *sinks],
        packets=None if packet_filter is None else PacketFilter(packet_filter),
        progress=progress,
        strict=strict,
        prepare=prepare,
    )
    if damage is not None:
        damage.report = report
    if isinstance(damage, Interrupted):
        raise damage
    search = None
    if try_secrets is not None:
        search = _LineSearch(try_secrets, show_secrets, progress)
    found = findings_of(
        collector.evidence(),
        engine.keys,
        collector.fragments(report.counts["truncated"]),
        search,
    )
    result = None if search is None else search.result
    diagnosis = Diagnosis(found, report, collector.left_out, result)
    if damage is not None:
        damage.found = diagnosis
        raise damage
    return engine, diagnosis


class _LineSearch:
    """Looks for secrets among the lines of a file."""

    def __init__(
        self, file: PathLike | BinaryIO, show_secrets: bool, progress: Progress | None
    ) -> None:
        name = os.fspath(file) if isinstance(file, (str, os.PathLike)) else file.name
        self._file = file
        self._progress = progress
        self.result = SecretSearch(
            "standard input" if name == "<stdin>" else str(name), show_secrets
        )

    def __call__(self, sides: Sequence[OpenSide]) -> SecretSearch:
        if not isinstance(self._file, (str, os.PathLike)):
            self._run(sides, self._file, None)
            return self.result
        name = self.result.name
        try:
            with Path(name).open("rb") as stream:
                self._run(sides, stream, os.fstat(stream.fileno()).st_size)
        except OSError as error:
            raise KeyFileError(name, [error.strerror or str(error)]) from error
        return self.result

    def _run(self, sides: Sequence[OpenSide], stream: BinaryIO, size: int | None) -> None:
        def told(lines: int) -> None:
            if self._progress is not None and size is not None:
                self._progress(self.result.name, stream.tell(), size)

        self.result.run(sides, read_secrets(stream), told)
