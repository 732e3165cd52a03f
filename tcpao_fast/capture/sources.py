"""What captures are read from: files by name, files that are open, packets in hand."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from tcpao_fast.capture.packets import Packets
from tcpao_fast.capture.reader import (
    STANDARD_STREAM,
    CaptureReader,
    first_timestamp,
    may_be_capture,
    name_of_file,
)
from tcpao_fast.errors import CaptureError, InvalidArgumentError

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


def expand(names: Iterable[str]) -> list[str]:
    """What a command line names as captures, as their paths.

    A directory stands for the captures in it and below, in the order of their names; files that
    are none, and hidden ones, are left out. A name with ``*``, ``?`` or ``[`` that is no file is
    a pattern (``**`` reaches into folders). ``@FILE`` is a file with a name a line, or with NUL
    characters between them; ``@-`` is standard input.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    list of str

    Raises
    ------
    InvalidArgumentError
        There is no capture in a directory, nothing matches a pattern, or a list has no name.
    CaptureError
        A list cannot be read.
    """
    found: list[str] = []
    for name in names:
        if name.startswith("@"):
            for one in _listed(name[1:]):
                found += _paths_in(one)
        else:
            found += _paths_in(name)
    return found


def _paths_in(name: str) -> list[str]:
    if name == STANDARD_STREAM or "://" in name:
        return [name]
    if os.path.isdir(name):  # noqa: PTH112
        inside = [one for one in _files_below(name) if may_be_capture(one)]
        if not inside:
            raise InvalidArgumentError(f"{name}: there is no capture in this directory")
        return inside
    if glob.has_magic(name) and not os.path.lexists(name):
        matching = sorted(glob.glob(name, recursive=True))  # noqa: PTH207
        files = [one for one in matching if not os.path.isdir(one)]  # noqa: PTH112
        if not files:
            raise InvalidArgumentError(f"{name}: no file matches this pattern")
        return files
    return [name]


def _files_below(folder: str) -> Iterator[str]:
    unreadable: list[str] = []
    walk = os.walk(folder, onerror=lambda error: unreadable.append(str(error.filename)))
    for place, folders, files in walk:
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(files):
            path = os.path.join(place, name)  # noqa: PTH118
            # not pipes and sockets, which would be waited for
            if not name.startswith(".") and os.path.isfile(path):  # noqa: PTH113
                yield path
    yield from unreadable  # whoever reads them says why they cannot be read


def _listed(name: str) -> list[str]:
    try:
        data = sys.stdin.buffer.read() if name == STANDARD_STREAM else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise CaptureError(name, getattr(error, "strerror", None) or str(error)) from error
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    names = [os.fsdecode(line) for line in lines if line.strip()]
    if not names:
        raise InvalidArgumentError(f"{name}: there is no name in this list")
    return names


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


def open_source(
    source: Source, preceding: int, on_damage: Callable[[CaptureError], None] | None = None
) -> CaptureReader | Packets:
    """A source as what yields its records.

    Parameters
    ----------
    source : path-like, binary file or Packets
    preceding : int
        How many records came before it, in a stream of several.
    on_damage : callable, optional
        As of `CaptureReader`.
    """
    if isinstance(source, Packets):
        source.preceding = preceding
        return source
    return CaptureReader(source, preceding, on_damage=on_damage)


def name_of(source: Source) -> str:
    """What a source is called in reports and errors."""
    return source.path if isinstance(source, Packets) else name_of_file(source)
