"""Standard streams that are gone, full or closed: never the status of a bad segment."""

import functools
import os
import shlex
import signal
import subprocess
import sys

import pytest
from console import tcpao
from samples import CAPTURES

MIXED = CAPTURES / "bad-and-unsigned.pcap"
WRAP = CAPTURES / "wrap-v4-sha1.pcap"
KEYS = MIXED.with_suffix(".toml")

#: Each way to print.
COMMANDS = {
    "verify": ["verify", WRAP, "-k", WRAP.with_suffix(".toml")],
    "rows": ["verify", MIXED, "-k", KEYS, "--all"],
    "json": ["verify", MIXED, "-k", KEYS, "--json"],
    "annotate": ["verify", MIXED, "-k", KEYS, "-q", "--annotate", "-"],
    "damaged": ["verify", "cut.pcap", "-k", KEYS],
    "diagnose": ["diagnose", MIXED, "-k", KEYS],
    "inspect": ["inspect", MIXED],
    "report": ["report", MIXED, "-k", KEYS, "-o", "-"],
    "strip": ["strip", MIXED, "-"],
    "watch": ["watch", MIXED, "-k", KEYS, "-c", "5"],
    "events": ["watch", MIXED, "-k", KEYS, "-c", "5", "--json"],
    "check": ["keys", "check", KEYS],
    "show": ["keys", "show", KEYS],
    "compare": ["keys", "compare", KEYS, KEYS],
    "convert": ["keys", "convert", KEYS, "-"],
    "kernels": ["kernels"],
    "completion": ["completion", "bash"],
    "help": ["--help"],
    "version": ["--version"],
}


@pytest.fixture(params=list(COMMANDS))
def command(request, tmp_path, monkeypatch):
    (tmp_path / "cut.pcap").write_bytes(WRAP.read_bytes()[:9000])
    monkeypatch.chdir(tmp_path)
    return COMMANDS[request.param]


@pytest.fixture
def pipe_without_reader():
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


@pytest.fixture
def full_disk():
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full here")
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        yield full


def ended(arguments, **streams):
    """How it ends, and what it says of errors; never a traceback, nor anything half-told."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    done = tcpao(*arguments, capture_output=False, **streams)
    told = (done.stderr or b"").decode()
    assert "Traceback" not in told and "Exception" not in told, told
    errors = [line for line in told.splitlines() if line.startswith("tcpao: ")]
    return done.returncode, [line for line in errors if "warning" not in line]


@functools.cache
def usual(*command):
    """The status with streams as usual."""
    return ended(command)[0]


def closed(*numbers):
    """Run without these descriptors, as a shell's ``>&-`` does."""

    def close():
        for number in numbers:
            os.close(number)

    return {"preexec_fn": close}


def test_a_reader_that_has_gone(command, pipe_without_reader):
    assert ended(command, stdout=pipe_without_reader) == (-signal.SIGPIPE, [])


def test_a_reader_of_messages_that_has_gone(command, pipe_without_reader):
    """What has nothing to say there is not hurt; what has is ended."""
    status, _ = ended(command, stderr=pipe_without_reader)
    assert status in (usual(*command), -signal.SIGPIPE)


def test_a_full_disk(command, full_disk):
    status, (error,) = ended(command, stdout=full_disk)
    assert status == 2 and error.endswith(": No space left on device")


def test_a_full_disk_below_messages(command, full_disk):
    status, _ = ended(command, stderr=full_disk)
    assert status in (usual(*command), 2)


def test_without_standard_output(command):
    status, (error,) = ended(command, **closed(1))
    assert status == 2 and error.endswith(": Bad file descriptor")


def test_without_standard_error(command):
    """Messages are dropped, and no file gets that number: results are the same."""
    assert ended(command, **closed(2)) == (usual(*command), [])


def test_without_any():
    assert ended(["verify", MIXED, "-k", KEYS, "-q"], **closed(0, 1, 2)) == (1, [])
    assert ended(["verify", MIXED, "-k", KEYS], **closed(0, 1, 2)) == (2, [])


def test_without_standard_input():
    status, (error,) = ended(["verify", "-", "-k", KEYS], **closed(0))
    assert (status, error) == (2, "tcpao: -: Bad file descriptor")


def test_in_a_shell():
    """`tcpao verify ... | head -1` of a capture where all is good."""
    line = f'"{sys.executable}" -c "from tcpao_fast.cli import main; main()"'
    line = f"{line} {shlex.join(map(str, COMMANDS['verify']))} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    *_, status = done.stdout.split()
    assert status in ("141", "0") and done.stderr == ""  # 0: head was slow
