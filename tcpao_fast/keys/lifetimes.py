"""Lifetimes of keys (RFC 8177 section 2.2), and the clock that they are held against."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from tcpao_fast.errors import InvalidArgumentError

if TYPE_CHECKING:
    pass

Lifetime = tuple[datetime | None, datetime | None]
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ALWAYS = (-(2**63), 2**63 - 1)


def lifetime_problem(value: object) -> str | None:
    """What is wrong with a lifetime, for behind the name of a field; None if nothing is."""
    if value is None:
        return None
    if not isinstance(value, tuple) or len(value) != 2:
        return "must be a pair of first and last moment"
    start, end = value
    for moment in value:
        if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
            return "must be given in date-times with a time zone"
        try:
            None if moment is None else moment.astimezone(timezone.utc)
        except OverflowError:
            return "is before the year 1 or after 9999 in UTC"
    if start is not None and end is not None and end < start:
        return "ends before it starts"
    return None


def lifetime_ns(lifetime: Lifetime | None) -> tuple[int, int]:
    """A lifetime as nanoseconds since 1970, both ends included."""
    start, end = lifetime or (None, None)
    return (
        _ALWAYS[0] if start is None else _nanoseconds(start),
        _ALWAYS[1] if end is None else within_64_bits(_nanoseconds(end) + 999),
    )


def _nanoseconds(moment: datetime) -> int:
    """Since 1970; what 64 bits do not hold (before 1678, after 2261) is as far away as they do."""
    return within_64_bits((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def within_64_bits(count: float) -> int:
    """The nearest number that 64 bits hold."""
    return int(max(_ALWAYS[0], min(count, _ALWAYS[1])))


def system_clock() -> datetime:
    """The time, with time zone."""
    return datetime.now(timezone.utc)


def moment_ns(moment: datetime) -> int:
    """A moment with time zone, in nanoseconds since 1970."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidArgumentError(f"now is {moment!r}; it must be a date-time with a time zone")
    return _nanoseconds(moment)


def covers(lifetime: Lifetime | None, now_ns: int, tolerance_ns: float = 0) -> bool:
    """Whether a lifetime, widened by the tolerance, covers a time in nanoseconds since 1970."""
    first, last = lifetime_ns(lifetime)
    return first - tolerance_ns <= now_ns <= last + tolerance_ns
