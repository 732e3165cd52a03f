"""Reading captures: pcap and pcapng, mapped or streamed, in chunks of records."""

from __future__ import annotations

import contextlib
import io
import mmap
import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from tcpao_fast.capture.compression import decompressed, what_is_wrong
from tcpao_fast.core.wire.records import Records
from tcpao_fast.core.wire.scan import Scanner
from tcpao_fast.errors import CaptureError, InvalidArgumentError, MissingExtraError

#: Records a chunk; its columns take 2.5 MB.
CHUNK_RECORDS = 1 << 16
#: Bytes of a mapping a chunk may span, so that little of a large file is in memory at a time.
CHUNK_BYTES = 8 << 20
#: Bytes read at a time from what cannot be mapped.
WINDOW = 4 << 20
#: Bytes that are looked at where a capture's first packet is all that is wanted.
FIRST_BYTES = 1 << 16

STANDARD_STREAM = "-"
_HEADER = 24  # bytes of a pcap file's header
_MADV_POPULATE_READ = 22  # Linux's; the mmap module does not name it


def _populate(data: mmap.mmap, start: int, end: int) -> None:
    """Map a range at one go, where the system can (Linux 5.14): else each page is a fault."""
    if not sys.platform.startswith("linux"):
        return
    start = start // mmap.PAGESIZE * mmap.PAGESIZE
    with contextlib.suppress(OSError):
        data.madvise(_MADV_POPULATE_READ, start, end - start)


def first_timestamp(path: str | os.PathLike[str]) -> tuple[bool, int]:
    """Whether a capture has no packet, and else the time of its first."""
    try:
        with CaptureReader(path, brief=True) as reader:
            for records in reader:
                if len(records):
                    return False, int(records.timestamps[0])
    except (CaptureError, MissingExtraError):
        pass
    return True, 0


