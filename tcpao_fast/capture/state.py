"""What is known of connections, in a JSON file from run to run."""

from __future__ import annotations

import json
import os
import stat
from types import TracebackType

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.engine import Engine
from tcpao_fast.errors import StateError

try:
    import fcntl
except ImportError:  # not on Windows: there runs are not kept apart
    fcntl = None  # type: ignore[assignment]


class StateFile:
    """A state that one run at a time reads and replaces.

    Use it with ``with``: within, no other run has it.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    StateError
        It is no regular file, cannot be opened, or another run has it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._handle = -1
        self._new = False

    def __enter__(self) -> StateFile:
        try:
            self._lock()
        except StateError:
            self._close()
            raise
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            self._close()
            what = getattr(error, "strerror", None) or str(error)
            raise StateError(f"{self.path}: {what}") from error
        return self

    def _lock(self) -> None:
        while True:
            self._new = not os.path.exists(self.path)  # noqa: PTH110
            mode = 0 if self._new else os.stat(self.path).st_mode  # noqa: PTH116
            if mode and not stat.S_ISREG(mode):
                what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
                raise StateError(f"{self.path}: is {what}; a state is kept in a regular file")
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
            self._handle = os.open(self.path, flags, 0o666)
            if fcntl is None:
                return
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StateError(
                    f"{self.path}: another run is using it; let each have its own state"
                ) from None
            ours = os.fstat(self._handle)
            try:
                there = os.stat(self.path)  # noqa: PTH116
            except FileNotFoundError:
                there = None
            if there is not None and (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino):
                return
            self._close()  # the run before replaced it between the two: take the new one

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._new and os.fstat(self._handle).st_nlink and not os.fstat(self._handle).st_size:
            os.unlink(self.path)  # noqa: PTH108 (made for the lock alone)
        self._close()

    def read(self, engine: Engine) -> list[str]:
        """Import the state; nothing where there is none yet.

        Returns
        -------
        list of str
            What `Engine.import_state` could not take over.

        Raises
        ------
        StateError
            The file cannot be read, or holds no state.
        """
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123
                text = file.read()
        except OSError as error:
            raise StateError(f"{self.path}: {error.strerror}") from error
        if not text:  # none yet: made just now, or by a run that was killed before it wrote one
            return []
        try:
            return engine.import_state(json.loads(text))
        except ValueError as error:  # StateError is one too
            raise StateError(f"{self.path}: {error}") from None
        except RecursionError:
            raise StateError(f"{self.path}: is JSON that is nested too deeply") from None

    def write(self, engine: Engine) -> None:
        """Export everything that is known of connections; the file is whole, or the one before.

        Raises
        ------
        CaptureError
            It cannot be written.
        """
        output = OutputFile(self.path)
        try:
            # as they come: all of them at once can be much more than the engine itself has
            head = json.dumps(engine.state_head(), indent=1).removesuffix("\n}")
            output.put(f'{head},\n "connections": ['.encode())
            between = "\n  "
            for _, record in engine.state_records(candidates=True):
                output.put(f"{between}{json.dumps(record)}".encode())
                between = ",\n  "
            output.put(b"\n ]\n}\n")
            output.commit()
        finally:
            output.discard()
