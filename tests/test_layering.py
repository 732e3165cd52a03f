"""The arrows of the design point downwards: who may import whom, checked on the sources."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tcpao_fast"
#: From the bottom up; a module may import from its own row and from those before it.
ROWS = [
    ["errors", "verdicts", "workers"],
    ["algorithms"],
    ["core"],
    ["keys", "sne", "policy", "counters", "events"],
    ["keyfiles", "engine", "endpoint", "lint", "trial"],
    ["capture", "linux"],
    ["diagnose"],
    ["report"],
    ["cli"],
]
#: The stages in the order in which a batch travels, with what they stand on.
STAGES = [
    "segment", "kernels", "hypothesis", "mkt", "buffers", "choose",
    "scan", "store", "parse", "fragments",
    "sne", "connections", "messages", "mac", "keys", "verdict", "tally", "shard",
    "pipeline", "sign", "single",
]  # fmt: skip


def row(name):
    return next(i for i, names in enumerate(ROWS) if name in names)


def imported(path):
    """What a module takes from the package: first names below tcpao_fast, and core modules."""
    text = path.read_text()
    if path.suffix == ".py":
        modules = [
            node.module
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom) and node.module
        ]
    else:
        modules = re.findall(r"^from (tcpao_fast[\w.]*) c?import", text, re.MULTILINE)
    return [module.split(".")[1:] for module in modules if module.startswith("tcpao_fast.")]


SOURCES = [
    path
    for path in sorted(PACKAGE.rglob("*"))
    if path.suffix in (".py", ".pyx", ".pxd") and path != PACKAGE / "__init__.py"
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name, *_ in imported(path):
        assert row(name) <= row(own), f"{own} must not know {name}"


@pytest.mark.parametrize(
    "path", sorted((PACKAGE / "core").glob("*.p[yx][xd]")), ids=lambda p: p.name
)
def test_stages_know_only_earlier_stages(path):
    for name, *rest in imported(path):
        if name == "core":
            assert STAGES.index(rest[0]) <= STAGES.index(path.stem), f"{path.stem} <- {rest[0]}"


def test_every_compiled_module_has_declarations_and_types():
    for path in (PACKAGE / "core").glob("*.pyx"):
        assert path.with_suffix(".pyi").exists(), path.stem
    for path in (PACKAGE / "core").glob("*.pyi"):
        assert path.with_suffix(".pyx").exists(), path.stem


def test_kernels_know_no_packets():
    for path in (PACKAGE / "core" / "kernels").glob("*.[ch]"):
        included = re.findall(r'#include [<"]([\w./]+)', path.read_text())
        own = {other.name for other in path.parent.glob("*.h")}
        assert set(included) <= own | {
            "stddef.h",
            "stdint.h",
            "stdlib.h",
            "string.h",
            "time.h",
            "immintrin.h",
            "cpuid.h",
            "arm_neon.h",
            "sys/auxv.h",
            "sys/mman.h",
        }, path.name


def test_public_names_are_documented():
    import tcpao_fast as ao

    for name in ao.__all__:
        thing = getattr(ao, name)
        if name != "__version__":
            assert thing.__doc__ and len(thing.__doc__) > 20, name
