"""What `diagnose` says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from tcpao_fast.diagnose.evidence import ConnectionEvidence, Sample
from tcpao_fast.diagnose.finding import Finding, Rank
from tcpao_fast.diagnose.fragments import Fragments
from tcpao_fast.diagnose.observations import (
    OBSERVATIONS,
    Observation,
    larger_than_mss,
)
from tcpao_fast.diagnose.secret_search import OpenSide, SecretMatch, SecretSearch
from tcpao_fast.diagnose.solve import Solution, Solver
from tcpao_fast.diagnose.unexplained import (
    NOT_DEEP,
    Unexplained,
    depth_of,
    no_key,
    no_secret,
)
from tcpao_fast.engine.verdicts import BAD, GOOD, Verdict
from tcpao_fast.keys import MasterKey
from tcpao_fast.text import counted, endpoint_text

#: Packet numbers that a finding names.
PACKETS = 8
#: How likely a solution may be a coincidence.
CHANCE = 1e-3
_TRIED = (Verdict.bad_mac, Verdict.key_not_found, Verdict.md5_bad)
_UNCHECKED = Verdict.md5_unchecked


def findings_of(
    evidence: Sequence[ConnectionEvidence],
    keys: Sequence[MasterKey],
    fragments: Fragments | None = None,
    search: Callable[[Sequence[OpenSide]], SecretSearch] | None = None,
) -> list[Finding]:
    """Everything that is found of connections, and of fragments without one; worst first.

    Parameters
    ----------
    evidence : sequence of ConnectionEvidence
    keys : sequence of MasterKey
        Those of the engine that the evidence is from.
    fragments : Fragments, optional
    search : callable, optional
        Given the sides whose MACs nothing gives, looks for their secrets.
    """
    solver = Solver(keys)
    explained = [_explain(connection, solver) for connection in evidence]
    if search is not None:
        result = search([side for told in explained for side in _sides(told, solver)])
        for told in explained:
            _use(told, result)
    found = _joined([one for told in explained for one in _told(told, solver)])
    if fragments is not None:
        found.append(_of_fragments(fragments))
    found.sort(key=lambda one: (one.rank, -sum(one.counts.values()), one.packets[:1]))
    return found


#: What differs from one connection to the next though the reason is the same.
_HOW_FAR = re.compile(
    r"none of \d+ interpretations of the key file produces them|#\d+"
    r"|\b[\d,]+ (?:signed )?segments?(?: stands?| was| were| from there (?:is|are) good)?"
    r"|\b[\d,]+ (?:times?|before ha(?:s|ve))|up to \d+ bytes|" + NOT_DEEP
)


def _joined(findings: Sequence[Finding]) -> list[Finding]:
    """Findings that say the same of one client address and one server are one: a session that is
    tried again and again has a new port each time.
    """
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for one in findings:
        said = one.sentence.replace(endpoint_text(*one.client), "CLIENT")
        said = _HOW_FAR.sub("", said)
        place = one.client[0], one.server, one.vrf
        groups.setdefault((place, one.reason, said, one.rank, *one.counts), []).append(one)
    return [group[0] if len(group) == 1 else _join(group) for group in groups.values()]


def _join(group: list[Finding]) -> Finding:
    first = max(group, key=lambda one: (one.tried, -one.packets[0] if one.packets else 0))
    counts: Counter[str] = Counter()
    for one in group:
        counts.update(one.counts)
    client = endpoint_text(*first.client)
    ports = sorted(one.client[1] for one in group)
    sentence = (
        f"{len(group)} connections from ports {ports[0]} to {ports[-1]}, for example "
        f"{client}: {first.sentence[:1].lower()}{first.sentence[1:]}"
    )
    return replace(
        first,
        sentence=sentence,
        counts=dict(counts),
        packets=tuple(sorted({number for one in group for number in one.packets}))[:PACKETS],
        tried=sum(one.tried for one in group),
        others=tuple(one.client for one in group if one is not first),
    )


@dataclass(slots=True)
class _Explained:
    """What explains the segments of one connection that were kept: each once, by the first that
    can: what needs no MAC, then a way in which the MAC was made, then what its length makes
    likely, then nothing.
    """

    connection: ConnectionEvidence
    observations: list[Observation]
    groups: dict[str, list[tuple[int, Solution, list[Sample]]]] = field(default_factory=dict)
    merged: list[tuple[int, Observation, list[Sample]]] = field(default_factory=list)
    unsolved: list[tuple[int, list[Sample]]] = field(default_factory=list)
    #: Segments that could not be checked, and whose MAC was not found out.
    unchecked: list[tuple[int, list[Sample]]] = field(default_factory=list)
    #: What could not be checked is made with a key all the same: that says more.
    solved_anyway: set[tuple[int, Verdict]] = field(default_factory=set)
    tried: int = 0

    @property
    def seen(self) -> set[int]:
        """Numbers of the segments that observations explain."""
        return {number for one in self.observations if one.certain for number in one.packets}

    def solve(self, side: int, solution: Solution, of: list[Sample]) -> None:
        """Note how the MACs of some segments were made."""
        self.groups.setdefault(solution.reason, []).append((side, solution, of))
        if any(one.verdict is _UNCHECKED for one in of):
            self.solved_anyway.add((side, _UNCHECKED))


def _explain(connection: ConnectionEvidence, solver: Solver) -> _Explained:
    """Look for an explanation of every segment that was kept."""
    told = _Explained(connection, _observations(connection, solver.keys))
    explained = {pair for one in told.observations for pair in one.explains}
    seen = told.seen
    before = solver.tried
    for side in (0, 1):
        samples = [
            one
            for one in connection.samples
            if one.direction == side
            and (
                one.verdict is _UNCHECKED
                or (
                    _is_tried(connection, one)
                    and (side, one.verdict) not in explained
                    and one.number not in seen
                )
            )
        ]
        solved, left = _solved(samples, connection, solver)
        for solution, of in solved:
            told.solve(side, solution, of)
        unchecked = [one for one in left if one.verdict is _UNCHECKED]
        if unchecked:
            told.unchecked.append((side, unchecked))
        left = [one for one in left if one.verdict is not _UNCHECKED]
        for observation in larger_than_mss(connection, solver.keys):
            of = [one for one in left if one.number in observation.packets]
            left = [one for one in left if one not in of]
            if of:
                told.merged.append((side, observation, of))
        if left:
            told.unsolved.append((side, left))
    told.tried = solver.tried - before
    return told


def _sides(told: _Explained, solver: Solver) -> Iterator[OpenSide]:
    """The sides whose MACs nothing gives, to look for their secret elsewhere."""
    for side in (0, 1):
        left = [one for at, of in (*told.unsolved, *told.unchecked) if at == side for one in of]
        if left:
            key = next((solver.keys[one.key] for one in left if one.key >= 0), None)
            yield OpenSide(told.connection, side, left, key)


def _use(told: _Explained, search: SecretSearch) -> None:
    """Take what a search found for explained."""
    told.unsolved = [rest for one in told.unsolved if (rest := _rest(told, *one, search))[1]]
    told.unchecked = [rest for one in told.unchecked if (rest := _rest(told, *one, search))[1]]


def _rest(
    told: _Explained, side: int, of: list[Sample], search: SecretSearch
) -> tuple[int, list[Sample]]:
    """The segments of a side whose secret was not found; the others are noted."""
    for match in search.found.get((told.connection.id, side), ()):
        fits = [one for one in of if one.number in match.packets]
        of = [one for one in of if one.number not in match.packets]
        if fits:
            told.solve(side, _by_line(match, search), fits)
    return side, of


def _by_line(match: SecretMatch, search: SecretSearch) -> Solution:
    """What it means that a line's secret gives the MACs."""
    if match.algorithm == "tcp-md5":
        kind, how = "digests", "TCP-MD5"
    else:
        kind, how = "MACs", match.algorithm
        if match.exclude_options is not None:
            how += f", TCP options {'excluded' if match.exclude_options else 'covered'}"
    shown = f" ({match.secret!r})" if search.show_secrets else ""
    return Solution(
        "wrong_secret",
        f"their {kind} are those of the secret on line {match.line} of {search.name}{shown} "
        f"({how})",
        "configure this secret on both sides, or another one on both",
    )


