"""Candidates for a secret, one a line: which of them a session uses."""

import io
import json
import subprocess
import sys

import pytest
from samples import HERE
from wire import ACK, PSH, handshake, pair, pcap

import tcpao_fast as ao

FIELD = HERE / "field"
SECRET = b"secret-secret"
TCPAO = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]


def lines(*secrets, before=1000):
    return b"".join(b"candidate-%d\n" % n for n in range(before)) + b"\n".join(secrets)


STAMPS = b"\x08\x0a\0\0\0\x07\0\0\0\0\x01\x01"


def session(path, key, count=3, options=STAMPS):
    a, b = pair(key)
    packets = handshake(a, b)
    for n in range(count):
        packets += [a.send(PSH | ACK, bytes([n]) * 30, options=options),
                    b.send(ACK, options=options)]  # fmt: skip
    return pcap(path, packets)


@pytest.mark.parametrize("exclude", [False, True])
@pytest.mark.parametrize(
    "algorithm", ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)", "hmac-sha256-128"]
)
@pytest.mark.parametrize("keys", ["none", "other"])
def test_every_algorithm_and_coverage(tmp_path, algorithm, exclude, keys):
    if algorithm == "hmac-sha256-128":  # the reference implementation has none
        sign_with_engine(tmp_path, algorithm, exclude, keys)
        return
    key = ao.MasterKey(algorithm=algorithm, secret=SECRET, send_id=1, recv_id=2,
                       exclude_options=exclude)  # fmt: skip
    check(session(tmp_path / "one.pcap", key), algorithm, exclude, keys)


def sign_with_engine(tmp_path, algorithm, exclude, keys):
    key = ao.MasterKey(algorithm=algorithm, secret=SECRET, send_id=1, recv_id=2,
                       exclude_options=exclude)  # fmt: skip
    plain = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"x", send_id=1, recv_id=2)
    bare = tmp_path / "bare.pcap"
    ao.strip_capture(session(tmp_path / "one.pcap", plain), bare)
    ao.sign_capture(bare, tmp_path / "two.pcap", [key])
    check(tmp_path / "two.pcap", algorithm, exclude, keys)


def check(path, algorithm, exclude, keys):
    chain = []
    if keys == "other":
        chain = [ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"unlike", send_id=1, recv_id=2)]
    stream = io.BytesIO(lines(SECRET, b"more"))
    stream.name = "secrets.txt"
    found = ao.diagnose_capture(path, chain, try_secrets=stream)
    (one,) = found.findings
    assert one.reason == "wrong_secret" and "line 1001 of secrets.txt" in one.sentence
    assert algorithm in one.sentence
    assert ("options excluded" if exclude else "options covered") in one.sentence
    assert "in both directions" in one.sentence
    assert SECRET.decode() not in str(found.as_list())
    assert found.secrets.lines == 1001 and found.secrets.sides == 2
    assert found.exit_status == 1


def test_no_options_say_nothing_about_their_coverage(tmp_path):
    key = ao.MasterKey(algorithm="hmac-sha-1-96", secret=SECRET, send_id=1, recv_id=2)
    stream = io.BytesIO(lines(SECRET))
    stream.name = "secrets.txt"
    path = session(tmp_path / "one.pcap", key, options=b"")
    (one,) = ao.diagnose_capture(path, [], try_secrets=stream).findings
    assert "(hmac-sha-1-96)" in one.sentence


def test_two_secrets_of_one_session():
    """A secret that was changed while the session lived: each segment under its own line."""
    stream = io.BytesIO(lines(b"newpass", b"hoge1"))
    stream.name = "secrets.txt"
    (one,) = ao.diagnose_capture(FIELD / "md5rotate_both.pcap", [], try_secrets=stream).findings
    assert "line 1001" in one.sentence or "line 1002" in one.sentence


def test_none_fits():
    keys = ao.load_keys(FIELD / "ao2.toml")
    stream = io.BytesIO(lines())
    stream.name = "secrets.txt"
    found = ao.diagnose_capture(FIELD / "md5rotate_both.pcap", keys, try_secrets=stream)
    assert not found.secrets.found and found.secrets.lines == 1000
    assert [one.reason for one in found.findings] == ["tcp_md5"] * len(found.findings)


def test_what_is_good_is_not_searched():
    stream = io.BytesIO(b"x\n")
    stream.name = "secrets.txt"
    keys = ao.load_keys(FIELD / "ao.toml")
    found = ao.diagnose_capture(FIELD / "aook.pcap", keys, try_secrets=stream)
    assert not found.findings and found.secrets.sides == 0 and stream.tell() == 0


def test_short_macs_fit_by_chance(tmp_path):
    """A MAC of one byte fits one line in 256: only all segments together prove anything."""
    key = ao.MasterKey(algorithm="hmac-sha-1-96", secret=SECRET, send_id=1, recv_id=2, mac_length=1)
    path = session(tmp_path / "short.pcap", key)
    stream = io.BytesIO(lines(before=3000))
    stream.name = "secrets.txt"
    found = ao.diagnose_capture(path, [], try_secrets=stream)
    assert not found.secrets.found


class TestCommand:
    def run(self, *arguments, **more):
        return subprocess.run(
            [*TCPAO, "diagnose", *map(str, arguments)], capture_output=True, check=False, **more
        )

    def test_a_file(self, tmp_path):
        file = tmp_path / "candidates"
        file.write_bytes(lines(SECRET))
        done = self.run(FIELD / "aook.pcap", "--try-secret-file", file)
        assert done.returncode == 1 and b"on line 1001 of" in done.stdout
        assert b"1,001 lines of" in done.stdout and b"2 of 2 sides" in done.stdout
        assert SECRET not in done.stdout + done.stderr
        shown = self.run(FIELD / "aook.pcap", "--try-secret-file", file, "--show-secrets")
        assert SECRET in shown.stdout

    def test_standard_input(self):
        done = self.run(FIELD / "aook.pcap", "--try-secret-file", "-", "--json",
                        input=lines(SECRET))  # fmt: skip
        (one,) = json.loads(done.stdout)
        assert "line 1001" in one["sentence"]
        both = self.run("-", "--try-secret-file", "-", input=b"")
        assert both.returncode == 2 and b"cannot be both" in both.stderr

    def test_no_such_file(self, tmp_path):
        done = self.run(FIELD / "aook.pcap", "--try-secret-file", tmp_path / "none")
        assert done.returncode == 2 and b"No such file" in done.stderr
        assert b"Traceback" not in done.stderr

    def test_keys_are_needed_otherwise(self):
        done = self.run(FIELD / "aook.pcap")
        assert done.returncode == 2 and b"Missing option '-k'" in done.stderr
