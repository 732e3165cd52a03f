"""A minute of fuzzing, all targets together; tests/fuzz/run.py goes on for longer."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_smoke(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "fuzz" / "run.py"), "--seconds", "3.5",
         "--finds", str(tmp_path)],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.count("no find") >= 15
