"""What is said of segments that nothing explains: how far was looked, and what it may be."""

from __future__ import annotations

from dataclasses import dataclass

from tcpao_fast.diagnose.cases import matches
from tcpao_fast.diagnose.evidence import ConnectionEvidence, Sample
from tcpao_fast.diagnose.solve import Solver
from tcpao_fast.engine.verdicts import GOOD, Verdict
from tcpao_fast.keys import MasterKey
from tcpao_fast.text import counted

NOT_DEEP = "not tried in depth, because many other connections failed in the same way"
_GOOD = sorted(GOOD)
_TCP_MD5 = 2  # ParsedSegment.auth


def depth_of(
    connection: ConnectionEvidence,
    parts: list[tuple[int, list[Sample]]],
    solver: Solver,
    tried: int,
) -> str:
    """How far was looked for what gives the MACs of segments that nothing explains."""
    if not any(one.segment.whole for _, of in parts for one in of):
        return "they were not captured completely, so nothing could be tried"
    if not tried:
        return "there is no key that could be tried"
    if solver.was_tried(connection):
        return f"none of {tried} interpretations of the key file produces them"
    return NOT_DEEP


@dataclass(frozen=True, slots=True)
class Unexplained:
    """Segments of one verdict whose MACs nothing explains."""

    connection: ConnectionEvidence
    parts: list[tuple[int, list[Sample]]]
    keys: tuple[MasterKey, ...]
    depth: str
    tried: int

    @property
    def who(self) -> str:
        """Who sent them."""
        return "both directions" if len(self.parts) == 2 else self.connection.text(self.parts[0][0])

    @property
    def samples(self) -> list[Sample]:
        """All of them."""
        return [one for _, of in self.parts for one in of]


def no_key(case: Unexplained) -> tuple[str, str, str]:
    """Reason, sentence and advice where no key has the KeyID."""
    ids = ", ".join(dict.fromkeys(str(one.segment.key_id) for one in case.samples))
    md5 = [key for key in case.keys if key.is_tcp_md5 and matches(key, case.samples[0].segment)]
    if md5:
        sentence = (
            f"Segments from {case.who} are signed with TCP-AO (KeyID {ids}), but the key file "
            f"has TCP-MD5 for the connection ({md5[0].label})"
        )
        sentence += f"; {case.depth}" if case.tried else ""
        advice = f"use TCP-AO on both sides: replace tcp-md5 by a key with KeyID {ids}"
        return "tcp_md5", sentence, advice
    return (
        "wrong_key_id",
        f"Segments from {case.who} carry KeyID {ids}, for which no key matches; {case.depth}",
        f"add the key with KeyID {ids} for this connection (an ID that one side sends is one "
        "that the other receives), or remove it on the peer",
    )


def no_secret(case: Unexplained) -> tuple[str, str, str]:
    """Reason, sentence and advice where the key that was tried does not give the MACs."""
    names = dict.fromkeys(case.keys[one.key].label for one in case.samples if one.key >= 0)
    labels = ", ".join(names)
    macs = "digests" if all(one.segment.auth == _TCP_MD5 for one in case.samples) else "MACs"
    good = sum(int(case.connection.counts[side, _GOOD].sum()) for side, _ in case.parts)
    changed = {side: _since(case.connection, side) for side, _ in case.parts}
    if all(changed.values()):
        since = " and ".join(
            f"from packet #{number} on, no segment of {case.connection.text(side)}"
            for side, number in changed.items()
        )
        return (
            "secret_changed",
            f"{since[:1].upper()}{since[1:]} has a {macs[:-1]} of key {labels}, but "
            f"{counted(good, 'before has', 'before have')}: a secret was most likely changed in "
            f"the live session ({case.depth})",
            "add the new secret as another key, or use the same one on both sides; otherwise find "
            "out what modifies the segments from there on",
        )
    sentence = f"The {macs} of segments from {case.who} do not match key {labels}, and {case.depth}"
    if good:
        return (
            "wrong_secret",
            f"{sentence}; yet "
            + counted(good, "segment from there is good", "segments from there are good"),
            "as other segments are good, the secret is most likely correct: these were sent by "
            "somebody else, modified in transit (sequence numbers, window, options), or merged by "
            "offloading",
        )
    return (
        "wrong_secret",
        sentence,
        "the likely causes, in this order: another secret on the two sides (compare them; re-enter "
        "them in hexadecimal); a device on the path that modifies addresses, ports or headers "
        "(NAT, a firewall that randomizes sequence numbers); segments that offloading merged",
    )


def _since(connection: ConnectionEvidence, side: int) -> int | None:
    """From which packet on all segments of a side are bad: at least two, behind good ones."""
    bad = int(connection.counts[side, [Verdict.bad_mac, Verdict.md5_bad]].sum())
    last_good, first_bad = int(connection.last_good[side]), int(connection.first_bad[side])
    return first_bad if bad > 1 and 0 < last_good < first_bad else None
