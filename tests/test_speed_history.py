"""What bench/compare.py takes for moved, and the files of bench/history."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"

pytestmark = pytest.mark.skipif(
    not BENCH.exists(), reason="an installed package has no benchmarks: run this in a checkout"
)


def figure(median, unit="ns", spread=0.01):
    return {"unit": unit, "least": median * 0.98, "median": median, "spread": spread}


def run(path, figures, cpu="A"):
    about = {"CPU": cpu, "CPU numbers": "1", "Kernels in use": "x", "Commit": path.stem}
    path.write_text(json.dumps({"date": path.stem, "about": about, "figures": figures}))
    return path


def compare(*files):
    done = subprocess.run(
        [sys.executable, BENCH / "compare.py", *files], capture_output=True, text=True
    )
    return done.returncode, done.stdout


def test_moved(tmp_path):
    old = run(tmp_path / "1.json", {
        "slower": figure(100), "faster": figure(100), "same": figure(100),
        "noisy": figure(100, spread=0.3), "rate": figure(2, "x more"), "gone": figure(1),
    })  # fmt: skip
    new = run(tmp_path / "2.json", {
        "slower": figure(110), "faster": figure(80), "same": figure(104),
        "noisy": figure(130, spread=0.3), "rate": figure(1.5, "x more"), "new": figure(1),
    })  # fmt: skip
    status, said = compare(old, new)
    assert status == 1 and "2 worse, 1 better, 2 within the noise" in said
    assert "+10%" in said and "-20%" in said and "-25%" in said
    status, said = compare(old, old)
    assert status == 0 and "0 worse, 0 better, 6 within the noise" in said


def test_two_machines(tmp_path):
    figures = {"time": figure(100), "ratio": figure(1, "x")}
    old = run(tmp_path / "1.json", figures)
    new = run(tmp_path / "2.json", {"time": figure(300), "ratio": figure(1, "x")}, cpu="B")
    status, said = compare(old, new)
    assert status == 0 and "ratios alone" in said and "1 within the noise" in said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"about": 1}', '{"figures": {"a": 1}}'])
def test_what_is_no_run(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    done = subprocess.run(
        [sys.executable, BENCH / "compare.py", tmp_path / "a.json", tmp_path / "a.json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "is not a file of bench/speed.py" in done.stderr
    assert "Traceback" not in done.stderr


def test_history():
    runs = [json.loads(path.read_text()) for path in (BENCH / "history").glob("*.json")]
    assert runs
    for one in runs:
        assert {"date", "about", "rounds", "figures"} <= set(one)
        assert one["about"]["CPU"] and one["about"]["Commit"]
        assert "verify HMAC ACK" in one["figures"]
