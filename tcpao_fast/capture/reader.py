"""Reading captures: pcap and pcapng, mapped or streamed, in chunks of records."""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.scan import Scanner
from tcpao_fast.errors import CaptureError

#: Records a chunk; its columns take 2.5 MB.
CHUNK_RECORDS = 1 << 16
#: Bytes of a mapping a chunk may span, so that little of a large file is in memory at a time.
CHUNK_BYTES = 8 << 20
#: Bytes read at a time from what cannot be mapped.
WINDOW = 4 << 20

STANDARD_STREAM = "-"
_MADV_POPULATE_READ = 22  # Linux's; the mmap module does not name it


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some consecutive records of a capture.

    Attributes
    ----------
    buffer : buffer protocol
        What the offsets count in; valid until the next chunk is asked for.
    first : int
        Number of the first record; the capture's first is 0 (Wireshark counts from 1).
    offsets, lengths, wire_lengths : int64[n]
        In bytes; `wire_lengths` before the snap length cut.
    timestamps : int64[n]
        Nanoseconds since 1970, -1 where the file has none.
    linktypes : int32[n]
    read : int
        Bytes of the file up to the chunk's end.
    """

    buffer: Any
    first: int
    offsets: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    wire_lengths: npt.NDArray[np.int64]
    timestamps: npt.NDArray[np.int64]
    linktypes: npt.NDArray[np.int32]
    read: int


def _populate(data: mmap.mmap, start: int, end: int) -> None:
    """Map a range at one go, where the system can (Linux 5.14): else each page is a fault."""
    if not sys.platform.startswith("linux"):
        return
    start = start // mmap.PAGESIZE * mmap.PAGESIZE
    with contextlib.suppress(OSError):
        data.madvise(_MADV_POPULATE_READ, start, end - start)


class CaptureReader:
    """A capture, chunk by chunk, in constant memory.

    Parameters
    ----------
    path : path-like
        ``-`` is standard input.

    Attributes
    ----------
    path : str
    size : int or None
        Bytes of the file; None where that is not known.
    scanner : Scanner
        Says the format, byte order and precision, once the first chunk was read.

    Raises
    ------
    CaptureError
        The file cannot be opened. While iterating: it is damaged, after all records before the
        damage were given.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.scanner = Scanner()
        self.size: int | None = None
        self._map: mmap.mmap | None = None
        try:
            if self.path == STANDARD_STREAM:
                self._file: BinaryIO = sys.stdin.buffer
            else:
                self._file = Path(self.path).open("rb")  # noqa: SIM115 (closed by close)
            status = os.fstat(self._file.fileno())
        except OSError as error:
            raise CaptureError(self.path, error.strerror or str(error)) from error
        if stat.S_ISDIR(status.st_mode):
            self._file.close()
            raise CaptureError(self.path, "is a directory")
        if stat.S_ISREG(status.st_mode) and self.path != STANDARD_STREAM:
            self.size = status.st_size
            if self.size:
                self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
                if hasattr(self._map, "madvise"):
                    self._map.madvise(mmap.MADV_SEQUENTIAL)

    def __enter__(self) -> CaptureReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file. Arrays over its mapping must be gone."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self.path != STANDARD_STREAM:
            self._file.close()

    def __iter__(self) -> Iterator[Chunk]:
        chunks = self._stream() if self._map is None else self._mapped(self._map)
        yield from chunks

    def _mapped(self, data: mmap.mmap) -> Iterator[Chunk]:
        at = first = dropped = 0
        while True:
            limit = min(at + CHUNK_BYTES, len(data))
            _populate(data, at, limit)
            window = memoryview(data)
            # a chunk ends at a record: the scan is over the file up to `limit`, the last part whole
            columns, end = self.scanner.scan(window[:limit], at, CHUNK_RECORDS, limit == len(data))
            while end == at and limit < len(data) and self.scanner.damage is None:
                limit = min(limit + CHUNK_BYTES, len(data))  # one record longer than a chunk
                columns, end = self.scanner.scan(
                    window[:limit], at, CHUNK_RECORDS, limit == len(data)
                )
            window.release()
            if len(columns[0]):
                yield Chunk(data, first, *columns, end)
            first += len(columns[0])
            if self.scanner.damage is not None:
                raise CaptureError(self.path, self.scanner.damage, self.scanner.damage_at)
            if end == len(data):
                return
            at = end
            # pages that were used need not stay mapped: memory stays flat however large the file
            done = at // mmap.PAGESIZE * mmap.PAGESIZE
            if hasattr(data, "madvise") and done > dropped:
                data.madvise(mmap.MADV_DONTNEED, dropped, done - dropped)
                dropped = done

    def _stream(self) -> Iterator[Chunk]:
        kept = b""
        passed = first = 0
        while True:
            try:
                more = self._file.read(WINDOW)
            except OSError as error:
                raise CaptureError(self.path, error.strerror or str(error), passed) from error
            window = kept + more
            at = 0
            while True:
                columns, end = self.scanner.scan(window, at, CHUNK_RECORDS, not more)
                if len(columns[0]):
                    yield Chunk(window, first, *columns, passed + end)
                first += len(columns[0])
                if self.scanner.damage is not None:
                    raise CaptureError(
                        self.path, self.scanner.damage, passed + self.scanner.damage_at
                    )
                if len(columns[0]) < CHUNK_RECORDS:
                    at = end
                    break
                at = end
            kept = window[at:]
            passed += at
            if not more:
                return
