"""Choosing packets by a filter expression: libpcap compiles it and runs it, as tcpdump does."""

from __future__ import annotations

import ctypes
import ctypes.util
from contextlib import suppress
from functools import lru_cache
from typing import Any

import numpy as np

from tcpao_fast.core.wire.filter import choose
from tcpao_fast.core.wire.records import Records
from tcpao_fast.errors import InvalidArgumentError, MissingExtraError

#: Where `find_library` finds nothing: it asks tools that need not be there.
_NAMES = ("libpcap.so.1", "libpcap.so.0.8", "libpcap.dylib")
_SNAP_LENGTH = 262_144
_ANY_NETMASK = 0xFFFFFFFF


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.c_void_p))


def _first_there(names: tuple[str | None, ...]) -> Any:
    for name in names:
        if name is not None:
            with suppress(OSError):
                return ctypes.CDLL(name)
    return None


@lru_cache(maxsize=1)
def _libpcap() -> Any:
    library = _first_there((ctypes.util.find_library("pcap"), *_NAMES))
    if library is None:
        raise MissingExtraError(
            "a packet filter needs libpcap: apt-get install libpcap0.8 (or your system's libpcap)"
        )
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_open_dead.argtypes = (ctypes.c_int, ctypes.c_int)
    library.pcap_compile.argtypes = (
        ctypes.c_void_p,
        ctypes.POINTER(_Program),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint32,
    )
    library.pcap_geterr.restype = ctypes.c_char_p
    library.pcap_geterr.argtypes = (ctypes.c_void_p,)
    library.pcap_close.argtypes = (ctypes.c_void_p,)
    library.pcap_freecode.argtypes = (ctypes.POINTER(_Program),)
    return library


class PacketFilter:
    """A filter expression (pcap-filter(7)), compiled for each link type that comes.

    Parameters
    ----------
    expression : str
        Such as ``host 10.0.0.1 and port 179``.

    Raises
    ------
    InvalidArgumentError
        libpcap does not take it; with what it says.
    MissingExtraError
        There is no libpcap.
    """

    def __init__(self, expression: str) -> None:
        if not isinstance(expression, str) or "\0" in expression:
            raise InvalidArgumentError(f"filter is {expression!r}; it must be text without NUL")
        self.expression = expression
        self._library = _libpcap()
        self._programs: dict[int, _Program] = {}
        self._program(1)  # a mistake is told before any file is read

    def __del__(self) -> None:
        for program in getattr(self, "_programs", {}).values():
            self._library.pcap_freecode(ctypes.byref(program))

    def _program(self, linktype: int) -> _Program:
        if linktype not in self._programs:
            handle = self._library.pcap_open_dead(linktype, _SNAP_LENGTH)
            program = _Program()
            try:
                if self._library.pcap_compile(
                    handle, ctypes.byref(program), self.expression.encode(), 1, _ANY_NETMASK
                ):
                    said = self._library.pcap_geterr(handle).decode(errors="replace")
                    raise InvalidArgumentError(
                        f"filter {self.expression!r} on link type {linktype}: {said} "
                        "(see pcap-filter(7))"
                    )
            finally:
                self._library.pcap_close(handle)
            self._programs[linktype] = program
        return self._programs[linktype]

    def instructions(self, linktype: int) -> bytes:
        """The compiled program as kernels take it, 8 bytes an instruction (``sock_filter``).

        Parameters
        ----------
        linktype : int
            As in pcap files.

        Returns
        -------
        bytes
        """
        program = self._program(_dlt(linktype))
        return ctypes.string_at(program.instructions or 0, 8 * program.length)

    def choose(self, records: Records) -> Records:
        """Those of the records that the expression takes.

        Raises
        ------
        InvalidArgumentError
            The expression means nothing for a link type of the records.
        """
        linktypes = records.linktypes
        taken = np.zeros(len(records), bool)
        function = ctypes.cast(self._library.bpf_filter, ctypes.c_void_p).value or 0
        for linktype in np.unique(linktypes).tolist():
            rows = np.flatnonzero(linktypes == linktype)
            program = self._program(_dlt(linktype))
            if program.instructions:
                taken[rows] = choose(records.subset(rows), function, program.instructions)
        return records if taken.all() else records.subset(np.flatnonzero(taken))


def _dlt(linktype: int) -> int:
    """Libpcap's own number of a file's link type: raw IP is another here and there."""
    return 12 if linktype == 101 else linktype
