"""The C interface: a header, a capsule with the functions, and a library for programs without
Python.
"""

from __future__ import annotations

from pathlib import Path


def get_include() -> str:
    """The folder of ``tcpao_fast.h``, for a compiler's ``-I``; as of `numpy.get_include`.

    Returns
    -------
    str
    """
    return str(Path(__file__).parent / "include")
