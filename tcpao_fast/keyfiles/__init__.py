"""Key files: one module a format.  `load_keys` reads any of them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from tcpao_fast.errors import InvalidArgumentError, KeyFileError
from tcpao_fast.keyfiles import bird, cisco_xe, cisco_xr, frr, gobgp, junos, oneline, rfc8177
from tcpao_fast.keyfiles.entries import Format, KeyFile, build
from tcpao_fast.keyfiles.toml import read_toml, write_toml
from tcpao_fast.keys import KeyChain

__all__ = ["FORMATS", "Conversion", "convert_keys", "load_keys"]

#: Formats beside TOML, in the order in which a text is held against them.
_OTHERS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (rfc8177, cisco_xe, cisco_xr, junos, bird, gobgp, oneline, frr)
}
#: The names of all formats.
FORMATS = ("toml", *_OTHERS)


def load_keys(path: str | os.PathLike[str], form: str | None = None) -> KeyChain:
    """Read a key file.

    Parameters
    ----------
    path : path-like
        In one of `FORMATS`: the native TOML (`tcpao_fast.keyfiles.toml`) or what a router has.
    form : str, optional
        Which one; it is told from the text.

    Returns
    -------
    KeyChain

    Raises
    ------
    KeyFileError
        With every mistake in the file, not just the first. A secret that the file holds encrypted
        is one: it is not guessed.
    InvalidArgumentError
        `form` is none of `FORMATS`.
    """
    name = os.fspath(path)
    text = None if form == "toml" else _text(name)
    form = form or _form(text or "")
    if form == "toml":
        return read_toml(path)
    return build(name, _format(form).read(text or ""))


def _format(form: str) -> Format:
    if form not in _OTHERS:
        raise InvalidArgumentError(f"format {form!r} is unknown; known are {', '.join(FORMATS)}")
    return _OTHERS[form]


def _text(name: str) -> str:
    """The file as text; what is not UTF-8 is TOML's to complain about."""
    try:
        return Path(name).read_bytes().decode("utf-8")
    except OSError as error:
        raise KeyFileError(name, [error.strerror or str(error)]) from error
    except UnicodeDecodeError:
        return ""


def _form(text: str) -> str:
    if "[[key]]" in text:
        return "toml"
    return next((name for name, form in _OTHERS.items() if form.looks_like(text)), "toml")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A key file in another format.

    Attributes
    ----------
    text : str
        With the secrets.
    lost : tuple of str
        What the new format cannot carry.
    notes : tuple of str
        What was assumed of the old one, or has no place in a key; which secrets are encrypted.
    keys : int
        How many.
    form : str
        What the old format is.
    """

    text: str = field(repr=False)
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    keys: int
    form: str


def convert_keys(
    path: str | os.PathLike[str], to: str = "toml", form: str | None = None
) -> Conversion:
    """Read a key file, and write its keys in another format.

    A secret that is encrypted can be carried to TOML alone: there it becomes the environment
    variable ``TCPAO_SECRET_1``, and so on, which is to be set.

    Parameters
    ----------
    path : path-like
    to : str
        One of `FORMATS`.
    form : str, optional
        The file's format, as for `load_keys`.

    Raises
    ------
    KeyFileError, InvalidArgumentError
        As for `load_keys`.
    """
    name = os.fspath(path)
    if to != "toml":
        _format(to)
    source = form or _form(_text(name))
    if source == "toml":
        found, chain = KeyFile(), read_toml(path)
    else:
        found = _format(source).read(_text(name))
        chain = build(name, found, allow_encrypted=to == "toml")
    variables = {
        number: f"TCPAO_SECRET_{number + 1}"
        for number, entry in enumerate(found.entries)
        if entry.encrypted
    }
    notes = [
        *found.notes,
        *(
            f"{found.entries[number].where}: the secret is encrypted "
            f"({found.entries[number].encrypted}): set {variable}"
            for number, variable in variables.items()
        ),
    ]
    if to == "toml":
        written = write_toml(chain, variables)
    else:
        writer = _format(to).write
        if writer is None:
            raise InvalidArgumentError(f"{to} is read, not written")
        written = writer(chain)
    return Conversion(written.text, written.lost, tuple(notes), len(chain), source)
