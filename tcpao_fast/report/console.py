"""How lines are put on a console: as they are, whatever brackets and colons are in them."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from tcpao_fast.report.results import CaptureReport
from tcpao_fast.text import counted


def print_line(console: Console, text: str) -> None:
    """A line that is not cut or coloured."""
    console.print(text, soft_wrap=True, markup=False, highlight=False)


def print_indented(console: Console, text: str) -> None:
    """A line of a paragraph; on a terminal what follows the first row is indented, too."""
    if console.is_terminal:
        console.print(Padding(Text(text), (0, 0, 0, 2)))
    else:
        console.print(Text(f"  {text}"), soft_wrap=True)


#: Captures that a heading names.
NAMED_CAPTURES = 3


def captures_text(captures: Sequence[str]) -> str:
    """Captures as a heading names them: the first few."""
    text = ", ".join(captures[:NAMED_CAPTURES])
    more = len(captures) - NAMED_CAPTURES
    return text if more <= 0 else f"{text} and {counted(more, 'more file')}"


def print_unread(console: Console, report: CaptureReport) -> None:
    """Records of link types that cannot be read."""
    for line in report.unread_texts():
        console.print(Text(line, "yellow"), soft_wrap=True)
