"""How lines are put on a console: as they are, whatever brackets and colons are in them."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from tcpao_fast.report.results import CaptureReport


def print_line(console: Console, text: str) -> None:
    """A line that is not cut or coloured."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def print_indented(console: Console, text: str) -> None:
    """A line of a paragraph; on a terminal what follows the first row is indented, too."""
    if console.is_terminal:
        console.print(Padding(Text(text), (0, 0, 0, 2)))
    else:
        console.print(Text(f"  {text}"), soft_wrap=True)


def print_unread(console: Console, report: CaptureReport) -> None:
    """Records of link types that cannot be read."""
    for line in report.unread_texts():
        console.print(Text(line, "yellow"), soft_wrap=True)
