"""A capture with the verdict on each segment as a packet comment, for Wireshark."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.capture.pcapng import PcapngWriter
from tcpao_fast.capture.select import Selection
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.verdicts import MEANINGS, Verdict
from tcpao_fast.keys import MasterKey

#: Verdicts that say nothing: no comment.
_SILENT = (Verdict.not_tcp, Verdict.unsigned)


#: Bytes of a comment; pcapng could hold 65,535.
MAX_COMMENT = 4096


class AnnotatedCapture:
    """A pcapng file with the records of what was verified, one behind the other, and a comment on
    every segment that is signed or should be: see `PcapngWriter` for what is kept beside them.

    Parameters
    ----------
    path : path-like
        ``-`` is standard output.
    keys : sequence of MasterKey
        Those of the engine whose results come.
    selection : Selection, optional
        The segments that are written; all records.

    Raises
    ------
    CaptureError
        The file cannot be written.
    InvalidArgumentError
        Its name ends like a capture of another form.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        keys: Sequence[MasterKey],
        selection: Selection | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self._labels = [key.label for key in keys]
        self._comments: dict[tuple[int, int, int], int] = {}
        self._texts: list[bytes] = []
        self._selection = selection
        self._output = OutputFile(path, form="pcapng")
        self._writer = PcapngWriter(self._output)

    def add(self, result: VerifyResult) -> None:
        """Append some records with their verdicts."""
        records, comments = result.records, np.array(self._comment_of(result), np.int32)
        if self._selection is not None:
            at = self._selection.rows(result)
            records, comments = records.subset(at), comments[at]
        self._writer.write(records, None, comments, self._texts)

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
        self._writer.end()
        self._output.commit()

    def discard(self) -> None:
        """Leave no file, unless it was committed."""
        self._output.discard()
