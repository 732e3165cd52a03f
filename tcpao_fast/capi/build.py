"""Builds libtcpao_fast, for C programs that do not embed Python themselves."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tcpao_fast.capi import get_include
from tcpao_fast.errors import TcpAoError
from tcpao_fast.version import __version__

SOURCE = Path(__file__).parent / "library" / "library.c"
#: What ``pkg-config`` reads: flags for those who link the library.
_PKG_CONFIG = """\
prefix={folder}
libdir=${{prefix}}
includedir=${{prefix}}

Name: tcpao_fast
Description: Verify, sign and strip TCP-AO segments (RFC 5925)
Version: {version}
Cflags: -I${{includedir}} -DTCPAO_LIBRARY
Libs: -L${{libdir}} -Wl,-rpath,${{libdir}} -ltcpao_fast
Libs.private: {python}
"""


class BuildError(TcpAoError, RuntimeError):
    """The library cannot be built here."""


def _variable(name: str) -> str:
    return str(sysconfig.get_config_var(name) or "")


def _compiler() -> list[str]:
    command = shlex.split(os.environ.get("CC") or _variable("CC") or "cc")
    if shutil.which(command[0]) is None:
        raise BuildError(f"no C compiler: {command[0]!r} is not in PATH; install one, or set CC")
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        raise BuildError(
            f"no Python headers: {header} does not exist; install Python's -dev package"
        )
    return command


def link_flags() -> list[str]:
    """What links Python: its shared library, or with a static Python all of it."""
    folder = _variable("LIBDIR")
    name = f"python{sysconfig.get_config_var('LDVERSION')}"
    flags = [
        f"-L{folder}",
        f"-l{name}",
        *shlex.split(_variable("LIBS")),
        *shlex.split(_variable("SYSLIBS")),
    ]
    if sysconfig.get_config_var("Py_ENABLE_SHARED"):
        return [*flags, f"-Wl,-rpath,{folder}"]
    return [f"-L{_variable('LIBPL')}", *flags, *shlex.split(_variable("LINKFORSHARED"))]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")


def build_library(folder: str | os.PathLike[str]) -> list[Path]:
    """Build the C interface as a library for programs that do not know Python.

    ``libtcpao_fast.a``, ``libtcpao_fast.so`` where this Python is a shared library, the header, and
    ``tcpao_fast.pc`` for ``pkg-config``. An interpreter is behind it, the one that runs this: the
    stages' memory belongs to Python objects. Packets do not pass through it.

    Parameters
    ----------
    folder : path-like
        Made where it does not exist.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    BuildError
        There is no compiler or no Python header, or the compiler fails.
    """
    command = _compiler()
    target = Path(folder).absolute()
    target.mkdir(parents=True, exist_ok=True)
    written = [target / "libtcpao_fast.a", target / "tcpao_fast.h", target / "tcpao_fast.pc"]
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "library.o"
        archive = Path(scratch) / "libtcpao_fast.a"
        python = f'-DTCPAO_PYTHON="{sys.executable}"'
        flags = ["-std=gnu11", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", python]
        includes = [f"-I{sysconfig.get_path('include')}", f"-I{get_include()}"]
        _run([*command, *flags, *includes, "-c", str(SOURCE), "-o", str(compiled)])
        _run([*shlex.split(_variable("AR") or "ar"), "rcs", str(archive), str(compiled)])
        if sysconfig.get_config_var("Py_ENABLE_SHARED"):
            shared = Path(scratch) / "libtcpao_fast.so"
            _run(
                [*command, "-shared", str(compiled), "-o", str(shared), *link_flags(), "-lpthread"]
            )
            written.append(target / shared.name)
            shutil.move(shared, written[-1])
        shutil.move(archive, written[0])
    shutil.copyfile(Path(get_include()) / "tcpao_fast.h", written[1])
    python_flags = shlex.join([*link_flags(), "-lpthread"])
    written[2].write_text(
        _PKG_CONFIG.format(folder=target, version=__version__, python=python_flags)
    )
    return written
