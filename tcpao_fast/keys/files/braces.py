"""Statements that end in a semicolon or hold others in braces, as Junos, BIRD, ExaBGP and OpenBGPD
have them, and the same as lines that begin with ``set``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""(?P<line>\n)
      | (?P<blank>[^\S\n]+|(?:\#|//)[^\n]*|/\*.*?\*/)
      | (?P<text>"(?:[^"\\\n]|\\[^\n])*"|'[^'\n]*')
      | (?P<mark>[{};])
      | (?P<word>[^\s{};"]+)""",
    re.VERBOSE | re.DOTALL,
)
#: The same where a backslash is a character as any other.
_PLAIN_TOKEN = re.compile(
    _TOKEN.pattern.replace(r'"(?:[^"\\\n]|\\[^\n])*"', r'"[^"\n]*"'), re.VERBOSE | re.DOTALL
)


@dataclass(slots=True)
class Statement:
    """Words, and what stands in braces behind them."""

    words: list[str]
    line: int
    inside: list[Statement] = field(default_factory=list)


def statements(text: str, *, escapes: bool = True, by_line: bool = False) -> list[Statement]:
    """The statements of a text; what is not closed ends at its end.

    Parameters
    ----------
    text : str
    escapes : bool
        Whether a backslash in quotation marks stands for the character behind it.
    by_line : bool
        Whether the end of a line ends a statement, too.

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
    pattern = _TOKEN if escapes else _PLAIN_TOKEN
    while at < len(text):
        match = pattern.match(text, at)
        if match is None:
            raise ValueError(f"line {line}: a quotation mark that is not closed")
        token = match[0]
        at = match.end()
        if match["text"] is not None or match["word"] is not None:
            if not words:
                start = line
            words.append(_unquoted(token, escapes) if match["text"] is not None else token)
        elif token == "{":
            one = Statement(words, start)
            open_ones[-1].inside.append(one)
            open_ones.append(one)
            words = []
        elif token in ";}" or (token == "\n" and by_line):
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


def _unquoted(token: str, escapes: bool) -> str:
    inside = token[1:-1]
    return re.sub(r"\\(.)", r"\1", inside) if escapes and token[0] == '"' else inside


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


_WORD = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|(\S+))""")
_COMMANDS = ("set", "delete", "deactivate", "activate")


def words_of(text: str) -> list[str]:
    """The words of a line; what is in quotation marks is one, and a word that begins with # ends
    the line.
    """
    if '"' not in text and "'" not in text and "#" not in text:
        return text.split()
    found = []
    for match in _WORD.finditer(text):
        if match[1] is not None:
            found.append(re.sub(r"\\(.)", r"\1", match[1]))
        elif match[2] is not None:
            found.append(match[2])
        elif match[3].startswith("#"):
            break
        else:
            found.append(match[3])
    return found


def set_lines(
    text: str, about: tuple[str, ...] = ("",)
) -> Iterator[tuple[str, tuple[str, ...], int]]:
    """Commands that set a configuration, a line each, with or without a prompt before them: the
    command, its words, the line.

    Parameters
    ----------
    text : str
    about : tuple of str
        How what they are about begins; others are passed over.
    """
    for number, line in enumerate(text.splitlines(), 1):
        head, _, rest = line.strip().partition(" ")
        if head not in _COMMANDS and head.endswith(("#", ">", "$")):
            head, _, rest = rest.strip().partition(" ")
        if head in _COMMANDS and rest and rest.startswith(about):
            yield head, tuple(words_of(rest)), number
