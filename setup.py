"""The extension modules and their C files; everything else is in pyproject.toml."""

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path


def missing_tools() -> list[str]:
    """What a build needs and this system lacks, each with what to install."""
    lacking = []
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if sys.platform != "win32" and shutil.which(shlex.split(compiler)[0]) is None:
        lacking.append(
            f"no C compiler: {compiler!r} is not in PATH (Debian, Ubuntu: apt install gcc; "
            "Fedora: dnf install gcc; macOS: xcode-select --install; or set CC)"
        )
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not header.exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        lacking.append(
            f"no Python headers: {header} does not exist (Debian, Ubuntu: apt install "
            f"python{version}-dev; Fedora: dnf install python3-devel)"
        )
    return lacking


BUILDS = {"build_ext", "build", "bdist_wheel", "editable_wheel", "install", "develop"}
if BUILDS & set(sys.argv) and (lacking := missing_tools()):
    sys.exit("tcpao_fast cannot be built here:\n" + "\n".join(f"  {one}" for one in lacking))

from Cython.Build import cythonize  # noqa: E402 (not before what is missing was said)
from setuptools import Extension, setup  # noqa: E402

CORE = Path("tcpao_fast/core")
KERNELS = sorted(str(path) for path in (CORE / "mac/kernels").glob("*.c"))
HEADERS = sorted(str(path) for path in (CORE / "mac/kernels").glob("*.h"))

COMPILE = ["-std=c11", "-O3", "-fvisibility=hidden"]
if os.environ.get("TCPAO_FAST_WERROR"):  # CI: our C and what Cython makes of our modules
    COMPILE += ["-Wall", "-Wextra", "-Werror"]
LINK = []
SHARED = "tcpao_fast.core.cython_shared"  # memory views and what else all modules have in common
# Bounds, None and initialisation checks, and line tracing for coverage; see CONTRIBUTING.md
DEBUG = bool(os.environ.get("TCPAO_FAST_DEBUG"))
TRACING = DEBUG and not os.environ.get("TCPAO_FAST_SANITIZE")  # both together would take for ever
if sanitizers := os.environ.get("TCPAO_FAST_SANITIZE"):  # such as address,undefined
    COMPILE += ["-g", "-O1", f"-fsanitize={sanitizers}", "-fno-sanitize-recover=undefined"]
    LINK += [f"-fsanitize={sanitizers}"]
elif not DEBUG and sys.platform == "linux":
    LINK += ["-Wl,-s"]  # Python's own flags ask for debug information, most of a module's size


def extension(source: Path) -> Extension:
    """One stage, one module; `mac` alone links the kernels and the CPU detection."""
    owns_kernels = source.stem == "mac"
    return Extension(
        ".".join(source.with_suffix("").parts),
        [str(source), *(KERNELS if owns_kernels else [])],
        depends=HEADERS,
        include_dirs=[str(CORE / "mac"), str(CORE.parent / "capi/include")],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
        define_macros=[("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")] if TRACING else [],
    )


setup(
    ext_modules=cythonize(
        [
            *(extension(source) for source in sorted(CORE.parent.rglob("*.pyx"))),
            Extension(
                SHARED,
                [f"{SHARED.replace('.', '/')}.c"],
                extra_compile_args=COMPILE,
                extra_link_args=LINK,
            ),
        ],
        shared_utility_qualified_name=SHARED,
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "initializedcheck": DEBUG,
            "nonecheck": DEBUG,
            "linetrace": TRACING,
            "wraparound": False,  # a negative index is out of bounds
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
        nthreads=os.cpu_count() or 1,
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
