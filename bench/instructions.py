"""How many instructions a bare ACK takes, module by module: ``python bench/instructions.py``.

Valgrind counts them, so the figure is the same however busy the machine is; the kernels are those
that valgrind knows, and are counted apart.  A run of one call is taken off one of several.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

HERE = Path(__file__).parent
WAYS = ("verify", "sign", "sign_inplace")
CONNECTIONS, SEGMENTS = 64, 4096
CALLS = 4  # of the longer run

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from results import verifying
from speed import signs
from traffic import Traffic

traffic = Traffic("aes-128-cmac-96", 0, int(sys.argv[2]), int(sys.argv[3]))
ways = {one.name: one for one in (verifying("verify", traffic), *signs(traffic))}
for _ in range(int(sys.argv[5])):
    ways[sys.argv[4]].run()
"""


def counted(report):
    """Instructions by module of the package: those of its own code, without what it calls."""
    names, found, module, is_call = {}, Counter(), "", False
    for line in report.splitlines():
        if match := re.match(r"ob=\((\d+)\)(?: (.*))?", line):
            number, path = match.groups()
            if path:
                names[number] = Path(path).name.split(".")[0] if "tcpao_fast" in path else ""
            module = names[number]
        elif match := re.match(r"cob=\((\d+)\) (.*)", line):
            number, path = match.groups()
            names[number] = Path(path).name.split(".")[0] if "tcpao_fast" in path else ""
        elif line.startswith("calls="):
            is_call = True  # the line behind it is what the callee took
        elif re.match(r"[\d+*-]", line):
            if not is_call and module:
                found[module] += int(line.split()[1])
            is_call = False
    return found


def run(way, calls, kernels):
    """One run under valgrind: instructions by module."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind"
        subprocess.run(
            [
                "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                sys.executable, "-c", PROGRAM, str(HERE),
                *map(str, (CONNECTIONS, SEGMENTS, way, calls)),
            ],
            env={**os.environ, "TCPAO_FAST_KERNELS": kernels, "OPENBLAS_NUM_THREADS": "1"},
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return counted(out.read_text())


@click.command()
@click.option("--quick", is_flag=True, help="Of `verify` alone.")
def main(quick):
    """Count the instructions of a bare ACK (AES-128-CMAC)."""
    if shutil.which("valgrind") is None:
        click.echo("not counted: valgrind is not here; sh .ci/setup --tools installs it")
        return
    from tcpao_fast import kernels

    chosen = "aesni" if "aesni" in kernels()["aes-128-cmac"] else "portable"
    ways = WAYS[:1] if quick else WAYS
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        runs = {
            (way, calls): pool.submit(run, way, calls, chosen)
            for way in ways
            for calls in (1, CALLS)
        }
    for way in ways:
        some, one = runs[way, CALLS].result(), runs[way, 1].result()
        each = {
            module: (total - one[module]) / (SEGMENTS * (CALLS - 1))
            for module, total in some.items()
        }
        # what Python, numpy and the C library do is not among them
        kernel = each.pop("mac")
        click.echo(
            f"{way}: {sum(each.values()):,.0f} instructions, and {kernel:,.0f} in mac ({chosen})"
        )
        for module, count in sorted(each.items(), key=lambda item: -item[1]):
            if count >= 1:
                click.echo(f"  {module:24}{count:6.0f}")


if __name__ == "__main__":
    main()
