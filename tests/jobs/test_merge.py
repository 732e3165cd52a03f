"""Reports and states of several runs as one: what one run over everything gives."""

import json

import pytest
from console import tcpao
from keyfile import write_keys
from samples import CAPTURES, Capture

import tcpao_fast as ao
from tcpao_fast.jobs.merge import exit_status_of_merged, merge_reports, merge_states


@pytest.fixture
def pieces(tmp_path):
    """A capture with rotations in five pieces, and its keys."""
    capture = Capture(CAPTURES / "rotation.pcap")
    data = capture.path.read_bytes()
    records, at = [], 24
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        records.append(data[at : at + 16 + size])
        at += 16 + size
    share = -(-len(records) // 5)
    paths = []
    for number, start in enumerate(range(0, len(records), share)):
        paths.append(tmp_path / f"{number}.pcap")
        paths[-1].write_bytes(data[:24] + b"".join(records[start : start + share]))
    return capture, paths, write_keys(tmp_path / "keys.toml", capture.keys)


def test_reports_and_states(pieces, tmp_path):
    """Piece by piece with a state, and the reports merged."""
    capture, paths, keys = pieces
    state = tmp_path / "state"
    for number, path in enumerate(paths):
        done = tcpao("verify", path, "-k", keys, "--state", state, "--json", "--all")
        (tmp_path / f"{number}.json").write_bytes(done.stdout)
    files = [tmp_path / f"{number}.json" for number in range(5)]
    done = tcpao("merge", *files, "-o", tmp_path / "all.json", text=True)
    whole = ao.verify_capture(paths, capture.keys)
    merged = json.loads((tmp_path / "all.json").read_text())
    wanted = whole.as_dict()
    assert merged.pop("captures") == wanted.pop("captures")
    for one in (*merged["connections"], *wanted["connections"]):
        one["keys"].sort()  # a report has names, which have no order
    assert merged == wanted
    assert done.returncode == whole.exit_status


def test_a_state_of_two_halves(pieces, tmp_path):
    """What each half proved by itself, merged, is enough for the rest."""
    capture, paths, _ = pieces
    states = []
    for part in (paths[:2], paths[2:4]):
        engine = ao.Engine(capture.keys)
        if part is not paths[:2] and states:
            engine.import_state(states[0])
        for path in part:
            with ao.CaptureReader(path) as reader:
                for records in reader:
                    engine.verify(records, final=False)
        states.append(engine.export_state(candidates=True))
    for merged in (merge_states(states), merge_states(states[::-1])):
        assert len(merged["connections"]) == len(states[1]["connections"])
        engine = ao.Engine(capture.keys)
        assert engine.import_state(json.loads(json.dumps(merged))) == []
        with ao.CaptureReader(paths[4]) as reader:
            for records in reader:
                engine.verify(records, final=False)
        other = ao.Engine(capture.keys)
        other.import_state(states[1])
        with ao.CaptureReader(paths[4]) as reader:
            for records in reader:
                other.verify(records, final=False)
        assert engine.counts == other.counts


def side(isn, sne=0, seq=0):
    return {"isn": isn, "sne": sne, "seq": seq, "current_key": None, "rnext_key_id": 0, "key_id": 0}


def state_of(isns, sne, *, turned=False, port=1):
    ends = [("10.0.0.1", port), ("10.0.0.2", 179)]
    sides = [side(isns[0], sne), side(isns[1], sne)]
    if turned:
        ends, sides = ends[::-1], sides[::-1]
    record = {
        "vrf": 0, "has_handshake": not turned,
        "client": {"address": ends[0][0], "port": ends[0][1]},
        "server": {"address": ends[1][0], "port": ends[1][1]},
        "incarnations": [
            {"live": True, "proof": "both", "initiator": None, "ours": False,
             "current_keys": [None, None], "client": sides[0], "server": sides[1]}
        ],
    }  # fmt: skip
    return {"version": 1, "keys": [], "connections": [record]}


def test_the_same_handshake_further_on():
    for order in (1, -1):
        merged = merge_states([state_of((1, 2), 5), state_of((1, 2), 7)][::order])
        (one,) = merged["connections"]
        (it,) = one["incarnations"]
        assert it["client"]["sne"] == 7 and one["client"]["sne"] == 7


def test_another_handshake_is_the_later_states():
    merged = merge_states([state_of((1, 2), 5), state_of((2, 9), 0, turned=True)])
    (one,) = merged["connections"]
    old, new = one["incarnations"]
    assert not old["live"] and new["live"]
    assert one["client"]["address"] == "10.0.0.2" and one["client"]["isn"] == 9
    assert old["client"]["isn"] == 2  # turned
    ao.Engine([]).import_state(merged)
    assert len(merge_states([state_of((1, 2), 5), state_of((1, 2), 5, port=2)])["connections"]) == 2


def test_others_and_damage():
    rest = {"connections": 3, "verdicts": {"unsigned": 4}, "first_bad": 2,
            "times": {"first": None, "last": None, "first_bad": None}}  # fmt: skip
    report = {
        "captures": ["a"], "records": 10, "segments": 4, "signed": 0, "verdicts": {"unsigned": 4},
        "times": {"first": None, "last": None, "first_bad": None}, "connections": [],
        "others": rest, "damage": [{"file": "a", "what": "x", "offset": 1, "resumed": None}],
        "unread": [{"linktype": 105, "name": "802.11", "records": 2}],
    }  # fmt: skip
    merged = merge_reports([report, {**report, "captures": ["b"]}])
    assert merged["others"]["connections"] == 6 and merged["others"]["first_bad"] == 2
    assert len(merged["damage"]) == 2 and merged["unread"][0]["records"] == 4
    assert exit_status_of_merged(merged) == 4
    assert merged["records"] == 20 and merged["captures"] == ["a", "b"]


@pytest.mark.parametrize(
    ("contents", "what"),
    [
        (['{"verdicts": {}, "connections": []}', '{"version": 1, "connections": []}'], "one kind"),
        (["[]"], "neither a report nor a state"), (["{}"], "neither a report"),
        (["x"], "is not JSON"), (['{"verdicts": {}, "connections": [5]}'], "not all of them"),
        (['{"version": 1, "connections": [{}]}'], "not all of them"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path, contents, what):
    files = []
    for number, text in enumerate(contents):
        files.append(tmp_path / str(number))
        files[-1].write_text(text)
    done = tcpao("merge", *files, "-o", tmp_path / "out", text=True)
    assert done.returncode == 2 and what in done.stderr and not (tmp_path / "out").exists()
    done = tcpao("merge", tmp_path / "none", text=True)
    assert done.returncode == 2 and "No such file" in done.stderr
