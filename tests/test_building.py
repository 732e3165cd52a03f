"""What a build and an import say where something is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_checkout = pytest.mark.skipif(
    not (ROOT / "setup.py").exists(), reason="the tests run without the project's sources"
)


def python(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=os.environ | environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


@needs_checkout
def test_without_a_compiler_the_build_says_what_to_install(tmp_path):
    shutil.copy(ROOT / "setup.py", tmp_path)
    (tmp_path / "Cython").mkdir()  # stands before the installed one: importing that takes seconds
    (tmp_path / "Cython" / "__init__.py").write_text("raise SystemExit('Cython was imported')")
    done = python("setup.py", "build_ext", cwd=tmp_path, CC="no-such-compiler -pthread")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "no C compiler: 'no-such-compiler -pthread'" in done.stderr
    assert "apt install gcc" in done.stderr


@needs_checkout
def test_without_headers_the_build_says_what_to_install(tmp_path):
    text = (ROOT / "setup.py").read_text()
    text = text.replace('sysconfig.get_path("include")', f'"{tmp_path}/none"')
    (tmp_path / "setup.py").write_text(text)
    done = python("setup.py", "bdist_wheel", cwd=tmp_path)
    assert done.returncode == 1 and f"{tmp_path}/none/Python.h does not exist" in done.stderr
    assert "-dev" in done.stderr


@needs_checkout
@pytest.mark.parametrize(
    "statement",
    [
        "import tcpao_fast; tcpao_fast.Engine",
        "import tcpao_fast.engine",
        "from tcpao_fast.core.wire.parse import parse",
    ],
)
def test_an_import_from_sources_that_are_not_built_says_what_to_do(statement, tmp_path):
    shutil.copytree(
        ROOT / "tcpao_fast", tmp_path / "tcpao_fast",
        ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__"),
    )  # fmt: skip
    shutil.copy(ROOT / "setup.py", tmp_path)
    done = python("-c", statement, cwd=tmp_path)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: tcpao_fast is imported from"), done.stderr
    assert "pip install -e ." in last and str(tmp_path) in last


def test_help_imports_neither_numpy_nor_a_subcommand(tmp_path):
    code = (
        "import sys; from tcpao_fast.cli.app import tcpao; "
        "tcpao(['--help'], standalone_mode=False); "
        "print([m for m in sorted(sys.modules) if m in ('numpy', 'rich') or '.cli.' in m])"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "['tcpao_fast.cli.app']", done.stdout


def test_help_says_what_the_subcommands_say():
    from tcpao_fast.cli.app import COMMANDS, tcpao

    for name, (_, line) in COMMANDS.items():
        assert tcpao.get_command(None, name).get_short_help_str(100) == line, name
