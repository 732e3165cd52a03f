"""`verify -o`: one row a segment, the same in every format, and as tshark sees the packets."""

import csv
import json
import subprocess
import sys
from collections import Counter
from datetime import datetime, timezone

import pyarrow.parquet
import pytest
from ends import CLIENT, SERVER, connected
from samples import CAPTURES
from wire import pcap, tcp_packet

import tcpao_fast as ao
from tcpao_fast.capture.rows import COLUMNS

FORMATS = ("jsonl", "csv", "parquet")
MIXED = CAPTURES / "bad-and-unsigned.pcap"


def read_jsonl(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def read_csv(path):
    """As JSON lines have it: numbers as numbers, nothing as None."""
    texts = {"time", "file", "source", "destination", "flags", "verdict", "key"}

    def value(name, text):
        if text == "" and name != "flags":
            return None
        return text if name in texts else int(text)

    with path.open(newline="") as file:
        return [
            {name: value(name, text) for name, text in row.items()} for row in csv.DictReader(file)
        ]


def read_parquet(path):
    table = pyarrow.parquet.read_table(path)
    stamps = table.column("time").cast("int64").to_pylist()
    rows = table.drop_columns(["time"]).to_pylist()
    return [{"time": stamp, **row} for stamp, row in zip(stamps, rows, strict=True)]


READ = {"jsonl": read_jsonl, "csv": read_csv, "parquet": read_parquet}


def rows_of(path, chain, tmp_path, form="jsonl"):
    target = tmp_path / f"rows.{form}"
    report = ao.verify_capture(path, chain, output=target)
    return report, READ[form](target)


def nanoseconds(text):
    whole, fraction = text.rstrip("Z").split(".")
    seconds = datetime.fromisoformat(whole).replace(tzinfo=timezone.utc).timestamp()
    return int(seconds) * 10**9 + int(fraction)


def test_every_format_has_the_same_rows(capture, tmp_path):
    report, rows = rows_of(capture.path, capture.keys, tmp_path)
    assert len(rows) == report.segments
    assert list(rows[0]) == list(COLUMNS)
    counts = Counter(row["verdict"] for row in rows)
    assert counts == {name: count for name, count in report.counts.items() if count}
    for form in ("csv", "parquet"):
        _, others = rows_of(capture.path, capture.keys, tmp_path, form)
        if form == "parquet":
            plain = [{**row, "time": nanoseconds(row["time"])} for row in rows]
        else:
            plain = [{**row, "flags": row["flags"] or ""} for row in rows]
        assert others == plain


def test_parquet_types(tmp_path):
    rows_of(MIXED, [], tmp_path, "parquet")
    schema = pyarrow.parquet.read_schema(tmp_path / "rows.parquet")
    assert {field.name: str(field.type).replace("tz=", "") for field in schema} == COLUMNS


def test_rows_are_what_tshark_sees(capture, tmp_path, tool):
    """Packet numbers, times, addresses, ports, SEQ and the option's fields."""
    fields = {
        "number": "frame.number",
        "time": "frame.time_epoch",
        "source_port": "tcp.srcport",
        "destination_port": "tcp.dstport",
        "seq": "tcp.seq_raw",
        "ack": "tcp.ack_raw",
        "length": "tcp.len",
        "key_id": "tcp.options.ao.keyid",
        "rnext_key_id": "tcp.options.ao.rnextkeyid",
    }
    wanted = [part for field in fields.values() for part in ("-e", field)]
    addresses = ["-e", "ip.src", "-e", "ipv6.src", "-e", "ip.dst", "-e", "ipv6.dst"]
    command = [tool("tshark"), "-r", capture.path, "-Y", "tcp", "-T", "fields", *wanted, *addresses]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    _, rows = rows_of(capture.path, capture.keys, tmp_path)
    lines = done.stdout.splitlines()
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        values = line.split("\t")
        row["time"] = nanoseconds(row["time"])
        for name, value in zip(fields, values, strict=False):
            if name == "time":
                seconds, fraction = value.split(".")
                assert row["time"] == int(seconds) * 10**9 + int(fraction.ljust(9, "0"))
            else:
                assert row[name] == (int(value) if value else None), name
        source, source6, destination, destination6 = values[len(fields) :]
        assert (row["source"], row["destination"]) == (
            source or source6,
            destination or destination6,
        )


def test_fields_that_are_not_there(tmp_path, named_capture):
    capture = named_capture("bad-and-unsigned")
    _, rows = rows_of(capture.path, capture.keys, tmp_path)
    by_verdict = {row["verdict"]: row for row in rows}
    assert by_verdict["good"]["sne"] == 0 and by_verdict["good"]["mac_length"] == 12
    unsigned = by_verdict["ao_required"]
    assert {unsigned[name] for name in ("sne", "key_id", "rnext_key_id", "mac_length", "key")} == {
        None
    }
    lost = by_verdict["key_not_found"]
    assert lost["key"] is None and lost["key_id"] == 101 and lost["sne"] is None
    assert by_verdict["md5_good"]["key"] and by_verdict["md5_good"]["key_id"] is None


def test_sne_steps_in_the_rows(tmp_path, named_capture):
    capture = named_capture("wrap-v4-sha1")
    _, rows = rows_of(capture.path, capture.keys, tmp_path)
    assert {row["sne"] for row in rows if row["source"] == "10.0.0.1"} == {0, 1}


def test_several_files_count_their_own_packets(tmp_path):
    a, b = connected()
    chain = [a.endpoint.get_keys()[0].key]
    packets = [a.send(16, b"x") for _ in range(3)]
    first, second = (pcap(tmp_path / f"{n}.pcap", packets[:n]) for n in (1, 2))
    ao.verify_capture([first, second], chain, output=tmp_path / "out.csv")
    rows = read_csv(tmp_path / "out.csv")
    assert [(row["file"], row["number"]) for row in rows] == [
        (str(first), 1),
        (str(second), 1),
        (str(second), 2),
    ]
    assert rows[2]["time"] == "1970-01-01T00:16:41.000000001Z"
    assert b.endpoint.state is ao.State.ESTABLISHED


def test_broken_segments_have_what_is_known(tmp_path):
    packets = [
        tcp_packet(CLIENT, SERVER, 16, 5, 6, b"", bytes([29, 3, 1, 1])),  # malformed
        tcp_packet(CLIENT, SERVER, 16, 5, 6)[:30],  # cut in the TCP header
        b"\x45" + bytes(19),  # no TCP
    ]
    rows = rows_of(pcap(tmp_path / "x.pcap", packets), [], tmp_path)[1]
    assert [row["verdict"] for row in rows] == ["malformed", "truncated"]
    assert rows[0]["seq"] == 5 and rows[0]["key_id"] is None and rows[0]["length"] is None
    assert rows[1]["seq"] is None and rows[1]["source_port"] == 40000


@pytest.mark.parametrize("form", FORMATS)
def test_of_a_damaged_capture_the_rows_before_the_damage(form, tmp_path, named_capture):
    capture = named_capture("v4-sha1")
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(capture.path.read_bytes()[:50000])
    target = tmp_path / f"rows.{form}"
    with pytest.raises(ao.CaptureError) as caught:
        ao.verify_capture(cut, capture.keys, output=target, strict=True)
    rows = READ[form](target)
    assert len(rows) == caught.value.report.segments > 10


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_capture_has_no_rows(form, tmp_path):
    report, rows = rows_of(pcap(tmp_path / "empty.pcap", []), [], tmp_path, form)
    assert rows == [] and report.segments == 0


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.jsonl.bak"])
def test_other_endings(name, tmp_path):
    with pytest.raises(ao.InvalidArgumentError, match=r"\.jsonl, \.csv, \.tsv, \.parquet"):
        ao.verify_capture(MIXED, [], output=tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(ao.CaptureError, match="No such file"):
        ao.verify_capture(MIXED, [], output=tmp_path / "no" / "rows.csv")
    with pytest.raises(ao.CaptureError, match="No space") as caught:
        ao.verify_capture(MIXED, [], output=link_to("/dev/full", tmp_path / "full.csv"))
    assert "full.csv" in str(caught.value)


def link_to(device, path):
    path.symlink_to(device)
    return path


@pytest.mark.parametrize("form", FORMATS)
def test_after_an_error_nothing_is_left(form, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("in the middle")

    monkeypatch.setattr("tcpao_fast.report.results.ConnectionTally.add", fail)
    with pytest.raises(RuntimeError, match="middle"):
        ao.verify_capture(MIXED, [], output=tmp_path / f"rows.{form}")
    assert not list(tmp_path.iterdir())


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ao.MissingExtraError, match=r"tcpao-fast\[parquet\]"):
        ao.verify_capture(MIXED, [], output=tmp_path / "rows.parquet")
    assert not list(tmp_path.iterdir())


def run(*arguments):
    command = "from tcpao_fast.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", command, "verify", *map(str, arguments)], capture_output=True
    )


