"""Trying how a segment's MAC was made: stated keys, ISNs and SNEs held against it, many at once.

An `Engine` verifies under what it has proved. Here nothing is proved: whoever asks states all that
a MAC depends on, and is told which statements give the MAC that the segment carries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.one import ParsedSegment, context_between
from tcpao_fast.core.flow.traffic_keys import derive_traffic_keys
from tcpao_fast.core.mac.algorithms import find
from tcpao_fast.core.mac.mac import TrafficKeys, mac_batch
from tcpao_fast.engine.secrets import Bytes2, Secrets
from tcpao_fast.errors import InvalidArgumentError, TcpAoError
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.master_key import MAX_TCP_MD5_SECRET

#: Tries at a time in `search_isns`: enough to fill the lanes, little enough to stay in the cache.
BATCH = 1 << 14

#: Pairs of ISNs are tried up to so many bytes back in both directions first, then where one side
#: sent less than `BAND` bytes (a download), then all others.
NEAR, BAND = 255, 32
#: Bytes of a message before its TCP header, by IP version: SNE and pseudo-header.
PREFIX = {4: 4 + 12, 6: 4 + 40}
#: Every value of a field of two bytes: uint8[65536, 2], big-endian.
WORDS = np.arange(1 << 16).astype(">u2").view(np.uint8).reshape(-1, 2)

_MASK = 0xFFFFFFFF

Wide = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Statement:
    """All that a MAC depends on.

    Attributes
    ----------
    segment : ParsedSegment
        As it may have left its sender, which need not be as it was captured.
    algorithm : str
    secret : bytes
        The master key.
    isn_source, isn_destination : int
        As its sender sees them; a SYN without ACK has destination ISN 0.
    sne : int
    exclude_options : bool
    nat : int
        As for `tcpao_fast.core.batch.one.context_between`.
    other_end : bool
        Whether the KDF's context is the other direction's: ends and ISNs change places.
    left_out : int
        Bytes at the end of the options that the MAC leaves out, although the header counts them.
    """

    segment: ParsedSegment
    algorithm: str
    secret: bytes = field(repr=False)
    isn_source: int = 0
    isn_destination: int = 0
    sne: int = 0
    exclude_options: bool = False
    nat: int = 0
    other_end: bool = False
    left_out: int = 0

    def but(self, **changes: Any) -> Statement:
        """The same with other values; what `dataclasses.replace` does, in a third of the time."""
        made = object.__new__(Statement)
        for name, place in _PLACES:
            place(made, changes[name] if name in changes else getattr(self, name))
        return made

    def context(self) -> bytes:
        """What the KDF gets."""
        one = self.segment
        source = one.source, one.source_port
        destination = one.destination, one.destination_port
        isns = self.isn_source & _MASK, self.isn_destination & _MASK
        if self.other_end:
            return context_between(*destination, *source, isns[1], isns[0], self.nat)
        return context_between(*source, *destination, *isns, self.nat)

    def message(self) -> bytes:
        """What the MAC covers."""
        one = self.segment
        text = one.message(self.sne & _MASK, self.exclude_options, self.nat)
        if not self.left_out:
            return text
        end = PREFIX[one.version] + one.header_length
        return text[: end - self.left_out] + text[end:]


_PLACES = [(name, getattr(Statement, name).__set__) for name in Statement.__slots__]


def first_sne(isn: int, seq: int) -> int:
    """The SNE of the first SEQ of that number behind an ISN: 0, or 1 if it wrapped between."""
    return (isn + ((seq - isn) & _MASK)) >> 32


def nat_of(key: MasterKey, segment: ParsedSegment) -> int:
    """Which sides of a segment a key takes as zero (RFC 6978): 1 the source, 2 the destination."""
    if not key.local_nat and not key.remote_nat:
        return 0
    nat = key.local_nat | key.remote_nat << 1
    return nat if is_from_local(key, segment) else (nat >> 1 | nat << 1) & 3


def is_from_local(key: MasterKey, segment: ParsedSegment) -> bool:
    """Whether a segment is from a key's local side; where addresses do not say, the KeyID does."""
    one = segment
    ends = (one.source, one.source_port, one.destination, one.destination_port)
    side = key.sent_by_local(*ends)
    back = key.mirrored().sent_by_local(*ends)
    if side and back:
        return not (segment.key_id == key.recv_id != key.send_id)
    return side is not False


