"""Verification of thousands of captures by many processes (extra ``dask``).

Four steps, each file of this package one of them or what they share::

    index    each file by itself: headers only      -> the extents of its connections
    join     in order: extents                      -> a guess at the state before each file
    verify   each file by itself, from the guess    -> rows, and the state behind it
    settle   in order: guesses against states       -> what stands, and what is verified again

The rows are those of one process that takes the files one after the other: whatever a guess could
have made different is verified again from the state that is right (`settle` has the rules).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcpao_fast.distributed.keys import KeySource as KeySource
    from tcpao_fast.distributed.run import verify_distributed as verify_distributed

__all__ = ["KeySource", "verify_distributed"]

_MODULES = {"KeySource": "keys", "verify_distributed": "run"}


def __getattr__(name: str) -> Any:
    # the command line asks for little of this package, and `run` for all of the others
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
