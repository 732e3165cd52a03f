"""Key files: one module a format.  `load_keys` reads any of them."""

from __future__ import annotations

import os

from tcpao_fast.keyfiles.toml import read_toml
from tcpao_fast.keys import KeyChain

__all__ = ["load_keys"]


def load_keys(path: str | os.PathLike[str]) -> KeyChain:
    """Read a key file.

    Parameters
    ----------
    path : path-like
        In the native format, TOML; see `tcpao_fast.keyfiles.toml`.

    Returns
    -------
    KeyChain

    Raises
    ------
    KeyFileError
        With every mistake in the file, not just the first.
    """
    return read_toml(path)
