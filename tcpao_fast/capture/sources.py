"""What captures are read from: files by name, files that are open, packets in hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, BinaryIO

from tcpao_fast.capture.packets import Packets
from tcpao_fast.capture.reader import (
    STANDARD_STREAM,
    CaptureReader,
    first_timestamp,
    name_of_file,
)
from tcpao_fast.errors import InvalidArgumentError

PathLike = str | os.PathLike[str]
Source = PathLike | BinaryIO | Packets
#: Yields (time, data): see `Packets`.
PacketIterator = Iterator[tuple[Any, Any]]


def as_sources(given: Source | PacketIterator | Sequence[Source]) -> list[Source]:
    """One source, or several, as a list.

    An iterator of (time, data) is packets of Ethernet.

    Raises
    ------
    InvalidArgumentError
        It is neither.
    """
    if _is_source(given):
        return [given]  # type: ignore[list-item]
    wanted = "it must be a path, a binary file, Packets, or several"
    if isinstance(given, (bytes, bytearray, memoryview)) or not isinstance(given, Iterable):
        raise InvalidArgumentError(f"path is {given!r}; {wanted}")
    listed: Iterable[Any] = given
    if isinstance(given, Iterator):
        first = next(given, None)
        listed = () if first is None else chain([first], given)
        if first is None or not _is_source(first):
            return [Packets(listed)]
    sources = list(listed)
    for one in sources:
        if not _is_source(one):
            raise InvalidArgumentError(f"path is {one!r}; {wanted}")
    return sources


def _is_source(given: object) -> bool:
    return isinstance(given, (str, os.PathLike, Packets)) or hasattr(given, "read")


def paths_of(sources: Iterable[Source]) -> list[PathLike]:
    """Those that are names of files."""
    return [one for one in sources if isinstance(one, (str, os.PathLike))]


def is_read_once(source: Source) -> bool:
    """Whether a source is gone once it was read."""
    return not isinstance(source, (str, os.PathLike)) or os.fspath(source) == STANDARD_STREAM


def in_time_order(sources: Sequence[Source]) -> list[Source]:
    """Captures in the order of their first packets; what has none, or cannot be read, at the end.

    With one among them that cannot be looked at twice, they stay as they are.
    """
    if len(sources) < 2 or any(is_read_once(source) for source in sources):
        return list(sources)
    return sorted(sources, key=lambda one: first_timestamp(one))  # type: ignore[arg-type]


def open_source(source: Source, preceding: int) -> CaptureReader | Packets:
    """A source as what yields its records.

    Parameters
    ----------
    source : path-like, binary file or Packets
    preceding : int
        How many records came before it, in a stream of several.
    """
    if isinstance(source, Packets):
        source.preceding = preceding
        return source
    return CaptureReader(source, preceding)


def name_of(source: Source) -> str:
    """What a source is called in reports and errors."""
    return source.path if isinstance(source, Packets) else name_of_file(source)