def may_be_capture(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a capture, compressed ones too; True where that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            content = decompressed(file)
            beginning = (content or file).read(_HEADER)
    except (OSError, MissingExtraError):
        return True
    except Exception as error:
        if what_is_wrong(error) is None:
            raise
        return True
    scanner = Scanner()
    scanner.scan(beginning, 0, 1, False)
    return bool(beginning) and scanner.damage is None


def _has_more(file: BinaryIO) -> bool:
    """Whether a pipe has bytes now; True where that cannot be told."""
    borrowed = getattr(file, "raw", None)
    if isinstance(borrowed, _Borrowed) and borrowed.has_more is not None:
        return borrowed.has_more()
    try:
        return bool(select.select([file], [], [], 0)[0])
    except (OSError, ValueError):
        return True


class _Borrowed(io.RawIOBase):
    """Reads from a file of somebody else's, which is not closed here."""

    def __init__(self, file: Any) -> None:
        # a file that has read1 gives what is there, and does not wait until all is
        self._read = getattr(file, "read1", file.read)
        self._file = file
        #: What a file that is waited for says for itself.
        self.has_more: Callable[[], bool] | None = getattr(file, "has_more", None)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        if not hasattr(self._file, "fileno"):
            raise io.UnsupportedOperation("fileno")
        return int(self._file.fileno())

    def readinto(self, buffer: Any) -> int:
        data = self._read(len(buffer))
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise InvalidArgumentError(
                f"{name_of_file(self._file)}: gives {type(data).__name__}, not bytes; open it in "
                "binary mode"
            )
        buffer[: len(data)] = data
        return len(data)


def name_of_file(file: Any) -> str:
    """A path as text; what stands for it of a file that is open."""
    if isinstance(file, (str, os.PathLike)):
        return os.fspath(file)
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else f"<{type(file).__name__}>"


class CaptureReader:
    """A capture, some consecutive records at a time, in constant memory.

    Iterating yields `Records`, numbered as Wireshark numbers them. Their buffer is valid until the
    next ones are asked for.

    Parameters
    ----------
    path : path-like, or binary file
        ``-`` is standard input, read as it grows. gzip and Zstandard are looked through. A file
        that is open (`io.BytesIO`, `gzip.open`, a socket's ``makefile``) is read from where it is,
        somewhat beyond the capture's end perhaps, and not closed.
    preceding : int
        How many records came before this capture, in a stream of several.
    on_damage : callable, optional
        Called with the `CaptureError` where the capture is damaged; iterating then ends, or goes
        on behind the damage (``error.resumed``): in pcapng from the next block that can be
        trusted. Without it the error is raised.
    brief : bool
        Yield one record at a time, and read little: for whoever wants the first alone.

    Attributes
    ----------
    path : str
    size : int or None
        Bytes of the file; None where that is not known.
    read : int
        Bytes of the file up to the end of the records that were yielded last.
    scanner : Scanner
        Says the format, byte order and precision, once the first chunk was read.

    Raises
    ------
    CaptureError
        The file cannot be opened. While iterating: it is damaged, after all records before the
        damage were given.
    InvalidArgumentError
        The file is open in text mode.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | BinaryIO,
        preceding: int = 0,
        *,
        on_damage: Callable[[CaptureError], None] | None = None,
        brief: bool = False,
    ) -> None:
        self.path = name_of_file(path)
        self.read = 0
        self._on_damage = on_damage
        self._at_once = 1 if brief else CHUNK_RECORDS
        self._span = FIRST_BYTES if brief else CHUNK_BYTES
        self._window = FIRST_BYTES if brief else WINDOW
        self._preceding = preceding
        self._passed = 0  # records yielded
        self.scanner = Scanner()
        self.size: int | None = None
        self._map: mmap.mmap | None = None
        self._content: BinaryIO | None = None
        mode = None
        try:
            if not isinstance(path, (str, os.PathLike)):
                self._file: BinaryIO = io.BufferedReader(_Borrowed(path))
            elif self.path == STANDARD_STREAM:
                self._file = sys.stdin.buffer
            else:
                self._file = Path(self.path).open("rb")  # noqa: SIM115 (closed by close)
                status = os.fstat(self._file.fileno())
                mode = status.st_mode
            if mode is None or not stat.S_ISDIR(mode):
                self._content = decompressed(self._file)
        except InvalidArgumentError:
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise CaptureError(self.path, getattr(error, "strerror", None) or str(error)) from error
        except MissingExtraError:
            self.close()
            raise
        if mode is not None and stat.S_ISDIR(mode):
            self._file.close()
            raise CaptureError(self.path, "is a directory")
        if mode is not None and stat.S_ISREG(mode):
            self.size = status.st_size
            if self.size and self._content is None:
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
        """Close the file."""
        if self._map is not None:
            # arrays over it may live on, as where an exception's frames hold a chunk: it ends with
            # the last of them
            with contextlib.suppress(BufferError):
                self._map.close()
            self._map = None
        if self._content is not None:
            self._content.close()
        if self.path != STANDARD_STREAM:
            self._file.close()

    def __iter__(self) -> Iterator[Records]:
        chunks = self._stream() if self._map is None else self._mapped(self._map)
        yield from chunks

    def _records(
        self, buffer: Any, columns: tuple[Any, ...], span: tuple[int, int], read: int
    ) -> Iterator[Records]:
        """The columns of a scan of `span` as records, which end at byte `read` of the file; of
        pcapng also none, where there are blocks.
        """
        offsets, lengths, wire_lengths, timestamps, linktypes = columns
        has_blocks = self.scanner.format == "pcapng" and span[1] > span[0]
        if not len(offsets) and not has_blocks:
            return
        first = self._passed
        self._passed += len(offsets)
        self.read = read
        records = Records(
            buffer,
            offsets,
            lengths,
            linktypes,
            timestamps,
            wire_lengths,
            numbers=np.arange(first + 1, self._passed + 1),
            source=self.path,
            preceding=self._preceding,
        )
        if has_blocks:
            records.blocks = (buffer, *span)
        yield records

    def _damaged(self, what: str, at: int, resumed: int | None = None) -> None:
        """Tell of damage, or raise it."""
        error = CaptureError(self.path, what, at, resumed)
        if self._on_damage is None:
            raise error
        self._on_damage(error)

    def _mapped(self, data: mmap.mmap) -> Iterator[Records]:
        at = dropped = 0
        scanner = self.scanner
        while True:
            limit = min(at + self._span, len(data))
            _populate(data, at, limit)
            window = memoryview(data)
            # a chunk ends at a record: the scan is over the file up to `limit`, the last part whole
            columns, end = scanner.scan(window[:limit], at, self._at_once, limit == len(data))
            while end == at and limit < len(data) and scanner.damage is None:
                limit = min(limit + CHUNK_BYTES, len(data))  # one record longer than a chunk
                columns, end = scanner.scan(window[:limit], at, self._at_once, limit == len(data))
            window.release()
            yield from self._records(data, columns, (at, end), end)
            what, place = scanner.damage, scanner.damage_at
            if what is not None:
                found, end = False, len(data)
                if self._on_damage is not None:
                    found, end = scanner.recover(data, place + 1, place)
                self._damaged(what, place, end if found else None)
                if not found:
                    return
            if end == len(data):
                return
            at = end
            # pages that were used need not stay mapped: memory stays flat however large the file
            done = at // mmap.PAGESIZE * mmap.PAGESIZE
            if hasattr(data, "madvise") and done > dropped:
                data.madvise(mmap.MADV_DONTNEED, dropped, done - dropped)
                dropped = done

    def _read(self) -> tuple[bytes, str | None]:
        """The next window of a stream, and what broke it off.

        A window is full, or is what is there: a capture that still grows is not waited for, and of
        one that is damaged nothing before the damage is lost.
        """
        source: Any = self._content or self._file
        pieces: list[bytes] = []
        size = 0
        while size < self._window:
            try:
                piece = source.read1(self._window - size)
            except Exception as error:
                what = what_is_wrong(error) or getattr(error, "strerror", None)
                if what is None and not isinstance(error, OSError):
                    raise
                return b"".join(pieces), what or str(error)
            if not piece:
                break
            pieces.append(piece)
            size += len(piece)
            if self.size is None and not _has_more(self._file):
                break
        return b"".join(pieces), None

    def _stream(self) -> Iterator[Records]:
        kept = b""
        passed = 0  # bytes before `kept`
        scanner = self.scanner
        damage: tuple[str, int] | None = None  # that was not got past yet
        while True:
            more, broken = self._read()
            window = kept + more
            at = 0
            last = not more and broken is None
            while True:
                if damage is not None:
                    found, at = scanner.recover(window, at, damage[1] - passed, last)
                    if not found:
                        break
                    self._damaged(*damage, passed + at)
                    damage = None
                columns, end = scanner.scan(window, at, self._at_once, last)
                read = self._file.tell() if self.size else passed + end
                yield from self._records(window, columns, (at, end), read)
                at = end
                if scanner.damage is not None:
                    damage = scanner.damage, passed + scanner.damage_at
                    if self._on_damage is None or scanner.format != "pcapng":
                        self._damaged(*damage)
                        return
                    at = scanner.damage_at + 1
                elif len(columns[0]) < self._at_once:
                    break
            kept = window[at:]
            passed += at
            if damage is not None and (last or broken is not None):
                self._damaged(*damage)
                if broken is None:
                    return
            if broken is not None:  # the offset is in what was compressed
                self._damaged(broken, passed + len(kept))
                return
            if not more:
                return
