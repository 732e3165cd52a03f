"""The arrows of the design point downwards: who may import whom, checked on the sources."""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "tcpao_fast"
#: From the bottom up; a room may take from its own row and from those before it.
ROOMS = [
    ["errors", "text", "version"],
    ["core"],
    ["keys"],
    ["engine"],
    ["endpoint", "capture"],
    ["linux", "diagnose", "live"],
    ["report"],
    ["capi", "integrations", "jobs"],
    ["distributed"],
    ["cli"],
    ["__init__", "__main__"],
]
#: The core's modules in the order in which a batch travels, with what they stand on.
STAGES = [
    "mac.kernels", "wire.options", "wire.byte_order", "wire.segment", "wire.bounds", "wire.memory",
    "wire.arrow", "wire.arrow_table", "wire.records",
    "wire.filter", "wire.ring", "wire.scan", "wire.pcap_write", "wire.pcapng_copy", "wire.row_text",
    "wire.parse", "wire.columns", "wire.fragments", "wire.rewrite",
    "keys.mkt", "mac.attempt", "mac.messages", "mac.algorithms", "mac.mac",
    "flow.sne", "flow.connections", "flow.extents", "flow.snapshot", "flow.traffic_keys",
    "flow.verdict", "flow.tally", "batch.turn", "batch.shard", "batch.pipeline", "batch.sign",
    "batch.narrow", "batch.one",
]  # fmt: skip


def row(name):
    return next(i for i, names in enumerate(ROOMS) if name in names)


def imported(path):
    """What a module takes from the package, anywhere in it: dotted names below tcpao_fast."""
    text = path.read_text()
    if path.suffix in (".py", ".pyi"):
        modules = []
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.level == 0, f"{path}: imports are absolute"
                if node.module == "tcpao_fast":
                    modules += [f"tcpao_fast.{name.name}" for name in node.names]
                modules.append(node.module)
            elif isinstance(node, ast.Import):
                modules += [name.name for name in node.names]
    else:
        modules = re.findall(r"^ *from (tcpao_fast[\w.]*) c?import", text, re.MULTILINE)
        modules += re.findall(r"^ *c?import (tcpao_fast[\w.]*)", text, re.MULTILINE)
    return [module.split(".")[1:] for module in modules if module.startswith("tcpao_fast.")]


SOURCES = [
    path for path in sorted(PACKAGE.rglob("*")) if path.suffix in (".py", ".pyi", ".pyx", ".pxd")
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_point_downwards(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for name, *_ in imported(path):
        assert row(name) <= row(own), f"{own} must not know {name}"
        assert own == name or row(name) < row(own), f"{own} and {name} are beside each other"


def test_every_arrow_is_seen(tmp_path):
    """Those inside functions, under TYPE_CHECKING, and of whole modules too."""
    module = tmp_path / "one.py"
    module.write_text(
        "import tcpao_fast.cli.app\nfrom tcpao_fast import jobs\nif TYPE_CHECKING:\n"
        "    from tcpao_fast.report.text import x\ndef f():\n    from tcpao_fast.keys import y\n"
    )
    assert sorted(one[0] for one in imported(module)) == ["cli", "jobs", "keys", "report"]
    compiled = tmp_path / "two.pyx"
    compiled.write_text(
        "cdef f():\n    from tcpao_fast.keys import y\ncimport tcpao_fast.core.mac\n"
    )
    assert sorted(one[0] for one in imported(compiled)) == ["core", "keys"]


@pytest.mark.parametrize(
    "path",
    [p for p in SOURCES if p.parts[-3] == "core" and p.stem != "__init__"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_stages_know_only_earlier_stages(path):
    own = f"{path.parent.name}.{path.stem}"
    for name, *rest in imported(path):
        if name == "core":
            assert STAGES.index(".".join(rest[:2])) <= STAGES.index(own), f"{own} <- {rest}"


def test_every_compiled_module_has_declarations_and_types():
    for path in (PACKAGE / "core").glob("*/*.pyx"):
        assert path.with_suffix(".pyi").exists(), path.stem
    for path in (PACKAGE / "core").glob("*/*.pyi"):
        assert path.with_suffix(".pyx").exists(), path.stem


def test_kernels_know_no_packets():
    for path in (PACKAGE / "core" / "mac" / "kernels").glob("*.[ch]"):
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


def test_the_page_on_the_design_names_what_is_there():
    page = (PACKAGE.parent / "docs" / "design.md").read_text()
    folders = "core|keys|engine|endpoint|capture|diagnose|report|jobs|cli"
    names = set(re.findall(rf"(?:`|^ *)((?:{folders})/[\w/]+)", page, re.MULTILINE))
    assert len(names) > 20
    for name in names:
        assert list((PACKAGE / name).parent.glob(f"{(PACKAGE / name).name}*")), name
