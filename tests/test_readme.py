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
    console.furnish(tmp_path)
    compare(block, tmp_path)


def compare(block, scratch):
    shown = console.shown(block)
    printed = console.run([command for command, _ in shown], scratch)
    for (command, expected), found in zip(shown, printed, strict=True):
        assert console.comparable(found) == console.comparable(expected), command


TUTORIALS = sorted((HERE.parent / "docs" / "tutorials").glob("[!i]*.md"))


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorials(page, tmp_path, tool, readme):
    """From top to bottom, in one folder; `python tests/console.py` renews what is printed."""
    text = page.read_text()
    for program in ("editcap", "tshark"):
        if program in text:
            tool(program)
    if "--workers" in text:
        pytest.importorskip("distributed", reason="pip install 'tcpao-fast[dask]'")
    console.furnish(tmp_path)
    for block in console.BLOCK.findall(text):
        compare(block, tmp_path)
    found = doctest.testfile(str(page), module_relative=False)
    assert found.failed == 0
    assert found.attempted or "```console" in text


def test_every_tutorial_is_in_the_index(readme):
    index = (HERE.parent / "docs" / "tutorials" / "index.md").read_text()
    assert len(TUTORIALS) == 5 and all(f"\n{page.stem}\n" in index for page in TUTORIALS)


def test_the_page_on_commands_has_all_of_them(readme):
    from tcpao_fast.cli.app import tcpao

    page = COMMANDS.read_text()
    for name, command in tcpao.commands.items():
        for sub in getattr(command, "commands", {"": None}):
            assert f"tcpao {name} {sub}".strip() in page
