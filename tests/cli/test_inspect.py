"""`tcpao inspect`: who signs what, and the key file that it leaves to be filled in."""

import io
import json
import re
import stat
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from samples import CAPTURES, HERE
from wire import ACK, PSH, SYN, ao_option, handshake, pair, pcap, tcp_packet

import tcpao_fast as ao
from tcpao_fast.report.inspection import print_inspection

FIELD = HERE / "field"
TCPAO = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
KERNEL = sorted(path.stem for path in CAPTURES.glob("*.json"))


def inspect(*arguments, **more):
    return subprocess.run([*TCPAO, "inspect", *map(str, arguments)], capture_output=True,
                          text=True, check=False, **more)  # fmt: skip


@pytest.mark.parametrize("name", KERNEL)
def test_every_key_of_the_kernels_is_found(name, tmp_path):
    """IDs, and which belong together; the file is a key file once secrets are there."""
    said = json.loads((CAPTURES / f"{name}.json").read_text())["keys"]
    out = tmp_path / "keys.toml"
    found = ao.inspect_capture(CAPTURES / f"{name}.pcap", keys=out)
    seen = {(one.send_id, one.recv_id) for one in found.keys}
    right = {(one["client_sndid"], one["client_rcvid"]) for one in said}
    ids = {value for pair in seen for value in pair}
    assert seen & right
    assert {pair for pair in right if ids & set(pair)} <= seen
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with pytest.raises(ao.KeyFileError, match="secret"):
        ao.load_keys(out)
    out.write_text(out.read_text().replace('# secret = "..."', 'secret = "x"'))
    chain = ao.load_keys(out)
    assert [(key.send_id, key.recv_id) for key in chain] == [
        (one.send_id, one.recv_id) for one in found.keys
    ]
    assert all(key.is_tcp_md5 == (key.send_id is None) for key in chain)


def test_a_filled_in_file_verifies(tmp_path):
    out = tmp_path / "keys.toml"
    ao.inspect_capture(FIELD / "aook.pcap", keys=out)
    out.write_text(out.read_text().replace('# secret = "..."', 'secret = "secret-secret"'))
    report = ao.verify_capture(FIELD / "aook.pcap", ao.load_keys(out))
    assert set(report.counts.items()) >= {("good", 11), ("bad_mac", 0), ("key_not_found", 0)}


def test_key_ids_over_time(tmp_path):
    one = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"1", send_id=1, recv_id=1)
    two = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"2", send_id=7, recv_id=8, mac_length=16)
    a, b = pair(one)
    packets = [*handshake(a, b), a.send(PSH | ACK, b"x"), b.send(ACK)]
    a.key = b.key = two
    packets += [a.send(PSH | ACK, b"y"), b.send(ACK)]
    found = ao.inspect_capture(pcap(tmp_path / "one.pcap", packets))
    (talk,) = found.conversations
    (client, here), (server, there) = talk.in_order
    assert (client, server) == (("10.0.0.1", 40000), ("10.0.0.2", 179))
    assert [(run.key_id, run.rnext_key_id, run.first, run.count) for run in here.runs] == [
        (1, 1, 1, 3), (7, 8, 6, 1),
    ]  # fmt: skip
    assert [(run.key_id, run.count) for run in there.runs] == [(1, 2), (8, 1)]
    assert {(k.send_id, k.recv_id, k.mac_length, k.certain) for k in found.keys} == {
        (1, 1, 12, False), (7, 8, 16, False),
    }  # fmt: skip


def test_everything_else_that_there_is_to_see(tmp_path):
    client, server = ("10.0.0.1", 40000), ("10.0.0.2", 179)
    mss = b"\x02\x04\x05\xb4\x04\x02\x01\x01"
    packets = [
        tcp_packet(client, server, SYN, 1, 0, b"", mss),
        tcp_packet(client, server, SYN, 1, 0, b"", mss),
        tcp_packet(server, client, SYN | ACK, 9, 2, b"", mss[:4]),
        tcp_packet(client, server, ACK, 2, 10, b"", b"\x08\x0a" + bytes(8) + b"\x01\x01"),
        tcp_packet(server, client, 4, 10),
        tcp_packet(client, server, ACK, 2, 10, b"", b"\x1d\x01\x01\x01"),
    ]
    done = inspect(pcap(tmp_path / "one.pcap", packets))
    assert done.returncode == 3 and "Nothing is signed" in done.stdout
    assert (
        "6 TCP segments, 1 connection: 0 with TCP-AO, 0 with TCP-MD5, 5 with neither" in done.stdout
    )
    assert "client sends 4 segments: 3 not signed, 1 damaged or cut" in done.stdout
    assert "options in SYN: MSS 1460, SACK permitted; otherwise: timestamps" in done.stdout
    assert "SYN retransmitted 1 time" in done.stdout
    assert "server sends 2 segments: 2 not signed (1 of them RST)" in done.stdout
    found = json.loads(inspect(tmp_path / "one.pcap", "--json").stdout)
    (talk,) = found["connections"]
    assert talk["from_client"]["retransmitted_syns"] == 1
    assert talk["from_client"]["options_in_syn"] == [2, 4]


