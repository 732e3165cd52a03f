"""The job of ``tcpao verify``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from tcpao_fast.capture.annotate import AnnotatedCapture
from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.isns import IsnsLike, read_isns
from tcpao_fast.capture.output import require_distinct
from tcpao_fast.capture.rows import RowWriter
from tcpao_fast.capture.select import Selection
from tcpao_fast.capture.sources import (
    PacketIterator,
    PathLike,
    Source,
    as_sources,
    in_time_order,
    is_read_once,
    paths_of,
)
from tcpao_fast.capture.state import StateFile
from tcpao_fast.capture.writer import SelectedPackets, is_pcapng
from tcpao_fast.engine import Engine
from tcpao_fast.engine.policy import Policy
from tcpao_fast.errors import InvalidArgumentError
from tcpao_fast.jobs.stream import Progress, verify_into
from tcpao_fast.keys import MasterKey
from tcpao_fast.report.results import CaptureReport

if TYPE_CHECKING:
    from tcpao_fast.diagnose.isn_search import SearchReport

#: How far back ISNs are searched at most.
MOST_SEARCHED = 1 << 20


def verify_capture(
    path: Source | PacketIterator | Sequence[Source],
    chain: Iterable[MasterKey],
    *,
    policy: Policy | None = None,
    threads: int = 1,
    progress: Progress | None = None,
    output: PathLike | None = None,
    annotate: PathLike | None = None,
    state: PathLike | None = None,
    fields: Sequence[str] | None = None,
    packet_filter: str | None = None,
    isns: IsnsLike | None = None,
    search_isn: int | None = None,
    max_connections: int | None = None,
    strict: bool = False,
    select: Sequence[str] = (),
    connections: Sequence[str] = (),
    write: PathLike | None = None,
) -> CaptureReport:
    """Verify every TCP-AO and TCP-MD5 segment of a capture, or of several as one stream.

    Parameters
    ----------
    path : path-like, binary file, Packets, or sequence of those
        pcap or pcapng; ``-`` is standard input. Several are taken in the order of their first
        packets (unless one can be read but once), and connections go on from file to file. An
        iterator of (time, bytes) is `Packets` of Ethernet.
    chain : KeyChain, or iterable of MasterKey
    policy : Policy
    threads : int
    progress : callable, optional
        Called now and then as ``progress(path, bytes_read, size_or_None)``.
    output : path-like, optional
        A file for one row a segment: ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet`` (with
        pyarrow); ``-`` is JSON lines on standard output. Its columns are
        `tcpao_fast.capture.rows.COLUMNS`. The verdict on a fragment that another record completes
        stands in that record's row.
    annotate : path-like, optional
        A pcapng file for all records, each segment that is signed or should be with its verdict
        as a packet comment; what pcapng captures have beside packets is kept.
    state : path-like, optional
        A JSON file that keeps what is known of connections from run to run: read if it is there,
        written at the end (`Engine.export_state`). So the pieces of a rotated capture verify one
        by one as in one; only IP fragments do not go on.
    fields : sequence of str, optional
        The columns of `output`, in this order; all.
    packet_filter : str, optional
        A filter expression of libpcap, as tcpdump takes it: other packets are as if they were not
        there.
    isns : path-like, mapping, or sequence of those, optional
        ISNs and SNEs of connections that the capture joins in the middle, as ``TCP_AO_REPAIR``
        has them: see `tcpao_fast.capture.isns.read_isns`.
    search_isn : int, optional
        Search the ISNs of connections whose handshake is missing, this many bytes back in both
        directions (`tcpao_fast.engine.candidates.search_isns`). The captures are read twice. What
        came of it is the report's ``search``.
    max_connections : int, optional
        How many verified connections are remembered; others give way first (`Engine`: 1,048,576).
    strict : bool
        Damage ends the run. Without it, what a damaged file has before the damage counts (in
        pcapng also what is behind it, from the next block that can be trusted), the report's
        ``damage`` says where, and the run goes on with the next file.
    select, connections : sequence of str, optional
        Which segments `output` and `write` have: by verdict, and by the ends of their connection;
        see `tcpao_fast.capture.select.Selection`.
    write : path-like, optional
        A capture for the packets that are selected; without `select` those that are not good. Its
        name's end says whether it is pcap or pcapng, which gets the verdicts as comments.

    Returns
    -------
    CaptureReport

    Raises
    ------
    CaptureError
        No file can be read (`strict`: one cannot be read, or is damaged), or an output cannot be
        written. The attribute ``report`` is the `CaptureReport` of everything before the damage,
        which the outputs then have too.
    InvalidArgumentError, MissingExtraError
        `output` or `annotate` has another ending, is an input too, or a format needs a library that
        is not here; a
        filter that libpcap does not take; `search_isn` on standard input.
    StateError
        `state` is there and holds no state, is no regular file, or is in another run's use; `isns`
        that are none.
    KeyboardInterrupt
        The attribute ``report`` is the `CaptureReport` of what came before; no output is written.
    """
    sources = as_sources(path)
    paths = paths_of(sources)
    if search_isn is not None:
        _check_reach(search_isn)
    require_distinct([output, annotate, write], [*paths, state])
    chosen = Selection(select, connections)
    written = Selection(select or ("not-good",), connections)
    require_distinct([state], paths)
    limits = () if max_connections is None else (max_connections,)
    engine = Engine(chain, policy, threads, *limits)
    packets = None if packet_filter is None else PacketFilter(packet_filter)
    known = [] if isns is None else read_isns(isns)
    warnings: list[str] = []

    with contextlib.ExitStack() as held:
        kept = None if state is None else held.enter_context(StateFile(state))

        def begin(fresh: Engine) -> None:
            if kept is not None:
                warnings[:] = [f"{kept.path}: {one}" for one in kept.read(fresh)]
            fresh.restore(known)

        begin(engine)
        ordered = in_time_order(sources)
        search: SearchReport | None = None
        if search_isn is not None:
            if any(is_read_once(one) for one in ordered):
                raise InvalidArgumentError(
                    "search_isn reads captures twice: not standard input, open files or Packets"
                )
            scout = Engine(chain, policy, threads, *limits)
            begin(scout)
            search = search_in(scout, ordered, search_isn, packets=packets, progress=progress)
            engine.restore(search.states())
        with _outputs() as sinks:
            if output is not None:
                sinks.append(RowWriter(output, engine.keys, fields, chosen))
            if annotate is not None:
                sinks.append(AnnotatedCapture(annotate, engine.keys))
            if write is not None and is_pcapng(write):
                sinks.append(AnnotatedCapture(write, engine.keys, written))
            elif write is not None:
                sinks.append(SelectedPackets(write, written))
            report, damage = verify_into(
                engine, ordered, sinks, packets=packets, progress=progress, strict=strict
            )
            interrupted = isinstance(damage, KeyboardInterrupt)
            for sink in sinks if not interrupted else ():
                sink.commit()
        report.search = search
        report.warnings += warnings
        if kept is not None and not interrupted:
            kept.write(engine)
        if damage is not None:
            damage.report = report
            raise damage
        return report


def _check_reach(search_isn: object) -> None:
    if (
        isinstance(search_isn, bool)
        or not isinstance(search_isn, int)
        or not 0 <= search_isn <= MOST_SEARCHED
    ):
        raise InvalidArgumentError(
            f"search_isn is {search_isn!r}; it must be 0 to {MOST_SEARCHED} bytes"
        )


@contextlib.contextmanager
def _outputs() -> Iterator[list[RowWriter | AnnotatedCapture | SelectedPackets]]:
    """The files that are written beside the report; of those not committed none stays."""
    sinks: list[RowWriter | AnnotatedCapture | SelectedPackets] = []
    try:
        yield sinks
    finally:
        for sink in sinks:
            sink.discard()


def search_in(
    engine: Engine,
    sources: Iterable[Source],
    reach: int,
    *,
    packets: PacketFilter | None = None,
    progress: Progress | None = None,
) -> SearchReport:
    """Look captures through, and search the ISNs of connections whose handshake they lack."""
    from tcpao_fast.diagnose.evidence import EvidenceCollector
    from tcpao_fast.diagnose.isn_search import find_isns

    collector = EvidenceCollector()
    _, damage = verify_into(engine, sources, [collector], packets=packets)
    if isinstance(damage, KeyboardInterrupt):
        raise damage
    return find_isns(
        collector.evidence(),
        engine.keys,
        reach,
        progress=None if progress is None else lambda done, all_: progress("ISNs", done, all_),
    )
