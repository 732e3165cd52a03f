"""A minute of fuzzing, all targets together; tests/fuzz/run.py goes on for longer."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzz.targets import TARGETS

HERE = Path(__file__).parent


@pytest.mark.parametrize("target", TARGETS)
def test_smoke(target, tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz" / "run.py"), target, "--seconds", "3.5",
         "--finds", str(tmp_path)],
        capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert "no find" in done.stdout


def test_targets_are_all_there():
    assert len(TARGETS) >= 15
