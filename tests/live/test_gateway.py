"""The gateway between real hosts: unaware kernels on both sides, and whoever is in the middle.

``TCPAO_FAST_TRANSFER=100`` makes the transfers 100 MB long.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import hosts
import pytest

import tcpao_fast as ao

MEGABYTES = int(os.environ.get("TCPAO_FAST_TRANSFER", "20"))
MIDDLE = Path(__file__).parent / "middle.py"
ENDS = {4: ("10.9.0.1", "10.9.0.2"), 6: ("fd00:9::1", "fd00:9::2")}
PORT = 5000

SERVER = """
import hashlib, socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=int(sys.argv[3]))
print("ready", flush=True)
connection, _ = server.accept()
digest, count = hashlib.sha256(), 0
while data := connection.recv(1 << 16):
    digest.update(data)
    count += len(data)
connection.sendall(b"done")
connection.close()
print(count, digest.hexdigest(), flush=True)
"""
CLIENT = """
import hashlib, random, socket, sys, time
family = int(sys.argv[4])
connection = socket.socket(family)
connection.settimeout(120)
connection.connect((sys.argv[1], int(sys.argv[2])))
rng, digest = random.Random(1), hashlib.sha256()
pause = float(sys.argv[5])
for _ in range(int(sys.argv[3]) * 4):
    data = rng.randbytes(1 << 18)
    digest.update(data)
    connection.sendall(data)
    time.sleep(pause)
connection.shutdown(socket.SHUT_WR)
assert connection.recv(10) == b"done"
print(digest.hexdigest(), flush=True)
"""


def key_text(local, remote, ids, secret="secret", algorithm="hmac-sha-1-96", more=""):
    return (
        f'[[key]]\nalgorithm = "{algorithm}"\nsecret = "{secret}"\nsend_id = {ids[0]}\n'
        f'recv_id = {ids[1]}\nlocal = "{local}"\nremote = "{remote}"\n{more}'
    )


def write_keys(path, text):
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.chmod(0o600)
    fresh.rename(path)


class Gateway:
    """``tcpao gateway`` on a host."""

    def __init__(self, host, keys, folder, *more):
        self.host, self.keys = host, keys
        self.state = folder / f"{host.name}.json"
        self.events = folder / f"{host.name}.events"
        self.more = more
        self.start()

    def start(self):
        command = [sys.executable, "-m", "tcpao_fast", "gateway", "-k", self.keys, "--install"]
        with self.events.open("a") as out:
            self.process = self.host.start(
                *command, "--json", "--state", self.state, *self.more, stdout=out
            )
        self.said = []
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("Ready"):
                return
        raise AssertionError("".join(self.said))

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def stop(self):
        """End it; what it says it did, by name."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, said
        lines = said.splitlines()
        start = next(i for i, line in enumerate(lines) if " signed, " in line)
        counts = {}
        for part in lines[start].split(", "):
            number, name = part.rsplit(" ", 1)
            counts[name] = int(number.replace(",", ""))
        for line in lines[start + 1 :]:
            name, number = line.split(": ")
            counts[name.strip()] = int(number.replace(",", ""))
        return counts

    def happened(self):
        return [json.loads(line) for line in self.events.read_text().splitlines()]


@contextlib.contextmanager
def wired(tmp_path, loss=0.0, reorder=0.0, forge=0, mtu=1500):
    """Two hosts, and one in the middle: hosts, and what stops the middle and gives what it did."""
    with hosts.several("a", "b", "m") as (a, b, middle):
        first, in_first = reversed(hosts.connect(middle, a, mtu))
        second, in_second = reversed(hosts.connect(middle, b, mtu))
        for version, ends in ENDS.items():
            for host, name, end in ((a, first, ends[0]), (b, second, ends[1])):
                more = ("nodad",) if version == 6 else ()
                host("ip", "addr", "add", f"{end}/64" if version == 6 else f"{end}/24",
                     "dev", name, *more)  # fmt: skip
        capture = tmp_path / "middle.pcap"
        process = middle.start(
            sys.executable, MIDDLE, in_first, in_second, capture, loss, reorder, forge
        )
        assert process.stdout.readline() == "ready\n"

        def stop():
            process.terminate()
            out, error = process.communicate(timeout=20)
            assert process.returncode == 0, error
            return json.loads(out)

        yield a, b, capture, stop


