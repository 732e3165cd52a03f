"""Statements that end in a semicolon or hold others in braces, as Junos and BIRD have them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<blank>\s+|\#[^\n]*|/\*.*?\*/)
      | (?P<text>"(?:[^"\\\n]|\\.)*")
      | (?P<mark>[{};])
      | (?P<word>[^\s{};"]+)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(slots=True)
class Statement:
    """Words, and what stands in braces behind them."""

    words: list[str]
    line: int
    inside: list[Statement] = field(default_factory=list)


def statements(text: str) -> list[Statement]:
    """The statements of a text; what is not closed ends at its end.

    Raises
    ------
    ValueError
        A brace or a quotation mark that is not closed, or closed once too often: with the line.
    """
    root = Statement([], 0)
    open_ones = [root]
    words: list[str] = []
    line = start = 1
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"line {line}: a quotation mark that is not closed")
        token = match[0]
        at = match.end()
        if match["text"] is not None or match["word"] is not None:
            if not words:
                start = line
            words.append(_unquoted(token) if match["text"] is not None else token)
        elif token == "{":
            one = Statement(words, start)
            open_ones[-1].inside.append(one)
            open_ones.append(one)
            words = []
        elif token in ";}":
            if words:
                open_ones[-1].inside.append(Statement(words, start))
                words = []
            if token == "}":
                if len(open_ones) == 1:
                    raise ValueError(f"line {line}: a closing brace too many")
                open_ones.pop()
        line += token.count("\n")
    if len(open_ones) > 1:
        raise ValueError(f"line {open_ones[-1].line}: a brace that is not closed")
    if words:
        root.inside.append(Statement(words, start))
    return root.inside


def _unquoted(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1])


def paths(
    found: list[Statement], before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every innermost statement with all words before it, and its line."""
    for one in found:
        words = (*before, *one.words)
        if one.inside:
            yield from paths(one.inside, words)
        else:
            yield words, one.line
