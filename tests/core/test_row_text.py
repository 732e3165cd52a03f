"""Rows of text: what `csv` and `json` write of the same values."""

import csv
import io
import json
import random
from datetime import datetime, timezone

import numpy as np
import pytest
from samples import CAPTURES

import tcpao_fast as ao
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.capture.rows import RowWriter
from tcpao_fast.core.wire.columns import segment_columns
from tcpao_fast.core.wire.parse import parse_records
from tcpao_fast.core.wire.row_text import RowText

TEXTS = (
    "", "plain", 'with "quotes"', "comma, and\ttab", "two\nlines", "\N{SNOWMAN} ümlaut", "a" * 500,
    "\\", "'", "\0", "\x1b[31m", "x" * 15, "x" * 16, "x" * 17,
)  # fmt: skip
KINDS = {
    "u1": np.uint8, "u2": np.uint16, "u4": np.uint32, "u8": np.uint64,
    "i1": np.int8, "i2": np.int16, "i4": np.int32, "i8": np.int64,
}  # fmt: skip


def values_of(kind, chance, rows):
    limits = np.iinfo(kind)
    edges = [limits.min, limits.max, 0, 9, 10, 99, 100, 999, 1000, 9999, 10000, 65535, 10**9]
    edges = [one for one in edges if limits.min <= one <= limits.max]
    return np.array(
        [chance.choice([chance.choice(edges), chance.randint(int(limits.min), int(limits.max))])
         for _ in range(rows)], kind,
    )  # fmt: skip


def columns_of(chance, rows):
    columns = {name: (values_of(kind, chance, rows), None, None) for name, kind in KINDS.items()}
    columns["text"] = (
        np.array([chance.randrange(len(TEXTS)) for _ in range(rows)], np.int32), None, TEXTS
    )  # fmt: skip
    stamps = [chance.choice([-1, 0, 1, 951782399999999999, 951782400000000000, 2**63 - 1,
                             chance.randrange(2**63)]) for _ in range(rows)]  # fmt: skip
    columns["when"] = (np.array(stamps, np.int64), None, None)
    for name in ("u4", "text"):
        values, _, texts = columns[name]
        there = np.array([chance.random() < 0.7 for _ in range(rows)], bool)
        columns[f"some_{name}"] = (values, there, texts)
    return columns


def lists(columns):
    found = {}
    for name, (values, there, texts) in columns.items():
        listed = values.tolist()
        if texts is not None:
            listed = [texts[one] for one in listed]
        if name == "when":
            listed = [
                None if one < 0 else
                f"{datetime.fromtimestamp(one // 10**9, timezone.utc):%Y-%m-%dT%H:%M:%S}"
                f".{one % 10**9:09d}Z"
                for one in listed
            ]  # fmt: skip
        if there is not None:
            listed = [one if known else None for one, known in zip(listed, there, strict=True)]
        found[name] = listed
    return found


class Output:
    """What a `RowWriter`'s format writes to."""

    def __init__(self):
        self.data = b""
        self.pieces = 0

    def put(self, data):
        self.data += bytes(data)
        self.pieces += 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", ["_JsonLines", "_Csv", "_Tsv", "_PlainText"])
def test_as_the_standard_library_writes_it(form, seed):
    from tcpao_fast.capture import rows as module

    chance = random.Random(seed)
    columns = columns_of(chance, 400)
    # a column of times is one by its name there
    columns["time"] = columns.pop("when")
    output = Output()
    writer = getattr(module, form)(output, list(columns))
    writer.add(columns)
    writer.add({name: (v[:0], t, x) for name, (v, _, x) in columns.items() for t in [None]})
    listed = lists({("when" if name == "time" else name): c for name, c in columns.items()})
    rows = list(zip(*listed.values(), strict=True))
    if form == "_JsonLines":
        wanted = "".join(
            json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows
        ).encode()
    else:
        text = io.StringIO()
        between = "," if form == "_Csv" else "\t"
        csv.writer(text, delimiter=between, lineterminator="\n").writerows(
            ([] if form == "_PlainText" else [tuple(columns)]) + rows
        )
        wanted = text.getvalue().encode()
    assert output.data == wanted


