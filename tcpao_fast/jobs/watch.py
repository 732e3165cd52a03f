"""The job of ``tcpao watch``: live packets through an engine, for as long as it takes."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.reader import STANDARD_STREAM, CaptureReader
from tcpao_fast.capture.state import StateFile
from tcpao_fast.core.wire.records import Records
from tcpao_fast.diagnose.evidence import ConnectionEvidence, EvidenceCollector
from tcpao_fast.diagnose.finding import Finding
from tcpao_fast.diagnose.findings import findings_of
from tcpao_fast.engine import Engine, VerifyResult
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.verdicts import BAD
from tcpao_fast.errors import CaptureError, MissingExtraError
from tcpao_fast.keys import KeyChain
from tcpao_fast.live.interface import Interface, filter_for
from tcpao_fast.live.service import (
    EventLog,
    KeyFiles,
    Stopper,
    metrics_server,
    reloaded,
    warn,
)
from tcpao_fast.live.sessions import Sessions, utc_now
from tcpao_fast.report.results import exit_status_of

#: Seconds between looks at key files, silence, limits and whatever shows what is going on.
TICK = 0.5
#: Seconds between explanations of what is bad.
DIAGNOSE_EVERY = 2.0
#: Connections that are explained at a time, between packets, and at the end.
EXPLAINED_AT_ONCE, FINALLY_EXPLAINED = 8, 256
#: Connections that are explained in all: of more nobody reads.
MOST_TOLD = 10_000
#: Findings that are kept.
KEPT_FINDINGS = 100
#: Seconds between writes of the state.
STATE_EVERY = 5.0


@dataclass(slots=True)
class Limits:
    """When to end by itself, as tshark has it.

    Attributes
    ----------
    packets : int or None
    seconds : float or None
    kilobytes : int or None
        Of packets, 1,000 bytes each.
    """

    packets: int | None = None
    seconds: float | None = None
    kilobytes: int | None = None


@dataclass(slots=True)
class Watch:
    """What is watched, and what was found so far.

    Attributes
    ----------
    engine : Engine
    sessions : Sessions
    packets, octets : int
        What was read.
    started : float
        By `time.monotonic`.
    findings : list of Finding
        The last explanations of what is bad.
    damage : CaptureError or None
        What ended a file that was watched.
    """

    engine: Engine
    sessions: Sessions
    packets: int = 0
    octets: int = 0
    started: float = field(default_factory=time.monotonic)
    findings: list[Finding] = field(default_factory=list)
    interfaces: list[Interface] = field(default_factory=list)
    damage: CaptureError | None = None

    @property
    def dropped(self) -> int:
        """How many packets the kernel had to drop."""
        return sum(one.dropped for one in self.interfaces)

    @property
    def exit_status(self) -> int:
        """That of ``tcpao verify`` for what was seen."""
        return exit_status_of(self.engine.counts)

    @property
    def seconds(self) -> float:
        """How long it has been."""
        return time.monotonic() - self.started

    def as_dict(self) -> dict[str, Any]:
        """The summary, of plain JSON types."""
        return {
            "seconds": round(self.seconds, 3),
            "packets": self.packets,
            "bytes": self.octets,
            "dropped": self.dropped,
            "verdicts": dict(self.engine.counts),
            "sessions": len(self.sessions.sessions),
        }


def run_watch(
    chain: KeyChain,
    interfaces: Sequence[str] = (),
    files: Sequence[str] = (),
    *,
    key_files: Sequence[str] = (),
    load: Callable[[], KeyChain] | None = None,
    policy: Policy | None = None,
    packet_filter: str | None = None,
    limits: Limits | None = None,
    state: str | None = None,
    log: EventLog | None = None,
    metrics: str | None = None,
    ready: Callable[[Watch], None] | None = None,
    show: Callable[[Watch], None] | None = None,
) -> Watch:
    """Verify live packets, until a signal or a limit ends it.

    Parameters
    ----------
    chain : KeyChain
    interfaces : sequence of str
    files : sequence of path
        Captures that grow; ``-`` is standard input, whose end is the end.
    key_files, load, metrics
        As for `run_gateway`.
    policy : Policy, optional
    packet_filter : str, optional
        For interfaces: as tcpdump takes it; by default the keys' peers, and segments with room for
        an option.
    limits : Limits, optional
    state : path, optional
        A file that keeps connections over a restart.
    log : EventLog, optional
        Gets events.
    ready : callable, optional
        Called when packets are taken.
    show : callable, optional
        Called now and then, and at the end.

    Returns
    -------
    Watch
        As it was at the end.

    Raises
    ------
    CaptureError
        An interface or a file cannot be opened. One that is damaged is `Watch.damage`.
    InvalidArgumentError, MissingExtraError, StateError
    """
    log = EventLog(None) if log is None else log
    engine = Engine(chain, policy)
    watch = Watch(engine, Sessions(engine, log))
    with contextlib.ExitStack() as held:
        kept = None if state is None else held.enter_context(StateFile(state))
        if kept is not None:
            kept.read(engine)
        stopper = held.enter_context(Stopper())
        expression = packet_filter
        if packet_filter is None and interfaces:
            expression = _default_filter(chain)
        for name in interfaces:
            watch.interfaces.append(held.enter_context(Interface(name, expression)))
        feeds = [_Feed(name, stopper) for name in files]
        for feed in feeds:
            held.callback(feed.end)
        held.enter_context(metrics_server(metrics, lambda: _numbers(watch)))
        keys = KeyFiles(key_files, load or (lambda: chain))
        if ready is not None:
            ready(watch)
        loop = _Loop(watch, stopper, limits or Limits(), log, keys, kept, show)
        loop.run(feeds)
        if kept is not None:
            kept.write(engine)
        if show is not None:
            show(watch)
    return watch


def _default_filter(chain: KeyChain) -> str | None:
    """A filter for the keys; None, which is said, where nothing can compile it."""
    expression = filter_for(chain)
    try:
        PacketFilter(expression)
    except MissingExtraError as error:
        warn(f"{error}; all packets are looked at")
        return None
    return expression


class _Loop:
    """Takes packets where there are some, and does now and then what is to be done now and then."""

    def __init__(
        self,
        watch: Watch,
        stopper: Stopper,
        limits: Limits,
        log: EventLog,
        keys: KeyFiles,
        kept: StateFile | None,
        show: Callable[[Watch], None] | None,
    ) -> None:
        self._watch = watch
        self._stopper = stopper
        self._limits = limits
        self._keys = keys
        self._kept = kept
        self._show = show
        self._explainer = _Explainer(watch, log)
        self._ticked = self._written = time.monotonic()

    def run(self, feeds: Sequence[_Feed]) -> None:
        watch, stopper = self._watch, self._stopper
        open_feeds = list(feeds)
        while not stopper.stopped and (watch.interfaces or open_feeds):
            readable = stopper.wait([*watch.interfaces, *open_feeds], TICK)
            for source in readable:
                if isinstance(source, Interface):
                    self._drain(source)
                elif not self._take(source):
                    open_feeds.remove(source)
            if time.monotonic() - self._ticked >= TICK:
                self._tick()
        self._explainer.finish()

    def _take(self, feed: _Feed) -> bool:
        """What a file has; whether more may come. One that is damaged ends, and it alone."""
        try:
            return feed.take(self._add)
        except CaptureError as error:
            self._watch.damage = error
            return False

    def _drain(self, source: Interface) -> None:
        """All blocks that there are, but not for ever: others wait too."""
        for _ in range(64):
            records = source.read()
            if records is None:
                return
            try:
                self._add(records)
            finally:
                del records
                source.give_back()
            if self._stopper.stopped:
                return

    def _add(self, records: Records) -> None:
        watch, limits = self._watch, self._limits
        if limits.packets is not None and watch.packets + len(records) > limits.packets:
            records = records.subset(range(limits.packets - watch.packets))
        watch.packets += len(records)
        watch.octets += int(records.lengths.sum())
        if len(records):
            result = watch.engine.verify(records, final=False)
            watch.sessions.add(result)
            self._explainer.add(result)
        if (limits.packets is not None and watch.packets >= limits.packets) or (
            limits.kilobytes is not None and watch.octets >= 1000 * limits.kilobytes
        ):
            self._stopper.stop()

    def _tick(self) -> None:
        watch = self._watch
        self._ticked = now = time.monotonic()
        watch.sessions.tick()
        before = watch.engine.keys
        if reloaded(self._keys, watch.engine.update):
            watch.sessions.renumber(before, watch.engine.keys)
        if self._kept is not None and now - self._written >= STATE_EVERY:
            self._written = now
            self._kept.write(watch.engine)
        self._explainer.run()
        if self._show is not None:
            self._show(watch)
        if self._limits.seconds is not None and watch.seconds >= self._limits.seconds:
            self._stopper.stop()


class _Explainer:
    """Explains what is bad, as `tcpao diagnose` does: a few connections at a time, between packets,
    which wait in the kernel's ring meanwhile.
    """

    def __init__(self, watch: Watch, log: EventLog) -> None:
        self._watch = watch
        self._log = log
        self._collector = EvidenceCollector()
        self._bad = 0
        self._ran = 0.0
        self._told: set[tuple[object, ...]] = set()
        self._waiting: list[ConnectionEvidence] = []

    def add(self, result: VerifyResult) -> None:
        self._collector.add(result)

    def run(self, most: int = EXPLAINED_AT_ONCE) -> None:
        """Explain so many of what is bad and was not explained."""
        now = time.monotonic()
        bad = sum(self._watch.engine.counts[one.name] for one in BAD)
        if not self._waiting and bad != self._bad and now - self._ran >= DIAGNOSE_EVERY:
            self._bad, self._ran = bad, now
            self._waiting = [
                one for one in self._collector.evidence() if (*one.ends, one.vrf) not in self._told
            ]
        some, self._waiting = self._waiting[:most], self._waiting[most:]
        if some and len(self._told) < MOST_TOLD:
            self._told |= {(*one.ends, one.vrf) for one in some}
            self._tell(findings_of(some, self._watch.engine.keys, None, None))

    def _tell(self, found: list[Finding]) -> None:
        for one in found:
            self._watch.sessions.tell(one.client, one.server, one.sentence)
            self._log({"event": "finding", "time": utc_now(), **one.as_dict()})
        self._watch.findings = [*found, *self._watch.findings][:KEPT_FINDINGS]

    def finish(self) -> None:
        """What is left to explain, before the end."""
        self._ran = -DIAGNOSE_EVERY
        self.run(FINALLY_EXPLAINED)


class _Feed:
    """A capture that grows, read by a thread of its own; a chunk waits until it was looked at."""

    def __init__(self, name: str, stopper: Stopper) -> None:
        self.name = name
        self._stopper = stopper
        self._chunks: queue.SimpleQueue[Records | BaseException | None] = queue.SimpleQueue()
        self._done = threading.Semaphore(0)
        self._read, self._write = os.pipe()
        self._ending = False
        file: Any = STANDARD_STREAM if name == STANDARD_STREAM else _Growing(name, self)
        self._thread = threading.Thread(target=self._run, args=(file,), daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        return self._read

    def _run(self, file: Any) -> None:
        try:
            with CaptureReader(file) as reader:
                for records in reader:
                    self._put(records)
                    self._done.acquire()
                    if self._ending:
                        return
        except BaseException as error:
            self._put(error)
        else:
            self._put(None)

    def _put(self, what: Records | BaseException | None) -> None:
        self._chunks.put(what)
        with contextlib.suppress(OSError):
            os.write(self._write, b"x")

    def take(self, use: Callable[[Records], None]) -> bool:
        """Hand the chunk that is there over; whether more may come."""
        os.read(self._read, 1)
        found = self._chunks.get()
        if isinstance(found, BaseException):
            raise found
        if found is None:
            return False
        try:
            use(found)
        finally:
            del found
            self._done.release()
        return True

    @property
    def ending(self) -> bool:
        """Whether nobody takes chunks any more."""
        return self._ending or self._stopper.stopped

    def end(self) -> None:
        """Nobody takes chunks any more."""
        self._ending = True
        self._done.release()
        if self.name != STANDARD_STREAM:  # a read of standard input cannot be ended
            self._thread.join()
            os.close(self._read)
            os.close(self._write)


class _Growing:
    """A file that is waited for where it ends."""

    def __init__(self, name: str, feed: _Feed) -> None:
        self.name = name
        self._feed = feed
        try:
            self._file = Path(name).open("rb")  # noqa: SIM115 (as long as the feed)
        except OSError as error:
            raise CaptureError(name, error.strerror or str(error)) from error

    def read(self, size: int = -1) -> bytes:
        while not self._feed.ending:
            data = self._file.read(size)
            if data:
                return data
            time.sleep(0.1)
        self._file.close()
        return b""

    def has_more(self) -> bool:
        """Whether there is more now."""
        return self._file.tell() < os.fstat(self._file.fileno()).st_size


def _numbers(watch: Watch) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Metrics, as `metrics_server` wants them."""
    yield "tcpao_packets_total", "Packets read.", {"": watch.packets}
    yield "tcpao_bytes_total", "Bytes read.", {"": watch.octets}
    yield "tcpao_dropped_total", "Packets the kernel dropped.", {"": watch.dropped}
    yield "tcpao_verdicts_total", "Segments, by verdict.", dict(watch.engine.counts)
    yield "tcpao_sessions", "Sessions that are known.", {"": len(watch.sessions.sessions)}
