"""Time lines as SVG, drawn by matplotlib, in colours that the page chooses."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from tcpao_fast.errors import MissingExtraError
from tcpao_fast.report.timeline import BINS, CLASSES, TimeLine

#: Drawn in these, which occur nowhere else, and replaced by the page's variables.
_COLOURS = {
    "good": "#010101", "bad": "#020202", "undecided": "#030303", "unsigned": "#040404",
    "ink": "#050505", "line": "#060606", "key0": "#070707", "key1": "#080808", "key2": "#090909",
    "key3": "#0a0a0a", "step": "#0b0b0b",
}  # fmt: skip
_KEY_COLOURS = 4
_MICROSECOND = 1000


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.backends.backend_svg
        import matplotlib.dates
        import matplotlib.figure
    except ImportError as error:
        raise MissingExtraError(
            "the report's plots need matplotlib: pip install 'tcpao-fast[report]'"
        ) from error
    return matplotlib


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, timezone.utc)


def legend(line: TimeLine, labels: Sequence[str]) -> list[tuple[str, str]]:
    """What the colours of a time line mean, for the page to show beside it: a drawing that is
    wider than a telephone's screen is scrolled, what explains it should not be.

    Parameters
    ----------
    line : TimeLine
    labels : sequence of str
        What the keys are called, by their numbers.

    Returns
    -------
    list of (str, str)
        The page's variable of each colour, and its meaning.
    """
    used = [name for number, name in enumerate(CLASSES) if line.counts[:, number].any()]
    keys = dict.fromkeys(one.value for one in line.changes if one.kind == "key")
    entries = [(name, f"{name} segments") for name in used]
    entries += [(f"key{key % _KEY_COLOURS}", f"key {labels[key]}") for key in keys]
    if any(one.kind == "sne" and one.before is not None for one in line.changes):
        entries.append(("step", "SNE changes"))
    return entries


def time_line_svg(line: TimeLine, ends: Sequence[str], place: str) -> str:
    """A time line as an ``<svg>`` element: segments, keys in use, requests and SNE steps.

    Parameters
    ----------
    line : TimeLine
    ends : two of str
        What the directions 0 and 1 are called.
    place : str
        Unique in the page.

    Raises
    ------
    MissingExtraError
        There is no matplotlib.
    """
    matplotlib = _matplotlib()
    options = {
        "svg.fonttype": "none", "svg.hashsalt": place, "svg.id": place, "font.family": "sans-serif",
        "font.size": 9, "text.color": _COLOURS["ink"], "axes.edgecolor": _COLOURS["line"],
        "axes.labelcolor": _COLOURS["ink"], "xtick.color": _COLOURS["ink"],
        "ytick.color": _COLOURS["ink"],
    }  # fmt: skip
    options = {name: value for name, value in options.items() if name in matplotlib.rcParams}
    with matplotlib.rc_context(options):
        has_keys = any(one.kind == "key" for one in line.changes)
        height = 3.8 if has_keys else 2.1
        figure = matplotlib.figure.Figure(figsize=(9, height))
        matplotlib.backends.backend_svg.FigureCanvasSVG(figure)
        figure.patch.set_alpha(0)
        figure.subplots_adjust(
            left=0.07, right=0.955, top=1 - 0.32 / height, bottom=0.5 / height, hspace=0.16
        )
        if has_keys:
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
            _draw_keys(below, line, ends)
        else:
            above = below = figure.subplots()
        _draw_counts(above, line, ends)
        for axes in (above, below):
            axes.patch.set_alpha(0)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
        locator = matplotlib.dates.AutoDateLocator(maxticks=8)
        below.xaxis.set_major_locator(locator)
        below.xaxis.set_major_formatter(matplotlib.dates.ConciseDateFormatter(locator))
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _for_the_page(text.getvalue())


def _times(line: TimeLine) -> tuple[list[datetime], float]:
    """Where bins begin, and a bin's width in days."""
    used = min(BINS, (line.last - line.first) // line.width + 1)
    begins = [_moment(line.first + number * line.width) for number in range(used)]
    return begins, max(line.width, _MICROSECOND) / 86_400e9


def _draw_counts(axes: Any, line: TimeLine, ends: Sequence[str]) -> None:
    """Segments a bin, those of end 0 upwards and those of end 1 downwards."""
    begins, width = _times(line)
    for side, sign in ((0, 1), (1, -1)):
        bottom = [0] * len(begins)
        for number, name in enumerate(CLASSES):
            heights = [sign * int(n) for n in line.counts[side, number, : len(begins)]]
            if not any(heights):
                continue
            axes.bar(
                begins, heights, width, bottom=bottom, align="edge", color=_COLOURS[name],
            )  # fmt: skip
            bottom = [low + high for low, high in zip(bottom, heights, strict=True)]
    axes.axhline(0, color=_COLOURS["line"], linewidth=0.8)
    axes.set_ylabel("segments")
    axes.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.set_title(f"above: {ends[0]}, below: {ends[1]}", fontsize=9, loc="left")


def _draw_keys(axes: Any, line: TimeLine, ends: Sequence[str]) -> None:
    """Which key each end signs with, what it asks for, and where its SNE steps."""
    axes.set_ylim(-0.65, 1.75)
    axes.set_yticks([])
    for who, row in zip(ends, (1, 0), strict=True):
        across = axes.get_yaxis_transform()
        axes.text(0.005, row + 0.32, f"{who} signs with", transform=across, fontsize=8)
    span = max(line.last - line.first, _MICROSECOND)
    for side, height in ((0, 1), (1, 0)):
        changes = [one for one in line.changes if one.direction == side]
        keys = [one for one in changes if one.kind == "key"]
        for one, following in zip(keys, [*keys[1:], None], strict=False):
            begin = _moment(one.time)
            end = _moment(line.first + span if following is None else following.time)
            axes.barh(
                height, end - begin, left=begin, height=0.5, alpha=0.7,
                color=_COLOURS[f"key{one.value % _KEY_COLOURS}"],
            )  # fmt: skip
        free = {"asks": 0, "sne": 0}  # where there is room for the next text
        for one in changes:
            if one.before is None or one.kind == "key":
                continue
            moment = _moment(one.time)
            asks = one.kind == "asks"
            place = height - 0.36 if asks else height - 0.05
            if asks:
                axes.plot(moment, place, marker="^", color=_COLOURS["ink"], markersize=5)
            else:
                axes.axvline(moment, color=_COLOURS["step"], linestyle=":")
            if one.time >= free[one.kind]:
                text = f"asks for {one.value}" if asks else f"SNE {one.value}"
                axes.annotate(
                    text, (moment, place), xytext=(5, -3), textcoords="offset points", fontsize=7
                )
                free[one.kind] = one.time + span // 8


def _for_the_page(svg: str) -> str:
    """The element alone, with the page's variables for colours."""
    svg = svg[svg.index("<svg") :]
    for name, colour in _COLOURS.items():
        svg = re.sub(re.escape(colour), f"var(--{name})", svg, flags=re.IGNORECASE)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    # the page scales it
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"',
        r"\1",
        re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1),
        count=1,
    )
