"""Results as Arrow: the same as the columns, for all who read it."""

import gc
import weakref

import numpy as np
import pyarrow as pa
import pytest
from samples import CAPTURES, Capture

import tcpao_fast as ao
from tcpao_fast.capture.rows import COLUMNS
from tcpao_fast.core.wire.arrow_table import ArrowTable


def result_of(name="bad-and-unsigned"):
    capture = Capture(CAPTURES / f"{name}.pcap")
    with ao.CaptureReader(capture.path) as reader:
        (records,) = reader
    packets = [records.data(i) for i in range(len(records))]
    return ao.Engine(capture.keys).verify(
        packets, linktype=int(records.linktypes[0]), timestamps=records.timestamps.copy()
    )


@pytest.mark.parametrize("name", ["bad-and-unsigned", "v6-sha1", "vlan"])
def test_a_row_a_record(name):
    result = result_of(name)
    table = pa.table(result)
    assert table.column_names == list(COLUMNS) and len(table) == len(result.verdict)
    table.validate(full=True)
    verdicts = [ao.Verdict(one).name for one in result.verdict]
    assert table["verdict"].to_pylist() == verdicts
    key = [one if one >= 0 else None for one in result.key.tolist()]
    assert table["key"].to_pylist() == key
    times = result.records.timestamps.tolist()
    assert table["time"].cast(pa.int64()).to_pylist() == times
    seq = [
        int(one["seq"]) if one["kind"] in (1, 3) else None for one in result.segments
    ]  # kinds: a segment, a malformed one
    assert table["seq"].to_pylist() == seq
    again = pa.RecordBatchReader.from_stream(result).read_all()
    assert again.equals(table)


def test_connections():
    capture = Capture(CAPTURES / "bad-and-unsigned.pcap")
    report = ao.verify_capture(capture.path, capture.keys)
    table = pa.table(report.connections)
    table.validate(full=True)
    assert len(table) == len(report.connections)
    for row, one in zip(table.to_pylist(), report.connections, strict=True):
        assert (row["client"], row["client_port"]) == one.client
        assert {name: row[name] for name in one.counts} == one.counts
        assert row["first_bad"] == one.first_bad and row["server_sne"] == one.sne["server"]
    assert len(pa.table(ao.verify_capture(ao.Packets([]), []).connections)) == 0


def test_nothing():
    empty = ao.Engine([]).verify([])
    assert len(pa.table(empty)) == 0


def test_lives_as_long_as_whoever_has_it():
    numbers = np.arange(1000)
    table = ArrowTable(
        {"n": (numbers, numbers % 3 > 0, None), "t": (numbers % 2, None, ["a", "é"])}
    )
    capsule = table.__arrow_c_stream__()
    read = pa.table(table)
    del table, numbers
    gc.collect()
    assert read["t"].to_pylist()[:3] == ["a", "é", "a"]
    assert read["n"].null_count == 334 and read["n"].to_pylist()[1] == 1
    del capsule  # never read: it is released all the same
    schema = ArrowTable({"x": (np.zeros(1, np.uint8), None, None)}).__arrow_c_schema__()
    del schema
    gc.collect()


def test_nothing_is_left_behind():
    class Watched(np.ndarray):
        pass

    values = np.arange(10).view(Watched)
    gone = weakref.ref(values)
    table = ArrowTable({"n": (values, None, None)})
    for _ in range(10):
        assert len(pa.table(table)) == 10
    del values, table
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "columns",
    [
        {"a": (np.zeros(2), None, None)},
        {"a": (np.zeros(2, np.int64), None, None), "b": (np.zeros(3, np.int64), None, None)},
        {"a": (np.zeros((2, 2), np.int64), None, None)},
    ],
)
def test_refused(columns):
    with pytest.raises(ao.InvalidArgumentError, match="column"):
        ArrowTable(columns)