def test_tcp_md5_and_many_attempts():
    done = inspect(FIELD / "md5ok.pcap", FIELD / "ao60.pcap")
    assert done.returncode == 0
    assert "TCP-MD5 between 10.0.0.1 and 10.0.0.2:179" in done.stdout
    assert re.search(r"\(\d\d connections, for example\)", done.stdout)
    assert "KeyIDs 1/2" in done.stdout


def test_one_direction(tmp_path):
    key = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"1", send_id=5, recv_id=6)
    a, b = pair(key)
    packets = handshake(a, b)[1:2]
    done = inspect(pcap(tmp_path / "one.pcap", packets))
    assert "client sends nothing, or only one direction was captured" in done.stdout
    assert "KeyIDs 5/6 (which belong together is a guess)" in done.stdout


def test_damage_and_mistakes(tmp_path):
    data = (FIELD / "aook.pcap").read_bytes()
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(data[:-7])
    keys = tmp_path / "keys.toml"
    done = inspect(cut, "--keys", keys, "--strict")
    assert done.returncode == 2 and "10 TCP segments" in done.stdout and "cut.pcap" in done.stderr
    assert not keys.exists()
    done = inspect(cut, "--keys", keys)
    assert done.returncode == 4 and "10 TCP segments" in done.stdout and keys.exists()
    assert inspect(tmp_path / "none").returncode == 2
    assert inspect(cut, "--keys", cut).returncode == 2
    assert cut.read_bytes() == data[:-7]


@pytest.mark.parametrize("source", ["aook", "md5ok", "plainonly"])
def test_any_snap_length(source, tmp_path):
    """Nothing is said of a header that was not captured to its end."""
    whole = ao.inspect_capture(FIELD / f"{source}.pcap")
    data = (FIELD / f"{source}.pcap").read_bytes()
    records, at = [], 24
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        records.append((data[at : at + 16], data[at + 16 : at + 16 + size]))
        at += 16 + size

    def counts(found):
        sides = [side for one in found.conversations for side in one.sides]
        return [sum(getattr(s, of) for s in sides) for of in ("ao", "md5", "unsigned", "damaged")]

    for snap in range(14, max(len(frame) for _, frame in records) + 1):
        path = tmp_path / "snap.pcap"
        path.write_bytes(data[:24] + b"".join(
            head[:8] + min(snap, len(frame)).to_bytes(4, "little") + head[12:] + frame[:snap]
            for head, frame in records
        ))  # fmt: skip
        found = ao.inspect_capture(path)
        *seen, damaged = counts(found)
        assert all(some <= every for some, every in zip(seen, counts(whole), strict=False)), snap
        if any(seen) or damaged:  # the ports were captured
            assert sum(seen) + damaged == whole.report.segments
        out = io.StringIO()
        print_inspection(Console(file=out), found)
        if sum(seen) < whole.report.segments:
            assert "no key file is needed" not in out.getvalue(), snap


SIDES = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from([0, 1, 12, 16, 20, 32, 36])),
    max_size=6,
)


@settings(max_examples=200)
@given(SIDES, SIDES)
def test_whatever_was_seen_the_file_can_be_filled_in(tmp_path_factory, here, there):
    """Each ID once on each side, so that no two keys contradict each other."""
    packets = []
    ends = ("10.0.0.1", 40000), ("10.0.0.2", 179)
    for sent, pair_of_ends in ((here, ends), (there, ends[::-1])):
        for n, (key_id, rnext, length) in enumerate(sent):
            option = ao_option(key_id, rnext, length)
            packets.append(tcp_packet(*pair_of_ends, ACK, n, 1, b"", option))
    folder = tmp_path_factory.mktemp("outline")
    found = ao.inspect_capture(pcap(folder / "one.pcap", packets), keys=folder / "keys.toml")
    text = (folder / "keys.toml").read_text().replace('# secret = "..."', 'secret = "x"')
    (folder / "keys.toml").write_text(text)
    if found.keys:
        chain = ao.load_keys(folder / "keys.toml")
        assert {key_id for key_id, _, _ in here} <= {key.send_id for key in chain}
        assert {key_id for key_id, _, _ in there} <= {key.recv_id for key in chain}
    assert found.exit_status == (0 if here or there else 3)