def transfer(a, b, version, megabytes=MEGABYTES, pause=0.0, port=PORT):
    """Begin to send so much from one host to the other; what waits for its end, and checks it."""
    end = ENDS[version][1]
    family = 2 if version == 4 else 10
    server = b.start(sys.executable, "-c", SERVER, end, port, family)
    assert server.stdout.readline() == "ready\n"
    client = a.start(sys.executable, "-c", CLIENT, end, port, megabytes, family, pause)

    def wait(seconds=600):
        sent, error = client.communicate(timeout=seconds)
        assert client.returncode == 0, error
        count, digest = server.communicate(timeout=20)[0].split()
        assert (int(count), digest) == (megabytes << 20, sent.strip())
        for host in (a, b):
            host.wait_for_closed()  # a gateway that ends leaves a FIN sent again without a MAC

    return wait


@pytest.fixture
def tools():
    hosts.require("iptables")
    done = subprocess.run(["iptables", "-V"], capture_output=True)
    if done.returncode:
        pytest.skip("iptables does not run here")


def both_keys(tmp_path, version, **more):
    """Key files of both hosts, each with the own side as local."""
    one, other = ENDS[version]
    files = tmp_path / "a.toml", tmp_path / "b.toml"
    write_keys(files[0], key_text(one, other, (1, 2), **more))
    write_keys(files[1], key_text(other, one, (2, 1), **more))
    return files


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("algorithm", ["hmac-sha-1-96", "aes-128-cmac-96"])
def test_loss_reordering_and_a_forger(tools, tmp_path, version, algorithm):
    """The transfer is whole, all that is forged is dropped and counted, and what the middle saw of
    the hosts is wholly good."""
    keys = both_keys(tmp_path, version, algorithm=algorithm)
    with wired(tmp_path, loss=0.05, reorder=0.05, forge=50) as (a, b, capture, stop):
        gates = [Gateway(a, keys[0], tmp_path), Gateway(b, keys[1], tmp_path)]
        transfer(a, b, version)()
        time.sleep(0.3)
        counts = [gate.stop() for gate in gates]
        middle = stop()
    forged = middle["forged"]
    assert min(forged.values()) > 5 and middle["lost"] > 50 and middle["late"] > 50
    assert middle["largest"] <= 1500
    bad = sum(one.get("bad_mac", 0) for one in counts)
    unsigned = sum(one.get("ao_required", 0) for one in counts)
    assert (bad, unsigned) == (forged["payload"] + forged["rst"], forged["bare_rst"])
    assert sum(one.get("icmp", 0) for one in counts) == forged["icmp"]
    report = ao.verify_capture(capture, ao.load_keys(keys[0]))
    found = {name: number for name, number in report.counts.items() if number}
    assert set(found) == {"good"} and report.exit_status == 0
    events = [one for gate in gates for one in gate.happened()]
    ups = [one for one in events if one["event"] == "session_up"]
    assert len(ups) == 2 and ups[0]["server"].endswith(":5000")
    assert {one["event"] for one in events} == {"session_up", "bad"}


@pytest.mark.parametrize("version", [4, 6])
def test_killed_and_started_again(tools, tmp_path, version):
    """The session lives, with the key that it had: another peer has the same IDs."""
    keys = both_keys(tmp_path, version)
    stranger = "10.9.0.77" if version == 4 else "fd00:9::77"
    own = ENDS[version][0]
    mine = keys[0].read_text()
    write_keys(keys[0], key_text(own, stranger, (1, 2), secret="other") + mine)
    with wired(tmp_path) as (a, b, capture, stop):
        gates = [Gateway(a, keys[0], tmp_path), Gateway(b, keys[1], tmp_path)]
        wait = transfer(a, b, version, megabytes=8, pause=0.05)
        deadline = time.time() + 20
        while not all(gate.happened() for gate in gates) and time.time() < deadline:
            time.sleep(0.01)  # until the session is up, and no longer
        for gate in gates:
            gate.kill()
        time.sleep(0.3)
        write_keys(keys[0], mine + key_text(own, stranger, (1, 2), secret="other"))
        for gate in gates:
            gate.start()
            assert not any("left alone" in line for line in gate.said)
        wait(60)
        for gate in gates:
            assert gate.stop()["signed"]
        stop()
    report = ao.verify_capture(capture, ao.load_keys(keys[0]))
    found = {name: number for name, number in report.counts.items() if number}
    assert set(found) == {"good"} and report.exit_status == 0, found


