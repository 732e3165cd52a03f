"""Every error this package raises on purpose, in one tree under `TcpAoError`.

A message says what was wrong, where (file, key, offset, argument) and what would be right.
No message ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class TcpAoError(Exception):
    """The root of all errors of this package."""


class InvalidArgumentError(TcpAoError, ValueError):
    """An argument's value, shape or dtype cannot be used."""


class UnknownAlgorithmError(TcpAoError, LookupError):
    """No such MAC algorithm here."""


class MissingExtraError(TcpAoError, ImportError):
    """A library that an optional feature needs is not installed."""


class InvalidKeyError(TcpAoError, ValueError):
    """A master key tuple (MKT) breaks a rule.

    Attributes
    ----------
    problems : tuple of (str, str)
        Every broken rule: the field's name and what is wrong with it.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{field}: {what}" for field, what in self.problems))


class KeyOverlapError(TcpAoError, ValueError):
    """Two MKTs that can match one connection share a SendID or a RecvID (RFC 5925 section 3.1).

    Attributes
    ----------
    problems : tuple of (int, str)
        The position of the later key of each pair in the chain, and what is wrong.
    """

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"key {index + 1}: {what}" for index, what in self.problems))


class KeyFileError(TcpAoError, ValueError):
    """A key file cannot be read, or holds mistakes: all of them are listed, one a line.

    Attributes
    ----------
    path : str
        The file.
    problems : tuple of str
        Each mistake: which key, which field, what is wrong.
    """

    def __init__(self, path: str, problems: Sequence[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{path}: {problem}" for problem in self.problems))


class CaptureError(TcpAoError, ValueError):
    """A capture file is damaged or of a kind that cannot be read.

    Attributes
    ----------
    path : str
        The file; ``-`` is standard input.
    offset : int or None
        Where in the file the damage begins, in bytes.
    report : CaptureReport or None
        From `verify_capture`: what was found before the damage.
    """

    def __init__(self, path: str, what: str, offset: int | None = None) -> None:
        self.path = path
        self.offset = offset
        self.report: Any = None
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"{path}: {what}{at}")


class StateError(TcpAoError, ValueError):
    """Imported connection state is not of the form that `Engine.export_state` gives."""
