"""`verify --annotate`: Wireshark's tools open it and show the verdicts."""

import struct
import subprocess
import sys

import numpy as np
import pytest
from ends import CLIENT, SERVER, make_key
from samples import CAPTURES
from wire import handshake, pair, tcp_packet

import tcpao_fast as ao
from tcpao_fast.capture.annotate import MAX_COMMENT
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.capture.sources import in_time_order
from tcpao_fast.core.wire.pcap_write import pcapng_packets
from tcpao_fast.engine.verdicts import MEANINGS

MIXED = CAPTURES / "bad-and-unsigned.pcap"


def tshark_fields(tool, path, *fields):
    wanted = [part for field in fields for part in ("-e", field)]
    command = [tool("tshark"), "-r", path, "-T", "fields", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def expected_comments(capture, keys):
    engine = ao.Engine(keys)
    out = engine.verify(*capture.records, linktype=capture.linktype)
    for verdict, key, sne in zip(out.verdict, out.key, out.sne, strict=True):
        if verdict in (ao.Verdict.not_tcp, ao.Verdict.unsigned):
            yield ""
            continue
        text = f"tcpao: {ao.Verdict(verdict).name}"
        if key >= 0:
            text += f", key {engine.keys[key].label}"
            text += f", SNE {sne}" if verdict <= ao.Verdict.bad_mac else ""
        yield text + ("" if verdict == ao.Verdict.good else f" ({MEANINGS[ao.Verdict(verdict)]})")


def test_tshark_shows_the_comments(capture, tmp_path, tool):
    target = tmp_path / "annotated.pcapng"
    ao.verify_capture(capture.path, capture.keys, annotate=target)
    lines = tshark_fields(tool, target, "frame.comment", "frame.time_epoch", "frame.len")
    plain = tshark_fields(tool, capture.path, "frame.time_epoch", "frame.len")
    assert [line[0] for line in lines] == list(expected_comments(capture, capture.keys))
    assert [line[1:] for line in lines] == plain


def test_it_verifies_as_before(capture, tmp_path):
    target = tmp_path / "annotated.pcapng"
    report = ao.verify_capture(capture.path, capture.keys, annotate=target)
    again = ao.verify_capture(target, capture.keys)
    assert again.counts == report.counts and again.connections == report.connections


def test_wiresharks_tools_read_it(tmp_path, tool):
    target, back = tmp_path / "annotated.pcapng", tmp_path / "back.pcap"
    ao.verify_capture(MIXED, ao.load_keys(MIXED.with_suffix(".toml")), annotate=target)
    done = subprocess.run(
        [tool("capinfos"), "-M", "-c", "-t", target], capture_output=True, text=True, check=True
    )
    assert "110" in done.stdout and "pcapng" in done.stdout
    subprocess.run([tool("editcap"), "-F", "pcap", target, back], check=True, capture_output=True)
    keys = ao.load_keys(MIXED.with_suffix(".toml"))
    assert ao.verify_capture(back, keys).counts == ao.verify_capture(MIXED, keys).counts
    merged = tmp_path / "merged.pcapng"
    subprocess.run([tool("mergecap"), "-w", merged, target], check=True, capture_output=True)
    comments = [row[0] for row in tshark_fields(tool, merged, "frame.comment")]
    assert sum(comment.startswith("tcpao: good") for comment in comments) == 34


def records_of(path):
    with CaptureReader(path) as reader:
        for chunk in reader:
            for i in range(len(chunk.offsets)):
                start = int(chunk.offsets[i])
                data = bytes(chunk.buffer[start : start + int(chunk.lengths[i])])
                yield (
                    data,
                    int(chunk.wire_lengths[i]),
                    int(chunk.timestamps[i]),
                    int(chunk.linktypes[i]),
                )


def test_several_captures_of_several_link_types(tmp_path, tool):
    """One interface a link type; every byte, length and time as it was."""
    sources = [CAPTURES / f"{name}.pcap" for name in ("vlan", "any-sll2", "v6-sha1", "vlan")]
    target = tmp_path / "annotated.pcapng"
    ao.verify_capture(sources, [], annotate=target)
    expected = [record for path in in_time_order(sources) for record in records_of(path)]
    assert list(records_of(target)) == expected
    numbers = tshark_fields(tool, target, "frame.interface_id")
    assert {row[0] for row in numbers} == {"0", "1"}


def test_snapped_records_keep_their_length(tmp_path, tool):
    snapped = tmp_path / "snapped.pcap"
    subprocess.run([tool("editcap"), "-s", "80", MIXED, snapped], check=True, capture_output=True)
    target = tmp_path / "annotated.pcapng"
    keys = ao.load_keys(MIXED.with_suffix(".toml"))
    ao.verify_capture(snapped, keys, annotate=target)
    assert list(records_of(target)) == list(records_of(snapped))


def test_damage_leaves_what_was_before_it(tmp_path):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(MIXED.read_bytes()[:30000])
    target = tmp_path / "annotated.pcapng"
    report = ao.verify_capture(cut, [], annotate=target)
    assert len(list(records_of(target))) == report.records > 10
    with pytest.raises(ao.CaptureError) as caught:
        ao.verify_capture(cut, [], annotate=target, strict=True)
    assert len(list(records_of(target))) == caught.value.report.records == report.records


def test_after_an_error_nothing_is_left(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("in the middle")

    monkeypatch.setattr("tcpao_fast.report.results.ConnectionTally.add", fail)
    with pytest.raises(RuntimeError):
        ao.verify_capture(MIXED, [], annotate=tmp_path / "a.pcapng", output=tmp_path / "r.csv")
    with pytest.raises(ao.CaptureError, match="No such file"):
        ao.verify_capture(MIXED, [], annotate=tmp_path / "no" / "a", output=tmp_path / "r.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["out.pcap", "out.pcapng.gz", "out.pcapng.ZST"])
def test_a_name_that_promises_another_form(name, tmp_path):
    keys = ao.load_keys(MIXED.with_suffix(".toml"))
    with pytest.raises(ao.InvalidArgumentError, match=r"is written as pcapng.*end in \.pcapng"):
        ao.verify_capture(MIXED, keys, annotate=tmp_path / name)
    for write in (
        ()
        if name == "out.pcap"
        else (
            lambda to: ao.sign_capture(MIXED, to, keys),
            lambda to: ao.strip_capture(MIXED, to),
        )
    ):
        with pytest.raises(ao.InvalidArgumentError, match=r"is written as pcap,.*end in \.pcap"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_long_labels_and_secrets(tmp_path, tool):
    """A comment has its limit, in whole characters for Wireshark; no secret is in it."""
    key = make_key(name="ключ" * 3000, local="10.0.0.1", remote="10.0.0.2")
    path = tmp_path / "x.pcap"
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
    packets = [*handshake(*pair(key)), tcp_packet(CLIENT, SERVER, 16, 1, 1)]
    for packet in packets:
        data += struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet
    path.write_bytes(data)
    target = tmp_path / "annotated.pcapng"
    ao.verify_capture(path, [key], annotate=target)
    comments = [row[0] for row in tshark_fields(tool, target, "frame.comment")]
    assert comments[0].startswith("tcpao: good, key ключключ")
    assert len(comments[0].encode()) <= MAX_COMMENT
    assert b"a secret" not in target.read_bytes()


def test_packets_block_by_block():
    """Lengths are multiples of 4, whatever the data and the comment have."""
    for size in range(9):
        for comment in (b"", b"c", b"cc", b"ccc", b"cccc"):
            block = pcapng_packets(bytes(size), [0], [size], [size], [5], [0], [0], [comment])
            stated = block[4:8].tobytes()
            assert len(block) % 4 == 0 and int.from_bytes(stated, "little") == len(block)
            assert block[-4:].tobytes() == stated
    none = np.zeros(0, np.int64)
    assert len(pcapng_packets(b"", none, none, none, none, none, none, [])) == 0
    with pytest.raises(ao.InvalidArgumentError, match="there are 1"):
        pcapng_packets(b"x", [0], [1], [1], [0], [0], [1], [b"c"])


def test_command_line(tmp_path):
    target = tmp_path / "annotated.pcapng"
    command = [sys.executable, "-c", "from tcpao_fast.cli import main; main()", "verify", MIXED]
    command += ["-k", MIXED.with_suffix(".toml"), "--annotate"]
    done = subprocess.run([*command, target], capture_output=True)
    assert done.returncode == 1 and b"bad_mac" in done.stdout
    to_stdout = subprocess.run([*command, "-"], capture_output=True)
    assert to_stdout.stdout == target.read_bytes()
    both = subprocess.run([*command, "-", "-o", "-"], capture_output=True, text=True)
    assert both.returncode == 2 and "only one output can be standard output" in both.stderr
