"""Moments and lifetimes as routers write them."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone, tzinfo

from tcpao_fast.keys.lifetimes import Lifetime

_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}


def lasting(start: datetime, seconds: int) -> tuple[datetime, datetime | None]:
    """A lifetime of so many seconds; one that goes on beyond the year 9999 has no end."""
    try:
        return start, start + timedelta(seconds=seconds)
    except OverflowError:
        return start, None


def offset(hours: str, minutes: str = "0") -> tzinfo:
    """A time zone so far from UTC, as ``clock timezone CET 1 0`` has it.

    Raises
    ------
    ValueError
        It is none.
    """
    sign = -1 if hours.startswith("-") else 1
    return timezone(timedelta(hours=int(hours), minutes=sign * int(minutes)))


def named_zone(name: str) -> tzinfo | None:
    """``Europe/Paris``; None where no such zone is known here."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def router_zone(text: str) -> tzinfo | None:
    """The zone that a configuration states: ``clock timezone CET 1 0`` (IOS), ``clock timezone CET
    Europe/Paris`` (IOS XR), ``clock timezone Europe/Paris`` (EOS), ``clock timezone BJ add
    08:00:00`` (VRP).
    """
    match = re.search(r"(?im)^\s*clock timezone (\S.*?)\s*$", text)
    words = match[1].split() if match else []
    named = next((word for word in words if "/" in word), None)
    if named is not None:
        return named_zone(named)
    try:
        if len(words) == 3 and words[1] in ("add", "minus"):
            hours, minutes = words[2].split(":")[:2]
            return offset(hours if words[1] == "add" else f"-{hours}", minutes)
        return offset(*words[1:3]) if len(words) in (2, 3) else None
    except ValueError:
        return None


def router_moment(words: Sequence[str], zone: tzinfo = timezone.utc) -> datetime:
    """``HH:MM:SS`` with day, month and year in either order, as Cisco and FRR write it.

    Raises
    ------
    ValueError
        It is none.
    """
    clock, *date = words
    hour, minute, second = (int(part) for part in f"{clock}:0".split(":")[:3])
    if not date[0].isdecimal():
        date = [date[1], date[0], *date[2:]]
    day, month, year = date
    number = _MONTHS.get(month[:3].lower()) or int(month)
    return datetime(int(year), number, int(day), hour, minute, second, tzinfo=zone)


def router_lifetime(words: Sequence[str], zone: tzinfo = timezone.utc) -> Lifetime:
    """A lifetime as Cisco and FRR write it: START (infinite | duration SECONDS | END); ``local``
    before it means the zone that the configuration states.

    Raises
    ------
    ValueError
        It is none.
    """
    stated = {word.lower() for word in words}
    if stated & {"utc", "gmt"}:
        zone = timezone.utc
    words = [word for word in words if word.lower() not in ("local", "utc", "gmt")]
    try:
        start = router_moment(words[:4], zone)
        rest = words[4:]
        if not rest or rest[0].lower() == "infinite":
            return start, None
        if rest[0].lower() == "duration":
            if rest[1].lower() == "infinite":
                return start, None
            return lasting(start, int(rest[1]))
        return start, router_moment(rest, zone)
    except (IndexError, TypeError, KeyError, OverflowError) as error:
        raise ValueError("is no lifetime") from error


def router_text(moment: datetime) -> str:
    """A moment as Cisco writes it."""
    moment = moment.astimezone(timezone.utc)
    month = moment.strftime("%B").lower()
    return f"{moment:%H:%M:%S} {month} {moment:%d %Y}"
