"""Whether secrets go along when keys are pickled: only where a program says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_may_leave: ContextVar[bool] = ContextVar("secrets_may_leave", default=False)


@contextmanager
def pickled_secrets() -> Iterator[None]:
    """While this context lasts, keys, chains and engines are pickled with their secrets.

    Else a `MasterKey` comes out of a pickle without its secret, and whatever asks for it gets a
    `StateError`; an `Engine` waits for `Engine.update`. A pickle with secrets is to be kept like a
    key file.

    Yields
    ------
    None

    Examples
    --------
    >>> with pickled_secrets():
    ...     text = pickle.dumps(chain)
    """
    token = _may_leave.set(True)
    try:
        yield
    finally:
        _may_leave.reset(token)


def secrets_may_leave() -> bool:
    """Whether `pickled_secrets` is in force here."""
    return _may_leave.get()