def test_rotation_in_the_middle(tools, tmp_path):
    """New keys come by the files, first to both sides, then one begins to use them."""
    keys = both_keys(tmp_path, 4)
    one, other = ENDS[4]
    over = "send_lifetime = { start = 2020-01-01T00:00:00Z, end = 2021-01-01T00:00:00Z }\n"
    later = "send_lifetime = { start = 2099-01-01T00:00:00Z, end = 2100-01-01T00:00:00Z }\n"

    def texts(first, second):
        for path, ends, ids in ((keys[0], (one, other), 1), (keys[1], (other, one), -1)):
            old, new = ((1, 2), (11, 12)) if ids > 0 else ((2, 1), (12, 11))
            write_keys(
                path,
                key_text(*ends, old, more=first)
                + key_text(*ends, new, "newer", "aes-128-cmac-96", more=second),
            )

    with wired(tmp_path) as (a, b, capture, stop):
        gates = [Gateway(a, keys[0], tmp_path), Gateway(b, keys[1], tmp_path)]
        wait = transfer(a, b, 4, megabytes=10, pause=0.1)
        time.sleep(0.5)
        texts("", later)
        time.sleep(1.5)
        texts(over, "")
        wait(60)
        for gate in gates:
            gate.stop()
        stop()
    changes = [one for gate in gates for one in gate.happened() if one["event"] == "key_change"]
    assert {one["key"] for one in changes} == {"aes-128-cmac-96 11/12", "aes-128-cmac-96 12/11"}
    report = ao.verify_capture(capture, ao.load_keys(keys[0]))
    found = {name: number for name, number in report.counts.items() if number}
    assert set(found) == {"good"} and report.exit_status == 0, found
    assert len(report.connections[0].keys) == 2


def test_one_side_has_another_secret(tools, tmp_path):
    """Nothing comes through, and both sides say why."""
    keys = both_keys(tmp_path, 4)
    write_keys(keys[1], key_text(*reversed(ENDS[4]), (2, 1), secret="wrong"))
    with wired(tmp_path) as (a, b, _, stop):
        gates = [Gateway(a, keys[0], tmp_path), Gateway(b, keys[1], tmp_path)]
        server = b.start(sys.executable, "-c", SERVER, ENDS[4][1], PORT, 2)
        assert server.stdout.readline() == "ready\n"
        code = (
            "import socket; c = socket.socket(); c.settimeout(2.5)\n"
            f"try: c.connect(('{ENDS[4][1]}', {PORT}))\nexcept TimeoutError: print('timeout')"
        )
        assert a.python(code) == "timeout\n"
        counts = [gate.stop() for gate in gates]
        stop()
        server.kill()
        server.communicate()
    assert counts[0]["signed"] >= 2 and counts[1]["bad_mac"] >= 2
    (bad,) = [one for one in gates[1].happened() if one["event"] == "bad"]
    assert (bad["verdict"], bad["destination"]) == ("bad_mac", f"{ENDS[4][1]}:{PORT}")


def test_connections_from_before_are_left_alone(tools, tmp_path):
    keys = both_keys(tmp_path, 4)
    with wired(tmp_path) as (a, b, _, stop):
        wait = transfer(a, b, 4, megabytes=4, pause=0.2)
        time.sleep(0.5)
        gates = [Gateway(a, keys[0], tmp_path), Gateway(b, keys[1], tmp_path)]
        assert all(any("left alone" in line for line in gate.said) for gate in gates)
        wait(60)
        # and the next one, of the same hosts, is signed
        transfer(a, b, 4, megabytes=1, port=PORT + 1)()
        counts = [gate.stop() for gate in gates]
        stop()
    for one in counts:
        assert one["passed"] > 100 and one["signed"] > 50 and one["dropped"] == 0


