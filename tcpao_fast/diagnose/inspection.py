"""Who signs what: what a capture shows of every connection without any key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.options import mss_of, options_of
from tcpao_fast.diagnose.rows import Endpoint, Rows, ends_of
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.keys.outline import KeyOutline
from tcpao_fast.text import endpoint_text

#: Connections of which details are kept; the others are counted.
MAX_CONNECTIONS = 20_000
#: Changes of KeyID or RNextKeyID that are kept of a side.
MAX_RUNS = 64
#: Segments without SYN of a side whose options are looked at.
MAX_OPTIONS = 16

_NONE, _AO, _MD5 = 0, 1, 2
_SYN, _ACK, _RST = 2, 16, 4
_SEGMENT = 1


@dataclass(slots=True)
class KeyIdRun:
    """Segments of one side, one behind the other, with the same KeyID and RNextKeyID.

    Attributes
    ----------
    key_id, rnext_key_id : int
    first, last : int
        Numbers of the first and of the last packet, counted through all captures from 1.
    first_time : int
        When the first was captured, nanoseconds since 1970; -1 unknown.
    count : int
    """

    key_id: int
    rnext_key_id: int
    first: int
    last: int
    first_time: int
    count: int

    def as_dict(self) -> dict[str, int]:
        """As plain JSON types."""
        return {
            "key_id": self.key_id,
            "rnext_key_id": self.rnext_key_id,
            "first": self.first,
            "last": self.last,
            "first_time": self.first_time,
            "count": self.count,
        }


@dataclass(slots=True)
class Side:
    """What one side of a connection sends.

    Attributes
    ----------
    ao, md5, unsigned : int
        Segments with TCP-AO, with TCP-MD5, with neither.
    damaged : int
        Segments with a broken header or options, or cut within them by the snap length.
    resets : int
        Segments with RST that are not signed.
    macs : Counter of (int, int)
        KeyIDs with the bytes of their MACs.
    runs : list of KeyIdRun
        KeyIDs over time.
    more_runs : int
        Changes that are not kept.
    syn_ids : (int, int) or None
        KeyID and RNextKeyID of the first segment with SYN that is signed.
    syns : Counter of int
        SYNs, or SYN-ACKs, by their sequence number: more than one is a retransmission.
    syn_options, other_options : set of int
        Kinds of the options in segments with SYN, and in the first others.
    mss : int or None
    """

    ao: int = 0
    md5: int = 0
    unsigned: int = 0
    damaged: int = 0
    resets: int = 0
    macs: Counter[tuple[int, int]] = field(default_factory=Counter)
    runs: list[KeyIdRun] = field(default_factory=list)
    more_runs: int = 0
    syn_ids: tuple[int, int] | None = None
    syns: Counter[int] = field(default_factory=Counter)
    syn_options: set[int] = field(default_factory=set)
    other_options: set[int] = field(default_factory=set)
    mss: int | None = None
    _looked_at: int = 0

    @property
    def segments(self) -> int:
        """All of them."""
        return self.ao + self.md5 + self.unsigned + self.damaged

    @property
    def mac_lengths(self) -> Counter[int]:
        """Bytes of the MACs of TCP-AO."""
        lengths: Counter[int] = Counter()
        for (_, length), count in self.macs.items():
            lengths[length] += count
        return lengths

    @property
    def retransmitted_syns(self) -> int:
        """SYNs, or SYN-ACKs, beyond the first of each sequence number."""
        return sum(count - 1 for count in self.syns.values())

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "segments": self.segments,
            "tcp_ao": self.ao,
            "tcp_md5": self.md5,
            "unsigned": self.unsigned,
            "damaged": self.damaged,
            "unsigned_resets": self.resets,
            "mac_lengths": {str(length): n for length, n in sorted(self.mac_lengths.items())},
            "key_ids": [one.as_dict() for one in self.runs],
            "syns": sum(self.syns.values()),
            "retransmitted_syns": self.retransmitted_syns,
            "mss": self.mss,
            "options_in_syn": sorted(self.syn_options),
            "options_otherwise": sorted(self.other_options),
        }


@dataclass(slots=True)
class Conversation:
    """One connection; ports that are used again are one.

    Attributes
    ----------
    ends : two of (str, int)
        Address and port, the smaller first.
    vlan : int
    sides : two of Side
        What each of `ends` sends.
    first, last : int
        Numbers of its first and its last packet.
    """

    ends: tuple[Endpoint, Endpoint]
    vlan: int
    sides: tuple[Side, Side]
    first: int
    last: int
    syn_of: int | None = None

    @property
    def client(self) -> int:
        """Which end is the client: it sent the SYN; without one, the higher port."""
        if self.syn_of is not None:
            return self.syn_of
        return 0 if self.ends[0][1] >= self.ends[1][1] else 1

    @property
    def in_order(self) -> tuple[tuple[Endpoint, Side], tuple[Endpoint, Side]]:
        """End and side of the client, then of the server."""
        near = self.client
        return (self.ends[near], self.sides[near]), (self.ends[1 - near], self.sides[1 - near])

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        (client, here), (server, there) = self.in_order
        return {
            "client": endpoint_text(*client),
            "server": endpoint_text(*server),
            "vlan": self.vlan,
            "first": self.first,
            "last": self.last,
            "from_client": here.as_dict(),
            "from_server": there.as_dict(),
        }


class InspectionCollector:
    """Gathers what there is to see, beside verification without keys."""

    def __init__(self) -> None:
        self.conversations: dict[tuple[Endpoint, Endpoint, int], Conversation] = {}
        self.left_out = 0
        self._by_id: dict[int, Conversation | None] = {}

    def add(self, result: VerifyResult) -> None:
        """Look at some records."""
        at = np.flatnonzero((result.verdict != Verdict.not_tcp) & (result.connection >= 0))
        if not len(at):
            return
        rows = Rows.of(result, at)
        order = np.lexsort((np.arange(len(at)), rows.direction, rows.connection))
        places = rows.connection[order] * 2 + rows.direction[order]
        cuts = np.flatnonzero(np.diff(places)) + 1
        for group in np.split(order, cuts):
            conversation = self._conversation(rows, int(group[0]))
            if conversation is not None:
                self._look(rows, group, conversation)

    def _conversation(self, rows: Rows, i: int) -> Conversation | None:
        number = int(rows.connection[i])
        if number in self._by_id:
            return self._by_id[number]
        row = rows.segments[i]
        place = (*ends_of(row), int(row["vlan"]))
        known = self.conversations.get(place)
        if known is None and len(self.conversations) >= MAX_CONNECTIONS:
            self.left_out += 1
        elif known is None:
            packet = int(rows.numbers[i])
            known = Conversation(place[:2], place[2], (Side(), Side()), packet, packet)
            self.conversations[place] = known
        if len(self._by_id) > 4 * MAX_CONNECTIONS:  # ids are never used again
            self._by_id.clear()
        self._by_id[number] = known
        return known

    def _look(self, rows: Rows, group: npt.NDArray[np.int64], conversation: Conversation) -> None:
        """Some segments that one side of a conversation sends."""
        direction = int(rows.direction[group[0]])
        side = conversation.sides[direction]
        segments = rows.segments[group]
        numbers = rows.numbers[group]
        conversation.first = min(conversation.first, int(numbers[0]))
        conversation.last = max(conversation.last, int(numbers[-1]))
        sound = segments["kind"] == _SEGMENT
        auth = segments["auth"]
        signed = sound & (auth == _AO)
        side.ao += int(signed.sum())
        side.md5 += int((sound & (auth == _MD5)).sum())
        bare = sound & (auth == _NONE)
        side.unsigned += int(bare.sum())
        side.damaged += int((~sound).sum())
        side.resets += int((bare & (segments["flags"] & _RST != 0)).sum())
        macs = segments["key_id"][signed].astype(np.int64) << 8 | segments["auth_length"][signed]
        kinds, counts = np.unique(macs, return_counts=True)
        for kind, count in zip(kinds.tolist(), counts.tolist(), strict=True):
            side.macs[kind >> 8, (kind & 0xFF) - 4] += count
        self._runs(rows, group[signed], side)
        with_syn = sound & (segments["flags"] & _SYN != 0)
        for i in group[with_syn].tolist():
            self._syn(rows, i, side, conversation, direction)
        room = MAX_OPTIONS - side._looked_at
        for i in group[sound & ~with_syn][:room].tolist() if room > 0 else ():
            side._looked_at += 1
            side.other_options |= {kind for kind, _ in options_of(rows.header(i)) if kind > 1}

    @staticmethod
    def _runs(rows: Rows, group: npt.NDArray[np.int64], side: Side) -> None:
        if not len(group):
            return
        segments, numbers = rows.segments[group], rows.numbers[group]
        ids = segments["key_id"].astype(np.int64) << 8 | segments["rnext_key_id"]
        starts = np.concatenate(([0], np.flatnonzero(np.diff(ids)) + 1))
        ends = np.append(starts[1:], len(ids))
        times = rows.result.records.timestamps
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            pair = int(ids[start]) >> 8, int(ids[start]) & 0xFF
            last = int(numbers[end - 1])
            if side.runs and (side.runs[-1].key_id, side.runs[-1].rnext_key_id) == pair:
                side.runs[-1].last = last
                side.runs[-1].count += end - start
            elif len(side.runs) < MAX_RUNS:
                time = int(times[rows.at[group[start]]]) if times is not None else -1
                side.runs.append(KeyIdRun(*pair, int(numbers[start]), last, time, end - start))
            else:
                side.more_runs += 1

    @staticmethod
    def _syn(rows: Rows, i: int, side: Side, conversation: Conversation, direction: int) -> None:
        row = rows.segments[i]
        if not row["flags"] & _ACK:
            conversation.syn_of = direction
        elif conversation.syn_of is None:
            conversation.syn_of = 1 - direction
        seq = int(row["seq"])
        if seq in side.syns or len(side.syns) < MAX_RUNS:
            side.syns[seq] += 1
        if row["auth"] == _AO and side.syn_ids is None:
            side.syn_ids = int(row["key_id"]), int(row["rnext_key_id"])
        header = rows.header(i)
        side.syn_options |= {kind for kind, _ in options_of(header) if kind > 1}
        side.mss = mss_of(header) or side.mss


def needed_keys(conversations: dict[Any, Conversation]) -> list[KeyOutline]:
    """The keys that conversations show the use of, each once.

    KeyIDs do not say which of one side's belongs to which of the other's: where there are several,
    those of a SYN are taken for a pair, then equal ones, then those that have the same place in
    their order, and all but a single pair are guesses.
    """
    found: dict[tuple[Any, ...], KeyOutline] = {}
    for one in conversations.values():
        for outline in _outlines(one):
            place = (
                outline.local, outline.remote, outline.remote_port, outline.send_id,
                outline.recv_id, outline.mac_length, outline.is_tcp_md5,
            )  # fmt: skip
            known = found.get(place)
            if known is None:
                found[place] = outline
            else:
                known.connections += 1
                known.certain |= outline.certain
    return list(found.values())


def _outlines(one: Conversation) -> Iterator[KeyOutline]:
    ((client, _), here), ((server, port), there) = one.in_order
    pairs = _pairs(here, there)
    lengths = here.mac_lengths + there.mac_lengths
    usual = lengths.most_common(1)[0][0] if lengths else 0
    for send_id, recv_id in pairs:
        mac_length = _length_of(here, send_id) or _length_of(there, recv_id) or usual
        yield KeyOutline(
            client, server, port, send_id, recv_id, mac_length,
            certain=len(pairs) == 1 and bool(here.macs) and bool(there.macs),
        )  # fmt: skip
    if here.md5 or there.md5:
        yield KeyOutline(client, server, port)


def _length_of(side: Side, key_id: int) -> int | None:
    """Bytes of the MACs that a side sends with a KeyID."""
    lengths = {length: count for (known, length), count in side.macs.items() if known == key_id}
    return max(lengths, key=lambda length: lengths[length], default=None)


def _pairs(here: Side, there: Side) -> list[tuple[int, int]]:
    """SendIDs and RecvIDs, as the client has them, of the keys in use: each ID once."""
    own = dict.fromkeys(sorted({key_id for key_id, _ in here.macs}))
    peer = dict.fromkeys(sorted({key_id for key_id, _ in there.macs}))
    for side, ids in ((here, peer), (there, own)):  # what is asked for belongs to a key, too
        ids |= dict.fromkeys(sorted({run.rnext_key_id for run in side.runs} - set(ids)))
    said = [here.syn_ids, there.syn_ids and there.syn_ids[::-1]]
    equal = [(key_id, key_id) for key_id in own]
    pairs: list[tuple[int, int]] = []
    for pair in (*said, *equal):
        if pair and pair[0] in own and pair[1] in peer and _may_be_one(here, there, pair):
            pairs.append(pair)
            del own[pair[0]], peer[pair[1]]
    pairs += zip(own, peer, strict=False)
    return pairs + _without_partner([*own], [*peer], pairs)


def _may_be_one(here: Side, there: Side, pair: tuple[int, int]) -> bool:
    """Whether two KeyIDs can be of one key: a key has one MAC length."""
    lengths = _length_of(here, pair[0]), _length_of(there, pair[1])
    return None in lengths or lengths[0] == lengths[1]


def _without_partner(
    own: list[int], peer: list[int], pairs: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """IDs that one side has more of: the other's is taken for equal, or for one that is free."""
    taken = {recv_id for _, recv_id in pairs}, {send_id for send_id, _ in pairs}
    rest: list[tuple[int, int]] = []
    for one in own[len(peer) :]:
        free = next(n for n in (one, *range(256)) if n not in taken[0])
        taken[0].add(free)
        rest.append((one, free))
    for one in peer[len(own) :]:
        free = next(n for n in (one, *range(256)) if n not in taken[1])
        taken[1].add(free)
        rest.append((free, one))
    return rest
