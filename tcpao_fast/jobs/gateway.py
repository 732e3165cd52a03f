"""The job of ``tcpao gateway``: a queue of the kernel's through a `Gateway`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from typing import IO, Any

from tcpao_fast.capture.state import StateFile
from tcpao_fast.errors import TcpAoError
from tcpao_fast.keys import KeyChain
from tcpao_fast.live.gateway import Ends, Gateway
from tcpao_fast.live.hosts import connections_that_are_up
from tcpao_fast.live.nfqueue import PacketQueue
from tcpao_fast.live.rules import Rules
from tcpao_fast.live.service import (
    EventLog,
    KeyFiles,
    Stopper,
    metrics_server,
    reloaded,
    warn,
)
from tcpao_fast.text import endpoint_text

#: Seconds between looks at key files, silence and counters.
TICK = 0.5
#: Seconds after which the state is written, where something was proved; a new session at once.
STATE_EVERY = 1.0
#: The part of the time that may go into writing it, and the seconds that may be saved up for when
#: many sessions come up at once.
STATE_SHARE, STATE_SAVED = 0.1, 1.0
#: Packets that are taken out of the queue at a time.
BATCH = 256


def run_gateway(
    chain: KeyChain,
    *,
    key_files: Sequence[str] = (),
    load: Callable[[], KeyChain] | None = None,
    queue: int = 0,
    install: bool = False,
    tool: str | None = None,
    fail_open: bool = False,
    ao_required: bool = False,
    accept_icmps: bool = False,
    state: str | None = None,
    events: IO[str] | None = None,
    metrics: str | None = None,
    ready: Callable[[Rules, list[Ends]], None] | None = None,
) -> Gateway:
    """Sign and verify what a queue of NFQUEUE gives, until a signal ends it.

    Parameters
    ----------
    chain : KeyChain
        Here is the local side of each key.
    key_files : sequence of str
        Files that are watched; when one changes, `load` gives the keys.
    load : callable, optional
    queue : int
        The queue's number.
    install : bool
        Whether to set up the rules that lead packets into it, and take them down at the end.
    tool : str, optional
        ``nft`` or ``iptables``.
    fail_open : bool
        Whether packets pass where they cannot be signed, and while no gateway runs.
    ao_required, accept_icmps
        As of `Gateway`.
    state : path, optional
        A file that keeps connections over a restart.
    events : text stream, optional
        Gets a line of JSON an event.
    metrics : str, optional
        ``ADDR:PORT`` for Prometheus.
    ready : callable, optional
        Called when packets are taken, with the rules and the connections that are left alone.

    Returns
    -------
    Gateway
        As it was at the end, with its counts.

    Raises
    ------
    QueueError, RulesError, StateError, InvalidArgumentError, MissingExtraError
    """
    log = EventLog(events)
    rules = Rules(chain, queue, fail_open=fail_open, tool=tool)
    gateway = Gateway(
        chain,
        ao_required=ao_required,
        accept_icmps=accept_icmps,
        fail_open=fail_open,
        emit=log,
    )
    with contextlib.ExitStack() as held:
        kept = None if state is None else held.enter_context(StateFile(state))
        if kept is not None:
            for text in kept.read(gateway.engine):
                warn(f"{kept.path}: {text}")
        stopper = held.enter_context(Stopper())
        packets = held.enter_context(PacketQueue(queue, fail_open=fail_open))
        gateway.left_alone |= set(_up_before(gateway, chain))
        held.enter_context(metrics_server(metrics, lambda: _numbers(gateway, packets)))
        if install:
            rules.install()
            held.callback(lambda: rules.remove())
        if ready is not None:
            ready(rules, sorted(gateway.left_alone))
        files = KeyFiles(key_files, load or (lambda: chain))
        _serve(gateway, packets, stopper, files, kept, rules if install else None)
        if kept is not None:
            kept.write(gateway.engine)
    return gateway


def _serve(
    gateway: Gateway,
    packets: PacketQueue,
    stopper: Stopper,
    files: KeyFiles,
    kept: StateFile | None,
    rules: Rules | None,
) -> None:
    ticked = time.monotonic()
    state = _State(gateway, kept)
    while not stopper.stopped:
        if stopper.wait([packets], TICK):
            rulings = gateway.rule(packets.receive(BATCH))
            # before they go on: who is killed in between has let nothing pass that it forgets
            state.keep()
            packets.rule(rulings)
        now = time.monotonic()
        if now - ticked >= TICK:
            ticked = now
            gateway.sessions.tick()
            if reloaded(files, gateway.update) and rules is not None:
                _renew(rules, gateway)
            state.keep()


class _State:
    """The state file, written at once when a session is new, else now and then."""

    def __init__(self, gateway: Gateway, kept: StateFile | None) -> None:
        self._gateway = gateway
        self._kept = kept
        self._changes = self._done = 0
        self._written = time.monotonic()
        self._budget = STATE_SAVED

    def keep(self) -> None:
        """Write it, where there is something to keep and it is time."""
        gateway = self._gateway
        changes = gateway.sessions.changes
        done = gateway.counts.verified + gateway.counts.signed
        if self._kept is None or done == self._done:
            return
        started = time.monotonic()
        since = started - self._written
        budget = min(STATE_SAVED, self._budget + since * STATE_SHARE)
        if budget <= 0 if changes != self._changes else since < STATE_EVERY:
            return
        self._changes, self._done = changes, done
        self._kept.write(gateway.engine)
        self._written = time.monotonic()
        self._budget = budget - (self._written - started)


def _renew(rules: Rules, gateway: Gateway) -> None:
    """Rules for other peers."""
    fresh = Rules(gateway.engine.keys, rules.queue, fail_open=rules.fail_open, tool=rules.tool)
    if fresh.matches == rules.matches:
        return
    try:
        fresh.install()
    except TcpAoError as error:
        warn(f"{error}")
    else:
        rules.matches = fresh.matches


def _up_before(gateway: Gateway, chain: KeyChain) -> Iterator[Ends]:
    """Connections with a key that are up, and unknown: nobody can sign them."""
    known = set()
    for _, one in gateway.engine.connection_states(proved=True):
        known |= {(one.client, one.server), (one.server, one.client)}
    for ends in connections_that_are_up():
        own = str(ip_address(ends[0])), ends[1]
        peer = str(ip_address(ends[2])), ends[3]
        if (own, peer) in known:
            continue
        if chain.matching(own, peer) or chain.matching(own, peer, tcp_md5=True):
            yield ends


def text_of(ends: Ends) -> str:
    """Both ends of a connection as text."""
    own, peer = ((str(ip_address(ends[i])), ends[i + 1]) for i in (0, 2))
    return f"{endpoint_text(*own)} - {endpoint_text(*peer)}"  # type: ignore[arg-type]


def _numbers(
    gateway: Gateway, packets: PacketQueue
) -> Iterator[tuple[str, str, Mapping[str, float]]]:
    """Metrics, as `metrics_server` wants them."""
    counts = gateway.counts
    done: dict[str, Any] = {
        "signed": counts.signed,
        "verified": counts.verified,
        "passed": counts.passed,
    }
    yield "tcpao_packets_total", "Packets that went on.", done
    yield "tcpao_dropped_total", "Packets that were dropped, by reason.", dict(counts.dropped)
    yield "tcpao_queue_dropped_total", "Packets the kernel dropped.", {"": packets.dropped()}
    yield "tcpao_sessions", "Sessions that are known.", {"": len(gateway.sessions.sessions)}
    yield "tcpao_verdicts_total", "Segments that came in.", dict(gateway.engine.counts)
