"""Time lines as SVG, in colours that the page chooses: where everything is, for the template.

Drawn by a plotting library one took 0.1 s, and a page has a hundred; numbers in a template take
less than 1 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from tcpao_fast.report.timeline import BINS, CLASSES, Change, TimeLine

_KEY_COLOURS = 4
_MICROSECOND = 1000
WIDTH = 900
LEFT, RIGHT = 60, 865
_TOP, _HEIGHT, _KEYS_HEIGHT, _GAP = 26, 140, 120, 14
_ROW = 60  # of one end's keys
_MOST_TICKS = 8
_NOTE = 130  # what a text beside a change may take
_SECOND = 10**9
#: How far ticks may be apart, in nanoseconds.
_STEPS = (
    [factor * 10**power for power in range(3, 9) for factor in (1, 2, 5)]
    + [factor * _SECOND for factor in (1, 2, 5, 10, 15, 30)]
    + [factor * 60 * _SECOND for factor in (1, 2, 5, 10, 15, 30)]
    + [factor * 3600 * _SECOND for factor in (1, 2, 3, 6, 12)]
    + [factor * 86400 * _SECOND for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)]
)


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


def time_line(line: TimeLine, ends: Sequence[str]) -> dict[str, Any]:
    """What ``timeline.svg.j2`` draws: segments, keys in use, requests and SNE steps.

    Parameters
    ----------
    line : TimeLine
    ends : two of str
        What the directions 0 and 1 are called.
    """
    has_keys = any(one.kind == "key" for one in line.changes)
    place = _Place(line)
    counts = _counts(line, place)
    bottom = _TOP + _HEIGHT
    keys = None
    if has_keys:
        keys = _keys(line, ends, place, bottom + _GAP)
        bottom += _GAP + _KEYS_HEIGHT
    times, since = _times(place)
    return {
        "width": WIDTH,
        "height": bottom + 40,
        "left": LEFT,
        "right": RIGHT,
        "bottom": bottom,
        "title": f"Segments; above: {ends[0]}, below: {ends[1]}",
        "counts": counts,
        "signing": keys,
        "times": times,
        "since": since,
    }


class _Place:
    """Times as places from left to right."""

    def __init__(self, line: TimeLine) -> None:
        self.bins = min(BINS, (line.last - line.first) // line.width + 1)
        self.first = line.first
        self.span = max(self.bins * line.width, _MICROSECOND)
        self._scale = (RIGHT - LEFT) / self.span

    def __call__(self, moment: int) -> float:
        return round(LEFT + (min(max(moment, self.first) - self.first, self.span)) * self._scale, 1)


def _nice_step(most: int, ticks: int) -> int:
    """A round number of which `most` has at most so many."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if most <= ticks * factor * power:
                return factor * power
        power *= 10


def _counts(line: TimeLine, place: _Place) -> dict[str, Any]:
    """Segments a bin, those of end 0 upwards and those of end 1 downwards."""
    used = line.counts[:, :, : place.bins]
    peaks = [max(int(used[side].sum(axis=0).max(initial=0)), 1) for side in (0, 1)]
    scale = _HEIGHT / (sum(peaks) * 1.05)
    zero = round(_TOP + peaks[0] * 1.025 * scale, 1)
    wide = (RIGHT - LEFT) / place.bins
    bars = []
    for number, name in enumerate(CLASSES):
        path = []
        for side, sign in ((0, -1), (1, 1)):
            below = used[side, :number].sum(axis=0)
            for at, height in enumerate(used[side, number].tolist()):
                if height:
                    y = zero + sign * int(below[at]) * scale
                    path.append(
                        f"M{LEFT + at * wide:.1f} {y:.1f}v{sign * height * scale:.1f}"
                        f"h{wide:.1f}V{y:.1f}z"
                    )
        if path:
            bars.append((name, "".join(path)))
    step = _nice_step(max(peaks), 3)
    ticks = [(zero, "0")]
    for side, sign in ((0, -1), (1, 1)):
        ticks += [
            (round(zero + sign * value * scale, 1), f"{value:,}")
            for value in range(step, peaks[side] + 1, step)
        ]
    return {"top": _TOP, "bottom": _TOP + _HEIGHT, "zero": zero, "bars": bars, "ticks": ticks}


