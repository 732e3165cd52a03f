"""A capture with the verdict on each segment as a packet comment, for Wireshark."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.core.wire.pcap_write import pcapng_interface, pcapng_packets, pcapng_section
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.verdicts import MEANINGS, Verdict
from tcpao_fast.keys import MasterKey

#: Verdicts that say nothing: no comment.
_SILENT = (Verdict.not_tcp, Verdict.unsigned)


#: Bytes of a comment; pcapng could hold 65,535.
MAX_COMMENT = 4096


class AnnotatedCapture:
    """A pcapng file with all records of what was verified, one behind the other, and a comment on
    every segment that is signed or should be.

    Interfaces are told apart by their link types alone; comments and options that a pcapng capture
    had are not carried over.

    Parameters
    ----------
    path : path-like
        ``-`` is standard output.
    keys : sequence of MasterKey
        Those of the engine whose results come.

    Raises
    ------
    CaptureError
        The file cannot be written.
    InvalidArgumentError
        Its name ends like a capture of another form.
    """

    def __init__(self, path: str | os.PathLike[str], keys: Sequence[MasterKey]) -> None:
        self.path = os.fspath(path)
        self._labels = [key.label for key in keys]
        self._interfaces: dict[int, int] = {}
        self._comments: dict[tuple[int, int, int], int] = {}
        self._texts: list[bytes] = []
        self._output = OutputFile(path, form="pcapng")
        self._output.put(pcapng_section())

    def add(self, result: VerifyResult) -> None:
        """Append some records with their verdicts."""
        records = result.records
        linktypes, which = np.unique(records.linktypes, return_inverse=True)
        for linktype in linktypes.tolist():
            if linktype not in self._interfaces:
                self._interfaces[linktype] = len(self._interfaces)
                self._output.put(pcapng_interface(linktype, 0))  # no limit
        numbers = np.array(
            [self._interfaces[linktype] for linktype in linktypes.tolist()], np.int32
        )
        self._output.put(
            pcapng_packets(
                records.buffer,
                records.offsets,
                records.lengths,
                records.wire_lengths,
                records.timestamps,
                numbers[which] if len(numbers) else np.zeros(0, np.int32),
                self._comment_of(result),
                self._texts,
            )
        )

    def _comment_of(self, result: VerifyResult) -> list[int]:
        columns = zip(
            result.verdict.tolist(), result.key.tolist(), result.sne.tolist(), strict=True
        )
        return [-1 if row[0] in _SILENT else self._comment(row) for row in columns]

    def _comment(self, row: tuple[int, int, int]) -> int:
        if row not in self._comments:
            verdict, key, sne = row
            parts = [f"tcpao: {Verdict(verdict).name}"]
            if key >= 0:
                parts.append(f"key {self._labels[key]}")
                if verdict in (Verdict.good, Verdict.bad_mac):
                    parts.append(f"SNE {sne}")
            text = ", ".join(parts)
            if verdict != Verdict.good:
                text += f" ({MEANINGS[Verdict(verdict)]})"
            self._comments[row] = len(self._texts)
            clipped = text.encode()[:MAX_COMMENT].decode(errors="ignore")
            self._texts.append(clipped.encode())
        return self._comments[row]

    def commit(self) -> None:
        """All records are there."""
        self._output.commit()

    def discard(self) -> None:
        """Leave no file, unless it was committed."""
        self._output.discard()
