"""Sessions of live traffic, and what happens on them as events.

It looks at results of `Engine.verify`, batch by batch: which connections came up, which key each
side uses, what was bad first, and who does not answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import numpy as np

from tcpao_fast.engine import Engine, VerifyResult
from tcpao_fast.engine.verdicts import BAD, MEANINGS, Verdict
from tcpao_fast.text import address_text, endpoint_text

#: Seconds without an answer, behind a SYN, after which that is an event.
SILENCE = 3.0
#: SYNs that are waited for at a time; a flood of them is no reason to remember more.
MOST_SYNS = 4096
#: Sessions that are remembered; the one that was quiet for longest goes first.
MOST_SESSIONS = 65536
#: Good segments after which what a handshake proves is known.
_YOUNG = 8
_BAD = np.array(sorted(BAD), np.uint8)
_GOOD = np.array([Verdict.good, Verdict.md5_good], np.uint8)
_SYN, _ACK = 0x02, 0x10

Emit = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Session:
    """A connection on which a MAC was good.

    Attributes
    ----------
    client, server : (str, int)
    vrf : int
    counts : dict of str to int
        Verdicts of its segments.
    segments : int
    keys : dict of str to int
        The key of the last good segment of ``client`` and ``server``, an index into `Engine.keys`.
    last : float
        Seconds, by the clock of whoever feeds it, of its last segment.
    finding : str or None
        What was last found out about what is wrong.
    """

    client: tuple[str, int]
    server: tuple[str, int]
    vrf: int
    counts: dict[str, int] = field(default_factory=dict)
    segments: int = 0
    keys: dict[str, int] = field(default_factory=dict)
    last: float = 0.0
    finding: str | None = None

    @property
    def name(self) -> str:
        """Client and server as text."""
        return f"{endpoint_text(*self.client)} -> {endpoint_text(*self.server)}"


class Sessions:
    """Follows sessions, and emits an event for what happens on them.

    Events are dicts of plain JSON types: ``event`` (``session_up``, ``key_change``, ``bad``,
    ``silence``), ``time`` (UTC), and what is known: ``client``, ``server``, ``vrf``, ``key``,
    ``verdict``, ``reason``.

    Parameters
    ----------
    engine : Engine
    emit : callable
        Gets each event.
    clock : callable
        Seconds, as they pass.

    Attributes
    ----------
    sessions : dict of int to Session
        By the number of the connection.
    changes : int
        Counts up with each session that comes up and each key that changes: what is worth keeping.
    """

    def __init__(self, engine: Engine, emit: Emit, clock: Callable[[], float] = time.monotonic):
        self._engine = engine
        self._emit = emit
        self._clock = clock
        self.sessions: dict[int, Session] = {}
        self.changes = 0
        self._bad: dict[tuple[Any, ...], int] = {}
        self._syns: dict[tuple[Any, ...], float] = {}

    def add(self, result: VerifyResult, *, both_ways: bool = True) -> None:
        """Some consecutive records with their verdicts.

        `both_ways`: whether both directions are among them, and with them the answers to SYNs;
        else `await_answer` says to whom an answer is due.
        """
        if not len(result.verdict):
            return
        now = self._clock()
        good = np.isin(result.verdict, _GOOD)
        if good.any():
            self._note_good(result, good, now)
        bad = np.isin(result.verdict, _BAD)
        if bad.any():
            self._note_bad(result, np.flatnonzero(bad), now)
        if both_ways or self._syns:
            self._watch_syns(result, now, both_ways)

    def _note_good(self, result: VerifyResult, good: Any, now: float) -> None:
        numbers = result.connection[good]
        unknown = {int(one) for one in np.unique(numbers)} - self.sessions.keys()
        if unknown:
            self._begin(unknown, now)
        keys = result.key[good]
        pairs, where = np.unique(np.stack([numbers, keys]), axis=1, return_inverse=True)
        counts = np.bincount(where.reshape(-1))
        several = np.bincount(np.unique(pairs[0], return_inverse=True)[1]).max() > 1
        turned: set[int] = set()
        for (number, key), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
            session = self.sessions.get(number)
            if session is None:
                continue
            young = session.segments <= _YOUNG
            session.segments += count
            session.last = now
            name = "md5_good" if self._engine.keys[key].is_tcp_md5 else "good"
            session.counts[name] = session.counts.get(name, 0) + count
            # what its handshake proves is soon there, and worth keeping
            self.changes += young
            if set(session.keys.values()) != {key} or several or young:
                turned.add(number)
        if turned:
            rows = np.flatnonzero(good)
            self._note_keys(result, rows[np.isin(numbers, list(turned))])

    def _begin(self, numbers: set[int], now: float) -> None:
        for number, state in self._engine.connection_states(min(numbers), only=numbers):
            session = Session(state.client, state.server, state.vrf)
            self.sessions[number] = session
            session.last = now
            self.changes += 1
            self._say("session_up", session)
        while len(self.sessions) > MOST_SESSIONS:
            quiet = min(self.sessions, key=lambda one: self.sessions[one].last)
            del self.sessions[quiet]

    def _note_keys(self, result: VerifyResult, rows: Any) -> None:
        """The keys that these good segments were signed with, in their order."""
        segments = result.segments
        for row in rows.tolist():
            session = self.sessions.get(int(result.connection[row]))
            if session is None:
                continue
            source, _ = _ends_of(segments[row])
            side = "server" if source == session.server else "client"
            key = int(result.key[row])
            before = session.keys.get(side, key)
            session.keys[side] = key
            if before == key:
                continue
            self.changes += 1
            self._say(
                "key_change",
                session,
                sender=endpoint_text(*source),
                key=self._engine.keys[key].label,
                before=self._engine.keys[before].label,
            )

    def _note_bad(self, result: VerifyResult, rows: Any, now: float) -> None:
        segments = result.segments
        for row in rows.tolist():
            verdict = Verdict(result.verdict[row])
            number = int(result.connection[row])
            session = self.sessions.get(number)
            if session is not None:
                session.counts[verdict.name] = session.counts.get(verdict.name, 0) + 1
                session.segments += 1
                session.last = now
            ends = _ends_of(segments[row])
            of = (verdict, number) if number >= 0 else (verdict, ends[0][0], ends[1])
            known = self._bad.get(of, 0)
            if len(self._bad) < MOST_SESSIONS or known:
                self._bad[of] = known + 1
            if known:
                continue
            key = result.key[row]
            self._emit(
                {
                    "event": "bad",
                    "time": utc_now(),
                    "source": endpoint_text(*ends[0]),
                    "destination": endpoint_text(*ends[1]),
                    "vrf": int(segments[row]["vlan"]),
                    "verdict": verdict.name,
                    "reason": MEANINGS[verdict],
                    "key": self._engine.keys[key].label if key >= 0 else None,
                    "number": int(result.records.numbers[row]),
                }
            )

    def await_answer(self, client: tuple[str, int], server: tuple[str, int]) -> None:
        """A signed SYN goes from one to the other."""
        if len(self._syns) < MOST_SYNS:
            self._syns.setdefault((client, server), self._clock())

    def _watch_syns(self, result: VerifyResult, now: float, both_ways: bool) -> None:
        """SYNs with a key that nobody answers."""
        segments = result.segments
        flags = segments["flags"]
        syns = ((flags & (_SYN | _ACK)) == _SYN) & (segments["kind"] == 1) & (result.key >= 0)
        if both_ways and syns.any():
            for row in np.flatnonzero(syns).tolist():
                self.await_answer(*_ends_of(segments[row]))
        if not self._syns:
            return
        for row in np.flatnonzero((segments["kind"] == 1) & (flags & _ACK != 0)).tolist():
            source, destination = _ends_of(segments[row])
            self._syns.pop((destination, source), None)

    def tick(self) -> None:
        """Time has passed: who did not answer."""
        now = self._clock()
        for ends, since in list(self._syns.items()):
            if now - since < SILENCE:
                continue
            del self._syns[ends]
            self._emit(
                {
                    "event": "silence",
                    "time": utc_now(),
                    "client": endpoint_text(*ends[0]),
                    "server": endpoint_text(*ends[1]),
                    "reason": f"no answer to a signed SYN for {SILENCE:.0f} seconds: the peer "
                    "drops what it cannot verify without a word, or is not reached",
                }
            )

    def tell(self, client: tuple[str, int], server: tuple[str, int], finding: str) -> None:
        """Note what was found out about a session."""
        for session in list(self.sessions.values()):
            if {session.client, session.server} == {client, server}:
                session.finding = finding

    def _say(self, event: str, session: Session, **more: Any) -> None:
        self._emit(
            {
                "event": event,
                "time": utc_now(),
                "client": endpoint_text(*session.client),
                "server": endpoint_text(*session.server),
                "vrf": session.vrf,
                **more,
            }
        )

    def renumber(self, before: Sequence[Any], after: Sequence[Any]) -> None:
        """The engine's keys are others: keys keep their numbers by what they are called."""
        places = {key.label: number for number, key in enumerate(after)}
        for session in self.sessions.values():
            session.keys = {
                side: places[before[key].label]
                for side, key in session.keys.items()
                if before[key].label in places
            }

    def __iter__(self) -> Iterator[Session]:
        return iter(self.sessions.values())


def _ends_of(row: Any) -> tuple[tuple[str, int], tuple[str, int]]:
    size = 16 if row["version"] == 6 else 4
    source, destination = (
        address_text(row[name][:size].tobytes()) for name in ("source", "destination")
    )
    return (source, int(row["source_port"])), (destination, int(row["destination_port"]))


def utc_now() -> str:
    """The time as events have it."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_line(event: dict[str, Any]) -> str:
    """An event as a line of JSON."""
    return json.dumps(event)
