"""Packets that a program has in hand, as a capture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np

from tcpao_fast.core.wire.records import Records
from tcpao_fast.errors import InvalidArgumentError

#: Packets, and bytes of them, that are handed on at a time.
CHUNK_PACKETS = 1 << 12
CHUNK_BYTES = 4 << 20
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


class Packets:
    """Packets with their times, from scapy, dpkt, pyshark, a socket or anything that yields them.

    `verify_capture` and the others take it in place of a file; it is read once, from where it is,
    4,096 packets at a time.

    Parameters
    ----------
    packets : iterable of (time, data)
        `time` is when the packet was seen: seconds since 1970 (int, float or Decimal), a datetime
        with a time zone, or None. `data` is bytes-like, from the link type's header on.
    linktype : int
        As in pcap files: 1 Ethernet, 101 raw IP (`Records` names the others). dpkt's readers say
        it as ``reader.datalink()``, scapy's as ``reader.linktype``.
    name : str
        What stands for a file's name in reports and errors.

    Attributes
    ----------
    path : str
        The name.
    size : None
        As of `CaptureReader`: not known.
    read : int
        Bytes of packets that were yielded.
    preceding : int
        How many records came before, in a stream of several.

    Raises
    ------
    InvalidArgumentError
        `packets` cannot be iterated over, or `linktype` is no link type. While iterating: an item
        is no (time, data).
    """

    def __init__(
        self, packets: Iterable[tuple[Any, Any]], linktype: int = 1, name: str = "<packets>"
    ) -> None:
        if not isinstance(packets, Iterable) or isinstance(packets, (str, bytes, bytearray)):
            raise InvalidArgumentError(
                f"packets is a {type(packets).__name__}; it must yield (time, data)"
            )
        if (
            isinstance(linktype, bool)
            or not isinstance(linktype, (int, np.integer))
            or not 0 <= linktype < 1 << 16
        ):
            raise InvalidArgumentError(f"linktype is {linktype!r}; it must be 0 to 65535")
        self.linktype = int(linktype)
        self.path = name
        self.size = None
        self.read = 0
        self.preceding = 0
        self._packets = packets

    def __enter__(self) -> Packets:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __iter__(self) -> Iterator[Records]:
        times: list[int] = []
        pieces: list[Any] = []
        size = passed = 0
        for item in self._packets:
            number = passed + len(pieces) + 1
            time, data = _pair(item, number)
            times.append(_nanoseconds(time, number))
            pieces.append(data)
            size += len(data)
            if len(pieces) == CHUNK_PACKETS or size >= CHUNK_BYTES:
                yield self._chunk(times, pieces, passed)
                passed += len(pieces)
                times, pieces, size = [], [], 0
        if pieces:
            yield self._chunk(times, pieces, passed)

    def _chunk(self, times: list[int], pieces: list[Any], passed: int) -> Records:
        lengths = np.fromiter(map(len, pieces), np.int64, len(pieces))
        ends = np.cumsum(lengths)
        self.read += int(ends[-1])
        return Records(
            b"".join(pieces),
            ends - lengths,
            lengths,
            self.linktype,
            np.array(times, np.int64),
            numbers=np.arange(passed + 1, passed + len(pieces) + 1),
            source=self.path,
            preceding=self.preceding,
        )


def _pair(item: Any, number: int) -> tuple[Any, Any]:
    """An item's time, and its data as bytes whose length is the packet's."""
    if isinstance(item, (tuple, list)) and len(item) == 2:
        time, data = item
        if isinstance(data, (bytes, bytearray)):
            return time, data
        try:
            return time, memoryview(data).tobytes()
        except TypeError:
            pass
        what = f"its data is a {type(data).__name__}"
    else:
        what = f"is a {type(item).__name__}"
    raise InvalidArgumentError(f"packet {number}: {what}; it must be (time, bytes)")


def _nanoseconds(time: Any, number: int) -> int:
    """A time as nanoseconds since 1970; -1 where there is none."""
    if time is None:
        return -1
    try:
        if isinstance(time, datetime):
            return (time - _EPOCH) // _MICROSECOND * 1000
        found = round(time * 10**9)
        if -(1 << 63) <= found < 1 << 63:
            return int(found)
    except (TypeError, ValueError, OverflowError, ArithmeticError):
        pass
    raise InvalidArgumentError(
        f"packet {number}: its time is {time!r}; it must be seconds since 1970, a datetime with a "
        "time zone, or None"
    )
