"""Writing captures, in whole or not at all."""

from __future__ import annotations

import os
from pathlib import PurePath
from types import TracebackType

import numpy as np

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.capture.pcapng import PcapngWriter
from tcpao_fast.capture.select import Selection
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records
from tcpao_fast.core.wire.records import Records
from tcpao_fast.core.wire.scan import Scanner
from tcpao_fast.engine import Rewritten, VerifyResult
from tcpao_fast.errors import CaptureError

#: What tcpdump writes for "everything".
DEFAULT_SNAP_LENGTH = 262144


_FORMS = {".pcapng": "pcapng", ".pcap": "pcap", ".cap": "pcap"}


def is_pcapng(path: str | os.PathLike[str]) -> bool:
    """Whether a name says pcapng."""
    return _form_of(path) == "pcapng"


def _form_of(path: str | os.PathLike[str]) -> str | None:
    return _FORMS.get(PurePath(os.fspath(path)).suffix.lower())


class SelectedPackets:
    """A pcap file with the records of what was verified that are selected, times in nanoseconds.

    Parameters
    ----------
    path : path-like
        ``-`` is standard output.
    selection : Selection

    Raises
    ------
    CaptureError
        The file cannot be written.
    InvalidArgumentError
        Its name ends like a capture of another form.
    """

    def __init__(self, path: str | os.PathLike[str], selection: Selection) -> None:
        self._selection = selection
        self._writer = CaptureWriter(path)

    def add(self, result: VerifyResult) -> None:
        """Append those of some records that are selected."""
        chosen = result.records.subset(self._selection.rows(result))
        if len(chosen):
            self._writer.write(None, chosen)

    def commit(self) -> None:
        """All records are there."""
        self._writer.commit(None)

    def discard(self) -> None:
        """Leave no file, unless it was committed."""
        self._writer.discard()


class CaptureWriter:
    """A capture that appears under its name only when it is complete.

    It is written beside its place and renamed by `commit`; without `commit` nothing stays.

    Parameters
    ----------
    path : path-like
        ``-`` is standard output, which is written as the records come. What ends in ``.pcapng`` is
        pcapng, what ends in ``.pcap`` or ``.cap`` pcap, and anything else what the records came
        from.
    grows : bool
        Whether records may become longer.

    Raises
    ------
    CaptureError
        The file cannot be written.
    InvalidArgumentError
        Its name ends like a compressed capture.
    """

    def __init__(self, path: str | os.PathLike[str], grows: bool = False) -> None:
        self._form = _form_of(path)
        self._output = OutputFile(path, form=self._form or "pcap")
        self.path = self._output.path
        self._grows = grows
        self._pcapng: PcapngWriter | None = None
        self._begun = False
        self._like: Scanner | None = None
        self._linktype: int | None = None
        self._snap_length = 0
        self._nanoseconds = False
        self._big_endian = False

    def __enter__(self) -> CaptureWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()

    def discard(self) -> None:
        """Leave no file, unless it was committed."""
        self._output.discard()

    def write(
        self, like: Scanner | None, records: Records, rewritten: Rewritten | None = None
    ) -> None:
        """Append `records`, or what became of them, which a capture scanned by `like` holds.

        A pcap file has the byte order and precision of that capture; nanoseconds if it is pcapng,
        or there is none.

        Raises
        ------
        CaptureError
            Records of another link type than the first one's (pcap holds one), or the disk is full.
        """
        self._begin(like, records)
        placed = records if rewritten is None else rewritten
        lengths = placed.lengths
        if self._pcapng is not None:
            self._pcapng.write(records, (placed.buffer, placed.offsets, lengths))
            return
        others = np.flatnonzero(records.linktypes != self._linktype)
        if len(others):
            raise CaptureError(
                self.path,
                f"record {records.numbers[others[0]]} has link type "
                f"{int(records.linktypes[others[0]])}, the first has {self._linktype}; "
                "a pcap file holds one: write pcapng",
            )
        if len(lengths):
            self._snap_length = max(self._snap_length, int(lengths.max()))
        self._output.put(
            pcap_records(
                placed.buffer,
                placed.offsets,
                lengths,
                records.wire_lengths + (lengths - records.lengths),
                records.timestamps,
                self._nanoseconds,
                self._big_endian,
            )
        )

    def _begin(self, like: Scanner | None, records: Records | None) -> None:
        if self._pcapng is not None:
            return
        was_pcapng = like is not None and like.format == "pcapng"
        if self._form == "pcapng" or (self._form is None and was_pcapng):
            self._pcapng = PcapngWriter(self._output, grows=self._grows)
            return
        waits = was_pcapng and records is not None and not len(records)  # for a link type
        if self._begun or waits:
            return
        self._begun = True
        self._like = like
        self._nanoseconds = like is None or like.nanoseconds
        self._big_endian = like is not None and like.format == "pcap" and like.big_endian
        self._snap_length = (like and like.snap_length) or DEFAULT_SNAP_LENGTH
        if like is not None and like.format == "pcap":
            self._linktype = like.linktype
        else:
            self._linktype = int(records.linktypes[0]) if records else 1
        self._output.put(self._header())

    def _header(self) -> bytes:
        assert self._linktype is not None
        like = self._like
        is_pcap = like is not None and like.format == "pcap"
        field = like.linktype_field if like is not None and is_pcap else self._linktype
        return pcap_header(field, self._snap_length, self._nanoseconds, self._big_endian)

    def commit(self, like: Scanner | None) -> None:
        """The file is complete: give it its name. `like` says the form if there was no record.

        Raises
        ------
        CaptureError
            It cannot be written; nothing stays.
        """
        self._begin(like, None)
        if self._pcapng is not None:
            self._pcapng.end()
            self._output.commit()
        else:
            self._output.commit(self._header())  # records may have grown beyond the snap length