def test_command_line(tmp_path):
    keys = MIXED.with_suffix(".toml")
    done = run(MIXED, "-k", keys, "-o", tmp_path / "rows.csv")
    assert done.returncode == 1 and b"bad_mac" in done.stdout
    assert len(read_csv(tmp_path / "rows.csv")) == 109
    done = run(MIXED, "-k", keys, "-o", "-")
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and len(lines) == 109 and json.loads(lines[0])["number"] == 2
    done = run(MIXED, "-k", keys, "-o", tmp_path / "rows.xls")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert b"rows are written as .jsonl, .csv, .tsv, .parquet" in done.stderr


class TestFields:
    def test_chosen_ones_in_their_order(self, tmp_path, named_capture):
        capture = named_capture("v4-sha1")
        fields = ["verdict", "number", "sne"]
        whole = rows_of(capture.path, capture.keys, tmp_path)[1]
        for name in ("x.jsonl", "x.csv", "x.tsv", "x.parquet"):
            path = tmp_path / name
            ao.verify_capture(capture.path, capture.keys, output=path, fields=fields)
            if name == "x.parquet":
                rows = pyarrow.parquet.read_table(path).to_pylist()
            elif name == "x.jsonl":
                rows = [json.loads(line) for line in path.read_text().splitlines()]
            else:
                delimiter = "\t" if name == "x.tsv" else ","
                with path.open(newline="") as file:
                    rows = list(csv.DictReader(file, delimiter=delimiter))
            assert list(rows[0]) == fields and len(rows) == len(whole)
            assert [str(row["number"]) for row in rows] == [str(row["number"]) for row in whole]
            assert {row["verdict"] for row in rows} == {"good"}

    @pytest.mark.parametrize("fields", [[], ["verdict", "verdict"], ["verdict", "colour"]])
    def test_mistakes(self, tmp_path, named_capture, fields):
        capture = named_capture("v4-sha1")
        with pytest.raises(ao.InvalidArgumentError, match="there are time, file, number"):
            ao.verify_capture(capture.path, capture.keys, output=tmp_path / "x.csv", fields=fields)
        assert not (tmp_path / "x.csv").exists()

    def test_printed_as_tshark_prints_fields(self, tool):
        keys = MIXED.with_suffix(".toml")
        done = run(MIXED, "-k", keys, "-e", "number", "-e", "source_port", "-e", "seq")
        ours = [line.split("\t") for line in done.stdout.decode().splitlines()]
        command = [
            tool("tshark"), "-r", MIXED, "-Y", "tcp", "-T", "fields", "-e", "frame.number",
            "-e", "tcp.srcport", "-e", "tcp.seq_raw",
        ]  # fmt: skip
        theirs = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert ours == [line.split("\t") for line in theirs.splitlines()]

    def test_an_unknown_one_on_the_command_line(self):
        done = run(MIXED, "-k", MIXED.with_suffix(".toml"), "-e", "colour")
        assert done.returncode == 2 and b"rnext_key_id" in done.stderr
