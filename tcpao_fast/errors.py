"""Every error this package raises on purpose, in one tree under `TcpAoError`.

A message says what was wrong, where (file, key, offset, argument) and what would be right.
No message ever holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

#: The errno values that Linux's TCP-AO gives, by name; Linux's numbers on every platform.
LINUX_ERRNO = {
    "EPERM": 1,
    "ENOENT": 2,
    "EBUSY": 16,
    "EEXIST": 17,
    "EINVAL": 22,
    "EMSGSIZE": 90,
    "ENOPROTOOPT": 92,
    "EISCONN": 106,
    "ENOTCONN": 107,
    "ENOKEY": 126,
    "EKEYREJECTED": 129,
}


class TcpAoError(Exception):
    """The root of all errors of this package."""


class InvalidArgumentError(TcpAoError, ValueError):
    """An argument's value, shape or dtype cannot be used."""


class UnknownAlgorithmError(TcpAoError, LookupError):
    """No such MAC algorithm here.

    Attributes
    ----------
    errno : int
        What Linux says to such a key: ENOENT.
    """

    errno = LINUX_ERRNO["ENOENT"]


class MissingExtraError(TcpAoError, ImportError):
    """A library that an optional feature needs is not installed."""


class InvalidKeyError(TcpAoError, ValueError):
    """A master key tuple (MKT) breaks a rule.

    Attributes
    ----------
    problems : tuple of (str, str)
        Every broken rule: the field's name and what is wrong with it.
    errno : int
        What Linux says to such a key: ENOENT for an unknown algorithm, else EINVAL.
    """

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple(problems)
        unknown = any(field == "algorithm" for field, _ in self.problems)
        self.errno = LINUX_ERRNO["ENOENT" if unknown else "EINVAL"]
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
    what : str
        What is wrong.
    offset : int or None
        Where in the file the damage begins, in bytes; of a compressed file in what it holds.
    resumed : int or None
        Where reading went on behind the damage; None where it did not.
    report : CaptureReport or None
        What was read before the damage.
    found : Diagnosis, Inspection or None
        What `diagnose_capture` or `inspect_capture` found before it.
    """

    def __init__(
        self, path: str, what: str, offset: int | None = None, resumed: int | None = None
    ) -> None:
        self.path = path
        self.what = what
        self.offset = offset
        self.resumed = resumed
        self.report: Any = None
        self.found: Any = None
        at = "" if offset is None else f" at byte {offset}"
        on = "" if resumed is None else f"; went on at byte {resumed}"
        super().__init__(f"{path}: {what}{at}{on}")

    def __reduce__(self) -> tuple[type[CaptureError], tuple[str, str, int | None, int | None]]:
        return type(self), (self.path, self.what, self.offset, self.resumed)

    def as_dict(self) -> dict[str, Any]:
        """The form in ``--json``.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        return {
            "file": self.path,
            "what": self.what,
            "offset": self.offset,
            "resumed": self.resumed,
        }


class StateError(TcpAoError, ValueError):
    """State that cannot be used: imported connections that are not of the form that
    `Engine.export_state` gives, an engine whose process was forked in the middle of a call, or keys
    that were pickled without their secrets.
    """


class EndpointError(TcpAoError, OSError):
    """A call on a `Listener`, a `Connection` or a real socket is refused, as Linux refuses it.

    Attributes
    ----------
    errno : int
        As Linux sets it, with Linux's numbers.
    """

    name: ClassVar[str] = "EINVAL"

    def __init__(self, what: str, number: int | None = None) -> None:
        super().__init__(LINUX_ERRNO[self.name] if number is None else number, what)


class InvalidRequestError(EndpointError):
    """EINVAL: an argument, or the combination of arguments and state, makes no sense."""

    name = "EINVAL"


class NoSuchKeyError(EndpointError):
    """ENOENT: no such key, or no TCP-AO on this endpoint."""

    name = "ENOENT"


class KeyExistsError(EndpointError):
    """EEXIST: an overlapping key has that SendID or RecvID."""

    name = "EEXIST"


class KeyInUseError(EndpointError):
    """EBUSY: the key is current_key or rnext_key, and no replacement was given."""

    name = "EBUSY"


class KeyRejectedError(EndpointError):
    """EKEYREJECTED: TCP-AO and TCP-MD5 for one peer, or no key that fits the peer."""

    name = "EKEYREJECTED"


class KeyExpiredError(EndpointError):
    """ENOKEY: the key's send lifetime does not cover the time."""

    name = "ENOKEY"


class MacTooLongError(EndpointError):
    """EMSGSIZE: the option would not fit beside the others of a SYN."""

    name = "EMSGSIZE"


class AlreadyConnectedError(EndpointError):
    """EISCONN: a connection cannot become one with TCP-AO any more."""

    name = "EISCONN"


class NotConnectedError(EndpointError):
    """ENOTCONN: there are no ISNs to sign or verify with."""

    name = "ENOTCONN"


class RepairModeError(EndpointError):
    """EPERM: the endpoint is not in repair mode, or cannot be."""

    name = "EPERM"


class KernelSupportError(EndpointError):
    """ENOPROTOOPT: this host's kernel has no TCP-AO (or TCP-MD5)."""

    name = "ENOPROTOOPT"
