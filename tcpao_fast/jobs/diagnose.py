"""The job of ``tcpao diagnose``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.isns import IsnsLike, read_isns
from tcpao_fast.capture.reader import in_time_order
from tcpao_fast.diagnose.evidence import EvidenceCollector
from tcpao_fast.diagnose.findings import findings_of
from tcpao_fast.engine import Engine
from tcpao_fast.engine.policy import Policy
from tcpao_fast.jobs.stream import PathLike, Progress, Sink, as_paths, verify_into
from tcpao_fast.keys import MasterKey
from tcpao_fast.report.results import Diagnosis


def diagnose_capture(
    path: PathLike | Sequence[PathLike],
    chain: Iterable[MasterKey],
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    packet_filter: str | None = None,
    isns: IsnsLike | None = None,
) -> Diagnosis:
    """Verify captures, and say of every connection that is not good why, by trying.

    A few segments of each direction are tried under everything that is known to go wrong: see
    `tcpao_fast.diagnose.hypotheses`.

    Parameters
    ----------
    path, chain, policy, threads, progress, packet_filter, isns
        As for `verify_capture`.

    Returns
    -------
    Diagnosis

    Raises
    ------
    CaptureError
        A file cannot be read or is damaged. The attribute ``report`` is the `CaptureReport` of
        everything before the damage.
    InvalidArgumentError, MissingExtraError, StateError
        As for `verify_capture`.
    """
    return diagnose_with(
        path,
        chain,
        policy=policy,
        threads=threads,
        progress=progress,
        packet_filter=packet_filter,
        isns=isns,
    )[1]


def diagnose_with(
    path: PathLike | Sequence[PathLike],
    chain: Iterable[MasterKey],
    sinks: Sequence[Sink] = (),
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    packet_filter: str | None = None,
    isns: IsnsLike | None = None,
) -> tuple[Engine, Diagnosis]:
    """`diagnose_capture` with more sinks for the results, and the engine that gave them."""
    paths = as_paths(path)
    engine = Engine(chain, policy, threads)
    if isns is not None:
        engine.restore(read_isns(isns))
    collector = EvidenceCollector()
    report, damage = verify_into(
        engine,
        in_time_order(paths),
        [collector, *sinks],
        packets=None if packet_filter is None else PacketFilter(packet_filter),
        progress=progress,
    )
    if damage is not None:
        damage.report = report
        raise damage
    found = findings_of(
        collector.evidence(), engine.keys, collector.fragments(report.counts["truncated"])
    )
    return engine, Diagnosis(found, report, collector.left_out)
