"""Key files: one module a format.  `load_keys` reads any of them."""

from __future__ import annotations

import os
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

from tcpao_fast.errors import InvalidArgumentError, KeyFileError, TcpAoError
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.compare import Comparison, compare_chains
from tcpao_fast.keys.files.entries import Format, KeyFile, build
from tcpao_fast.keys.files.master_key import open_secrets
from tcpao_fast.keys.files.toml import read_toml, write_toml
from tcpao_fast.keys.key_chain import overlap_problems

__all__ = ["FORMATS", "Conversion", "convert_keys", "load_keys"]

#: Formats beside TOML, in the order in which a text is held against them: a module each, which is
#: imported when a text is no TOML.
_OTHERS = (
    "rfc8177",
    "openconfig",
    "rustbgpd",
    "zebra_rs",
    "arista",
    "aos_cx",
    "huawei",
    "nokia",
    "fortios",
    "cisco_xe",
    "cisco_xr",
    "vyos",
    "junos",
    "bird",
    "openbgpd",
    "exabgp",
    "gobgp",
    "routeros",
    "oneline",
    "frr",
)
#: The names of all formats.
FORMATS = ("toml", *_OTHERS)
#: Of those that are written, too.
WRITTEN = (
    "toml", "rfc8177", "cisco_xe", "cisco_xr", "junos", "bird", "gobgp", "oneline", "frr",
)  # fmt: skip


def load_keys(
    path: str | os.PathLike[str], form: str | None = None, *, master_key: str | None = None
) -> KeyChain:
    """Read a key file.

    Parameters
    ----------
    path : path-like
        In one of `FORMATS`: the native TOML (`tcpao_fast.keys.files.toml`) or what a router has.
    form : str, optional
        Which one; it is told from the text.
    master_key : str, optional
        The router's own, which opens secrets of Cisco's type 6 and Junos's $8$.

    Returns
    -------
    KeyChain
        Its `notes` say what was assumed and left out: a key whose secret is encrypted, too.

    Raises
    ------
    KeyFileError
        With every mistake in the file, not just the first; and where no key is left.
    MissingExtraError
        `master_key` is given, and the extra ``master-key`` is not installed.
    InvalidArgumentError
        `form` is none of `FORMATS`.
    """
    return _load(path, form, allow_encrypted=False, master_key=master_key)


def _load(
    path: str | os.PathLike[str],
    form: str | None = None,
    *,
    allow_encrypted: bool,
    master_key: str | None = None,
) -> KeyChain:
    name = _name(path)
    if form == "toml":
        return read_toml(path)
    text, notes = _text(name)
    form = form or _told(name, text)
    if form == "toml":
        return read_toml(path)
    found = _read(name, _format(form), text)
    found.notes[:0] = notes
    if master_key is not None:
        open_secrets(found, master_key)
    return build(name, found, form, allow_encrypted=allow_encrypted)


def compare_keys(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    address_a: str | None = None,
    address_b: str | None = None,
    same_end: bool = False,
    forms: tuple[str | None, str | None] = (None, None),
) -> Comparison:
    """Hold the key files of two ends against each other.

    Parameters
    ----------
    a, b : path-like
        Of any two formats; secrets that they hold encrypted are not compared.
    address_a, address_b, same_end
        As for `tcpao_fast.keys.compare.compare_chains`.
    forms : (str or None, str or None)
        The formats of the files; they are told from their texts.

    Returns
    -------
    Comparison

    Raises
    ------
    KeyFileError
        With every mistake in a file.
    InvalidArgumentError
        An address that is none.
    """
    first, second = (
        _load(path, form, allow_encrypted=True) for path, form in zip((a, b), forms, strict=True)
    )
    return compare_chains(
        first, second, address_a=address_a, address_b=address_b, same_end=same_end
    )


