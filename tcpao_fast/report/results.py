"""What was found in captures, or done with them: counts, by connection, and exit statuses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tcpao_fast.capture.reader import (
    CHUNK_RECORDS,
)
from tcpao_fast.core.flow.tally import NOTHING_BAD, Tally
from tcpao_fast.core.wire.arrow_table import ArrowTable
from tcpao_fast.diagnose.finding import Finding, Rank
from tcpao_fast.engine import Engine, VerifyResult
from tcpao_fast.engine.columns import Column
from tcpao_fast.engine.state import ConnectionState
from tcpao_fast.engine.verdicts import BAD, GOOD, SEGMENT_VERDICTS, UNDECIDED, Verdict
from tcpao_fast.errors import CaptureError
from tcpao_fast.text import endpoint_text, utc_text

if TYPE_CHECKING:
    from tcpao_fast.diagnose.isn_search import SearchReport
    from tcpao_fast.diagnose.secret_search import SecretSearch

_TIMES = ("first", "last", "first_bad")
_NAMES = [verdict.name for verdict in Verdict]


@dataclass(frozen=True, slots=True)
class Times:
    """When segments were captured, in nanoseconds since 1970; None where that is not known.

    Attributes
    ----------
    first, last : int or None
        The first and the last segment.
    first_bad : int or None
        The first with a verdict of `tcpao_fast.engine.verdicts.BAD`.
    """

    first: int | None = None
    last: int | None = None
    first_bad: int | None = None

    @classmethod
    def of(cls, times: Sequence[int]) -> Times:
        """Times of which negative ones are not known.

        Parameters
        ----------
        times : three of int

        Returns
        -------
        Times
        """
        return cls(*(None if one < 0 else one for one in times))

    def joined(self, other: Times) -> Times:
        """The times of both together.

        Parameters
        ----------
        other : Times

        Returns
        -------
        Times
        """

        def pick(choose: Any, *values: int | None) -> int | None:
            return choose((one for one in values if one is not None), default=None)  # type: ignore[no-any-return]

        return Times(
            pick(min, self.first, other.first),
            pick(max, self.last, other.last),
            pick(min, self.first_bad, other.first_bad),
        )

    def as_dict(self) -> dict[str, str | None]:
        """The form in ``--json``: ISO 8601, UTC.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        return {
            name: None if value is None else utc_text(value)
            for name, value in (
                ("first", self.first), ("last", self.last), ("first_bad", self.first_bad)
            )
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class ConnectionReport:
    """What was found of one connection.

    Attributes
    ----------
    id : int
        As in `VerifyResult.connection`.
    client, server : (str, int)
        Address and port; the client sent the SYN (without one: the side with the higher port).
    vrf : int
        VLAN ID; 0 without.
    counts : dict of str to int
        How many segments got each verdict; those that occur.
    keys : tuple of str
        Labels of the keys that good segments carried.
    sne : dict of str to (int or None)
        The SNE that each side has reached; None where nothing was proved.
    first_bad : int or None
        The first record, as Wireshark counts (from 1, through all captures), with a verdict of
        `tcpao_fast.engine.verdicts.BAD`.
    times : Times
    """

    id: int
    client: tuple[str, int]
    server: tuple[str, int]
    vrf: int
    counts: dict[str, int]
    keys: tuple[str, ...]
    sne: dict[str, int | None]
    first_bad: int | None
    times: Times = Times()

    def as_dict(self) -> dict[str, Any]:
        """The form of ``tcpao verify --json``.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        return {
            "client": endpoint_text(*self.client),
            "server": endpoint_text(*self.server),
            "vrf": self.vrf,
            "verdicts": self.counts,
            "keys": list(self.keys),
            "sne": self.sne,
            "first_bad": self.first_bad,
            "times": self.times.as_dict(),
        }


def exit_status_of(counts: Mapping[str, int]) -> int:
    """0 everything signed is good, 1 something is bad, 3 undecided or nothing was signed."""
    if any(counts[one.name] for one in BAD):
        return 1
    if any(counts[one.name] for one in UNDECIDED):
        return 3
    return 0 if any(counts[one.name] for one in GOOD) else 3


def exit_status_with(status: int, damaged: int) -> int:
    """An exit status, where captures were damaged: 4, unless something is bad."""
    return 4 if damaged and status in (0, 3) else status


def damage_as_dict(damage: Sequence[CaptureError]) -> dict[str, Any]:
    """Where captures are damaged, as a field of ``--json``; none where none is.

    Returns
    -------
    dict
    """
    return {} if not damage else {"damage": [one.as_dict() for one in damage]}


class ConnectionReports(Sequence[ConnectionReport]):
    """Reports of connections: a sequence of `ConnectionReport`, and a table for Arrow."""

    def __init__(self, reports: Iterable[ConnectionReport] = ()) -> None:
        self._reports = list(reports)

    @overload
    def __getitem__(self, index: int) -> ConnectionReport: ...
    @overload
    def __getitem__(self, index: slice) -> list[ConnectionReport]: ...
    def __getitem__(self, index: int | slice) -> ConnectionReport | list[ConnectionReport]:
        return self._reports[index]

    def __len__(self) -> int:
        return len(self._reports)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ConnectionReports):
            other = other._reports
        return self._reports == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self._reports)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A row a connection, for whatever reads Arrow: ends, a column a verdict, ``keys``,
        ``client_sne``, ``server_sne``, ``first_bad``, ``first_time``, ``last_time``,
        ``first_bad_time``.
        """
        return _connection_table(self).__arrow_c_stream__(requested_schema)


def _connection_table(reports: Sequence[ConnectionReport]) -> ArrowTable:
    def numbers(values: Iterable[int | None]) -> Column:
        found = list(values)
        there = np.array([one is not None for one in found], bool)
        return np.array([one or 0 for one in found], np.int64), there, None

    def texts(values: Iterable[str]) -> Column:
        found = list(values)
        known = list(dict.fromkeys(found))
        places = {text: i for i, text in enumerate(known)}
        return np.array([places[one] for one in found], np.int32), None, known

    columns: dict[str, Column] = {"id": numbers(one.id for one in reports)}
    for name in ("client", "server"):
        columns[name] = texts(getattr(one, name)[0] for one in reports)
        columns[f"{name}_port"] = numbers(getattr(one, name)[1] for one in reports)
    columns["vrf"] = numbers(one.vrf for one in reports)
    for verdict in SEGMENT_VERDICTS:
        columns[verdict.name] = numbers(one.counts.get(verdict.name, 0) for one in reports)
    columns["keys"] = texts(", ".join(one.keys) for one in reports)
    for name in ("client", "server"):
        columns[f"{name}_sne"] = numbers(one.sne[name] for one in reports)
    columns["first_bad"] = numbers(one.first_bad for one in reports)
    for name in _TIMES:
        columns[f"{name}_time"] = numbers(getattr(one.times, name) for one in reports)
    return ArrowTable(columns, tuple(f"{name}_time" for name in _TIMES))


#: Damaged places that are kept.
MOST_DAMAGE = 1000
#: Connections that are reported one by one.
MOST_REPORTED = 40_000


@dataclass(frozen=True, slots=True)
class OtherConnections:
    """Connections that are not reported one by one, all together: there were more than are.

    Those without a good segment are the first that are not.

    Attributes
    ----------
    connections : int
        How many; one that was forgotten and came back counts again.
    counts : dict of str to int
        How many of their segments got each verdict; those that occur.
    first_bad : int or None
        As in `ConnectionReport`.
    times : Times
    """

    connections: int
    counts: dict[str, int]
    first_bad: int | None
    times: Times = Times()

    def as_dict(self) -> dict[str, Any]:
        """The form of ``tcpao verify --json``.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        return {
            "connections": self.connections,
            "verdicts": self.counts,
            "first_bad": self.first_bad,
            "times": self.times.as_dict(),
        }


@dataclass(slots=True)
class CaptureReport:
    """What was found in one or several captures.

    Attributes
    ----------
    captures : list of str
        The files.
    records, segments, signed : int
        Records read; TCP segments among them; segments with a (sound) TCP-AO option.
    counts : dict of str to int
        How many segments got each verdict; all names are there.
    connections : sequence of ConnectionReport
        In the order in which they were first seen, up to `MOST_REPORTED` (and ``max_connections``).
        Built when it is asked for.
    others : OtherConnections or None
        What was found of all other connections.
    search : SearchReport or None
        What came of ``search_isn``.
    warnings : list of str
        What was not as it should be and did not end the run.
    damage : list of CaptureError
        Where captures are damaged or cannot be read: the first `MOST_DAMAGE` of `damaged` places.
    unread : dict of int to int
        How many records have each link type that is not supported.
    """

    captures: list[str] = field(default_factory=list)
    records: int = 0
    segments: int = 0
    signed: int = 0
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys((v.name for v in SEGMENT_VERDICTS), 0)
    )
    search: SearchReport | None = None
    warnings: list[str] = field(default_factory=list)
    unread: dict[int, int] = field(default_factory=dict)
    damage: list[CaptureError] = field(default_factory=list)
    damaged: int = 0
    _tally: ConnectionTally | None = field(default=None, repr=False)
    _built: tuple[ConnectionReports, OtherConnections | None] | None = field(
        default=None, repr=False
    )

    def _build(self) -> tuple[ConnectionReports, OtherConnections | None]:
        if self._built is None:  # many want the counts alone
            found, others = ([], None) if self._tally is None else self._tally.report()
            self._built = ConnectionReports(found), others
            self._tally = None
        return self._built

    @property
    def connections(self) -> ConnectionReports:
        """What was found of each connection."""
        return self._build()[0]

    @property
    def times(self) -> Times:
        """When segments were captured, of all connections."""
        found = Times() if self.others is None else self.others.times
        for one in self.connections:
            found = found.joined(one.times)
        return found

    @property
    def others(self) -> OtherConnections | None:
        """What was found of those that are not reported one by one."""
        return self._build()[1]

    def note_damage(self, error: CaptureError) -> None:
        """Reading goes on in spite of it.

        Parameters
        ----------
        error : CaptureError
        """
        self.damaged += 1
        if len(self.damage) < MOST_DAMAGE:
            self.damage.append(error)

    def unread_texts(self) -> list[str]:
        """A line for each link type that is not supported.

        Returns
        -------
        list of str
        """
        return [
            f"{count} record{'s' * (count != 1)} of link type {linktype}"
            f"{f' ({OTHER_LINK_TYPES[linktype]})' if linktype in OTHER_LINK_TYPES else ''} "
            "not read: the link type is not supported"
            for linktype, count in sorted(self.unread.items())
        ]

    def unread_as_list(self) -> list[dict[str, Any]]:
        """The same in plain JSON types.

        Returns
        -------
        list of dict
        """
        return [
            {"linktype": linktype, "name": OTHER_LINK_TYPES.get(linktype), "records": count}
            for linktype, count in sorted(self.unread.items())
        ]

    @property
    def exit_status(self) -> int:
        """0 everything signed is good, 1 something is bad, 3 undecided or nothing was signed, 4
        nothing is bad, but a capture is damaged.
        """
        return exit_status_with(exit_status_of(self.counts), self.damaged)

    def as_dict(self) -> dict[str, Any]:
        """The object that ``tcpao verify --json`` prints.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        found: dict[str, Any] = {} if self.search is None else {"search": self.search.as_dict()}
        return {
            "captures": self.captures,
            "records": self.records,
            "segments": self.segments,
            "signed": self.signed,
            "verdicts": self.counts,
            "times": self.times.as_dict(),
            **({} if not self.unread else {"unread": self.unread_as_list()}),
            **damage_as_dict(self.damage),
            "connections": [connection.as_dict() for connection in self.connections],
            **({} if self.others is None else {"others": self.others.as_dict()}),
            **found,
        }


#: Link types that are met and not supported, by name (https://www.tcpdump.org/linktypes.html).
OTHER_LINK_TYPES = {
    6: "Token Ring",
    105: "802.11",
    117: "OpenBSD pflog",
    119: "802.11 with a Prism header",
    127: "802.11 with a radiotap header",
    130: "Juniper ML PPP",
    137: "Juniper ATM",
    183: "Juniper VP",
    189: "USB",
    195: "802.15.4",
    227: "CAN",
    253: "Netlink",
    266: "Juniper VS",
}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in the middle of captures.

    Attributes
    ----------
    report : CaptureReport or None
        What was found before it.
    """

    report: CaptureReport | None = None


class ConnectionTally:
    """Adds up chunks by connection, in memory that does not grow beyond its limit."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tally = Tally(BAD, MOST_REPORTED)
        self._labels = [key.label for key in engine.keys]
        self._noted: dict[int, ConnectionState] = {}
        self._known = 0  # proved connections below this number are noted
        self._safe = engine.max_connections // engine.threads - 2 * CHUNK_RECORDS

    def add(self, result: VerifyResult) -> None:
        """Count the segments of some records."""
        records = result.records
        numbers = records.numbers
        if records.preceding:
            numbers = numbers + records.preceding
        self.tally.add(numbers, result.connection, result.verdict, result.key, records.timestamps)
        top = int(result.connection.max(initial=-1)) + 1
        if top > max(self._known, self._safe) and len(self._noted) < MOST_REPORTED:
            # the engine may soon forget some: note who they are while it surely remembers
            self._noted.update(self.engine.connection_states(self._known, proved=True))
            self._known = top

    def report(self) -> tuple[list[ConnectionReport], OtherConnections | None]:
        """The reports, and what is known of all others together."""
        ids, counts, first_bad, keys, times = self.tally.rows()
        other_counts, other_first, other_times = self.tally.others()
        their_times = Times.of(other_times.tolist())
        others = self.tally.other_connections
        states = self._noted
        states.update(self.engine.connection_states(only=set(ids.tolist())))
        found = []
        for number, its_counts, its_first, its_keys, its_times in zip(
            ids.tolist(), counts.tolist(), first_bad.tolist(), keys, times.tolist(), strict=True
        ):
            state = states.pop(number, None)
            if state is None:  # the engine has forgotten who it was
                others += 1
                other_counts = other_counts + np.array(its_counts)
                other_first = min(other_first, its_first)
                their_times = their_times.joined(Times.of(its_times))
                continue
            live = state.live
            found.append(
                ConnectionReport(
                    id=number,
                    client=state.client,
                    server=state.server,
                    vrf=state.vrf,
                    counts=named_verdicts(its_counts),
                    keys=tuple(self._labels[i] for i in sorted(its_keys)),
                    sne={
                        "client": None if live is None else live.client.sne,
                        "server": None if live is None else live.server.sne,
                    },
                    first_bad=None if its_first == NOTHING_BAD else its_first,
                    times=Times.of(its_times),
                )
            )
        if not others:
            return found, None
        first = None if other_first == NOTHING_BAD else other_first
        return found, OtherConnections(
            others, named_verdicts(other_counts.tolist()), first, their_times
        )


def named_verdicts(counts: Iterable[int]) -> dict[str, int]:
    """Counts by verdict, those that occur, with their names."""
    return {name: count for name, count in zip(_NAMES, counts, strict=True) if count}


@dataclass(frozen=True, slots=True)
class RewriteReport:
    """What became of the records of a capture.

    Attributes
    ----------
    capture, output : str
        The files.
    records : int
        Records read, and written.
    segments : int
        TCP segments among them.
    done : int
        Segments signed, or stripped.
    left : dict of str to int
        Why other segments were left as they were (`SignOutcome` names), and how many.
    action : str
        ``"signed"`` or ``"stripped"``.
    shortened : int or None
        Signed segments that lost other TCP options to make room; None where that was not asked for.
    damage : list of CaptureError
        Where the capture is damaged.
    """

    capture: str
    output: str
    records: int
    segments: int
    done: int
    left: dict[str, int]
    action: str
    shortened: int | None = None
    damage: list[CaptureError] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """0 every segment was signed (stripped: where it had an option), else 3; 4 with damage."""
        left = sum(self.left.values())
        if self.action == "stripped":
            left -= self.left.get("no_option", 0)
        return exit_status_with(0 if self.done and not left else 3, len(self.damage))

    def as_dict(self) -> dict[str, Any]:
        """The object that ``tcpao sign --json`` and ``tcpao strip --json`` print.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        shortened = {} if self.shortened is None else {"shortened": self.shortened}
        return {
            "capture": self.capture,
            "output": self.output,
            "records": self.records,
            "segments": self.segments,
            self.action: self.done,
            "left": self.left,
            **shortened,
            **damage_as_dict(self.damage),
        }


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `diagnose_capture` found.

    Attributes
    ----------
    findings : list of Finding
        Worst first.
    report : CaptureReport
        What `verify_capture` says of the same captures.
    left_out : int
        Connections with segments that are not good, of which nothing was kept to look at (the
        first 2,000 are looked at).
    secrets : SecretSearch or None
        What came of a search among candidates for secrets, if there was one.
    """

    findings: list[Finding]
    report: CaptureReport
    left_out: int
    secrets: SecretSearch | None = None

    @property
    def exit_status(self) -> int:
        """1 a finding, 3 only such that nothing could be decided (4 with damage); without: as of
        `report`.
        """
        if not self.findings:
            return self.report.exit_status
        undecided = all(one.rank is Rank.undecided for one in self.findings)
        return exit_status_with(3 if undecided else 1, self.report.damaged)

    def as_list(self) -> list[dict[str, Any]]:
        """What ``tcpao diagnose --json`` prints.

        Returns
        -------
        list of dict
            A dict a finding, of plain JSON types.
        """
        return [
            {**one.as_dict(), "times": times.as_dict()}
            for one, times in zip(self.findings, self.times, strict=True)
        ]

    @property
    def times(self) -> list[Times]:
        """For each finding, when segments of the connections that it is about were captured."""
        known: dict[Any, Times] = {}
        for one in self.report.connections:
            ends = frozenset((one.client, one.server)), one.vrf
            known[ends] = known.get(ends, Times()).joined(one.times)
        found = []
        for finding in self.findings:
            times = Times()
            for client in (finding.client, *finding.others):
                ends = frozenset((client, finding.server)), finding.vrf
                times = times.joined(known.get(ends, Times()))
            found.append(times)
        return found
