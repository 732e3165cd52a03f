"""Configurations of lines in sections, as IOS, IOS XR, NX-OS and FRR have them: one reader, which a
format gives its tables of handlers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from tcpao_fast.keys.files.entries import KeyFile, router_lifetime


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a configuration.

    Attributes
    ----------
    number : int
        From 1.
    text : str
        Without the blanks around it.
    words : tuple of str
        As written.
    """

    number: int
    text: str
    words: tuple[str, ...]

    @property
    def head(self) -> str:
        """Its first word, in lower case."""
        return self.words[0].lower()

    @property
    def lowered(self) -> tuple[str, ...]:
        """Its words, in lower case."""
        return tuple(word.lower() for word in self.words)

    def behind(self, count: int) -> str:
        """The text behind its first `count` words."""
        return self.text.split(None, count)[count]


def lines_of(text: str, comments: tuple[str, ...]) -> Iterator[Line]:
    """The lines that say something; those whose first word begins like a comment do not."""
    for number, raw in enumerate(text.splitlines(), 1):
        words = tuple(raw.split())
        if words and not words[0].startswith(comments):
            yield Line(number, raw.strip(), words)


class SectionReader:
    """Reads line by line: a line opens a section, or is handled as the section has it.

    A format's class says in tables which method a line is for; a line that no table has is passed
    over.

    Attributes
    ----------
    openers : mapping of tuple of str to str
        First words (in lower case) of lines that open a section, and the method for each.
    handlers : mapping of str to (mapping of str to str)
        For each section (`section`) the first word of a line, and the method; ``*`` for any other.
    comments : tuple of str
        How lines begin that say nothing.
    """

    openers: ClassVar[Mapping[tuple[str, ...], str]] = {}
    handlers: ClassVar[Mapping[str, Mapping[str, str]]] = {}
    comments: ClassVar[tuple[str, ...]] = ("!",)

    def __init__(self) -> None:
        self.found = KeyFile()
        self.section = ""

    def read(self, text: str) -> KeyFile:
        """The keys of a text."""
        for line in lines_of(text, self.comments):
            name = self._opener(line)
            if name is None:
                handlers = self.handlers.get(self.section, {})
                name = handlers.get(line.head) or handlers.get("*")
            if name is not None:
                getattr(self, name)(line)
        self.finish()
        return self.found

    def _opener(self, line: Line) -> str | None:
        lowered = line.lowered
        for words, name in self.openers.items():
            if lowered[: len(words)] == words:
                return name
        return None

    def finish(self) -> None:
        """Make entries of what was read."""
        raise NotImplementedError


@dataclass(slots=True)
class ChainKey:
    """One key of a key chain, as far as the file has it.

    Attributes
    ----------
    chain, number : str
    line : int
    secret : str or None
        What stands behind ``key-string``.
    algorithm : str or None
        As written.
    settings : dict of str to Any
        What else the format's own handlers noted.
    lifetimes : dict of str to (datetime or None, datetime or None)
        ``send_lifetime`` and ``accept_lifetime``.
    """

    chain: str
    number: str
    line: int
    secret: str | None = None
    algorithm: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    lifetimes: dict[str, tuple[datetime | None, datetime | None]] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """For messages."""
        return f"line {self.line} (key chain {self.chain} key {self.number})"


class KeyChainReader(SectionReader):
    """What those formats have in common: ``key chain NAME`` with its keys.

    Attributes
    ----------
    keys : dict of (str, str) to ChainKey
        By chain and number.
    """

    handlers: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "chain": {
            "key": "on_key",
            "key-string": "on_key_string",
            "cryptographic-algorithm": "on_algorithm",
            "send-lifetime": "on_lifetime",
            "accept-lifetime": "on_lifetime",
        }
    }

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[tuple[str, str], ChainKey] = {}
        self.chain = ""
        self.key: ChainKey | None = None

    def open_chain(self, line: Line) -> None:
        """``key chain NAME``."""
        if len(line.words) > 2:
            self.section, self.chain, self.key = "chain", line.words[2], None

    def on_key(self, line: Line) -> None:
        """``key NUMBER``."""
        if len(line.words) == 2:
            number = line.words[1]
            fresh = ChainKey(self.chain, number, line.number)
            self.key = self.keys.setdefault((self.chain, number), fresh)

    def on_key_string(self, line: Line) -> None:
        """``key-string SECRET``."""
        if self.key is not None and len(line.words) > 1:
            self.key.secret = line.behind(1)

    def on_algorithm(self, line: Line) -> None:
        """``cryptographic-algorithm NAME``."""
        if self.key is not None and len(line.words) == 2:
            self.key.algorithm = line.words[1]

    def on_lifetime(self, line: Line) -> None:
        """``send-lifetime START END``, ``accept-lifetime START END``."""
        if self.key is None:
            return
        try:
            self.key.lifetimes[line.head.replace("-", "_")] = router_lifetime(line.words[1:])
        except ValueError:
            self.found.problems.append(f"line {line.number}: {line.head} is not START END")

    def note_time_zone(self) -> None:
        """Say what lifetimes are taken as."""
        if any(key.lifetimes for key in self.keys.values()):
            self.found.notes.append("lifetimes are taken as UTC")