#: What stands behind these words in a file may be a secret.
_BEFORE_SECRETS = re.compile(
    r"""(?ix) \b (?: password | passwd | secret | secret-\w+ | key-?string | auth-password | md5
      | authentication-key | tcp-auth | keyring | --key ) \b
      [ \t:="]*
      (?: (?: \d | encrypted | clear | cleartext | cipher | simple | ascii-text ) [ \t"]+ )*
      (?P<secret> [^\s";{}]+ )"""
)
_SHORTEST_HIDDEN = 4


def _without_secrets(text: str, messages: list[str]) -> list[str]:
    """Messages in which nothing stands that may be a secret of the file."""
    if not messages:
        return messages
    found = {match["secret"] for match in _BEFORE_SECRETS.finditer(text)}
    hidden = sorted((one for one in found if len(one) >= _SHORTEST_HIDDEN), key=len, reverse=True)
    if hidden:
        pattern = re.compile("|".join(re.escape(one) for one in hidden))
        # between words alone: "send" is no secret in "send-id"
        messages = [
            " ".join("..." if pattern.fullmatch(word.strip("\"'();,:")) else word
                     for word in message.split(" "))
            for message in messages
        ]  # fmt: skip
    return messages


def _read(name: str, form: Format, text: str) -> KeyFile:
    """What a text holds; a text that a reader stumbles over is one mistake, not a traceback."""
    folder = Path(name).parent
    try:
        found = form.read(text) if form.read_in is None else form.read_in(text, folder)
    except RecursionError:
        raise KeyFileError(name, [f"is nested too deeply for {form.title}"]) from None
    except (
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
    ) as error:  # fmt: skip
        if isinstance(error, TcpAoError):
            raise
        where = _last_line(text, error)
        raise KeyFileError(
            name, [f"{where}is not written as {form.title} is: {type(error).__name__}"]
        ) from None
    found.problems = _without_secrets(text, found.problems)
    found.notes = _without_secrets(text, found.notes)
    return found


def _last_line(text: str, error: BaseException) -> str:
    """Which line a reader was at, where it says so."""
    number = getattr(error, "lineno", None)
    return (
        f"line {number}: " if isinstance(number, int) and 0 < number <= text.count("\n") + 1 else ""
    )


def _format(form: str) -> Format:
    if form not in _OTHERS:
        raise InvalidArgumentError(f"format {form!r} is unknown; known are {', '.join(FORMATS)}")
    found: Format = import_module(f"tcpao_fast.keys.files.{form}").FORMAT
    return found


def _name(path: str | os.PathLike[str]) -> str:
    try:
        name: str | None = os.fspath(path)
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise InvalidArgumentError(f"path is {path!r}; it must be a str or path-like")
    return name


def _text(name: str) -> tuple[str, list[str]]:
    """The file as text, and what is to be said of it: UTF-8, with or without a byte order mark, or
    UTF-16 with one; else Latin-1, as old configurations have it.
    """
    try:
        data = Path(name).read_bytes()
    except OSError as error:
        raise KeyFileError(name, [error.strerror or str(error)]) from error
    except ValueError as error:  # a NUL in the name
        raise KeyFileError(name, [str(error)]) from None
    if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace").replace("\r\n", "\n"), []
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n"), []
    except UnicodeDecodeError:
        text = data.decode("latin-1").replace("\r\n", "\n")
        return text, ["is not UTF-8: read as Latin-1"]


#: Lines by which a format may be told; of a long text no others are held against the formats.
_TELLING = re.compile(
    r"key|bgp|neighbor|peer|password|md5|tcp|secret|protocol|router|session|group|config|^\W|^AS|=\W"
    r"|^version|^feature|^#config|^boot|^line|^add|^set protocols|^frr"
)
_LONG = 1 << 16


def _form(text: str) -> str | None:
    """The format that a text is likely of."""
    if len(text) > _LONG:
        text = "\n".join(line for line in text.split("\n") if _TELLING.search(line))
    if re.search(r"(?m)^\s*\[\[key\]\]", text):
        return "toml"
    return next((name for name in _OTHERS if _format(name).looks_like(text)), None)


