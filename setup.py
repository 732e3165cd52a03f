"""The extension modules and their C files; everything else is in pyproject.toml."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CORE = Path("tcpao_fast/core")
KERNELS = sorted(str(path) for path in (CORE / "mac/kernels").glob("*.c"))
HEADERS = sorted(str(path) for path in (CORE / "mac/kernels").glob("*.h"))

COMPILE = ["-std=c11", "-O3", "-fvisibility=hidden"]
if os.environ.get("TCPAO_FAST_WERROR"):  # CI: our C and what Cython makes of our modules
    COMPILE += ["-Wall", "-Wextra", "-Werror"]
LINK = []
SHARED = "tcpao_fast.core.cython_shared"  # memory views and what else all modules have in common
DEBUG = bool(os.environ.get("TCPAO_FAST_DEBUG"))  # Cython's own checks
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
        include_dirs=[str(CORE / "mac")],
        extra_compile_args=COMPILE,
        extra_link_args=LINK,
    )


setup(
    ext_modules=cythonize(
        [
            *(extension(source) for source in sorted(CORE.rglob("*.pyx"))),
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
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            "freethreading_compatible": True,
        },
        nthreads=os.cpu_count() or 1,
    ),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
