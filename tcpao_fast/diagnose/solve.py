"""Finding out how one segment's MAC was made: hypotheses, alone and then two at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tcpao_fast.diagnose.advice import dialect_of
from tcpao_fast.diagnose.cases import Case, Hypothesis, Variant, macs_of, matches
from tcpao_fast.diagnose.evidence import ConnectionEvidence, Sample
from tcpao_fast.diagnose.hypotheses import COMBINED, DEEP, SINGLE, WIDE
from tcpao_fast.diagnose.hypotheses.key_id import key_id
from tcpao_fast.diagnose.hypotheses.mac_length import mac_length
from tcpao_fast.engine.candidates import Statement, first_sne, fitting, nat_of
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.keys import MasterKey

#: Statements held against a MAC at a time, at first and at most.
FIRST_BATCH, BATCH = 16, 4096
#: Keys that are taken as they are, with one thing changed, and with two.
KEYS, KEYS_SINGLE, KEYS_COMBINED = 64, 4, 2
#: For how many connections a kind of hypothesis is tried: a capture with thousands of bad
#: connections has few reasons for them. Of each it is tried on one segment of a side with SYN, and
#: one without; single ones on the first of a side alone.
BUDGETS = {"single": 200, "combined": 5, "deep": 2, "wide": 1}
#: The first connections for which no reason is found are looked at more closely: so many segments.
THOROUGH = (24, 12)

#: Verdicts that a key gets outside of its accept lifetime.
_UNACCEPTED = (Verdict.key_not_found, Verdict.md5_unchecked, Verdict.md5_bad)
_MD5 = 2
_SYN, _ACK = 2, 16
_MASK = 0xFFFFFFFF

Chain = tuple[Hypothesis, ...]
Try = tuple[Chain, Case, tuple[Variant, ...]]


@dataclass(frozen=True, slots=True)
class Solution:
    """How a segment's MAC was made.

    Attributes
    ----------
    reason, what, advice : str
        As of a `Variant`.
    """

    reason: str
    what: str
    advice: str


class Solver:
    """Tries hypotheses on segments, and remembers which ones were right.

    Parameters
    ----------
    keys : sequence of MasterKey
        Those of the engine whose evidence comes.

    Attributes
    ----------
    tried : int
        Statements held against MACs so far.
    """

    def __init__(self, keys: Sequence[MasterKey]) -> None:
        self.keys = tuple(keys)
        self.tried = 0
        self._proven: list[tuple[Chain, int]] = []  # and on which connection last
        self._spent: dict[str, dict[int, Counter[tuple[int, bool]]]] = {
            kind: {} for kind in BUDGETS
        }

    def solve(
        self, sample: Sample, connection: ConnectionEvidence, isns: Iterable[tuple[int, int]] = ()
    ) -> list[Solution]:
        """Every solution that the first round with any gives; more than one only for short MACs.

        Parameters
        ----------
        sample : Sample
            Whole, and signed.
        connection : ConnectionEvidence
        isns : iterable of (int, int)
            Pairs that are known otherwise, of the connection's ends in their order.
        """
        if not sample.segment.whole or not sample.segment.auth:
            return []
        cases = self._cases(sample, connection, tuple(isns))
        plain = [(case, self._base(case)) for case in cases]
        found = self._round(plain, [()], KEYS)
        if not found:
            found = self._round(plain, self._proven_for(connection), KEYS_SINGLE)
        if not found and self._may("single", sample, connection):
            found = self._round(plain, [(one,) for one in SINGLE], KEYS_SINGLE)
        if not found and self._may("combined", sample, connection):
            pairs = [
                (first, second)
                for number, first in enumerate(COMBINED)
                for second in COMBINED[number + 1 :]
            ]
            found = self._round(plain, pairs, KEYS_COMBINED)
        if not found and self._may("deep", sample, connection):
            found = self._round(plain, [(one,) for one in DEEP], 1)
        if not found and self._may("wide", sample, connection):
            found = self._round(plain, [(one,) for one in WIDE], 1)
        return found

    def _proven_for(self, connection: ConnectionEvidence) -> list[Chain]:
        """What was right before: on the connection as it was, elsewhere no more than is needed."""
        here = [chain for chain, where in self._proven if where == connection.id]
        elsewhere = [chain for chain, where in self._proven if where != connection.id]
        parts = [(one,) for chain in elsewhere for one in chain]
        return [*dict.fromkeys((*here, *parts, *elsewhere))]

    def _may(self, kind: str, sample: Sample, connection: ConnectionEvidence) -> bool:
        """Whether a segment of a connection is still to be tried in this way."""
        spent = self._spent[kind]  # of each connection, in the order in which they came
        if connection.id not in spent and len(spent) >= BUDGETS[kind]:
            return False
        alike = spent.setdefault(connection.id, Counter())
        if kind == "single" and connection.id in [*spent][: THOROUGH[0]]:
            alike[sample.direction, False] += 1
            return alike.total() <= THOROUGH[1]
        sort = sample.direction, kind != "single" and bool(sample.segment.flags & _SYN)
        alike[sort] += 1
        return alike[sort] == 1

    def was_tried(self, connection: ConnectionEvidence) -> bool:
        """Whether every single hypothesis was tried on a connection's segments."""
        return connection.id in self._spent["single"]

    def _cases(
        self, sample: Sample, connection: ConnectionEvidence, isns: tuple[tuple[int, int], ...]
    ) -> list[Case]:
        """A case for each key that may be meant: the one that was tried, those that match, all."""
        md5 = sample.segment.auth == _MD5
        tried = [self.keys[sample.key]] if sample.key >= 0 else []
        of_kind = [key for key in self.keys if key.is_tcp_md5 == md5]
        fitting_ones = [key for key in of_kind if matches(key, sample.segment)]
        ordered = dict.fromkeys(id(key) for key in (*tried, *fitting_ones, *of_kind))
        by_id = {id(key): key for key in self.keys}
        known = isns_of(sample, connection, isns)
        return [
            Case(sample, connection, by_id[number], self.keys, known)
            for number in list(ordered)[:KEYS]
        ]

    def _base(self, case: Case) -> Statement:
        """The key file's word."""
        segment, key = case.sample.segment, case.key
        source, destination = case.isns[0][0], 0 if case.is_syn else case.isns[1][0]
        sne = first_sne(source, segment.seq)
        if case.sample.verdict is Verdict.bad_mac:
            sne = case.sample.sne
        return Statement(
            segment, key.algorithm, key.secret, source, destination, sne,
            key.exclude_options, nat_of(key, segment),
        )  # fmt: skip

    def _round(
        self, plain: list[tuple[Case, Statement]], chains: Sequence[Chain], keys: int
    ) -> list[Solution]:
        """Chains of hypotheses over the first keys, in batches, up to the first that fits."""
        tries = (
            (chain, case, variants)
            for chain in chains
            for case, base in plain[:keys]
            for variants in _applied(chain, case, base)
        )
        mac = plain[0][0].sample.segment.mac if plain else b""
        for batch in _batches(tries):
            self.tried += len(batch)
            fits = fitting(
                [
                    variants[-1].statement if variants else self._base(case)
                    for _, case, variants in batch
                ],
                mac,
            )
            solutions: list[Solution] = []
            found: Chain | None = None
            for at in fits:
                chain, case, variants = batch[at]
                if found in (None, chain):
                    solution = _solution(case, variants)
                    if solution is not None:
                        found = chain
                        solutions.append(solution)
            if solutions:
                if found:
                    before = [one for one in self._proven if one[0] != found]
                    self._proven = [(found, plain[0][0].connection.id), *before][:8]
                return solutions if len(mac) < 6 else solutions[:1]
        return []


