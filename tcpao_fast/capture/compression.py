"""Compressed captures, told by their first bytes, not by their names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from typing import Any, BinaryIO, cast

from tcpao_fast.errors import MissingExtraError

_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_LZ4 = b"\x04\x22\x4d\x18"
_XZ = b"\xfd7zXZ\x00"
_BZIP2 = b"BZh"


def decompressed(file: Any) -> BinaryIO | None:
    """What a compressed file holds, as a file to read from; None if it is not compressed.

    Parameters
    ----------
    file : buffered binary file
        At its beginning; nothing of it is taken.

    Raises
    ------
    MissingExtraError
        It is Zstandard or LZ4, and there is no library for it.
    """
    beginning = file.peek(6)[:6]
    if beginning.startswith(_GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if beginning == _XZ:
        return cast(BinaryIO, lzma.LZMAFile(file))
    if beginning.startswith(_BZIP2):
        return cast(BinaryIO, bz2.BZ2File(file))
    if beginning.startswith(_LZ4):
        try:
            import lz4.frame
        except ImportError as error:
            raise MissingExtraError(
                "LZ4 captures need lz4: pip install 'tcpao-fast[lz4]'"
            ) from error
        return cast(BinaryIO, lz4.frame.LZ4FrameFile(file))
    if beginning.startswith(_ZSTANDARD):
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
        return "its compressed data ends too early"
    if isinstance(error, (gzip.BadGzipFile, zlib.error)):
        return f"its gzip data is damaged ({error})"
    if isinstance(error, lzma.LZMAError):
        return f"its xz data is damaged ({error})"
    if isinstance(error, OSError) and str(error) == "Invalid data stream":
        return "its bzip2 data is damaged"
    if isinstance(error, RuntimeError) and str(error).startswith("LZ4F"):
        return f"its LZ4 data is damaged ({error})"
    if type(error).__name__ == "ZstdError":
        return f"its Zstandard data is damaged ({error})"
    return None
