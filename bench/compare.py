"""What moved between two files of `speed.py`: ``python bench/compare.py [OLD] [NEW]``.

Without arguments the last two files of ``bench/history`` of one machine, by date. A figure moved
if its least and its median did, by more than 5 % and by more than the middle half of the rounds of
both runs spans. Between two machines only ratios are compared. Exit status 1: something got worse.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

HISTORY = Path(__file__).parent / "history"
LEAST = 0.05
#: More is better of these.
RATES = ("x more",)
#: These say the same on every machine.
RATIOS = ("x", "x more", "bytes")


def read(path):
    """A file that speed.py wrote."""
    try:
        run = json.loads(Path(path).read_text())
        machine_of(run)
        if not all(
            {"unit", "least", "median", "spread"} <= set(one) for one in run["figures"].values()
        ):
            raise KeyError("figures")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise click.UsageError(f"{path} is not a file of bench/speed.py") from error
    return run


def machine_of(run):
    return run["about"]["CPU"], run["about"]["CPU numbers"], run["about"]["Kernels in use"]


def moved(old, new):
    """By how much a figure got slower (0.1: by a tenth); 0 within the noise."""
    changes = [new[which] / old[which] - 1 for which in ("median", "least")]
    change = min(changes, key=abs)
    if abs(change) <= max(LEAST, old["spread"] + new["spread"]) or changes[0] * changes[1] < 0:
        return 0.0
    return -change if new["unit"] in RATES else change


def compare(old, new):
    """(name, old, new, by how much it got slower) of the figures that both have, worst first."""
    same = machine_of(old) == machine_of(new)
    rows = [
        (name, old["figures"][name], figure, moved(old["figures"][name], figure))
        for name, figure in new["figures"].items()
        if name in old["figures"] and (same or figure["unit"] in RATIOS)
    ]
    return sorted(rows, key=lambda row: -row[3])


def last_two():
    """The two newest files, of the machine of the newest."""
    runs = sorted(HISTORY.glob("*.json"), key=lambda path: read(path)["date"])
    if not runs:
        raise click.UsageError(f"{HISTORY} has no files; bench/speed.py writes them")
    newest = machine_of(read(runs[-1]))
    of_it = [path for path in runs if machine_of(read(path)) == newest]
    if len(of_it) < 2:
        raise click.UsageError(f"{HISTORY} has one run of this machine; name two files")
    return of_it[-2:]


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False))
@click.option("--all", "everything", is_flag=True, help="Show also what did not move.")
def main(files, everything):
    """Compare two runs."""
    if len(files) not in (0, 2):
        raise click.UsageError("name two files, or none")
    old, new = (read(path) for path in files or last_two())
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(
        f"{old['about']['Commit']} ({old['date']}) -> {new['about']['Commit']} ({new['date']})"
    )
    if machine_of(old) != machine_of(new):
        console.print("Two machines: ratios alone are compared.")
    rows = compare(old, new)
    table = Table(box=None, header_style="bold")
    for name in ("Figure", "Before", "After", "Unit", "Change"):
        table.add_column(name, justify="left" if name in ("Figure", "Unit") else "right")
    for name, before, after, change in rows:
        if change or everything:
            colour = "red" if change > 0 else "green" if change < 0 else ""
            told = f"{after['median'] / before['median'] - 1:+.0%}"
            table.add_row(
                name, f"{before['median']:,}", f"{after['median']:,}", after["unit"],
                f"[{colour}]{told}[/]" if colour else told,
            )  # fmt: skip
    if table.row_count:
        console.print(table)
    slower = sum(change > 0 for *_, change in rows)
    faster = sum(change < 0 for *_, change in rows)
    console.print(
        f"{slower} worse, {faster} better, {len(rows) - slower - faster} within the noise"
    )
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()