def _applied(chain: Chain, case: Case, base: Statement) -> Iterator[tuple[Variant, ...]]:
    """Every way through a chain of hypotheses."""
    if not chain:
        yield ()
        return
    for variant in chain[0](case, base):
        for rest in _applied(chain[1:], case, variant.statement):
            yield (variant, *rest)


def _batches(tries: Iterable[Try]) -> Iterator[list[Try]]:
    """The first few by themselves, as the likeliest come first, then more and more at a time: a
    batch costs as much as a hundred tries.
    """
    size = FIRST_BATCH
    batch: list[Try] = []
    for one in tries:
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
            size = min(size * 16, BATCH)
    if batch:
        yield batch


def _solution(case: Case, variants: tuple[Variant, ...]) -> Solution | None:
    """What fitting variants come to, with what is to be said of the key itself."""
    said = [(one.reason, one.what, one.advice) for one in variants]
    extras = [mac_length(case, case.key)]
    # a segment whose addresses are those that it was signed with may be for the key after all
    rewritten = (
        bool(variants)
        and not matches(case.key, case.sample.segment)
        and matches(case.key, variants[-1].statement.segment)
    )
    if not rewritten:
        extras.insert(0, key_id(case, case.key))
    for extra in extras:
        if extra is not None:
            said.append(extra)
    limited = case.key.accept_lifetime is not None
    if not said and limited and case.sample.verdict in _UNACCEPTED:
        said.append(
            (
                "wrong_key_id",
                f"their {macs_of(case.key)} are those of key {case.key.label}, outside of its "
                "accept_lifetime",
                f"extend {dialect_of(case.key).accept} of key {case.key.label}",
            )
        )
    if not said:
        return None
    return Solution(
        said[0][0],
        "; and ".join(what for _, what, _ in said),
        "; ".join(dict.fromkeys(advice for _, _, advice in said)),
    )


def isns_of(
    sample: Sample, connection: ConnectionEvidence, pairs: tuple[tuple[int, int], ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """ISNs of the segment's sender and of its receiver, the likeliest first; at least one each."""
    segment, side = sample.segment, sample.direction
    found: list[list[int]] = [[], []]
    if segment.flags & _SYN:
        found[0].append(segment.seq)
        if segment.flags & _ACK:
            found[1].append((segment.ack - 1) & _MASK)
    # the handshake before the segment counts most, then later and earlier ones
    ordered = sorted(
        connection.handshakes, key=lambda one: (one.number > sample.number, -one.number)
    )
    for one in ordered:
        own = one.direction == side
        found[not own].append(one.isn)
        if one.answers is not None:
            found[own].append(one.answers)
    for pair in pairs:
        found[0].append(pair[side])
        found[1].append(pair[1 - side])
    found[0].append((segment.seq - 1) & _MASK)
    found[1].append((segment.ack - 1) & _MASK)
    return (
        tuple(list(dict.fromkeys(found[0]))[:5]),
        tuple(list(dict.fromkeys(found[1]))[:5]),
    )