def _keys(line: TimeLine, ends: Sequence[str], place: _Place, top: int) -> dict[str, Any]:
    """Which key each end signs with, what it asks for, and where its SNE steps."""
    bars: list[tuple[float, int, float, int, str]] = []
    steps: list[float] = []
    asks: list[tuple[float, int]] = []
    texts: list[tuple[float, int, str, str]] = []
    for side in (0, 1):
        row = top + side * _ROW
        texts.append((LEFT + 5, row + 14, "start", f"{ends[side]} signs with"))
        changes = [one for one in line.changes if one.direction == side]
        keys = [one for one in changes if one.kind == "key"]
        for one, following in zip(keys, [*keys[1:], None], strict=False):
            begin = place(one.time)
            end = RIGHT if following is None else place(following.time)
            colour = f"key{one.value % _KEY_COLOURS}"
            bars.append((begin, row + 19, round(max(end - begin, 0.5), 1), 22, colour))
        texts += _notes([one for one in changes if one.kind == "asks"], place, row + 54, asks)
        at: list[tuple[float, int]] = []
        texts += _notes([one for one in changes if one.kind == "sne"], place, row + 34, at)
        steps += [x for x, _ in at]
    return {
        "top": top,
        "bottom": top + _KEYS_HEIGHT,
        "bars": bars,
        "steps": steps,
        "asks": asks,
        "texts": texts,
    }


def _notes(
    changes: Sequence[Change], place: _Place, y: int, marks: list[tuple[float, int]]
) -> list[tuple[float, int, str, str]]:
    """Texts beside changes; of those that are close together beside the last, as there is no room
    for the others'. The changes' places go to `marks`.
    """
    found: list[tuple[float, int, str, str]] = []
    shown = [one for one in changes if one.before is not None]
    places = [place(one.time) for one in shown]
    marks += [(x, y - 4) for x in places]
    run = 1
    for one, x, following in zip(shown, places, [*places[1:], 2 * WIDTH], strict=False):
        if following - x < _NOTE:
            run += 1
            continue
        text = f"asks for {one.value}" if one.kind == "asks" else f"SNE {one.value}"
        text += f" (last of {run})" if run > 1 else ""
        late = x > RIGHT - _NOTE and run == 1
        found.append((x - 7 if late else x + 7, y, "end" if late else "start", text))
        run = 1
    return found


def _times(place: _Place) -> tuple[list[tuple[float, str, str]], str]:
    """Ticks below, and what they do not say of the time."""
    step = next((one for one in _STEPS if place.span <= one * _MOST_TICKS), _STEPS[-1])
    first = -(-place.first // step) * step
    ticks = []
    for moment in range(first, place.first + place.span + 1, step):
        x = place(moment)
        anchor = "start" if x < LEFT + 30 else "end" if x > RIGHT - 30 else "middle"
        ticks.append((x, anchor, _label(moment, step)))
    begin = datetime.fromtimestamp(place.first // _SECOND, timezone.utc)
    if step >= 86400 * _SECOND:
        return ticks, "UTC"
    return ticks, f"{begin:%Y-%m-%d} UTC" if step >= _SECOND else f"{begin:%Y-%m-%d %H:%M} UTC"


def _label(moment: int, step: int) -> str:
    at = datetime.fromtimestamp(moment // _SECOND, timezone.utc)
    if step >= 86400 * _SECOND:
        return f"{at:%Y-%m-%d}"
    if step >= 60 * _SECOND:
        return f"{at:%H:%M}"
    if step >= _SECOND:
        return f"{at:%H:%M:%S}"
    digits = 9 - len(str(step)) + 1
    return f"{at:%S}.{moment % _SECOND:09d}"[: 3 + digits]
