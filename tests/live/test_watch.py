"""Live verification: packets of a real interface, of a file that grows, of standard input."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import hosts
import pytest
from samples import CAPTURES, Capture

import tcpao_fast as ao
from tcpao_fast.live.interface import filter_for

WATCH = [sys.executable, "-m", "tcpao_fast", "watch"]


def toml_of(keys):
    text = ""
    for key in keys:
        text += f'[[key]]\nalgorithm = "{key.algorithm}"\nsecret_hex = "{key.secret.hex()}"\n'
        if not key.is_tcp_md5:
            text += f"send_id = {key.send_id}\nrecv_id = {key.recv_id}\n"
            text += f"mac_length = {key.mac_length}\n"
            text += f"exclude_options = {str(key.exclude_options).lower()}\n"
        for side in ("local", "remote"):
            if getattr(key, side) is not None:
                text += f'{side} = "{getattr(key, side)}"\n'
    return text


@pytest.fixture
def wire():
    hosts.require()
    with hosts.pair() as both:
        yield both


def key_file(tmp_path, keys):
    path = tmp_path / "keys.toml"
    path.write_text(toml_of(keys))
    path.chmod(0o600)
    return path


def begin(host, *arguments):
    """``tcpao watch`` on a host, as soon as it takes packets."""
    process = host.start(*WATCH, *arguments)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if line.startswith("Ready"):
            return process
    raise AssertionError("".join(lines))


def end(process, after=0.5):
    time.sleep(after)
    process.terminate()
    out, error = process.communicate(timeout=30)
    assert "Traceback" not in error, error
    return out, process.returncode


@pytest.mark.parametrize(
    "name", ["v4-sha1", "v6-cmac-exclude", "rotation", "vlan", "bad-and-unsigned"]
)
def test_an_interface_says_what_the_file_says(wire, tmp_path, name):
    """Tags that the kernel takes off count too."""
    capture = Capture(CAPTURES / f"{name}.pcap")
    if capture.linktype != 1:
        pytest.skip("the capture is not of an Ethernet")
    sender, receiver = wire
    keys = key_file(tmp_path, capture.keys)
    expected = ao.verify_capture(capture.path, capture.keys)
    process = begin(receiver, "-k", keys, "-i", receiver.interface, "--json")
    sender.send([capture.frame(i) for i in range(len(capture.records[1]))])
    out, status = end(process, 1.0)
    events = [json.loads(line) for line in out.splitlines()]
    summary = events.pop()
    assert summary["event"] == "summary" and summary["dropped"] == 0
    assert summary["verdicts"] == expected.counts
    assert status == expected.exit_status
    ups = [one for one in events if one["event"] == "session_up"]
    good = [one for one in expected.connections if "good" in one.counts or "md5_good" in one.counts]
    assert len(ups) == len(good)
    if name == "rotation":
        assert [one for one in events if one["event"] == "key_change"]
    bad = {one["verdict"] for one in events if one["event"] == "bad"}
    assert bad == {one for one, number in expected.counts.items() if number} & {
        "bad_mac", "key_not_found", "ao_required", "malformed", "md5_bad", "md5_required",
    }  # fmt: skip


def test_why_is_told_on_the_fly(wire, tmp_path):
    capture = Capture(CAPTURES / "v4-sha1.pcap")
    sender, receiver = wire
    (key,) = capture.keys
    wrong = ao.MasterKey(
        algorithm=key.algorithm, secret=b"wrong", send_id=key.send_id, recv_id=key.recv_id,
        local=key.local, remote=key.remote,
    )  # fmt: skip
    process = begin(receiver, "-k", key_file(tmp_path, [wrong]), "-i", receiver.interface, "--json")
    sender.send([capture.frame(i) for i in range(len(capture.records[1]))])
    out, status = end(process, 3.5)
    findings = [json.loads(line) for line in out.splitlines() if '"finding"' in line]
    assert status == 1 and findings[0]["reason"] == "wrong_secret"


def test_silence_after_a_syn(wire, tmp_path):
    capture = Capture(CAPTURES / "v4-sha1.pcap")
    sender, receiver = wire
    process = begin(
        receiver, "-k", key_file(tmp_path, capture.keys), "-i", receiver.interface, "--json"
    )
    sender.send([capture.frame(0)])
    out, _ = end(process, 5)
    (event,) = [json.loads(line) for line in out.splitlines() if '"silence"' in line]
    assert "no answer" in event["reason"]


class TestLimits:
    @pytest.mark.parametrize(
        ("arguments", "packets"),
        [(("-c", "10"), 10), (("-a", "packets:7"), 7), (("-a", "filesize:2"), None)],
    )
    def test_it_ends_by_itself(self, wire, tmp_path, arguments, packets):
        capture = Capture(CAPTURES / "v4-sha1.pcap")
        sender, receiver = wire
        keys = key_file(tmp_path, capture.keys)
        process = begin(receiver, "-k", keys, "-i", receiver.interface, "--json", *arguments)
        sender.send([capture.frame(i) for i in range(len(capture.records[1]))])
        out, error = process.communicate(timeout=20)
        summary = json.loads(out.splitlines()[-1])
        assert process.returncode == 0, error
        assert summary["packets"] == packets if packets else summary["bytes"] >= 2000

    def test_after_a_time(self, wire, tmp_path):
        capture = Capture(CAPTURES / "v4-sha1.pcap")
        _, receiver = wire
        keys = key_file(tmp_path, capture.keys)
        process = begin(receiver, "-k", keys, "-i", receiver.interface, "-a", "duration:1")
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 3 and "0 packets in 1." in out


class TestFiles:
    def test_one_that_grows(self, tmp_path):
        capture = Capture(CAPTURES / "v4-sha1.pcap")
        keys = key_file(tmp_path, capture.keys)
        growing = tmp_path / "growing.pcap"
        growing.write_bytes(capture.data[:3000])
        command = [*WATCH, "-k", keys, growing, "--json"]
        process = subprocess.Popen(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr.readline().startswith("Ready")
        assert json.loads(process.stdout.readline())["event"] == "session_up"
        with growing.open("ab") as file:
            for at in range(3000, len(capture.data), 50_000):
                file.write(capture.data[at : at + 50_000])
                file.flush()
                time.sleep(0.05)
        out, status = end(process, 1.0)
        summary = json.loads(out.splitlines()[-1])
        expected = ao.verify_capture(capture.path, capture.keys)
        assert (summary["verdicts"], status) == (expected.counts, 0)

    def test_standard_input(self, tmp_path):
        capture = Capture(CAPTURES / "v4-sha1.pcap")
        command = [*WATCH, "-k", key_file(tmp_path, capture.keys), "-"]
        done = subprocess.run(
            [*map(str, command)], input=capture.data, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert b" up " in done.stdout and b"good" in done.stdout.splitlines()[-1]

    def test_damage_is_told(self, tmp_path):
        capture = Capture(CAPTURES / "v4-sha1.pcap")
        command = [*WATCH, "-k", key_file(tmp_path, capture.keys), "-"]
        done = subprocess.run(
            [*map(str, command)], input=b"no capture at all", capture_output=True, timeout=60
        )
        assert done.returncode == 2 and b"Traceback" not in done.stderr
        # what came before the damage is told
        done = subprocess.run(
            [*map(str, command), "--json"],
            input=capture.data[:-7], capture_output=True, timeout=60,
        )  # fmt: skip
        summary = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == 2 and summary["verdicts"]["good"] == 444

    def test_state_over_restarts(self, tmp_path):
        capture = Capture(CAPTURES / "v4-sha1.pcap")
        keys, state = key_file(tmp_path, capture.keys), tmp_path / "state.json"
        data, (_, offsets, _) = capture.data, capture.records
        half = int(offsets[len(offsets) // 2]) - 16
        for piece in (data[:half], data[:24] + data[half:]):
            command = [*WATCH, "-k", keys, "-", "--state", state, "--json"]
            done = subprocess.run(
                [*map(str, command)], input=piece, capture_output=True, timeout=60
            )
            counts = json.loads(done.stdout.splitlines()[-1])["verdicts"]
            assert done.returncode == 0 and {n for n, c in counts.items() if c} == {"good"}


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "nothing to watch"),
            (("-i", "nowhere0"), "nowhere0: there is no such network interface"),
            (("/nowhere.pcap",), "/nowhere.pcap: No such file"),
            (("-i", "lo", "-a", "duration:x"), "none of duration:SECONDS"),
            (("-i", "lo", "-a", "size:1"), "none of duration:SECONDS"),
            (("-i", "lo", "--filter", "what is this"), "filter 'what is this'"),
            (("-i", "lo", "--metrics", "x"), "ADDR:PORT"),
        ],
    )
    def test_each_with_one_clear_line(self, tmp_path, arguments, said):
        keys = key_file(tmp_path, Capture(CAPTURES / "v4-sha1.pcap").keys)
        command = [*WATCH, "-k", keys, *arguments]
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60)
        if os.geteuid() != 0 and "permitted" in done.stderr:
            pytest.skip("live packets need root")
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_the_table_on_a_terminal(wire, tmp_path):
    """rich's table of sessions, and Ctrl-C ends it with the summary."""
    import pty

    capture = Capture(CAPTURES / "v4-sha1.pcap")
    sender, receiver = wire
    keys = key_file(tmp_path, capture.keys)
    master, slave = pty.openpty()
    command = [*receiver.prefix, *WATCH, "-k", str(keys), "-i", receiver.interface]
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job may ignore it
    )  # fmt: skip
    os.close(slave)
    seen = bytearray()

    def read():
        while True:
            try:
                seen.extend(os.read(master, 4096))
            except OSError:
                return

    reader = threading.Thread(target=read)
    reader.start()
    deadline = time.time() + 60
    while b"Ready" not in seen and time.time() < deadline:
        time.sleep(0.05)
    sender.send([capture.frame(i) for i in range(len(capture.records[1]))])
    while b"444 good" not in seen and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    reader.join()
    os.close(master)
    assert b"Segments/s" in seen and b"0 dropped by the kernel" in seen


def test_filters_take_what_keys_are_for():
    keys = [
        ao.MasterKey(algorithm="tcp-md5", secret=b"x", remote="10.0.0.0/24"),
        ao.MasterKey(
            algorithm="hmac-sha-1-96", secret=b"x", send_id=1, recv_id=2, local="fd00::1",
            remote="fd00::/64",
        ),
    ]  # fmt: skip
    expression = filter_for(keys)
    ao_filter = pytest.importorskip("tcpao_fast.capture.filter").PacketFilter(expression)
    capture = Capture(CAPTURES / "v4-sha1.pcap")
    records = ao.Records([capture.frame(i) for i in range(20)])
    assert len(ao_filter.choose(records)) == 20  # signed: whoever the peer is
    assert len(ao_filter.instructions(1)) % 8 == 0
