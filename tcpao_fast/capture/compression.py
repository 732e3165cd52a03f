"""Compressed captures: gzip and Zstandard, told by their first bytes, not by their names."""

from __future__ import annotations

import gzip
import zlib
from typing import Any, BinaryIO, cast

from tcpao_fast.errors import MissingExtraError

_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


def decompressed(file: Any) -> BinaryIO | None:
    """What a compressed file holds, as a file to read from; None if it is not compressed.

    Parameters
    ----------
    file : buffered binary file
        At its beginning; nothing of it is taken.

    Raises
    ------
    MissingExtraError
        It is Zstandard, and there is no library for it.
    """
    beginning = file.peek(4)[:4]
    if beginning.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if beginning == _ZSTANDARD:
        try:
            import zstandard
        except ImportError as error:
            raise MissingExtraError(
                "Zstandard captures need zstandard: pip install 'tcpao-fast[zstd]'"
            ) from error
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return cast(BinaryIO, reader)
    return None


def what_is_wrong(error: Exception) -> str | None:
    """In words what a decompressor stumbled over; None if the error is not one of theirs."""
    if isinstance(error, EOFError):
        return "its gzip data ends too early"
    if isinstance(error, (gzip.BadGzipFile, zlib.error)):
        return f"its gzip data is damaged ({error})"
    if type(error).__name__ == "ZstdError":
        return f"its Zstandard data is damaged ({error})"
    return None
