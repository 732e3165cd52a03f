"""Configurations of lines in sections, as IOS, IOS XR, NX-OS, EOS, FRR, Huawei and AOS-CX have
them: one reader, which nests lines by their indentation, or where that was lost by what a format
says of its sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

#: A prompt before a line that was copied from a terminal: a name, a mode in brackets, # or >.
_PROMPT = re.compile(r"^\s*(?:\S*?[\w.:/-]+(?:\([^)\s]*\))?[#>]|[\[<][*~]?[\w.:/-]+[\]>])\s*")
_TAB = 8
#: How far back a section is looked for that a line names: those of one section stand together.
_NEAR = 8


@dataclass(slots=True)
class Line:
    """One line of a configuration, and those below it.

    Attributes
    ----------
    number : int
        From 1.
    text : str
        Without the blanks around it.
    words : tuple of str
        As written.
    inside : list of Line
    """

    number: int
    text: str
    words: tuple[str, ...]
    inside: list[Line] = field(default_factory=list)

    @property
    def head(self) -> str:
        """Its first word, in lower case."""
        return self.words[0].lower()

    @property
    def lowered(self) -> tuple[str, ...]:
        """Its words, in lower case."""
        return tuple(word.lower() for word in self.words)

    def begins(self, *words: str) -> bool:
        """Whether it begins with these words (in lower case)."""
        return self.lowered[: len(words)] == words

    def behind(self, count: int) -> str:
        """The text behind its first `count` words."""
        return self.text.split(None, count)[count]

    def all(self) -> Iterator[Line]:
        """The lines inside, and those inside of them."""
        for one in self.inside:
            yield one
            yield from one.all()


@dataclass(frozen=True, slots=True)
class Section:
    """A kind of section, for texts whose indentation was lost, and for lines that name their
    sections in one go.

    Attributes
    ----------
    opener : tuple of str
        The words that open it (in lower case).
    size : int
        How many words its first line has.
    heads : frozenset of str
        First words of lines inside.
    inside : tuple of Section
    """

    opener: tuple[str, ...]
    size: int
    heads: frozenset[str] = frozenset()
    inside: tuple[Section, ...] = ()

    def opens(self, words: Sequence[str], *, whole: bool = False) -> bool:
        """Whether words open it; `whole`: and nothing is behind."""
        begin = tuple(word.lower() for word in words[: len(self.opener)])
        enough = len(words) == self.size if whole else len(words) >= self.size
        return begin == self.opener and enough


def section(opener: str, size: int, heads: str = "", *inside: Section) -> Section:
    """A `Section`, its words as text."""
    return Section(tuple(opener.split()), size, frozenset(heads.split()), inside)


def lines_of(
    text: str, sections: tuple[Section, ...], comments: tuple[str, ...] = ("!",)
) -> list[Line]:
    """The lines of a text, nested.

    Parameters
    ----------
    text : str
    sections : tuple of Section
        Those at the top that hold keys.
    comments : tuple of str
        How lines begin that say nothing; one without indentation ends every section.

    Returns
    -------
    list of Line
    """
    raw = [(number, line.expandtabs(_TAB).rstrip()) for number, line in
           enumerate(text.splitlines(), 1) if line.strip()]  # fmt: skip
    prompts = [_PROMPT.match(line) for _, line in raw]
    # a banner may look like a prompt; what was copied from a terminal has one on most lines
    copied = 2 * sum(match is not None for match in prompts) > len(raw)
    said: list[tuple[int, int, str]] = []
    for (number, line), match in zip(raw, prompts, strict=True):
        rest = line[match.end() :] if copied and match is not None else line
        if rest.strip():
            said.append((number, len(rest) - len(rest.lstrip()), rest.strip()))
    if copied or not any(depth for _, depth, _ in said):
        return _by_words(said, sections, comments)
    return _by_depth(said, sections, comments)


def _by_depth(
    said: list[tuple[int, int, str]], sections: tuple[Section, ...], comments: tuple[str, ...]
) -> list[Line]:
    root: list[Line] = []
    stack: list[tuple[int, list[Line]]] = [(-1, root)]
    for number, depth, text in said:
        if text.startswith(comments):
            if depth == 0:
                del stack[1:]
            continue
        while stack[-1][0] >= depth:
            stack.pop()
        line = _placed(stack[-1][1], number, text, sections)
        stack.append((depth, line.inside))
    return root


def _placed(into: list[Line], number: int, text: str, sections: tuple[Section, ...]) -> Line:
    """A line in a list; one that names its sections in one go in theirs."""
    words = tuple(text.split())
    while True:
        for one in sections:
            if one.opens(words) and len(words) > one.size and (one.inside or one.heads):
                opener = " ".join(words[: one.size])
                rest = text.split(None, one.size)[one.size]
                kind = next((inner for inner in one.inside if inner.opens(rest.split())), None)
                if kind is None and rest.split()[0].lower() not in one.heads:
                    continue
                outer = _same(into, number, opener)
                into, text, words, sections = outer.inside, rest, tuple(rest.split()), one.inside
                break
        else:
            line = Line(number, text, words)
            into.append(line)
            return line


def _same(into: list[Line], number: int, text: str) -> Line:
    """One of the last lines of a list that says just this, else a new one."""
    words = tuple(text.split())
    for line in reversed(into[-_NEAR:]):
        if line.words == words:
            return line
    line = Line(number, text, words)
    into.append(line)
    return line


def _by_words(
    said: list[tuple[int, int, str]], sections: tuple[Section, ...], comments: tuple[str, ...]
) -> list[Line]:
    root: list[Line] = []
    top = Section((), 0, frozenset(), sections)
    stack: list[tuple[Section, list[Line]]] = [(top, root)]
    for number, _, text in said:
        if text.startswith(comments):
            continue
        words = tuple(text.split())
        while True:
            kind, into = stack[-1]
            opened = next((one for one in kind.inside if one.opens(words, whole=True)), None)
            if opened is not None:
                line = _same(into, number, text) if kind is not top else Line(number, text, words)
                if kind is top:
                    into.append(line)
                stack.append((opened, line.inside))
                break
            if words[0].lower() in kind.heads or kind is top:
                _placed(into, number, text, kind.inside)
                break
            stack.pop()
    return root
