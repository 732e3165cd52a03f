"""The documentation's Python examples and pasted output are what really happens."""

import doctest
import os
import re
import shlex
import subprocess
import sys

import console
import pytest
from samples import HERE

README = HERE.parent / "README.md"


@pytest.fixture
def readme(monkeypatch):
    if not README.exists():
        pytest.skip("the tests run away from the checkout: there is no README.md beside them")
    monkeypatch.chdir(README.parent)
    return README.read_text()


@pytest.mark.parametrize("name", ["README.md", "docs/linux.md"])
def test_python_examples(readme, name):
    found = doctest.testfile(str(README.parent / name), module_relative=False)
    assert found.attempted > 10 and found.failed == 0


def test_the_page_on_linux_names_tests_that_are_there(readme):
    """Its column "shown by" speaks of functions and files."""
    page = (README.parent / "docs" / "linux.md").read_text()
    sources = "".join(path.read_text() for path in HERE.rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 15
    for name in named:
        assert f"def {name}(" in sources or list(HERE.rglob(f"{name}.py")), name


def test_pasted_output(readme):
    """What each `tcpao` command shown prints, but for blanks at line ends."""
    fences = re.split(r"^```(.*)\n", readme, flags=re.MULTILINE)  # text, info, block, "", text...
    blocks = fences[2::4]
    shown = [block for block in blocks if block.startswith(("tests/captures", "$ .venv/bin/tcpao"))]
    assert len(shown) == 3
    for block in shown:
        path = re.search(r"tests/captures/[\w-]+", block).group()
        command = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
        written = re.match(r"\$ \.venv/bin/tcpao (.*)", block)
        words = (
            shlex.split(written[1]) if written else ["verify", f"{path}.pcap", "-k", f"{path}.toml"]
        )
        done = subprocess.run(
            [*command, *words],
            capture_output=True,
            text=True,
            env={"COLUMNS": "160", "PATH": os.environ["PATH"]},
        )
        printed = "\n".join(line.rstrip() for line in done.stdout.splitlines())
        expected = re.sub(r"^\$ \.venv.*\n", "", block).split("$ echo")[0].rstrip()
        assert printed == expected
        assert f"$ echo $?\n{done.returncode}\n" in block or done.returncode == 0


COMMANDS = HERE.parent / "docs" / "commands.md"
_BLOCKS = console.BLOCK.findall(COMMANDS.read_text()) if COMMANDS.exists() else []


@pytest.mark.parametrize("block", _BLOCKS, ids=range(len(_BLOCKS)))
def test_the_page_on_commands(block, tmp_path, tool):
    """Every command shown prints what is shown; `python tests/console.py` renews it."""
    if "tshark" in block:
        tool("tshark")
    (tmp_path / "tests").symlink_to(HERE)
    shown = console.shown(block)
    printed = console.run([command for command, _ in shown], tmp_path)
    for (command, expected), found in zip(shown, printed, strict=True):
        assert console.comparable(found) == console.comparable(expected), command


def test_the_page_on_commands_has_all_of_them(readme):
    from tcpao_fast.cli.app import tcpao

    page = COMMANDS.read_text()
    for name, command in tcpao.commands.items():
        for sub in getattr(command, "commands", {"": None}):
            assert f"tcpao {name} {sub}".strip() in page
