"""Verdicts as rows, one a TCP segment: JSON lines, CSV, tab-separated text, Parquet."""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from tcpao_fast.capture.output import OutputFile, telling
from tcpao_fast.capture.reader import CHUNK_RECORDS, STANDARD_STREAM
from tcpao_fast.capture.select import Selection
from tcpao_fast.core.wire.arrow_table import ArrowTable
from tcpao_fast.core.wire.row_text import RowText
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.columns import TIMES, Column, columns_of
from tcpao_fast.errors import InvalidArgumentError, MissingExtraError
from tcpao_fast.keys import MasterKey

#: The columns, and their Parquet types.  ``time`` is UTC (text in JSON lines and CSV, to the
#: nanosecond); ``number`` counts the packets of its file from 1, as Wireshark does; ``length`` is
#: of the payload; ``sne`` is what the segment was verified with; ``key`` is the key's label.  What
#: a segment does not have is null.
COLUMNS = {
    "time": "timestamp[ns, UTC]",
    "file": "string",
    "number": "int64",
    "source": "string",
    "source_port": "uint16",
    "destination": "string",
    "destination_port": "uint16",
    "vlan": "uint32",
    "flags": "string",
    "seq": "uint32",
    "ack": "uint32",
    "length": "uint32",
    "sne": "uint32",
    "key_id": "uint8",
    "rnext_key_id": "uint8",
    "mac_length": "uint8",
    "verdict": "string",
    "key": "string",
    "connection": "int32",
}


