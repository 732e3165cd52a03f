"""Verdicts as rows, one a TCP segment: JSON lines, CSV, tab-separated text, Parquet."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.capture.select import Selection
from tcpao_fast.core.wire.arrow_table import ArrowTable
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

Lists = dict[str, list[Any]]


def _lists(columns: Mapping[str, Column]) -> Lists:
    """Columns as lists of Python's values, None where there is none."""
    found: Lists = {}
    for name, (values, there, texts) in columns.items():
        listed: list[Any] = values.tolist()
        if texts is not None:
            listed = [texts[one] if one < len(texts) else None for one in listed]
        if there is not None and not there.all():
            listed = [
                one if known else None for one, known in zip(listed, there.tolist(), strict=True)
            ]
        found[name] = listed
    return found


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


def _with_text_times(columns: Lists) -> Lists:
    if "time" not in columns:
        return columns
    stamps = np.array([0 if stamp is None else stamp for stamp in columns["time"]], "M8[ns]")
    texts = np.datetime_as_string(stamps, unit="ns").tolist() if len(stamps) else []
    return {
        **columns,
        "time": [
            None if stamp is None else f"{text}Z"
            for stamp, text in zip(columns["time"], texts, strict=True)
        ],
    }


def _json_texts(column: list[Any]) -> list[str]:
    """Each value as JSON; one that occurs again is not encoded anew."""
    texts = {value: json.dumps(value) for value in set(column)}
    return [texts[value] for value in column]


class _JsonLines:
    """Text, a row a line."""

    def __init__(self, output: OutputFile, fields: Sequence[str]) -> None:
        self._output = output

    def add(self, columns: Mapping[str, Column]) -> None:
        texts = _with_text_times(_lists(columns))
        pattern = "{" + ", ".join(f"{json.dumps(name)}: %s" for name in texts) + "}"
        values = [_json_texts(column) for column in texts.values()]
        lines = [pattern % row for row in zip(*values, strict=True)]
        if lines:
            self._output.put(("\n".join(lines) + "\n").encode())

    def end(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _Csv(_JsonLines):
    """The same with a header, and values by place."""

    delimiter = ","
    header = True

    def __init__(self, output: OutputFile, fields: Sequence[str]) -> None:
        super().__init__(output, fields)
        if self.header:
            self._write([tuple(fields)])

    def _write(self, rows: Any) -> None:
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerows(rows)
        self._output.put(text.getvalue().encode())

    def add(self, columns: Mapping[str, Column]) -> None:
        if not self._quickly(columns):
            self._write(zip(*_with_text_times(_lists(columns)).values(), strict=True))

    def _quickly(self, columns: Mapping[str, Column]) -> bool:
        """Where pyarrow is here and there is much: the same text, without Python's lists."""
        if len(next(iter(columns.values()))[0]) < _MUCH:
            return False
        try:
            import pyarrow
            import pyarrow.compute
            import pyarrow.csv
        except ImportError:
            return False
        table = pyarrow.table(ArrowTable(columns, TIMES))
        if "time" in columns:
            place = table.schema.get_field_index("time")
            times = table["time"].cast(pyarrow.timestamp("ns"))
            texts = pyarrow.compute.strftime(times, format="%Y-%m-%dT%H:%M:%SZ")
            table = table.set_column(place, "time", texts)
        text = pyarrow.BufferOutputStream()
        options = pyarrow.csv.WriteOptions(
            include_header=False, delimiter=self.delimiter, quoting_style="none"
        )
        try:
            pyarrow.csv.write_csv(_plain(pyarrow, table), text, options)
        except pyarrow.ArrowInvalid:  # something has to be quoted, which csv does its own way
            return False
        self._output.put(text.getvalue().to_pybytes())
        return True


class _Tsv(_Csv):
    """The same between tabs."""

    delimiter = "\t"


class _PlainText(_Tsv):
    """The same without a header."""

    header = False


def _plain(pyarrow: Any, table: Any) -> Any:
    """A table whose texts are strings themselves, not numbers of some."""
    for place, column in enumerate(table.columns):
        if pyarrow.types.is_dictionary(column.type):
            table = table.set_column(
                place, table.column_names[place], column.cast(column.type.value_type)
            )
    return table


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
        types = {
            "timestamp[ns, UTC]": pyarrow.timestamp("ns", "UTC"),
            "string": pyarrow.string(),
        }
        self._schema = pyarrow.schema(
            [
                (name, types.get(COLUMNS[name]) or getattr(pyarrow, COLUMNS[name])())
                for name in fields
            ]
        )
        self._writer = pyarrow.parquet.ParquetWriter(output.file, self._schema, compression="zstd")

    def add(self, columns: Mapping[str, Column]) -> None:
        table = self._arrow.table(ArrowTable(columns, TIMES))
        if len(table):
            self._writer.write_table(_plain(self._arrow, table).cast(self._schema))

    def end(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        """Pyarrow ends the file itself when it is forgotten: while there is one, then."""
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()


#: Standard output with chosen fields; no file's end.
_PLAIN_TEXT = ""
#: Rows that are worth importing a library for.
_MUCH = 2048
_FORMATS: dict[str, Callable[[OutputFile, Sequence[str]], _JsonLines | _Csv | _Parquet]] = {
    ".jsonl": _JsonLines,
    ".csv": _Csv,
    ".tsv": _Tsv,
    _PLAIN_TEXT: _PlainText,
    ".parquet": _Parquet,
}