#: What native files are taken for that nearly are: the tables that others have.
_NEARLY_TOML = re.compile(r"(?m)^\s*\[+\s*(keys?|master-?keys?|mkts?|tcp-?ao)\s*\]+", re.IGNORECASE)


def _told(name: str, text: str) -> str:
    """The format of a text.

    Raises
    ------
    KeyFileError
        It is of no known one.
    """
    form = _form(text)
    if form is not None:
        return form
    near = _NEARLY_TOML.search(text)
    if near is None and not re.search(r"(?m)^\s*[\w-]+\s*=", text) and text.strip():
        raise KeyFileError(
            name,
            [
                f"is not TOML, and of no other known format (tried {', '.join(_OTHERS)}); --from "
                "names it"
            ],
        )
    return "toml"


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
    written : int
        How many keys the text has.
    """

    text: str = field(repr=False)
    lost: tuple[str, ...]
    notes: tuple[str, ...]
    keys: int
    form: str
    written: int


def convert_keys(
    path: str | os.PathLike[str],
    to: str = "toml",
    form: str | None = None,
    *,
    master_key: str | None = None,
) -> Conversion:
    """Read a key file, and write its keys in another format.

    A secret that is encrypted can be carried to TOML alone: there it becomes the environment
    variable ``TCPAO_SECRET_1``, and so on, which is to be set.

    Parameters
    ----------
    path : path-like
    to : str
        One of `FORMATS`.
    form, master_key
        As for `load_keys`.

    Returns
    -------
    Conversion

    Raises
    ------
    KeyFileError, InvalidArgumentError
        As for `load_keys`.
    """
    name = _name(path)
    if to != "toml":
        _format(to)
    text, said = _text(name)
    source = form or _told(name, text)
    if source == "toml":
        found, chain = KeyFile(), read_toml(path)
    else:
        found = _read(name, _format(source), text)
        found.notes[:0] = said
        if master_key is not None:
            open_secrets(found, master_key)
        chain = build(name, found, source, allow_encrypted=to == "toml")
    variables = {
        number: f"TCPAO_SECRET_{number + 1}"
        for number, entry in enumerate(found.entries)
        if entry.encrypted
    }
    notes = [
        *chain.notes,
        *(
            f"{found.entries[number].where}: the secret is encrypted "
            f"({found.entries[number].encrypted}): set {variable}"
            for number, variable in variables.items()
        ),
    ]
    lost: list[str] = []
    if to == "toml":
        written = write_toml(chain, variables)
    else:
        writer = _format(to).write
        if writer is None:
            raise InvalidArgumentError(f"{to} is read, not written")
        alone, lost = (chain, []) if to == "oneline" else _alone(chain)
        written = writer(alone)
    total = len(found.entries) if source != "toml" else len(chain)
    return Conversion(
        written.text, (*lost, *written.all_lost(chain)), tuple(notes), total, source,
        len(written.keys),
    )  # fmt: skip


def _alone(chain: KeyChain) -> tuple[KeyChain, list[str]]:
    """The keys without names of VRFs and readings, as other formats have them; what shares the IDs
    of another then is left out, and said.
    """
    if not any(key.is_alternative for key in chain):
        return chain, []
    kept: list[MasterKey] = []
    lost = []
    for key in chain:
        vrf = None if isinstance(key.vrf, str) else key.vrf
        plain = replace(key, vrf=vrf, reading=None)
        if overlap_problems(enumerate([*kept, plain])):
            why = "another reading of a key" if key.reading else "the IDs of a key of another VRF"
            lost.append(f"{why}: {key.label}")
        else:
            kept.append(plain)
            if isinstance(key.vrf, str):
                lost.append(f"the name of the VRF, {key.vrf}: {key.label}")
    return KeyChain(kept, accept_tolerance=chain.accept_tolerance), lost
