"""Verdicts as rows, one a TCP segment: JSON lines, CSV, tab-separated text, Parquet."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.capture.output import OutputFile
from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.engine import VerifyResult
from tcpao_fast.engine.events import flag_letters
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.errors import InvalidArgumentError, MissingExtraError
from tcpao_fast.keys import MasterKey
from tcpao_fast.text import address_text

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

Columns = dict[str, list[Any]]

_SEGMENT, _CUT, _MALFORMED = 1, 2, 3  # kinds of core.parse
_VERDICTS = [verdict.name for verdict in Verdict]
_FLAGS = [flag_letters(flags) for flags in range(256)]


def columns_of(result: VerifyResult, labels: Sequence[str]) -> Columns:
    """The rows of some records of a capture: of each column a list."""
    at = np.flatnonzero(result.verdict != Verdict.not_tcp)
    records = result.records
    rows = result.segments[at]
    has_ports = (rows["source_port"] != 0) | (rows["destination_port"] != 0)
    whole = (rows["kind"] == _SEGMENT) | (rows["kind"] == _MALFORMED)
    signed = (rows["kind"] == _SEGMENT) & (rows["auth"] == 1)
    key = result.key[at]
    payload = rows["length"].astype(np.int64) - rows["header_length"]
    return {
        "time": [stamp if stamp >= 0 else None for stamp in records.timestamps[at].tolist()],
        "file": [records.source] * len(at),
        "number": records.numbers[at].tolist(),
        "source": _addresses(rows, "source"),
        "source_port": _where(has_ports, rows["source_port"]),
        "destination": _addresses(rows, "destination"),
        "destination_port": _where(has_ports, rows["destination_port"]),
        "vlan": rows["vlan"].tolist(),
        "flags": [
            _FLAGS[flags & 255] if known else None
            for flags, known in zip(rows["flags"].tolist(), whole.tolist(), strict=True)
        ],
        "seq": _where(whole, rows["seq"]),
        "ack": _where(whole, rows["ack"]),
        "length": _where(rows["kind"] == _SEGMENT, payload),
        "sne": _where(signed & (key >= 0), result.sne[at]),
        "key_id": _where(signed, rows["key_id"]),
        "rnext_key_id": _where(signed, rows["rnext_key_id"]),
        "mac_length": _where(signed, rows["auth_length"].astype(np.int64) - 4),
        "verdict": [_VERDICTS[verdict] for verdict in result.verdict[at].tolist()],
        "key": [labels[index] if index >= 0 else None for index in key.tolist()],
        "connection": _where(result.connection[at] >= 0, result.connection[at]),
    }


def _where(known: npt.NDArray[np.bool_], values: npt.NDArray[Any]) -> list[int | None]:
    if known.all():
        return list(values.tolist())
    return [
        value if there else None
        for value, there in zip(values.tolist(), known.tolist(), strict=True)
    ]


def _addresses(rows: npt.NDArray[np.void], side: str) -> list[str | None]:
    """The addresses of one side as text; one that occurs again is not written anew."""
    sizes = np.where(rows["version"] == 6, 16, np.where(rows["version"] == 4, 4, 0)).tolist()
    raw = np.ascontiguousarray(rows[side]).tobytes()
    known: dict[bytes, str] = {}
    texts: list[str | None] = []
    for at, size in zip(range(0, len(raw), 16), sizes, strict=True):
        address = raw[at : at + size]
        text = known.get(address)
        if text is None and size:
            text = known[address] = address_text(address)
        texts.append(text)
    return texts


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
        self._output = OutputFile(path)
        try:
            self._format: _JsonLines | _Csv | _Parquet = form(self._output, self._fields)
        except MissingExtraError:
            self._output.discard()
            raise

    def add(self, result: VerifyResult) -> None:
        """Append the rows of some records."""
        columns = columns_of(result, self._labels)
        self._format.add({field: columns[field] for field in self._fields})

    def commit(self) -> None:
        """All rows are there."""
        self._format.end()
        self._output.commit()

    def discard(self) -> None:
        """Leave no file, unless it was committed."""
        self._format.abandon()
        self._output.discard()


def _with_text_times(columns: Columns) -> Columns:
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

    def add(self, columns: Columns) -> None:
        texts = _with_text_times(columns)
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

    def add(self, columns: Columns) -> None:
        self._write(zip(*_with_text_times(columns).values(), strict=True))


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

    def add(self, columns: Columns) -> None:
        if next(iter(columns.values())):
            self._writer.write_table(self._arrow.table(columns, schema=self._schema))

    def end(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        """Pyarrow ends the file itself when it is forgotten: while there is one, then."""
        with contextlib.suppress(OSError, ValueError):
            self._writer.close()


#: Standard output with chosen fields; no file's end.
_PLAIN_TEXT = ""
_FORMATS: dict[str, Callable[[OutputFile, Sequence[str]], _JsonLines | _Csv | _Parquet]] = {
    ".jsonl": _JsonLines,
    ".csv": _Csv,
    ".tsv": _Tsv,
    _PLAIN_TEXT: _PlainText,
    ".parquet": _Parquet,
}
