"""The job of ``tcpao inspect``."""

from __future__ import annotations

from collections.abc import Sequence

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.output import OutputFile, require_distinct
from tcpao_fast.capture.sources import (
    PacketIterator,
    PathLike,
    Source,
    as_sources,
    in_time_order,
    paths_of,
)
from tcpao_fast.diagnose.inspection import InspectionCollector, needed_keys
from tcpao_fast.engine import Engine
from tcpao_fast.errors import CaptureError
from tcpao_fast.jobs.stream import Progress, verify_into
from tcpao_fast.keys.outline import template
from tcpao_fast.report.inspection import Inspection


def inspect_capture(
    path: Source | PacketIterator | Sequence[Source],
    *,
    keys: PathLike | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    packet_filter: str | None = None,
    strict: bool = False,
) -> Inspection:
    """Who signs what in captures, without any key.

    Parameters
    ----------
    path, threads, progress, packet_filter, strict
        As for `verify_capture`.
    keys : path-like, optional
        A key file to fill in: addresses, ports, KeyIDs and MAC lengths of the keys in use, without
        the secrets.

    Returns
    -------
    Inspection

    Raises
    ------
    CaptureError
        No file can be read (`strict`: one cannot be read, or is damaged), or `keys` cannot be
        written. The attributes ``report`` and ``found`` are the `CaptureReport` and the
        `Inspection` of everything before the damage.
    InvalidArgumentError, MissingExtraError
        As for `verify_capture`.
    """
    sources = as_sources(path)
    require_distinct([keys], paths_of(sources))
    collector = InspectionCollector()
    report, damage = verify_into(
        Engine((), None, threads),
        in_time_order(sources),
        [collector],
        packets=None if packet_filter is None else PacketFilter(packet_filter),
        progress=progress,
        strict=strict,
    )
    conversations = sorted(collector.conversations.values(), key=lambda one: one.first)
    outlines = needed_keys(collector.conversations)
    found = Inspection(report, conversations, outlines, collector.left_out)
    if damage is not None:
        damage.report = report
        if isinstance(damage, CaptureError):
            damage.found = found
        raise damage
    if keys is not None:
        output = OutputFile(keys, private=True)
        try:
            output.put(template(outlines).encode())
            output.commit()
        finally:
            output.discard()
    return found