def test_fail_closed_and_open(tools, tmp_path):
    """What becomes of packets while no gateway runs."""
    keys = both_keys(tmp_path, 4)
    probe = (
        "import socket; c = socket.socket(); c.settimeout(1)\n"
        f"try: c.connect(('{ENDS[4][1]}', 9)); print('connected')\n"
        "except TimeoutError: print('timeout')\nexcept ConnectionRefusedError: print('refused')"
    )
    for more, expected in (((), "timeout\n"), (("--fail-open",), "refused\n")):
        with wired(tmp_path) as (a, _, _, stop):
            gate = Gateway(a, keys[0], tmp_path, *more)
            gate.kill()
            assert a.python(probe) == expected
            gate.start()
            gate.stop()
            assert a.python(probe) == "refused\n"  # the rules are gone
            assert "tcpao" not in a("iptables", "-t", "mangle", "-S")
            stop()


def test_metrics(tools, tmp_path):
    pytest.importorskip("prometheus_client", reason="pip install 'tcpao-fast[live]'")
    keys = both_keys(tmp_path, 4)
    with wired(tmp_path) as (a, b, _, stop):
        gates = [
            Gateway(a, keys[0], tmp_path, "--metrics", "127.0.0.1:9400"),
            Gateway(b, keys[1], tmp_path),
        ]
        transfer(a, b, 4, megabytes=1)()
        code = (
            "import urllib.request as u; "
            "print(u.urlopen('http://127.0.0.1:9400/metrics').read().decode())"
        )
        text = a.python(code)
        for gate in gates:
            gate.stop()
        stop()
    assert 'tcpao_packets_total{kind="signed"}' in text and "tcpao_sessions 1.0" in text


class TestRefused:
    def run(self, host, *arguments):
        done = subprocess.run(
            [*host.prefix, sys.executable, "-m", "tcpao_fast", "gateway", *map(str, arguments)],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, done.stderr

    def test_each_with_one_clear_line(self, tools, tmp_path):
        keys = both_keys(tmp_path, 4)[0]
        with hosts.several("x") as (host,):
            gate = Gateway(host, keys, tmp_path)
            status, said = self.run(host, "-k", keys)
            assert (status, said.splitlines()[-1]) == (2, "tcpao: queue 0: another program has it")
            status, said = self.run(host, "-k", keys, "--queue-num", "1", "--state", gate.state)
            assert status == 2 and "another run is using it" in said
            for wrong in ("localhost", "127.0.0.1:x", "192.0.2.1:9400"):
                more = ("--queue-num", "1", "--metrics", wrong)
                status, said = self.run(host, "-k", keys, *more)
                assert status == 2 and "metrics" in said
            gate.stop()

    def test_without_the_right(self, tools, tmp_path):
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv (util-linux) is not here")
        keys = both_keys(tmp_path, 4)[0]
        command = ["setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin"]
        done = subprocess.run(
            [*command, sys.executable, "-m", "tcpao_fast", "gateway", "-k", keys],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2
        assert "root or CAP_NET_ADMIN is needed" in done.stderr


def test_a_bad_file_changes_nothing(tools, tmp_path):
    """Key files are read again; mistakes in them are told, and the keys stay."""
    keys = both_keys(tmp_path, 4)
    with wired(tmp_path) as (a, b, _, stop):
        gates = [Gateway(a, keys[0], tmp_path), Gateway(b, keys[1], tmp_path)]
        wait = transfer(a, b, 4, megabytes=4, pause=0.1)
        time.sleep(0.3)
        write_keys(keys[0], "[[key]]\nalgorithm = \n")
        time.sleep(1.2)
        wait(60)
        gates[0].process.send_signal(signal.SIGTERM)
        _, said = gates[0].process.communicate(timeout=20)
        gates[1].stop()
        stop()
    warnings = [line for line in said.splitlines() if "going on with the keys before" in line]
    assert len(warnings) == 1 and "a.toml" in said