def _told(told: _Explained, solver: Solver) -> list[Finding]:
    """What is to be said of a connection."""
    connection = told.connection
    # where one direction has several reasons, each is counted by the segments that were looked at
    by_reason = [[(side, of) for side, _, of in parts] for parts in told.groups.values()]
    reasons = Counter(
        pair
        for parts in (*by_reason, [(side, of) for side, _, of in told.merged], told.unsolved)
        for pair in {(side, one.verdict) for side, of in parts for one in of}
    )
    crowded = {pair for pair, number in reasons.items() if number > 1}
    seen = told.seen
    crowded |= {(one.direction, one.verdict) for one in connection.samples if one.number in seen}
    found = [
        _observed(connection, one)
        for one in told.observations
        if not one.explains or not one.explains <= told.solved_anyway
    ]
    for side, observation, of in told.merged:
        counts = _counts(connection, [(side, of)], crowded)
        numbers = tuple(one.number for one in of)
        found.append(_observed(connection, replace(observation, counts=counts, packets=numbers)))
    found += [
        _grouped(connection, reason, parts, told.tried, crowded)
        for reason, parts in told.groups.items()
    ]
    if told.unsolved:
        found += _unsolved(connection, told.unsolved, solver, told.tried, crowded)
    return found


def _of_fragments(fragments: Fragments) -> Finding:
    """Datagrams whose ports are not known, as parts of them are missing."""
    (source, destination), *others = fragments.hosts
    count = fragments.incomplete
    pairs = counted(len(others), "other pair of hosts", "other pairs of hosts")
    more = f" and between {pairs}" if others else ""
    return Finding(
        (source, 0),
        (destination, 0),
        0,
        "truncated",
        f"{counted(count, 'IP datagram')} with TCP could not be reassembled, as fragments are "
        f"missing: fragments were captured from {source} to {destination}{more}.",
        "capture all fragments (a filter on ports matches only the first of each datagram), or "
        "avoid fragmentation",
        {Verdict.truncated.name: count},
        fragments.packets,
        0,
        Rank.undecided,
    )


