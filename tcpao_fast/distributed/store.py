"""Where a run keeps what it has: a folder, or a place in an object store (fsspec)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tcpao_fast.capture.output import telling
from tcpao_fast.errors import CaptureError, InvalidArgumentError, MissingExtraError

#: The folder in a run's folder for what is not its result.
WORK = "_tcpao"
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Whether a name is a place in some store: ``s3://bucket/key``, ``memory://x``."""
    return _URL.match(name) is not None


def _filesystem(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError(f"{url} needs fsspec: pip install 'tcpao-fast[dask]'") from error
    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:
        raise MissingExtraError(f"{url}: {error}") from error


def open_capture(name: str) -> str | BinaryIO:
    """A capture as `CaptureReader` takes it.

    Raises
    ------
    CaptureError
        It is a URL that cannot be opened.
    """
    if not is_url(name):
        return name
    system, path = _filesystem(name)
    try:
        return system.open(path, "rb")  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise CaptureError(name, getattr(error, "strerror", None) or str(error)) from error


def expand_urls(names: Iterable[str]) -> list[str]:
    """Names, of which URLs with a pattern became what matches it.

    Raises
    ------
    InvalidArgumentError
        Nothing does.
    """
    found: list[str] = []
    for name in names:
        if is_url(name) and any(one in name for one in "*?["):
            system, path = _filesystem(name)
            matching = sorted(system.unstrip_protocol(one) for one in system.glob(path))
            if not matching:
                raise InvalidArgumentError(f"{name}: no file matches this pattern")
            found += matching
        else:
            found.append(name)
    return found


def identity_of(name: str) -> tuple[int, str]:
    """What changes when a capture does: its size, and when it was written.

    Raises
    ------
    CaptureError
        It cannot be found.
    """
    try:
        if not is_url(name):
            status = os.stat(name)  # noqa: PTH116
            return status.st_size, str(status.st_mtime_ns)
        system, path = _filesystem(name)
        found = system.info(path)
        changed = next(
            (found[one] for one in ("ETag", "mtime", "LastModified", "created") if one in found), ""
        )
        return int(found.get("size") or 0), str(changed)
    except (OSError, ValueError) as error:
        raise CaptureError(name, getattr(error, "strerror", None) or str(error)) from error


def file_name_of(name: str) -> str:
    """What a capture's files in a run's folder are called: readable, and of this capture alone."""
    stem = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(name.replace(os.sep, "/")).name)[:80]
    return f"{stem}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:10]}"


def _dtype_of(found: Any) -> Any:
    """A dtype's description as numpy has it, from JSON."""
    if isinstance(found, list) and found and isinstance(found[0], list):
        if len(found) == 1 and found[0][0] == "":
            return found[0][1]
        return [
            (name, _dtype_of(kind), *(tuple(one) if isinstance(one, list) else one for one in more))
            for name, kind, *more in found
        ]
    return found


class Store:
    """A run's folder; what is put there is there in whole or not at all.

    Parameters
    ----------
    place : str
        A path, which every worker can write to under that name, or a URL.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/") if is_url(place) else os.path.abspath(place)  # noqa: PTH100
        self._system: Any = None
        if is_url(place):
            self._system, path = _filesystem(self.place)
            self._base = path.rstrip("/")
        else:
            self._base = self.place

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.place,)

    def path(self, *names: str) -> str:
        """A file's path in the store."""
        return "/".join((self._base, *names))

    def make(self) -> None:
        """Make the folder.

        Raises
        ------
        CaptureError
            It cannot be made.
        """
        with telling(self.place):
            if self._system is None:
                os.makedirs(self.path(WORK), exist_ok=True)  # noqa: PTH103
            else:
                self._system.makedirs(self.path(WORK), exist_ok=True)

    def exists(self, *names: str) -> bool:
        """Whether there is such a file."""
        if self._system is None:
            return os.path.exists(self.path(*names))  # noqa: PTH110
        return bool(self._system.exists(self.path(*names)))

    def read(self, *names: str) -> bytes:
        """A file's bytes."""
        if self._system is None:
            return Path(self.path(*names)).read_bytes()
        return bytes(self._system.cat_file(self.path(*names)))

    def write(self, data: bytes, *names: str) -> None:
        """Put a file there."""
        with telling(self.place):
            self._write(data, self.path(*names))

    def _write(self, data: bytes, target: str) -> None:
        if self._system is not None:
            self._system.pipe_file(target, data)
            return
        handle, temporary = tempfile.mkstemp(dir=os.path.dirname(target), prefix=".")  # noqa: PTH120
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, target)  # noqa: PTH105
        except BaseException:
            os.unlink(temporary)  # noqa: PTH108
            raise

    def put(self, local: str, *names: str) -> None:
        """Move a local file there."""
        with telling(self.place):
            if self._system is None:
                os.replace(local, self.path(*names))  # noqa: PTH105
            else:
                self._system.put_file(local, self.path(*names))
                os.unlink(local)  # noqa: PTH108

    def move(self, source: tuple[str, ...], target: tuple[str, ...]) -> None:
        """Give a file another name."""
        with telling(self.place):
            if self._system is None:
                os.replace(self.path(*source), self.path(*target))  # noqa: PTH105
            else:
                self._system.mv(self.path(*source), self.path(*target))

    def remove(self, *names: str) -> None:
        """Remove a file, if it is there."""
        if not self.exists(*names):
            return
        if self._system is None:
            os.unlink(self.path(*names))  # noqa: PTH108
        else:
            self._system.rm_file(self.path(*names))

    def scratch(self) -> str:
        """A local folder for what `put` moves there: on the same disk, where it is one."""
        if self._system is None:
            return self.path(WORK)
        return tempfile.gettempdir()

    def read_arrays(self, *names: str) -> dict[str, npt.NDArray[Any]]:
        """Arrays that `write_arrays` put there."""
        data = self.read(*names)
        size = int.from_bytes(data[:8], "little")
        found, at = {}, 8 + size
        for name, kind, shape in json.loads(data[8:at]):
            dtype = np.dtype(_dtype_of(kind))
            count = int(np.prod(shape, dtype=np.int64))
            array = np.frombuffer(data, dtype, count, at).reshape(shape).copy()
            found[name] = array
            at += array.nbytes
        return found

    def write_arrays(self, arrays: dict[str, npt.NDArray[Any]], *names: str) -> None:
        """Put arrays there: a head in JSON, then one behind the other (numpy's own format has a
        head for each, which takes longer to read than small arrays do).
        """
        head = [(name, one.dtype.descr, one.shape) for name, one in arrays.items()]
        text = json.dumps(head).encode()
        pieces = [np.ascontiguousarray(one).tobytes() for one in arrays.values()]
        self.write(b"".join([len(text).to_bytes(8, "little"), text, *pieces]), *names)

    def read_json(self, *names: str) -> Any:
        """What a JSON file holds; None where there is none, or it is none."""
        try:
            return json.loads(self.read(*names))
        except (OSError, ValueError):
            return None

    def write_json(self, value: Any, *names: str) -> None:
        """Put a JSON file there."""
        self.write(json.dumps(value, indent=1).encode(), *names)
