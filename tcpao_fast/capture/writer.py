"""Writing captures: pcap, in whole or not at all."""

from __future__ import annotations

import os
from types import TracebackType

import numpy as np

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records
from tcpao_fast.core.wire.records import Records
from tcpao_fast.core.wire.scan import Scanner
from tcpao_fast.engine import Rewritten
from tcpao_fast.errors import CaptureError

#: What tcpdump writes for "everything".
DEFAULT_SNAP_LENGTH = 262144


class PcapWriter:
    """A pcap file that appears under its name only when it is complete.

    It is written beside its place and renamed by `commit`; without `commit` nothing stays.

    Parameters
    ----------
    path : path-like
        ``-`` is standard output, which is written as the records come.

    Raises
    ------
    CaptureError
        The file cannot be written.
    InvalidArgumentError
        Its name ends like a capture of another form.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._output = OutputFile(path, form="pcap")
        self.path = self._output.path
        self._like: Scanner | None = None
        self._linktype: int | None = None
        self._snap_length = 0
        self._nanoseconds = False
        self._big_endian = False

    def __enter__(self) -> PcapWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._output.discard()

    def write(
        self,
        like: Scanner,
        records: Records,
        rewritten: Rewritten,
    ) -> None:
        """Append what became of `records`, which a capture scanned by `like` holds.

        The file has the byte order and precision of that capture; nanoseconds if it is pcapng.

        Raises
        ------
        CaptureError
            Records of another link type than the first one's (pcap holds one), or the disk is full.
        """
        self._begin(like, records)
        others = np.flatnonzero(records.linktypes != self._linktype)
        if len(others):
            raise CaptureError(
                self.path,
                f"record {records.numbers[others[0]]} has link type "
                f"{int(records.linktypes[others[0]])}, the first has {self._linktype}; "
                "a pcap file holds one: split the capture by interface",
            )
        lengths = rewritten.lengths
        if len(lengths):
            self._snap_length = max(self._snap_length, int(lengths.max()))
        self._output.put(
            pcap_records(
                rewritten.buffer,
                rewritten.offsets,
                lengths,
                records.wire_lengths + (lengths - records.lengths),
                records.timestamps,
                self._nanoseconds,
                self._big_endian,
            )
        )

    def _begin(self, like: Scanner, records: Records | None) -> None:
        if self._like is not None:
            return
        self._like = like
        self._nanoseconds = like.nanoseconds
        self._big_endian = like.format == "pcap" and like.big_endian
        self._snap_length = like.snap_length or DEFAULT_SNAP_LENGTH
        if like.format == "pcap":
            self._linktype = like.linktype
        else:
            self._linktype = int(records.linktypes[0]) if records is not None else 1
        self._output.put(self._header())

    def _header(self) -> bytes:
        assert self._like is not None and self._linktype is not None
        field = self._like.linktype_field if self._like.format == "pcap" else self._linktype
        return pcap_header(field, self._snap_length, self._nanoseconds, self._big_endian)

    def commit(self, like: Scanner) -> None:
        """The file is complete: give it its name. `like` says the form if there was no record.

        Raises
        ------
        CaptureError
            It cannot be written; nothing stays.
        """
        self._begin(like, None)
        self._output.commit(self._header())  # records may have grown beyond the snap length
