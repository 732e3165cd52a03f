"""Packets as pcapng, together with all that a pcapng capture has beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.core.wire.pcap_write import pcapng_interface, pcapng_packets, pcapng_section
from tcpao_fast.core.wire.pcapng_copy import BlockCopier
from tcpao_fast.core.wire.records import Records

#: Bytes by which TCP-AO and its padding can make a packet longer.
GROWTH = 40

Bytes = tuple[Any, npt.NDArray[np.int64], npt.NDArray[np.int64]]


class PcapngWriter:
    """Writes records of captures, in their order, to a pcapng file.

    Of a pcapng capture the blocks are copied: interfaces, comments and other options, names,
    statistics, secrets, and what is unknown; packets of it that are not written are left out, and
    no more. Packets of other captures get a section of their own, with an interface for each link
    type and times in nanoseconds.

    Parameters
    ----------
    output : OutputFile
    grows : bool
        Whether packets may become longer.
    """

    def __init__(self, output: OutputFile, *, grows: bool = False) -> None:
        self._output = output
        self._copier = BlockCopier(GROWTH if grows else 0)
        self._interfaces: dict[int, int] | None = None  # of a section of our own
        self._is_empty = True

    def write(
        self,
        records: Records,
        rewritten: Bytes | None = None,
        comment_of: npt.ArrayLike | None = None,
        comments: list[bytes] | None = None,
    ) -> None:
        """Append records.

        Parameters
        ----------
        records : Records
        rewritten : (buffer, int64[n], int64[n]), optional
            What has become of each: its place in a buffer, and its length.
        comment_of : int32[n], optional
            Which of `comments` each gets, -1: none.
        comments : list of bytes, optional
        """
        self._is_empty &= records.blocks is None and not len(records)
        if records.blocks is not None:
            self._interfaces = None
            file, start, end = records.blocks
            given = (*(rewritten or (None, None, None)), comment_of, comments or [])
            self._output.put(self._copier.copy(file, start, end, records, *given))
            return
        buffer, offsets, lengths = rewritten or (records.buffer, records.offsets, records.lengths)
        linktypes, which = np.unique(records.linktypes, return_inverse=True)
        numbers = np.array([self._interface(one) for one in linktypes.tolist()], np.int32)
        none = np.full(len(records), -1, np.int32)
        self._output.put(
            pcapng_packets(
                buffer,
                offsets,
                lengths,
                records.wire_lengths + (lengths - records.lengths),
                records.timestamps,
                numbers[which] if len(numbers) else np.zeros(0, np.int32),
                none if comment_of is None else comment_of,
                comments or [],
            )
        )

    def _interface(self, linktype: int) -> int:
        """The number of our interface of a link type."""
        if self._interfaces is None:
            self._interfaces = {}
            self._output.put(pcapng_section())
        if linktype not in self._interfaces:
            self._interfaces[linktype] = len(self._interfaces)
            self._output.put(pcapng_interface(linktype, 0))  # no limit
        return self._interfaces[linktype]

    def end(self) -> None:
        """There are no more records; a file without any is one all the same."""
        if self._is_empty:
            self._output.put(pcapng_section())
