"""What needs no MAC: what is missing, cut, merged, or not TCP-AO at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from tcpao_fast.core.wire.options import options_of
from tcpao_fast.diagnose.copies import Copy
from tcpao_fast.diagnose.evidence import ConnectionEvidence, Sample
from tcpao_fast.engine.verdicts import GOOD, UNSIGNED, Verdict
from tcpao_fast.keys import MasterKey
from tcpao_fast.text import counted

_NONE, _AO, _MD5 = 0, 1, 2
_RST = 4
_BAD_MAC = frozenset({Verdict.bad_mac, Verdict.md5_bad})


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing seen.

    Attributes
    ----------
    reason : str
    what : str
        A sentence without its full stop.
    advice : str
    counts : dict of str to int
        What it speaks of, by verdict.
    packets : tuple of int
        Some of them.
    explains : frozenset of (int, Verdict)
        Which segments need no other reason: by direction and verdict.
    certain : bool
        Whether the packets that it names need none; else it is only part of what is wrong.
    """

    reason: str
    what: str
    advice: str
    counts: dict[str, int]
    packets: tuple[int, ...]
    explains: frozenset[tuple[int, Verdict]] = frozenset()
    certain: bool = True


Observe = Callable[[ConnectionEvidence, tuple[MasterKey, ...]], Iterator[Observation]]


def _of(connection: ConnectionEvidence, side: int, verdict: Verdict) -> dict[str, int]:
    return {verdict.name: int(connection.counts[side, verdict])}


def _packets(connection: ConnectionEvidence, side: int, *verdicts: Verdict) -> tuple[int, ...]:
    kept = [
        one.number
        for one in connection.samples
        if one.direction == side and one.verdict in verdicts
    ]
    first = [connection.first[verdict] for verdict in verdicts if verdict in connection.first]
    return tuple(kept or first)


def _samples(connection: ConnectionEvidence, side: int, verdict: Verdict) -> list[Sample]:
    """The segments that were kept of one side, with one verdict."""
    return [one for one in connection.samples if one.direction == side and one.verdict is verdict]


def _seen(
    connection: ConnectionEvidence,
    reason: str,
    verdicts: Collection[Verdict],
    holds: Callable[[Sample], bool],
    say: Callable[[str, list[Sample]], tuple[str, str]],
) -> Iterator[Observation]:
    """What holds for segments of a side and a verdict, as far as they were kept.

    All of the side's segments with that verdict are taken for explained where it holds for every
    one that was kept; otherwise only those are counted for which it holds.

    Parameters
    ----------
    connection : ConnectionEvidence
    reason : str
    verdicts : collection of Verdict
    holds : callable
        Asked about each segment.
    say : callable
        Given the side and the segments for which it holds: what is so, and the advice.
    """
    for side in (0, 1):
        for verdict in sorted(verdicts):
            kept = _samples(connection, side, verdict)
            found = [one for one in kept if holds(one)]
            if not found:
                continue
            everywhere = len(found) == len(kept)
            what, advice = say(connection.text(side), found)
            yield Observation(
                reason,
                what,
                advice,
                _of(connection, side, verdict) if everywhere else {verdict.name: len(found)},
                tuple(one.number for one in found),
                frozenset({(side, verdict)} if everywhere else ()),
            )