def test_one_field():
    """A row whose only value is not there is no empty line, as csv has it."""
    from tcpao_fast.capture.rows import _Csv

    output = Output()
    _Csv(output, ["a"]).add({"a": (np.array([1, 2], np.int64), np.array([True, False]), None)})
    assert output.data == b'a\n1\n""\n'


def test_many_rows_come_in_pieces():
    output = Output()
    rows = RowText(["n"], (), [b"number "], b"\n", b"", False)
    numbers = np.arange(200_000)
    rows.write({"n": (numbers, None, None)}, None, output.put)
    assert output.data == b"".join(b"number %d\n" % n for n in numbers.tolist())
    assert output.pieces > 5


def test_what_is_refused():
    rows = RowText(["a", "b"], (), [b"", b","], b"\n", b"", False)
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    with pytest.raises(ao.InvalidArgumentError, match="not as many rows"):
        rows.write({"a": (one, None, None), "b": (two, None, None)}, None, print)
    with pytest.raises(ao.InvalidArgumentError, match="dtype"):
        rows.write({"a": (one, None, None), "b": (one.astype(float), None, None)}, None, print)
    with pytest.raises(ZeroDivisionError):  # of whoever takes the rows
        rows.write({"a": (one, None, None), "b": (one, None, None)}, None, lambda _: 1 / 0)


@pytest.mark.parametrize(
    "name", ["bad-and-unsigned", "v6-sha1", "vlan", "any-sll2", "ts-v4-cmac", "wrap-v4-sha1"]
)
def test_columns_are_those_of_parse(name):
    """One pass says what the table of `parse` does."""
    with CaptureReader(CAPTURES / f"{name}.pcap") as reader:
        for records in reader:
            rows = parse_records(records)
            at = np.flatnonzero(np.arange(len(records)) % 3 != 1)
            found, addresses = segment_columns(records, at)
            rows = rows[at]
            for name_ in ("source_port", "destination_port", "seq", "ack", "vlan", "key_id"):
                assert found[name_].tolist() == rows[name_].tolist()
            for side in ("source", "destination"):
                sizes = np.where(rows["version"] == 6, 16, np.where(rows["version"] == 4, 4, 0))
                assert [addresses[one] for one in found[side].tolist()] == [
                    bytes(one[:size]) for one, size in zip(rows[side], sizes, strict=True)
                ]
            assert found["signed"].tolist() == ((rows["kind"] == 1) & (rows["auth"] == 1)).tolist()
            payload = np.maximum(rows["length"].astype(int) - rows["header_length"], 0)
            assert found["length"].tolist() == payload.tolist()
            with pytest.raises(ao.InvalidArgumentError, match=r"rows\[0\] is"):
                segment_columns(records, np.array([len(records)]))


def test_many_addresses(tmp_path):
    """Each is numbered once, however many there are."""
    from wire import tcp_packet

    packets = [
        tcp_packet((f"10.{i >> 8}.{i & 255}.1", 1), ("10.0.0.2", 2),
                   2, 1)
        for i in range(5000)
    ]  # fmt: skip
    lengths = np.array([len(one) for one in packets])
    records = ao.Records(b"".join(packets), np.cumsum(lengths) - lengths, lengths, 101)
    found, addresses = segment_columns(records, np.arange(5000))
    assert len(addresses) == len(set(addresses)) == 5001
    assert [addresses[one] for one in found["source"].tolist()] == [
        bytes([10, i >> 8, i & 255, 1]) for i in range(5000)
    ]


def test_a_writer_of_all_formats(tmp_path):
    with pytest.raises(ao.InvalidArgumentError, match="unknown field"):
        RowWriter(tmp_path / "x.csv", (), ["nothing"])