def _observations(connection: ConnectionEvidence, keys: tuple[MasterKey, ...]) -> list[Observation]:
    """What needs no MAC, without what speaks of segments that are explained already."""
    found: list[Observation] = []
    seen: set[int] = set()
    for look in OBSERVATIONS:
        for one in look(connection, keys):
            if one.packets and seen.issuperset(one.packets):
                continue
            found.append(one)
            if one.certain:
                seen.update(one.packets)
    return found


def _is_tried(connection: ConnectionEvidence, one: Sample) -> bool:
    """Whether a segment is worth trying: also one whose ISNs only a SYN-ACK says."""
    return one.verdict in _TRIED or connection.is_supposed(one)


def _solved(
    samples: list[Sample], connection: ConnectionEvidence, solver: Solver
) -> tuple[list[tuple[Solution, list[Sample]]], list[Sample]]:
    """Solutions with the samples that each explains, and the samples that none does."""
    fits: dict[tuple[str, str], tuple[Solution, list[Sample]]] = {}
    before = solver.tried
    for sample in samples:
        for solution in solver.solve(sample, connection):
            entry = fits.setdefault((solution.reason, solution.what), (solution, []))
            entry[1].append(sample)
    solved: list[tuple[Solution, list[Sample]]] = []
    left = list(samples)
    # what explains most first; short MACs fit by chance, so that one alone proves little
    for solution, of in sorted(fits.values(), key=lambda one: -len(one[1])):
        fresh = [one for one in of if one in left]
        proof = sum(len(one.segment.mac) for one in of)
        if fresh and (solver.tried - before) * 256.0**-proof < CHANCE:
            solved.append((solution, fresh))
            left = [one for one in left if one not in fresh]
    return solved, left


