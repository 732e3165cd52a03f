"""What a key file of any format comes to, before it is a `KeyChain`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from tcpao_fast.errors import InvalidKeyError, KeyFileError
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.key_chain import overlap_problems
from tcpao_fast.keys.master_key import UNKNOWN_SECRET


@dataclass(slots=True)
class Entry:
    """One key, as far as the file has it.

    Attributes
    ----------
    where : str
        For messages: the line, and what the file calls the key.
    fields : dict
        Arguments of `MasterKey`.
    encrypted : str or None
        How the file has the secret encrypted, so that it is not known.
    """

    where: str
    fields: dict[str, Any]
    encrypted: str | None = None


@dataclass(slots=True)
class KeyFile:
    """What was read.

    Attributes
    ----------
    entries : list of Entry
    problems : list of str
        What makes it unusable.
    notes : list of str
        What was assumed, and what has no place in a key.
    accept_tolerance : float
        In seconds, as of `KeyChain`.
    """

    entries: list[Entry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    accept_tolerance: float = 0


@dataclass(frozen=True, slots=True)
class Written:
    """A chain in a format.

    Attributes
    ----------
    text : str
    lost : tuple of str
        What the format cannot carry.
    """

    text: str
    lost: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """A format of key files.

    Attributes
    ----------
    name, title : str
    looks_like : callable
        Whether a text is likely of this format.
    read : callable
        The text's keys.
    write : callable or None
        A chain as text.
    """

    name: str
    title: str
    looks_like: Callable[[str], bool]
    read: Callable[[str], KeyFile]
    write: Callable[[KeyChain], Written] | None = None


def build(name: str, found: KeyFile, form: str, *, allow_encrypted: bool = False) -> KeyChain:
    """The chain of what was read from a file of that format.

    Raises
    ------
    KeyFileError
        With every mistake, and every secret that is encrypted.
    """
    problems = list(found.problems)
    keys: list[MasterKey] = []
    where: list[str] = []
    for entry in found.entries:
        try:
            secret = {"secret": UNKNOWN_SECRET} if entry.encrypted else {}
            keys.append(MasterKey(**{**entry.fields, **secret, "form": form}))
            where.append(entry.where)
        except InvalidKeyError as error:
            problems += [f"{entry.where}: {what}: {why}" for what, why in error.problems]
        except TypeError:
            problems.append(f"{entry.where}: has no secret, or no algorithm")
        if entry.encrypted and not allow_encrypted:
            problems.append(
                f"{entry.where}: the secret is encrypted ({entry.encrypted}) and not guessed; "
                "write it in clear text, or convert the file to TOML and give it as secret_env"
            )
    problems += [f"{where[index]}: {what}" for index, what in overlap_problems(enumerate(keys))]
    if not keys and not problems:
        problems.append("has no key for TCP-AO or TCP-MD5")
    if problems:
        raise KeyFileError(name, problems)
    return KeyChain(keys, accept_tolerance=found.accept_tolerance)


def text_secret(key: MasterKey) -> str | None:
    """A secret as text for formats that know nothing else: printable, without blanks and quotes."""
    try:
        text = key.secret.decode("ascii")
    except UnicodeDecodeError:
        return None
    return text if re.fullmatch(r"[!#-&(-\[\]-~]+", text) else None


def typed_secret(text: str) -> tuple[bytes, str | None]:
    """A secret as IOS writes it, with its type before it or none, and how it is encrypted."""
    match = re.fullmatch(r"(\d) (\S.*)", text)
    if match and match[1] != "0":
        return UNKNOWN_SECRET, f"type {match[1]}"
    plain = match[2] if match else text
    if len(plain) > 2 and plain[0] == plain[-1] == '"':
        plain = plain[1:-1]
    return plain.encode(), None


def not_carried(
    chain: Sequence[MasterKey], what: str, holds: Callable[[MasterKey], bool]
) -> list[str]:
    """A line of `Written.lost`, if it holds for a key."""
    labels = [key.label for key in chain if holds(key)]
    return [f"{what}: {', '.join(labels)}"] if labels else []


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


def router_moment(words: Sequence[str]) -> datetime:
    """``HH:MM:SS`` with day, month and year in either order, as Cisco and FRR write it; UTC.

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
    return datetime(int(year), number, int(day), hour, minute, second, tzinfo=timezone.utc)


def router_lifetime(words: Sequence[str]) -> tuple[datetime | None, datetime | None]:
    """A lifetime as Cisco and FRR write it: START (infinite | duration SECONDS | END).

    Raises
    ------
    ValueError
        It is none.
    """
    words = [word for word in words if word.lower() not in ("local", "utc", "gmt")]
    try:
        start = router_moment(words[:4])
        rest = words[4:]
        if not rest or rest[0].lower() == "infinite":
            return start, None
        if rest[0].lower() == "duration":
            return lasting(start, int(rest[1]))
        return start, router_moment(rest)
    except (IndexError, TypeError, KeyError, OverflowError) as error:
        raise ValueError("is no lifetime") from error


def router_text(moment: datetime) -> str:
    """A moment as Cisco writes it."""
    moment = moment.astimezone(timezone.utc)
    month = moment.strftime("%B").lower()
    return f"{moment:%H:%M:%S} {month} {moment:%d %Y}"
