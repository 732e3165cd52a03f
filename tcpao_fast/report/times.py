"""Times as ``-t`` has them, with tshark's letters."""

from __future__ import annotations

from datetime import datetime, timezone

from tcpao_fast.report.results import Times

#: tshark's letters, and what they stand for.
TIME_FORMATS = {
    "r": "seconds since the first segment",
    "a": "local time",
    "ad": "local date and time",
    "u": "UTC",
    "ud": "UTC date and time",
    "e": "seconds since 1970",
}
_PATTERNS = {"a": "%H:%M:%S", "ad": "%Y-%m-%d %H:%M:%S"}


class TimeFormat:
    """How times are shown.

    Parameters
    ----------
    form : str
        One of `TIME_FORMATS`.
    base : int or None
        What ``r`` counts from, in nanoseconds since 1970.
    """

    def __init__(self, form: str = "r", base: int | None = None) -> None:
        self.form = form
        self._base = base or 0

    def text(self, moment: int | None) -> str:
        """A time in nanoseconds since 1970, to the microsecond; ``-`` where there is none."""
        if moment is None:
            return "-"
        if self.form in ("r", "e"):
            shown = moment - (self._base if self.form == "r" else 0)
            sign = "-" if shown < 0 else ""
            seconds, part = divmod(abs(shown) // 1000, 10**6)
            return f"{sign}{seconds}.{part:06d}"
        return _calendar(moment, self.form)

    def span(self, times: Times) -> str:
        """From when to when: in the line above the table, so with the date."""
        if times.first is None or times.last is None:
            return ""
        if self.form in ("r", "e"):
            took = TimeFormat("r", times.first).text(times.last)
            return f"captured {_calendar(times.first, 'ud')} UTC to {took} s later"
        zone = " UTC" if self.form.startswith("u") else ""
        first, last = (_calendar(one, self.form[0] + "d") for one in (times.first, times.last))
        return f"captured {first} to {last}{zone}"


def _calendar(moment: int, form: str) -> str:
    seconds, part = divmod(moment // 1000, 10**6)
    zone = timezone.utc if form.startswith("u") else None
    shown = datetime.fromtimestamp(seconds, zone)
    return f"{shown:{_PATTERNS[form.replace('u', 'a')]}}.{part:06d}"
