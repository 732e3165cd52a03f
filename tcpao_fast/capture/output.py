"""Output files: in whole or not at all, and never in the place of what is no file."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePath
from typing import Any, BinaryIO

from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.errors import CaptureError, InvalidArgumentError

#: What names of captures end in.
_ENDINGS = (".pcap", ".pcapng", ".gz", ".zst")
_MOST_LINKS = 40
_DESCRIPTORS = re.compile(r"/proc/(?:self|thread-self|\d+)(?:/task/\d+)?/fd|/dev/fd")


def _place(path: str) -> tuple[str, int | None]:
    """Where a path leads: to a file of that name, or to a descriptor that this process has open."""
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder or ".")
        path = os.path.join(folder, name)  # noqa: PTH118 (pathlib would normalise)
        if name.isdigit() and _DESCRIPTORS.fullmatch(folder):
            return path, int(name)
        try:
            target = os.readlink(path)  # noqa: PTH115
        except OSError:
            return path, None
        path = os.path.join(folder, target)  # noqa: PTH118
    return path, None


@contextlib.contextmanager
def telling(path: str) -> Iterator[None]:
    """Errors of the system as those of a file that cannot be written, with its name."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads has seen enough: no error of the file's
    except OSError as error:
        raise CaptureError(path, error.strerror or str(error)) from error


class OutputFile:
    """A file that appears under its name only when it is complete.

    It is written without a name, where the system has such files, else beside its place, and takes
    the name by `commit`; without `commit` nothing stays, and what was there is as it was.  Of a
    symbolic link the target is replaced.  What is no regular file (a pipe, a device, /dev/stdout,
    /dev/fd/N) is written into as the bytes come.

    Parameters
    ----------
    path : path-like
        ``-`` is standard output.
    private : bool
        Whether only the owner may read it.
    form : str, optional
        ``pcap`` or ``pcapng``: the name must not promise another form of capture.

    Attributes
    ----------
    path : str
    file : binary file
        To write to; `put` turns errors into `CaptureError`.

    Raises
    ------
    CaptureError
        The file cannot be written.
    InvalidArgumentError
        Its name promises another form.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, private: bool = False, form: str | None = None
    ) -> None:
        self.path = os.fspath(path)
        ending = PurePath(self.path).suffix.lower()
        if form is not None and ending in _ENDINGS and ending != f".{form}":
            raise InvalidArgumentError(
                f"{self.path}: is written as {form}, not compressed; let its name end in .{form}"
            )
        self._temporary: str | None = None  # a name to rename from
        self._nameless = False
        self._target: str | None = None
        self._own = True  # to be closed
        if self.path == STANDARD_STREAM:
            self.file: BinaryIO = sys.stdout.buffer
            self._own = False
            return
        try:
            self._open(0o600 if private else 0o666)
        except (OSError, ValueError) as error:
            raise CaptureError(self.path, getattr(error, "strerror", None) or str(error)) from error

    def _open(self, mode: int) -> None:
        target, descriptor = _place(self.path)
        if descriptor is not None:
            self.file = os.fdopen(os.dup(descriptor), "wb")
            return
        try:
            status = os.stat(target)  # noqa: PTH116
        except FileNotFoundError:
            status = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            raise CaptureError(self.path, "is a directory")
        if status is not None and not stat.S_ISREG(status.st_mode):
            self.file = os.fdopen(os.open(target, os.O_WRONLY), "wb")
            return
        if status is not None and not os.access(target, os.W_OK):
            raise PermissionError(None, "Permission denied")
        self._target = target
        folder = os.path.dirname(target)  # noqa: PTH120
        handle = -1
        if hasattr(os, "O_TMPFILE"):
            with contextlib.suppress(OSError):  # not on every file system
                handle = os.open(folder, os.O_TMPFILE | os.O_RDWR, mode)
                self._nameless = True
        if handle < 0:
            self._temporary = self._beside()
            handle = os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        self.file = os.fdopen(handle, "wb")

    def _beside(self) -> str:
        assert self._target is not None
        folder, name = os.path.split(self._target)
        return f"{folder}/.{name[:200]}.{secrets.token_hex(4)}"

    @property
    def is_temporary(self) -> bool:
        """Whether it can be rewritten until `commit`."""
        return self._target is not None

    def put(self, data: Any) -> None:
        """Append bytes (anything with the buffer protocol)."""
        with telling(self.path):
            self.file.write(data)

    def discard(self) -> None:
        """Leave nothing behind, unless it was committed."""
        if self._own:
            with contextlib.suppress(OSError):  # what could not be written is told already
                self.file.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)  # noqa: PTH108
            self._temporary = None

    def commit(self, header: bytes | None = None) -> None:
        """The file is complete: give it its name.  `header` takes the place of its first bytes,
        where it can still be rewritten.

        Raises
        ------
        CaptureError
            It cannot be written; nothing stays.
        """
        try:
            if self._target is None:
                self.file.flush()
                if self._own:
                    self.file.close()
                return
            if header is not None:
                self.file.seek(0)
                self.file.write(header)
            self.file.flush()
            if self._nameless:
                name = self._beside()
                source = f"/proc/self/fd/{self.file.fileno()}"
                # the descriptor makes it linkat(), which alone follows that link
                root = os.open("/", os.O_RDONLY)
                try:
                    os.link(source, name, src_dir_fd=root, follow_symlinks=True)
                finally:
                    os.close(root)
                self._temporary = name
            self.file.close()
            assert self._temporary is not None
            os.replace(self._temporary, self._target)  # noqa: PTH105
            self._temporary = None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CaptureError(self.path, error.strerror or str(error)) from error


def _identity(path: str, stream: int) -> tuple[int, int] | None:
    """What tells a regular file from all others; None for everything else."""
    try:
        status = os.fstat(stream) if path == STANDARD_STREAM else os.stat(path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def require_distinct(
    outputs: Iterable[str | os.PathLike[str] | None],
    inputs: Iterable[str | os.PathLike[str] | None],
) -> None:
    """Raise InvalidArgumentError where an output is an input too, or another output.

    None is no file.
    """
    read = {_identity(os.fspath(path), 0): os.fspath(path) for path in inputs if path is not None}
    written: dict[Any, str] = {}
    for output in outputs:
        if output is None:
            continue
        path = os.fspath(output)
        identity = _identity(path, 1)
        if identity is not None and identity in read:
            what = "is" if path == read[identity] else f"is the same file as {read[identity]},"
            raise InvalidArgumentError(f"{path}: {what} an input too; write to another file")
        place = identity or (path if path == STANDARD_STREAM else _place(path))
        if place in written and (identity or path != os.devnull):
            raise InvalidArgumentError(f"{path}: is the output of two things; name another file")
        written[place] = path