def _finding(
    connection: ConnectionEvidence,
    reason: str,
    sentence: str,
    advice: str,
    counts: dict[str, int],
    packets: Sequence[int],
    tried: int = 0,
) -> Finding:
    client = connection.client
    bad = any(name in counts for name in (v.name for v in BAD))
    good = set(counts) <= {verdict.name for verdict in GOOD}
    return Finding(
        connection.ends[client],
        connection.ends[1 - client],
        connection.vrf,
        reason,
        sentence + ("" if sentence.endswith(".") else "."),
        advice,
        counts,
        tuple(sorted(set(packets)))[:PACKETS],
        tried,
        Rank.remark if good else Rank.bad if bad else Rank.undecided,
    )


def _observed(connection: ConnectionEvidence, one: Observation) -> Finding:
    what = one.what if one.what[:1] in "[0123456789" else one.what[:1].upper() + one.what[1:]
    return _finding(connection, one.reason, what, one.advice, one.counts, one.packets)


def _counts(
    connection: ConnectionEvidence,
    parts: Sequence[tuple[int, Sequence[Sample]]],
    crowded: set[tuple[int, Verdict]],
) -> dict[str, int]:
    """How many segments have the verdicts of the samples, in their directions."""
    counts: dict[str, int] = {}
    seen = Counter((side, one.verdict) for side, of in parts for one in of)
    for (side, verdict), number in seen.items():
        total = number if (side, verdict) in crowded else int(connection.counts[side, verdict])
        counts[verdict.name] = counts.get(verdict.name, 0) + total
    return counts


def _grouped(
    connection: ConnectionEvidence,
    reason: str,
    parts: list[tuple[int, Solution, list[Sample]]],
    tried: int,
    crowded: set[tuple[int, Verdict]],
) -> Finding:
    """One finding for all that has one reason: what, by direction, joined where it is the same."""
    clauses: dict[str, list[int]] = {}
    for side, solution, _ in parts:
        clauses.setdefault(solution.what, []).append(side)
    sentences = []
    for what, sides in clauses.items():
        who = "in both directions" if len(set(sides)) == 2 else f"from {connection.text(sides[0])}"
        sentences.append(f"segments {who}: {what}")
    sentence = "; ".join(sentences)
    advice = "; ".join(dict.fromkeys(solution.advice for _, solution, _ in parts))
    samples = [(side, of) for side, _, of in parts]
    return _finding(
        connection,
        reason,
        sentence[:1].upper() + sentence[1:],
        advice,
        _counts(connection, samples, crowded),
        [one.number for _, of in samples for one in of],
        tried,
    )


def _unsolved(
    connection: ConnectionEvidence,
    unsolved: list[tuple[int, list[Sample]]],
    solver: Solver,
    tried: int,
    crowded: set[tuple[int, Verdict]],
) -> list[Finding]:
    """Segments whose MACs nothing explains."""
    found = []
    for verdict in (*_TRIED, Verdict.missing_isn):
        parts = [(side, [one for one in of if one.verdict is verdict]) for side, of in unsolved]
        parts = [(side, of) for side, of in parts if of]
        if not parts:
            continue
        depth = depth_of(connection, parts, solver, tried)
        case = Unexplained(connection, parts, solver.keys, depth, tried)
        describe = no_key if verdict is Verdict.key_not_found else no_secret
        reason, sentence, advice = describe(case)
        counts = _counts(connection, parts, crowded)
        numbers = [one.number for one in case.samples]
        found.append(_finding(connection, reason, sentence, advice, counts, numbers, tried))
    return found