def empty_option(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """A TCP-AO option of 4 bytes: IDs, and no MAC behind them."""

    def holds(one: Sample) -> bool:
        return one.segment.whole and one.segment.auth == _AO and not one.segment.mac

    def say(side: str, found: list[Sample]) -> tuple[str, str]:
        return (
            f"{side} sends TCP-AO options of 4 bytes, which carry KeyIDs but no MAC",
            "find out what sends them: an option without a MAC proves nothing, and RFC 5925 "
            "MACs have 12 bytes or more",
        )

    yield from _seen(connection, "wrong_mac_length", list(Verdict), holds, say)


def tcp_md5(connection: ConnectionEvidence, keys: tuple[MasterKey, ...]) -> Iterator[Observation]:
    """TCP-MD5 where the key file, or the other side, has TCP-AO."""
    for side in (0, 1):
        unchecked = int(connection.counts[side, Verdict.md5_unchecked])
        if not unchecked:
            continue
        other = int(connection.options[1 - side, _AO])
        what = f"{connection.text(side)} signs with TCP-MD5"
        if other:
            what += f", {connection.text(1 - side)} with TCP-AO"
        else:
            what += ", but the key file has no tcp-md5 key for the connection"
        yield Observation(
            "tcp_md5",
            what,
            "configure TCP-AO on both sides (it obsoletes TCP-MD5, RFC 5925), or add a tcp-md5 "
            "key to the key file",
            _of(connection, side, Verdict.md5_unchecked),
            _packets(connection, side, Verdict.md5_unchecked),
            frozenset({(side, Verdict.md5_unchecked)}),
        )


def unsigned_reset(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """Nothing but RSTs unsigned on a signed connection: from no socket, or somebody else."""
    if not connection.options[:, (_AO, _MD5)].any():
        return

    def say(side: str, found: list[Sample]) -> tuple[str, str]:
        return (
            f"{side} sends RSTs that are not signed: most likely it has no socket for the "
            "connection (any more), so it knows no key for it, or somebody else sent them in its "
            "name; the peer must ignore such a RST (RFC 5925 section 7.7, RFC 2385)",
            "nothing, after the end of a connection; otherwise find out why "
            f"{side} has no socket for it (it restarted, or nothing listens), or who sends them",
        )

    for one in _seen(
        connection, "unsigned_reset", UNSIGNED, lambda one: bool(one.segment.flags & _RST), say
    ):
        if one.explains:  # otherwise the side does not sign other segments either
            yield one


def pre_standard_option(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """Option kinds 253 and 254 (RFC 4727), which carried authentication before TCP-AO did."""

    def kinds(one: Sample) -> set[int]:
        options = options_of(one.segment.header)
        return {kind for kind, option in options if kind in (253, 254) and len(option) >= 8}

    def say(side: str, found: list[Sample]) -> tuple[str, str]:
        carried = " and ".join(map(str, sorted(set().union(*map(kinds, found)))))
        return (
            f"{side} sends TCP options of kind {carried}, which are for experiments (RFC 4727): "
            "systems from before RFC 5925 carry an authentication option there, such as the "
            "Enhanced Authentication Option (draft-bonica-tcp-auth); it is not TCP-AO, and cannot "
            "be checked here",
            "configure TCP-AO (RFC 5925) instead of the older mechanism on both sides",
        )

    yield from _seen(connection, "pre_standard_option", UNSIGNED, lambda one: bool(kinds(one)), say)


def blanked_option(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """A run of NOPs as long as the option: a firewall overwrote it."""
    shortest = 4 + min((key.mac_length or 12 for key in keys if not key.is_tcp_md5), default=12)

    def least(verdict: Verdict) -> int:
        return 18 if verdict is Verdict.md5_required else shortest

    def holds(one: Sample) -> bool:
        return b"\x01" * least(one.verdict) in one.segment.header[20:]

    def say(side: str, found: list[Sample]) -> tuple[str, str]:
        return (
            f"segments of {side} have at least {least(found[0].verdict)} NOPs in a row, as where a "
            "firewall or another device on the path overwrote an authentication option",
            "permit TCP options 19 (TCP-MD5) and 29 (TCP-AO) on the firewalls of the path",
        )

    yield from _seen(connection, "rewritten_options", UNSIGNED, holds, say)


def unsigned(connection: ConnectionEvidence, keys: tuple[MasterKey, ...]) -> Iterator[Observation]:
    """Segments without an option, although a key matches: what they show, or who sends them."""
    explained: set[tuple[int, Verdict]] = set()
    for look in (pre_standard_option, blanked_option, unsigned_reset):
        for one in look(connection, keys):
            explained |= one.explains
            yield one
    yield from _unsigned_peer(connection, explained)


def _unsigned_peer(
    connection: ConnectionEvidence, explained: Collection[tuple[int, Verdict]]
) -> Iterator[Observation]:
    """Sides whose segments are not signed, for no other reason."""
    for verdict, option in ((Verdict.ao_required, _AO), (Verdict.md5_required, _MD5)):
        silent = [
            side
            for side in (0, 1)
            if connection.counts[side, verdict] and (side, verdict) not in explained
        ]
        if not silent:
            continue
        sides = " and ".join(connection.text(side) for side in silent)
        what = f"{sides} {'does' if len(silent) == 1 else 'do'} not sign"
        other = 1 - silent[0]
        if len(silent) == 1 and connection.options[other, option]:
            what += f", but {connection.text(other)} does"
        hosts = [connection.ends[side][0] for side in silent]
        advice = (
            f"configure the key on {' and '.join(hosts)}, or narrow the addresses and ports of the "
            "key if this connection is not meant to be signed"
        )
        signed = sum(int(connection.options[side, option]) for side in silent)
        if signed:
            what = f"some segments of {sides} are not signed, although {signed} from there are"
            advice = (
                "find out what sends the unsigned ones: somebody else in its name, a device on the "
                "path that removes the option, or a socket that has no key yet, or no longer"
            )
        yield Observation(
            "unsigned_peer",
            what,
            advice,
            {verdict.name: sum(int(connection.counts[side, verdict]) for side in silent)},
            tuple(n for side in silent for n in _packets(connection, side, verdict)),
            frozenset((side, verdict) for side in silent),
        )


def truncated(connection: ConnectionEvidence, keys: tuple[MasterKey, ...]) -> Iterator[Observation]:
    """A short snap length, or fragments that are missing."""
    total = connection.total(Verdict.truncated)
    if total:
        yield Observation(
            "truncated",
            counted(total, "segment was", "segments were")
            + " not captured completely, but the MAC covers every byte",
            "capture complete packets (tcpdump -s 0) and all fragments",
            {Verdict.truncated.name: total},
            _packets(connection, 0, Verdict.truncated)[:4]
            or _packets(connection, 1, Verdict.truncated)[:4],
            frozenset({(0, Verdict.truncated), (1, Verdict.truncated)}),
        )


def malformed(connection: ConnectionEvidence, keys: tuple[MasterKey, ...]) -> Iterator[Observation]:
    """Broken or doubled options, or TCP-AO beside TCP-MD5."""
    for side in (0, 1):
        if connection.counts[side, Verdict.malformed]:
            yield Observation(
                "rewritten_options",
                f"{connection.text(side)} sends an invalid TCP header or option list, two TCP-AO "
                "options, or both TCP-AO and TCP-MD5",
                "find out what modifies TCP options in transit, or signs segments twice",
                _of(connection, side, Verdict.malformed),
                _packets(connection, side, Verdict.malformed),
                frozenset({(side, Verdict.malformed)}),
            )


def missing_handshake(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """Without the ISNs there is no traffic key."""
    total = connection.total(Verdict.missing_isn)
    kept = [one for one in connection.samples if one.verdict is Verdict.missing_isn]
    unknown = [one for one in kept if not connection.is_supposed(one)]
    if len(unknown) < len(kept):  # the others are tried
        total = len(unknown)
    if total:
        what = (
            f"the handshake was not captured, so {counted(total, 'signed segment')} cannot be "
            "checked"
        )
        advice = (
            "capture from the SYN on, or provide the ISNs: --isn (from TCP_AO_REPAIR), --state "
            "from an earlier capture, or --search-isn N for a connection that has sent little"
        )
        answers = [one.number for one in connection.handshakes if one.answers is not None]
        unchecked = [s.number for s in connection.samples if s.verdict is Verdict.missing_isn]
        if answers and unchecked and max(unchecked) < max(answers):
            what = (
                counted(total, "signed segment stands", "signed segments stand")
                + " before the handshake that was captured, and cannot be checked: either an "
                "earlier connection used the same ports, or the packets are not in the order of "
                "time"
            )
            advice = (
                "sort the capture by time (reordercap), if it is out of order; for an earlier "
                f"connection, {advice}"
            )
        yield Observation(
            "missing_handshake",
            what,
            advice,
            {Verdict.missing_isn.name: total},
            _packets(connection, 0, Verdict.missing_isn)
            + _packets(connection, 1, Verdict.missing_isn),
            frozenset({(0, Verdict.missing_isn), (1, Verdict.missing_isn)}),
        )


def same_mac(connection: ConnectionEvidence, keys: tuple[MasterKey, ...]) -> Iterator[Observation]:
    """Segmentation offload copies the first segment's MAC into all of a burst."""
    places: dict[tuple[int, bytes], set[int]] = {}
    for one in connection.samples:
        if one.verdict in _BAD_MAC and one.segment.whole:
            places.setdefault((one.direction, one.segment.mac), set()).add(one.segment.seq)

    def holds(one: Sample) -> bool:
        mac = one.segment.mac
        return len(mac) > 3 and len(places.get((one.direction, mac), ())) > 1

    def say(side: str, found: list[Sample]) -> tuple[str, str]:
        return (
            f"{side} sends several segments with the same MAC: segmentation offload split one "
            "signed segment",
            "disable segmentation offload for signed connections (ethtool -K DEV tso off gso "
            "off); Linux leaves it on if a key is added after a TCP_REPAIR connect",
        )

    yield from _seen(connection, "offload", _BAD_MAC, holds, say)


def two_points(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """A segment that was captured before and behind the device that changed it."""
    groups: dict[tuple[int, Verdict, str, tuple[str, ...], bool], list[tuple[Sample, Copy]]] = {}
    for one in connection.samples:
        copy = connection.copies.get(one.number)
        if copy is None:
            continue
        proven = copy.verdict in GOOD
        if proven or copy.number < one.number:  # of two bad ones, once
            names = tuple(name for name, _, _ in copy.fields)
            place = one.direction, one.verdict, copy.reason, names, proven
            groups.setdefault(place, []).append((one, copy))
    for (side, verdict, reason, names, proven), pairs in groups.items():
        everywhere = len(pairs) == len(_samples(connection, side, verdict))
        yield Observation(
            reason,
            _two_points_text(*pairs[0]),
            _two_points_advice(reason, names),
            _of(connection, side, verdict) if everywhere else {verdict.name: len(pairs)},
            tuple(one.number for one, _ in pairs),
            frozenset({(side, verdict)} if everywhere and proven else ()),
            certain=proven,
        )


def _two_points_text(one: Sample, copy: Copy) -> str:
    """What differs between a segment and its copy."""
    there = ", ".join(f"{name} {value}" for name, value, _ in copy.fields)
    here = ", ".join(f"{name} {value}" for name, _, value in copy.fields)
    if copy.verdict in GOOD:
        return (
            f"packets #{copy.number} and #{one.number} are the same segment, captured at two "
            f"points: #{copy.number}, which is good, has {there}; #{one.number} has {here}: it was "
            "changed between them"
        )
    return (
        f"packets #{copy.number} and #{one.number} are the same segment, captured at two points: "
        f"#{copy.number} has {there}, #{one.number} has {here}; neither is good, so which of them "
        "was signed is not known"
    )


def _two_points_advice(reason: str, names: tuple[str, ...]) -> str:
    if reason == "rewritten_address":
        return (
            "TCP-AO and TCP-MD5 cover addresses and ports: remove the NAT between the peers, or "
            "use a tunnel (for TCP-AO also RFC 6978: local_nat or remote_nat on both sides)"
        )
    if reason == "rewritten_options":
        return "find the firewall or load balancer between the two points that modifies TCP options"
    if "sequence number" in names or "acknowledgment number" in names:
        return (
            "exempt the connection from sequence number randomization on the firewall between the "
            "two points (Cisco ASA: set connection random-sequence-number disable)"
        )
    return (
        "find the device between the two points that modifies this field (a traffic shaper, WAN "
        "optimizer, firewall or load balancer): TCP-AO and TCP-MD5 cover it"
    )


def larger_than_mss(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """Segments that receive offload merged, or that send offload has not cut yet."""
    for side in (0, 1):
        limits = [h.mss for h in connection.handshakes if h.direction != side and h.mss]
        limit = min(limits, default=0) or 9216
        bad = [
            one
            for one in connection.samples
            if one.direction == side
            and one.verdict in _BAD_MAC
            and one.segment.payload_length > limit
        ]
        if bad:
            size = int(connection.largest[side])
            yield Observation(
                "offload",
                f"segments of {connection.text(side)} have up to {size} bytes of payload, more "
                f"than the MSS of {limit}: offloading merged them or had not split them yet, so "
                "they were never on the wire like this",
                "capture with offloading disabled (ethtool -K DEV gro off lro off tso off gso "
                "off), or outside the host",
                dict(Counter(one.verdict.name for one in bad)),
                tuple(one.number for one in bad),
            )


def dropped_by_linux(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """Good segments that are sent again, where Linux is known to drop them."""
    unsummed = Counter(one.direction for one in connection.watched if one.why == "checksum")
    for one in connection.watched:
        if not one.repeats or (one.why == "checksum" and unsummed[one.direction] > 2):
            continue  # a capture of checksums that were not filled in yet
        sender = connection.text(one.direction)
        if one.why == "checksum":
            yield Observation(
                "rewritten_address",
                f"a good segment of {sender} has checksum 0x0000 and was retransmitted "
                f"{counted(one.repeats, 'time')}: Linux mistakes it for an outgoing segment, swaps "
                "the addresses in its MAC and drops it",
                "a known bug in Linux with one segment in 65,536; a retransmission gets through "
                "as soon as its timestamp or window changes",
                {Verdict.good.name: one.repeats + 1},
                (one.number,),
            )
        else:
            yield Observation(
                "sne",
                f"good segments of {sender}, whose ISN is 0xFFFFFFFF, were retransmitted "
                f"{counted(one.repeats, 'time')}: Linux uses SNE 0 instead of 1 and drops them",
                "a known bug in Linux with this one ISN in 2^32: reopen the connection",
                {Verdict.good.name: one.repeats + 1},
                (one.number,),
            )


def unanswered(
    connection: ConnectionEvidence, keys: tuple[MasterKey, ...]
) -> Iterator[Observation]:
    """Good SYNs, or SYN-ACKs, again and again: the other side drops them in silence."""
    for side in (0, 1):
        sent = [one for one in connection.handshakes if one.direction == side]
        other = connection.counts[1 - side].sum()
        if len(sent) < 2 or any(one.verdict not in GOOD for one in sent):
            continue
        if connection.changed & {one.number for one in sent}:
            continue  # what the peer got is known
        if int(connection.counts[side].sum()) > len(sent):
            continue  # it went on
        syns = [one for one in connection.handshakes if one.direction != side]
        if other > len(syns) or (syns and sent[0].answers is None):
            continue
        here, there = connection.text(side), connection.text(1 - side)
        kind = "SYNs" if sent[0].answers is None else "SYN-ACKs"
        counts = {sent[0].verdict.name: len(sent)}
        packets = tuple(one.number for one in sent)
        asked = {one.rnext_key_id for one in sent} - {None}
        known = {value for key in keys for value in (key.send_id, key.recv_id)}
        if asked and not asked & known:
            yield Observation(
                "wrong_key_id",
                f"good {kind} of {here} ask for RNextKeyID {sorted(asked, key=str)[0]}, "
                "which no key has, and are not answered: a Linux listener counts such a SYN as "
                "good but sends no SYN-ACK",
                "set rnext_key to a key that both sides have",
                counts,
                packets,
            )
            continue
        yield Observation(
            "no_answer",
            f"{kind} of {here} are good according to the key file, but {there} does not answer: it "
            "drops them in silence (no key, or a different secret, algorithm, KeyID or options "
            "coverage), nothing listens there (Linux sends no RST for a signed SYN), or they, or "
            "its answers, were lost or not captured",
            f"check the keys on {there}, its counters (nstat: TCPAOBad, TCPAOKeyNotFound) and "
            "whether it listens",
            counts,
            packets,
        )


#: The order in which they are asked.
OBSERVATIONS: tuple[Observe, ...] = (
    two_points,
    same_mac,
    empty_option,
    tcp_md5,
    unsigned,
    malformed,
    truncated,
    missing_handshake,
    dropped_by_linux,
    unanswered,
)
