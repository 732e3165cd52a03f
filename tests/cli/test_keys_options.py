"""`-k` several times, and `TCPAO_KEYS`."""

import os
import subprocess
import sys

import pytest
from samples import HERE

FIELD = HERE / "field"
TCPAO = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
KEY = """[[key]]
name = "{name}"
algorithm = "hmac-sha-1-96"
secret = "{secret}"
send_id = {send}
recv_id = {recv}
local = "{local}"
remote = "{remote}"
"""


def key_file(path, secret="secret-secret", name="a", ids=(1, 2), ends=("10.0.0.1", "10.0.0.2")):
    path.write_text(KEY.format(name=name, secret=secret, send=ids[0], recv=ids[1], local=ends[0],
                               remote=ends[1]))  # fmt: skip
    path.chmod(0o600)
    return path


def verify(*arguments, **environment):
    return subprocess.run(
        [*TCPAO, "verify", FIELD / "aook.pcap", *map(str, arguments)], capture_output=True,
        text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


def test_several_files(tmp_path):
    other = key_file(tmp_path / "b.toml", ends=("10.0.0.1", "10.0.0.9"))
    right = key_file(tmp_path / "a.toml")
    for order in ([other, right], [right, other]):
        done = verify(*[part for one in order for part in ("-k", one)])
        assert done.returncode == 0, done.stderr
    assert verify("-k", other).returncode == 1  # nothing of it is for this connection


def test_both_ends_files(tmp_path):
    here = key_file(tmp_path / "here.toml")
    there = key_file(tmp_path / "there.toml", name="b", ids=(2, 1), ends=("10.0.0.2", "10.0.0.1"))
    assert verify("-k", here, "-k", there, "-k", here).returncode == 0


def test_two_that_contradict(tmp_path):
    one, two = key_file(tmp_path / "one.toml"), key_file(tmp_path / "two.toml", secret="changed")
    done = verify("-k", one, "-k", two)
    assert done.returncode == 2 and "two.toml" in done.stderr and "keys compare" in done.stderr
    assert "changed" not in done.stderr and "secret-secret" not in done.stderr


@pytest.mark.parametrize("number", [1, 2])
def test_environment(tmp_path, number):
    files = [key_file(tmp_path / "one.toml")]
    files.append(key_file(tmp_path / "two.toml", ends=("10.0.0.1", "10.0.0.9")))
    value = os.pathsep.join(map(str, files[:number]))
    assert verify(TCPAO_KEYS=value).returncode == 0
    # the command line has the last word
    wrong = key_file(tmp_path / "wrong.toml", secret="x")
    assert verify("-k", wrong, TCPAO_KEYS=value).returncode == 1
    missing = verify(TCPAO_KEYS=str(tmp_path / "none"))
    assert missing.returncode == 2 and "none" in missing.stderr