def fitting(statements: Sequence[Statement], mac: bytes) -> list[int]:
    """Which statements give the MAC (its leftmost bytes, as the option has it).

    Statements whose algorithm cannot be had, or does not take the secret, fit nothing.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(statements):
        if _takes(one.algorithm, one.secret):
            groups[one.algorithm].append(number)
    fits: list[int] = []
    for algorithm, numbers in groups.items():
        macs = _macs(algorithm, [statements[number] for number in numbers])
        fits += [numbers[at] for at in _beginning_with(mac, macs)]
    return sorted(fits)


def _takes(algorithm: str, secret: bytes) -> bool:
    """Whether there is the algorithm, and takes the secret."""
    try:
        known = find(algorithm)
    except TcpAoError:
        return False
    if known.secret_lengths is not None:
        return len(secret) in known.secret_lengths
    return 0 < len(secret) <= (MAX_TCP_MD5_SECRET if known.is_tcp_md5 else len(secret))


def _beginning_with(mac: bytes, macs: npt.NDArray[np.uint8]) -> list[int]:
    """Indices of the MACs whose leftmost bytes these are."""
    if len(mac) > macs.shape[1]:
        return []
    same = (macs[:, : len(mac)] == np.frombuffer(mac, np.uint8)).all(axis=1)
    return [int(at) for at in np.flatnonzero(same)]


def _macs(algorithm: str, statements: list[Statement]) -> npt.NDArray[np.uint8]:
    order: dict[bytes, int] = {}
    for one in statements:
        order.setdefault(one.secret, len(order))
    secrets = Secrets.of(list(order))
    messages = [one.message() for one in statements]
    if find(algorithm).is_tcp_md5:
        return secrets.digests(np.array([order[one.secret] for one in statements]), messages)
    derived: dict[tuple[int, bytes], int] = {}
    index = np.array(
        [
            derived.setdefault((order[one.secret], one.context()), len(derived))
            for one in statements
        ],
        np.int32,
    )
    rows = np.frombuffer(b"".join(context for _, context in derived), np.uint8)
    which = np.array([row for row, _ in derived], np.int64)
    raw = secrets.traffic_keys(algorithm, which, rows.reshape(len(derived), -1))
    lengths = np.array([len(message) for message in messages], np.int64)
    keys = TrafficKeys(algorithm, raw)
    return mac_batch(keys, index, b"".join(messages), np.cumsum(lengths) - lengths, lengths)


def search_port(statement: Statement, side: str, mac: bytes) -> list[int]:
    """The ports of one side under which a statement gives the MAC, of all 65,536.

    Parameters
    ----------
    statement : Statement
    side : str
        ``source`` or ``destination``.
    mac : bytes
        The leftmost bytes, as the option has them.
    """
    second = side == "destination"
    size = 8 if statement.segment.version == 4 else 32  # of both addresses
    in_context = size + 2 * (second != statement.other_end)
    in_message = PREFIX[statement.segment.version] + 2 * second
    return _search_ends(statement, in_context, in_message, WORDS, mac)


def search_address(statement: Statement, side: str, addresses: Bytes2, mac: bytes) -> list[int]:
    """Under which addresses of one side a statement gives the MAC: indices of `addresses`.

    Parameters
    ----------
    statement : Statement
    side : str
        ``source`` or ``destination``.
    addresses : uint8[n, 4] or uint8[n, 16]
        In network order, of the segment's IP version.
    mac : bytes
        The leftmost bytes, as the option has them.
    """
    second, size = side == "destination", addresses.shape[1]
    in_context = size * (second != statement.other_end)
    return _search_ends(statement, in_context, 4 + size * second, addresses, mac)


def _search_ends(
    statement: Statement,
    in_context: int,
    in_message: int,
    patterns: Bytes2,
    mac: bytes,
) -> list[int]:
    """With which bytes at a place of the KDF's context and one of the message the MAC comes out.

    The place in the message is that of TCP-AO, which has the SNE before it.
    """
    keys = _keys_with(statement, in_context, patterns)
    messages = _varied(statement.message(), in_message - _no_sne(statement), patterns)
    return _giving(mac, keys, messages)


def search_isn(
    statement: Statement, side: str, isns: npt.NDArray[np.int64], mac: bytes
) -> list[int]:
    """Under which ISNs of one side a statement of TCP-AO gives the MAC: indices of `isns`.

    Parameters
    ----------
    statement : Statement
    side : str
        ``source`` or ``destination``, as the segment's sender sees them.
    isns : int64[n]
    mac : bytes
        The leftmost bytes, as the option has them.
    """
    back = 4 if (side == "destination") != statement.other_end else 8
    patterns = isns.astype(">u4").view(np.uint8).reshape(-1, 4)
    keys = _keys_with(statement, len(statement.context()) - back, patterns)
    text = np.frombuffer(statement.message(), np.uint8)
    return _giving(mac, keys, np.tile(text, (len(isns), 1)))


def search_payload(statement: Statement, sizes: npt.NDArray[np.int64], mac: bytes) -> list[int]:
    """With how many bytes of its payload a statement gives the MAC: indices of `sizes`.

    Parameters
    ----------
    statement : Statement
    sizes : int64[n]
        Numbers of bytes, from the payload's beginning on; none more than there are.
    mac : bytes
        The leftmost bytes, as the option has them.
    """
    text, segment = statement.message(), statement.segment
    prefix = PREFIX[segment.version] - _no_sne(statement)
    at, width = (prefix - 2, 2) if segment.version == 4 else (prefix - 8, 4)
    headers = len(text) - segment.payload_length
    own = int.from_bytes(text[at : at + width], "big") - segment.payload_length
    messages = [
        text[:at] + (own + size).to_bytes(width, "big") + text[at + width : headers + size]
        for size in sizes.tolist()
    ]
    lengths = headers + sizes
    index = np.zeros(len(sizes), np.int32)
    keys = _keys_of(statement)
    macs = mac_batch(keys, index, b"".join(messages), np.cumsum(lengths) - lengths, lengths)
    return _beginning_with(mac, macs)


def search_header(statement: Statement, at: int, patterns: Bytes2, mac: bytes) -> list[int]:
    """With which bytes at a place of the TCP header a statement gives the MAC.

    Parameters
    ----------
    statement : Statement
    at : int
        Bytes from the beginning of the TCP header, below 20.
    patterns : uint8[n, width]
        What is tried there.
    mac : bytes
        The leftmost bytes, as the option has them.

    Returns
    -------
    list of int
        Indices of the patterns that give it.
    """
    place = PREFIX[statement.segment.version] + at - _no_sne(statement)
    return _giving(mac, _keys_of(statement), _varied(statement.message(), place, patterns))


def _no_sne(statement: Statement) -> int:
    """How many bytes earlier everything stands in the message of TCP-MD5."""
    return 4 if statement.algorithm == "tcp-md5" else 0


def _varied(data: bytes, at: int, patterns: Bytes2) -> Bytes2:
    """The data with each of the patterns at a place, a row each."""
    rows = np.tile(np.frombuffer(data, np.uint8), (len(patterns), 1))
    rows[:, at : at + patterns.shape[1]] = patterns
    return rows


def _keys_of(statement: Statement) -> TrafficKeys:
    """The traffic key of a statement; of TCP-MD5 its secret."""
    if statement.algorithm == "tcp-md5":
        return TrafficKeys("tcp-md5", np.frombuffer(statement.secret, np.uint8)[None, :])
    context = np.frombuffer(statement.context(), np.uint8)[None, :]
    raw = derive_traffic_keys(statement.algorithm, statement.secret, context)
    return TrafficKeys(statement.algorithm, raw)


def _keys_with(statement: Statement, at: int, patterns: Bytes2) -> TrafficKeys:
    """Its traffic keys with each of the patterns at a place of the context; of TCP-MD5 the one."""
    if statement.algorithm == "tcp-md5":
        return _keys_of(statement)
    contexts = _varied(statement.context(), at, patterns)
    raw = derive_traffic_keys(statement.algorithm, statement.secret, contexts)
    return TrafficKeys(statement.algorithm, raw)


def _giving(mac: bytes, keys: TrafficKeys, messages: Bytes2) -> list[int]:
    """Which messages have the MAC, under the key of their number or under the only one."""
    count, length = messages.shape
    index = np.zeros(count, np.int32) if len(keys) == 1 else np.arange(count, dtype=np.int32)
    offsets = np.arange(count) * length
    macs = mac_batch(keys, index, messages, offsets, np.full(count, length))
    return _beginning_with(mac, macs)


@dataclass(frozen=True, slots=True)
class IsnSearch:
    """What `search_isns` found.

    Attributes
    ----------
    isn_source, isn_destination : int or None
        The ISNs under which the segment's MAC is right; None where none were found.
    tried : int
        How many pairs of ISNs were tried.
    """

    isn_source: int | None
    isn_destination: int | None
    tried: int


def search_isns(
    segment: ParsedSegment,
    algorithm: str,
    secret: bytes,
    *,
    source_position: int,
    destination_position: int,
    reach: int,
    exclude_options: bool = False,
    nat: int = 0,
    confirm: Callable[[int, int], bool] | None = None,
    progress: Callable[[int], None] | None = None,
) -> IsnSearch:
    """The ISNs of a connection whose handshake was not seen, by trying.

    The first byte of a direction has the sequence number ISN + 1. From a position that is known
    in each direction, up to `reach` bytes back are tried, all pairs: the nearest first, then
    those where one side had sent little. So a connection that was young when the capture began, or
    on which one side does nearly all the talking, is found soon. A position that wrapped since
    its ISN has SNE 1, as RFC 5925 section 6.2 has it.

    Parameters
    ----------
    segment : ParsedSegment
        A whole segment with TCP-AO and without SYN.
    algorithm : str
    secret : bytes
    source_position, destination_position : int
        The lowest sequence numbers known of the segment's sender and of its receiver.
    reach : int
        0 and more; ``(reach + 1) ** 2`` pairs are tried at most.
    exclude_options, nat
        As for `Statement`.
    confirm : callable, optional
        Asked about a pair that fits; False goes on searching (short MACs fit by chance).
    progress : callable, optional
        Called now and then with the number of pairs tried.

    Returns
    -------
    IsnSearch

    Raises
    ------
    InvalidArgumentError
        `reach` is negative, or the segment has no TCP-AO.
    """
    if reach < 0:
        raise InvalidArgumentError(f"reach is {reach}; it must be 0 or more bytes")
    first = Statement(segment, algorithm, secret, nat=nat).context()
    template = np.frombuffer(first, np.uint8)
    size = len(template)
    # the message depends on the SNE alone
    texts = [segment.message(sne, exclude_options, nat) for sne in (0, 1)]
    buffer = b"".join(texts)
    tried = 0
    for back_source, back_destination in _pairs(reach):
        count = len(back_source)
        isns = np.empty((count, 2), np.int64)
        isns[:, 0] = (source_position - 1 - back_source) & _MASK
        isns[:, 1] = (destination_position - 1 - back_destination) & _MASK
        contexts = np.empty((count, size), np.uint8)
        contexts[:] = template
        contexts[:, size - 8 :] = isns.astype(">u4").view(np.uint8).reshape(count, 8)
        keys = TrafficKeys(algorithm, derive_traffic_keys(algorithm, secret, contexts))
        wrapped = segment.seq < isns[:, 0]
        macs = mac_batch(
            keys,
            np.arange(count, dtype=np.int32),
            buffer,
            np.where(wrapped, len(texts[0]), 0),
            np.full(count, len(texts[0])),
        )
        for at in _beginning_with(segment.mac, macs):
            pair = int(isns[at, 0]), int(isns[at, 1])
            if confirm is None or confirm(*pair):
                return IsnSearch(*pair, tried + at + 1)
        tried += count
        if progress is not None:
            progress(tried)
    return IsnSearch(None, None, tried)


def _pairs(reach: int) -> Iterator[tuple[Wide, Wide]]:
    """All pairs of 0 to `reach`, each once, in batches; see `NEAR` and `BAND`."""
    near = min(reach, NEAR)
    yield from _shells(0, near, 0)
    for start in range(near + 1, reach + 1, BATCH // (2 * BAND)):
        far = np.arange(start, min(start + BATCH // (2 * BAND), reach + 1))
        left, right = np.repeat(far, BAND), np.tile(np.arange(BAND), len(far))
        yield np.concatenate((left, right)), np.concatenate((right, left))
    yield from _shells(near + 1, reach, BAND)


def _shells(first: int, last: int, least: int) -> Iterator[tuple[Wide, Wide]]:
    """Pairs of `least` and more whose maximum is `first`, then one more, up to `last`."""
    left: list[Wide] = []
    right: list[Wide] = []
    size = 0
    for radius in range(first, last + 1):
        # (radius, least..radius), then (least..radius - 1, radius)
        line = np.arange(least, radius + 1)
        left += [np.full(len(line), radius), line[:-1]]
        right += [line, np.full(len(line) - 1, radius)]
        size += 2 * len(line) - 1
        if size >= BATCH or radius == last:
            yield np.concatenate(left), np.concatenate(right)
            left, right, size = [], [], 0
