"""The README's Python examples and pasted output are what really happens."""

import doctest
import re
import subprocess
import sys

import pytest
from conftest import HERE

README = HERE.parent / "README.md"


@pytest.fixture
def readme(monkeypatch):
    if not README.exists():
        pytest.skip("the tests run away from the checkout: there is no README.md beside them")
    monkeypatch.chdir(README.parent)
    return README.read_text()


def test_python_examples(readme):
    found = doctest.testfile(str(README), module_relative=False)
    assert found.attempted > 10 and found.failed == 0


def test_pasted_output(readme):
    """What each `tcpao` command shown prints, but for blanks at line ends."""
    fences = re.split(r"^```(.*)\n", readme, flags=re.MULTILINE)  # text, info, block, "", text...
    blocks = fences[2::4]
    shown = [block for block in blocks if block.startswith(("tests/captures", "$ .venv/bin/tcpao"))]
    assert len(shown) == 2
    for block in shown:
        path = re.search(r"tests/captures/[\w-]+", block).group()
        command = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
        done = subprocess.run(
            [*command, "verify", f"{path}.pcap", "-k", f"{path}.toml"],
            capture_output=True,
            text=True,
            env={"COLUMNS": "160", "PATH": ""},
        )
        printed = "\n".join(line.rstrip() for line in done.stdout.splitlines())
        expected = re.sub(r"^\$ \.venv.*\n", "", block).split("$ echo")[0].rstrip()
        assert printed == expected
        assert f"$ echo $?\n{done.returncode}\n" in block or done.returncode == 0