class RowWriter:
    """Rows of verdicts to a file, which appears when it is complete.

    Parameters
    ----------
    path : path-like
        The format is that of its end: ``.jsonl``, ``.csv``, ``.tsv`` or ``.parquet``. ``-`` is
        standard output: JSON lines, or with `fields` values between tabs and no header, as
        ``tshark -T fields`` prints them.
    keys : sequence of MasterKey
        Those of the engine whose results come.
    fields : sequence of str, optional
        Which of `COLUMNS`, and in which order; all.
    selection : Selection, optional
        Which segments; all.

    Raises
    ------
    InvalidArgumentError
        Another ending, or a field that is none.
    MissingExtraError
        Parquet without pyarrow.
    CaptureError
        The file cannot be written.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        keys: Sequence[MasterKey],
        fields: Sequence[str] | None = None,
        selection: Selection | None = None,
    ) -> None:
        name = os.fspath(path)
        suffix = PurePath(name).suffix.lower() or name
        if name == STANDARD_STREAM:
            suffix = ".jsonl" if fields is None else _PLAIN_TEXT
        self._fields = list(COLUMNS if fields is None else fields)
        unknown = [field for field in self._fields if field not in COLUMNS]
        if unknown or len(set(self._fields)) < len(self._fields) or not self._fields:
            what = f"unknown field {unknown[0]!r}" if unknown else "fields are named once each"
            raise InvalidArgumentError(f"{what}; there are {', '.join(COLUMNS)}")
        if suffix not in _FORMATS:
            raise InvalidArgumentError(
                f"{name}: rows are written as {', '.join(one for one in _FORMATS if one)}; "
                "the name's end says which"
            )
        form = _FORMATS[suffix]
        self.path = name
        self._labels = [key.label for key in keys]
        self._selection = selection or Selection()
        self._output = OutputFile(path)
        try:
            self._format: _JsonLines | _Csv | _Parquet = form(self._output, self._fields)
        except MissingExtraError:
            self._output.discard()
            raise

    def add(self, result: VerifyResult) -> None:
        """Append the rows of some records."""
        at = self._selection.rows(result)
        columns = columns_of(result, self._labels, at)
        self._format.add({field: columns[field] for field in self._fields})

    def commit(self) -> None:
        """All rows are there."""
        self._format.end()
        self._output.commit()

    def discard(self) -> None:
        """Leave no file, unless it was committed."""
        self._format.abandon()
        self._output.discard()


def _joined(texts: Sequence[bytes]) -> tuple[bytes, npt.NDArray[np.int64]]:
    starts = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(one) for one in texts], out=starts[1:])
    return b"".join(texts) + bytes(SLACK), starts


@functools.lru_cache(maxsize=64)
def _json_texts(texts: tuple[str, ...]) -> tuple[bytes, npt.NDArray[np.int64]]:
    return _joined([json.dumps(text).encode() for text in texts])


@functools.lru_cache(maxsize=64)
def _csv_texts(texts: tuple[str, ...], delimiter: str) -> tuple[bytes, npt.NDArray[np.int64]]:
    """Texts as `csv` writes them in a row of several."""
    found = []
    for text in texts:
        line = io.StringIO()
        csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow([text, ""])
        found.append(line.getvalue()[: -len(delimiter) - 1].encode())
    return _joined(found)


class _JsonLines:
    """Text, a row a line."""

    def __init__(self, output: OutputFile, fields: Sequence[str]) -> None:
        self._output = output
        names = [f"{json.dumps(name)}: ".encode() for name in fields]
        befores = [(b"{" if not place else b", ") + name for place, name in enumerate(names)]
        self._rows = RowText(fields, TIMES, befores, b"}\n", b"null", True)

    def add(self, columns: Mapping[str, Column]) -> None:
        self._rows.write(columns, _json_texts, self._output.put)

    def end(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _Csv:
    """Values by place, below a header."""

    delimiter = ","
    header = True

    def __init__(self, output: OutputFile, fields: Sequence[str]) -> None:
        self._output = output
        between = self.delimiter.encode()
        befores = [between if place else b"" for place in range(len(fields))]
        # a lone value that is not there is "" for csv: an empty line would be no row
        nothing = b'""' if len(fields) == 1 else b""
        self._rows = RowText(fields, TIMES, befores, b"\n", nothing, False)
        if self.header:
            output.put((self.delimiter.join(fields) + "\n").encode())

    def add(self, columns: Mapping[str, Column]) -> None:
        self._rows.write(columns, lambda texts: _csv_texts(texts, self.delimiter), self._output.put)

    def end(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _Tsv(_Csv):
    """The same between tabs."""

    delimiter = "\t"


class _PlainText(_Tsv):
    """The same without a header."""

    header = False


class _Parquet:
    """Columns; a row group a chunk."""

    def __init__(self, output: OutputFile, fields: Sequence[str]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise MissingExtraError(
                "Parquet needs pyarrow: pip install 'tcpao-fast[parquet]'"
            ) from error
        self._arrow = pyarrow
        self._path = output.path
        types = {
            "timestamp[ns, UTC]": pyarrow.timestamp("ns", "UTC"),
            # what is a dictionary here is one in the file as well, and strings for who reads it
            "string": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
        }
        self._schema = pyarrow.schema(
            [
                (name, types.get(COLUMNS[name]) or getattr(pyarrow, COLUMNS[name])())
                for name in fields
            ]
        )
        counting = [name for name in _COUNTING if name in fields]
        self._writer = pyarrow.parquet.ParquetWriter(
            output.file,
            self._schema,
            compression="zstd",
            store_schema=False,
            use_dictionary=[name for name in fields if COLUMNS[name] == "string"],
            write_batch_size=CHUNK_RECORDS,
            column_encoding=dict.fromkeys(counting, "DELTA_BINARY_PACKED"),
            # what readers choose row groups by
            write_statistics=[name for name in ("time", "number") if name in fields],
        )

    def add(self, columns: Mapping[str, Column]) -> None:
        table = self._arrow.table(ArrowTable(columns, TIMES))
        if len(table):
            with telling(self._path):
                self._writer.write_table(table.cast(self._schema))

    def end(self) -> None:
        with telling(self._path):
            self._writer.close()

    def abandon(self) -> None:
        """Pyarrow ends the file itself when it is forgotten: while there is one, then."""
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()


#: Standard output with chosen fields; no file's end.
_PLAIN_TEXT = ""
#: Bytes behind texts, which rows are put together with.
SLACK = 16
#: Columns of Parquet whose values hardly occur twice.
_COUNTING = ("time", "number", "seq", "ack")
_FORMATS: dict[str, Callable[[OutputFile, Sequence[str]], _JsonLines | _Csv | _Parquet]] = {
    ".jsonl": _JsonLines,
    ".csv": _Csv,
    ".tsv": _Tsv,
    _PLAIN_TEXT: _PlainText,
    ".parquet": _Parquet,
}
