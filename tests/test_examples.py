"""The examples run, and print what they say."""

import shutil
import subprocess
import sys

import pytest
from samples import HERE

EXAMPLES = HERE.parent / "examples"
CAPTURE = HERE / "captures" / "bad-and-unsigned.pcap"
pytestmark = pytest.mark.skipif(
    not EXAMPLES.exists(), reason="the tests run away from the checkout: there are no examples"
)


def run(*arguments, cwd=EXAMPLES):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_verify_stream():
    printed = run("verify_stream.py", CAPTURE, CAPTURE.with_suffix(".toml"))
    assert "#33 bad_mac port" in printed and "'ao_required': 16" in printed


def test_sign_and_verify():
    assert run("sign_and_verify.py") == "{'signed': 1003}\n{'good': 1003}\n"


def test_endpoint():
    verdicts, counters = run("endpoint.py").splitlines()
    assert verdicts == "good DropReason.TCP_AOFAILURE"
    assert counters == "{'TCPAOBad': 1, 'TCPAOGood': 3}"


def test_cython_pipeline(tmp_path):
    folder = tmp_path / "cython"
    shutil.copytree(EXAMPLES / "cython_pipeline", folder)
    run("setup.py", "-q", "build_ext", "--inplace", cwd=folder)
    assert run("run.py", CAPTURE, cwd=folder) == "TCP-AO 45, TCP-MD5 48, neither 16\n"
