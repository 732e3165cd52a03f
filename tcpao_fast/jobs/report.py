"""The job of ``tcpao report``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tcpao_fast.capture.isns import IsnsLike
from tcpao_fast.capture.output import OutputFile, require_distinct
from tcpao_fast.capture.sources import PacketIterator, PathLike, Source, as_sources, paths_of
from tcpao_fast.engine.policy import Policy
from tcpao_fast.jobs.diagnose import diagnose_with
from tcpao_fast.jobs.stream import Prepare, Progress
from tcpao_fast.keys import MasterKey
from tcpao_fast.report.html import html_page, page_template
from tcpao_fast.report.results import Diagnosis
from tcpao_fast.report.timeline import TimeLines


def report_capture(
    path: Source | PacketIterator | Sequence[Source],
    chain: Iterable[MasterKey],
    output: PathLike,
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    packet_filter: str | None = None,
    isns: IsnsLike | None = None,
    strict: bool = False,
    prepare: Prepare | None = None,
) -> Diagnosis:
    """Verify and diagnose captures, and write what was found as one HTML page.

    The page has a summary, the connections (those with what is wrong first) and, for the first
    hundred, a time line: segments good and bad, the key that each side signs with, who asked for
    another one and when the other side followed, since when an old key is not used, SNE steps.

    Parameters
    ----------
    path, chain, policy, threads, progress, packet_filter, isns, strict
        As for `verify_capture`.
    output : path-like
        ``-`` is standard output.
    prepare : callable, optional
        As for `diagnose_capture`.

    Returns
    -------
    Diagnosis
        What the page says.

    Raises
    ------
    MissingExtraError
        jinja2 is not there: ``pip install 'tcpao-fast[report]'``.
    CaptureError, InvalidArgumentError, StateError
        As for `verify_capture`; no page is written.
    """
    template = page_template()
    lines = TimeLines()
    sources = as_sources(path)
    require_distinct([output], paths_of(sources))
    file = OutputFile(output)  # first: what cannot be written is told before the work
    try:
        engine, diagnosis = diagnose_with(
            sources,
            chain,
            [lines],
            policy=policy,
            threads=threads,
            progress=progress,
            packet_filter=packet_filter,
            isns=isns,
            strict=strict,
            prepare=prepare,
        )
        file.put(html_page(template, engine, diagnosis, lines.lines).encode())
        file.commit()
    finally:
        file.discard()
    return diagnosis
