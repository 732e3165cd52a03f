"""Output files: in whole or not at all."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.errors import CaptureError, InvalidArgumentError

#: What names of captures end in.
_ENDINGS = (".pcap", ".pcapng", ".gz", ".zst")


class OutputFile:
    """A file that appears under its name only when it is complete.

    It is written beside its place and renamed by `commit`; without `commit` nothing stays.

    Parameters
    ----------
    path : path-like
        ``-`` is standard output, which is written as the bytes come; so are devices and pipes.
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
        self._temporary: Path | None = None
        self._mode = 0o600 if private else 0o666
        if self.path == STANDARD_STREAM:
            self.file: BinaryIO = sys.stdout.buffer
            return
        target = Path(self.path)
        if target.is_dir():
            raise CaptureError(self.path, "is a directory")
        try:
            if target.exists() and not target.is_file():  # /dev/null, a named pipe: no renaming
                self.file = target.open("wb")
                return
            handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        except OSError as error:
            raise CaptureError(self.path, error.strerror or str(error)) from error
        self._temporary = Path(name)
        self.file = os.fdopen(handle, "wb")

    @property
    def is_temporary(self) -> bool:
        """Whether it can be rewritten until `commit`."""
        return self._temporary is not None

    def put(self, data: Any) -> None:
        """Append bytes (anything with the buffer protocol)."""
        try:
            self.file.write(data)
        except OSError as error:
            raise CaptureError(self.path, error.strerror or str(error)) from error

    def discard(self) -> None:
        """Leave nothing behind, unless it was committed."""
        if self.path != STANDARD_STREAM:
            with contextlib.suppress(OSError):  # what could not be written is told already
                self.file.close()
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)
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
            if self._temporary is None:
                self.file.flush()
                if self.path != STANDARD_STREAM:
                    self.file.close()
                return
            if header is not None:
                self.file.seek(0)
                self.file.write(header)
            self.file.close()
            self._temporary.chmod(self._mode & ~_umask())
            self._temporary.replace(self.path)
            self._temporary = None
        except OSError as error:
            raise CaptureError(self.path, error.strerror or str(error)) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
