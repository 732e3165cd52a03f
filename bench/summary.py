"""The figures of a pytest-benchmark JSON file as a table: ns a segment, and the ratio to a peer."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def main(path):
    results = json.loads(Path(path).read_text())["benchmarks"]
    peers = {
        (one["params"]["algorithm"], one["params"]["size"]): one["extra_info"]["ns_per_segment"]
        for one in results
        if one["name"].startswith("test_library_in_a_loop")
    }
    table = Table(box=None, header_style="bold")
    for name in ("Benchmark", "ns a segment", "Gbit/s", "x the time of the library in a loop"):
        table.add_column(name, justify="left" if name == "Benchmark" else "right")
    for one in results:
        info = one["extra_info"]
        params = one["params"]
        peer = peers.get((params.get("algorithm"), params.get("size")))
        ratio = f"{info['ns_per_segment'] / peer:.2f}" if peer else "-"
        table.add_row(
            escape(one["name"]), str(info["ns_per_segment"]), str(info["gbit_per_second"]), ratio
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main(sys.argv[1])
