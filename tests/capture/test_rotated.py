"""Rotated captures: pieces give the very same rows as one, as a list and with `--state`."""

import json
import subprocess
import sys

import numpy as np
import pytest
from samples import CAPTURES
from wire import SYN, handshake, pair, records

import tcpao_fast as ao

PIECES = 20
WRAP = CAPTURES / "wrap-v4-sha1.pcap"
#: What says where a row was found, and so differs.
PLACE = ("file", "number", "connection")


def cut(path, folder, pieces=PIECES):
    """A pcap file in pieces, cut between records."""
    data = path.read_bytes()
    at, starts = 24, []
    while at < len(data):
        starts.append(at)
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
    bounds = [starts[i] for i in np.linspace(0, len(starts), pieces + 1).astype(int)[:-1]]
    found = []
    for number, (start, end) in enumerate(zip(bounds, [*bounds[1:], len(data)], strict=True)):
        piece = folder / f"{number:02}.pcap"
        piece.write_bytes(data[:24] + data[start:end])
        found.append(piece)
    return found


def rows(path):
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return [{name: row[name] for name in row if name not in PLACE} for row in found]


def test_pieces_are_as_the_whole(capture, tmp_path):
    whole, listed, state = (tmp_path / name for name in ("whole.jsonl", "list.jsonl", "state"))
    report = ao.verify_capture(capture.path, capture.keys, output=whole)
    pieces = cut(capture.path, tmp_path)
    again = ao.verify_capture(pieces, capture.keys, output=listed)
    assert rows(listed) == rows(whole) and again.counts == report.counts
    one_by_one = []
    for piece in pieces:
        out = tmp_path / "piece.jsonl"
        ao.verify_capture(piece, capture.keys, output=out, state=state)
        one_by_one += rows(out)
    assert one_by_one == rows(whole)
    for key in capture.keys:
        assert len(key.secret) < 4 or key.secret not in state.read_bytes()


def test_files_are_taken_in_the_order_of_their_times(named_capture, tmp_path):
    """However they are named or given; what has no time, or cannot be read, keeps to the end."""
    capture = named_capture("rotation")
    whole, listed = tmp_path / "whole.jsonl", tmp_path / "list.jsonl"
    ao.verify_capture(capture.path, capture.keys, output=whole)
    pieces = cut(capture.path, tmp_path, 7)
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(capture.path.read_bytes()[:24])
    shuffled = [pieces[i] for i in (3, 0, 6, 2, 5, 1, 4)]
    report = ao.verify_capture([empty, *shuffled], capture.keys, output=listed)
    assert rows(listed) == rows(whole)
    assert report.captures == [str(path) for path in [*pieces, empty]]
    with pytest.raises(ao.CaptureError, match="nowhere") as caught:
        ao.verify_capture([tmp_path / "nowhere", *shuffled], capture.keys, strict=True)
    assert caught.value.report.segments == report.segments


@pytest.mark.parametrize("threads", [(1, 3), (4, 1), (2, 2)])
def test_the_state_does_not_depend_on_threads(named_capture, tmp_path, threads):
    capture = named_capture("rotation")
    whole, state = tmp_path / "whole.jsonl", tmp_path / "state"
    ao.verify_capture(capture.path, capture.keys, output=whole)
    found = []
    for number, piece in enumerate(cut(capture.path, tmp_path)):
        out = tmp_path / "piece.jsonl"
        ao.verify_capture(piece, capture.keys, output=out, state=state, threads=threads[number % 2])
        found += rows(out)
    assert found == rows(whole)


def test_state_goes_on_after_every_segment(key):
    """A handshake, an old incarnation, a forged SYN: engine to engine, one segment each."""
    a, b = pair(key)
    again, other = pair(key, isns=(9000, 70000))
    packets = [*handshake(a, b), a.send(16, b"old"), *handshake(again, other)[:2]]
    packets += [b.send(16, b"late"), again.send(16), again.send(16, b"new")]
    forged = bytearray(a.send(SYN, position=123456))
    forged[-1] ^= 1
    packets.insert(4, bytes(forged))
    alone = ao.Engine([key]).verify(*records(packets), linktype=101)
    state, found = None, []
    for packet in packets:
        engine = ao.Engine([key])
        if state is not None:
            engine.import_state(json.loads(state))
        found.append(engine.verify(*records([packet]), linktype=101))
        state = json.dumps(engine.export_state(candidates=True))
        twin = ao.Engine([key])
        twin.import_state(json.loads(state))
        assert json.dumps(twin.export_state(candidates=True)) == state
    assert [int(out.verdict[0]) for out in found] == alone.verdict.tolist()
    assert [int(out.sne[0]) for out in found] == alone.sne.tolist()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda one: one.update(proof="some"), "proof"),
        (lambda one: one["client"].update(isn=None), "proof is 'both'"),
        (lambda one: one["client"].update(isn=-1), "isn"),
        (lambda one: one["server"].update(sne=2**31), "sne"),
        (lambda one: one["server"].update(key_id=256), "key_id"),
        (lambda one: one.update(proof="syn"), "not proved"),
        (lambda one: one.pop("live"), "live"),
    ],
)
def test_states_that_are_none(key, change, what):
    engine = ao.Engine([key])
    engine.verify(*records(handshake(*pair(key))), linktype=101)
    state = engine.export_state(candidates=True)
    change(state["connections"][0]["incarnations"][-1])
    other = ao.Engine([key])
    with pytest.raises(ao.StateError, match=what):
        other.import_state(state)
    assert other.export_state(candidates=True)["connections"] == []


def test_state_files_that_are_none(tmp_path):
    state = tmp_path / "state"
    chain = ao.load_keys(WRAP.with_suffix(".toml"))
    for text in (b"{", b'{"version": 9}', b"\xff\xfe"):
        state.write_bytes(text)
        with pytest.raises(ao.StateError, match="state: "):
            ao.verify_capture(WRAP, chain, state=state)
        assert state.read_bytes() == text
    with pytest.raises(ao.StateError, match="directory"):
        ao.verify_capture(WRAP, chain, state=tmp_path)


def test_command_line(tmp_path):
    pieces = cut(WRAP, tmp_path, 3)
    command = [sys.executable, "-c", "from tcpao_fast.cli import main; main()", "verify"]
    options = ["-k", WRAP.with_suffix(".toml"), "--state", tmp_path / "state", "--json"]
    done = [
        subprocess.run([*command, piece, *options], capture_output=True, check=True)
        for piece in pieces
    ]
    assert sum(json.loads(one.stdout)["verdicts"]["good"] for one in done) == 554
    assert json.loads(done[-1].stdout)["connections"][0]["sne"] == {"client": 1, "server": 0}
    (tmp_path / "state").write_text("nonsense")
    wrong = subprocess.run([*command, pieces[0], *options], capture_output=True, text=True)
    assert wrong.returncode == 2 and len(wrong.stderr.splitlines()) == 1
