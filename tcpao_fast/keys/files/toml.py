"""The native key file: TOML, a ``[[key]]`` table a key.

Fields are those of `MasterKey`, with the secret as one of ``secret`` (text), ``secret_hex``,
``secret_base64``, ``secret_file`` (a path beside the key file; one newline at its end is not part
of the secret) or ``secret_env`` (an environment variable).  A port is a number or ``"1000-2000"``;
a lifetime is ``{ start = 2026-01-01T00:00:00Z, end = ... }`` with either end left out, or
``{ start = ..., duration = seconds }``.  ``accept_tolerance`` above the keys is in seconds, or
``"forever"``.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from tcpao_fast.errors import InvalidKeyError, KeyFileError
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text
from tcpao_fast.keys.files.entries import EVERYTHING, Written
from tcpao_fast.keys.files.times import lasting
from tcpao_fast.keys.key_chain import overlap_problems
from tcpao_fast.text import meant

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SECRETS = ("secret", "secret_hex", "secret_base64", "secret_file", "secret_env")
_PLAIN = {
    "algorithm": str,
    "send_id": int,
    "recv_id": int,
    "local": str,
    "remote": str,
    "mac_length": int,
    "exclude_options": bool,
    "name": str,
    "reading": str,
    "local_nat": bool,
    "remote_nat": bool,
}
_TOP = ("key", "accept_tolerance")
_PORTS = ("local_port", "remote_port")
_LIFETIMES = ("send_lifetime", "accept_lifetime")
_FIELDS = (*_PLAIN, "vrf", *_PORTS, *_LIFETIMES, *_SECRETS)
_KINDS = {str: "text", int: "a whole number", bool: "true or false"}

Problems = list[tuple[str, str]]


def read_toml(path: str | os.PathLike[str]) -> KeyChain:
    """Read a native key file; errors as `load_keys`."""
    name = os.fspath(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise KeyFileError(name, [error.strerror or str(error)]) from error
    except UnicodeDecodeError as error:
        raise KeyFileError(name, [f"is not UTF-8 text (byte {error.start})"]) from None
    except ValueError as error:  # a NUL in the name
        raise KeyFileError(name, [str(error)]) from None
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KeyFileError(name, [f"is not TOML: {error}"]) from None
    except RecursionError:
        raise KeyFileError(name, ["is not TOML that can be read: nested too deeply"]) from None
    return _read_document(name, document, Path(path).parent)


def _read_document(name: str, document: Mapping[str, Any], folder: Path) -> KeyChain:
    general = [
        f"unknown table or field {entry!r}; keys stand in [[key]] tables{meant(entry, _TOP)}"
        for entry in document
        if entry not in _TOP
    ]
    tolerance = document.get("accept_tolerance", 0)
    if tolerance == "forever":
        tolerance = math.inf
    elif not isinstance(tolerance, int) or isinstance(tolerance, bool) or tolerance < 0:
        general.append('accept_tolerance must be seconds, or "forever"')
    tables = document.get("key", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise KeyFileError(name, [*general, "key must be written as [[key]] tables"])
    if not tables:
        general.append("has no [[key]] table")
    problems: list[tuple[int, str]] = []  # by key
    keys: list[MasterKey] = []
    comparable: dict[int, MasterKey] = {}
    names: dict[str, int] = {}
    for index, table in enumerate(tables):
        found = _read_key(table, folder)
        if isinstance(found, MasterKey):
            keys.append(found)
            comparable[index] = found
        else:
            problems += [(index, f"{field}: {what}") for field, what in found]
            outline = _outline(table)
            if outline is not None:
                comparable[index] = outline
        given = table.get("name")
        if isinstance(given, str) and given in names:
            problems.append((index, f"name: is also key {names[given] + 1}'s"))
        elif isinstance(given, str):
            names[given] = index
    problems += overlap_problems(comparable.items())
    problems.sort(key=lambda problem: problem[0])
    if general or problems:
        lines = [f"{_label(index, tables[index])}: {what}" for index, what in problems]
        raise KeyFileError(name, general + lines)
    return KeyChain(keys, accept_tolerance=tolerance)


def _label(index: int, table: Mapping[str, Any]) -> str:
    name = table.get("name")
    return f"key {index + 1}" + (f" ({name!r})" if isinstance(name, str) else "")


def _read_key(table: Mapping[str, Any], folder: Path) -> MasterKey | Problems:
    """The key, or everything that is wrong with it."""
    problems: Problems = []
    arguments: dict[str, Any] = {}
    for field, value in table.items():
        if field in _PLAIN:
            kind = _PLAIN[field]
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                problems.append((field, f"must be {_KINDS[kind]}"))
            else:
                arguments[field] = value
        elif field == "vrf":
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                problems.append((field, "must be a whole number, or a name"))
            else:
                arguments[field] = value
        elif field in _PORTS:
            _read_port(field, value, arguments, problems)
        elif field in _LIFETIMES:
            _read_lifetime(field, value, arguments, problems)
        elif field not in _SECRETS:
            known = f"known are {', '.join(_FIELDS)}"
            problems.append((field, f"is unknown{meant(field, _FIELDS)}; {known}"))
    if "algorithm" not in table:
        problems.append(("algorithm", "is missing"))
    secret = _read_secret(table, folder, problems)
    # what is wrong beyond the file's syntax is the key's own to say, also beside other mistakes
    stated = {field for field, _ in problems}
    try:
        key = MasterKey(
            **{
                "algorithm": "hmac-sha-1-96",
                **arguments,
                "secret": b"?" if secret is None else secret,
            }
        )
    except InvalidKeyError as error:
        problems += [(field, what) for field, what in error.problems if field not in stated]
        return problems
    return problems or key


def _outline(table: Mapping[str, Any]) -> MasterKey | None:
    """Of a key with mistakes, what decides about overlaps; None if that is wrong too."""
    if table.get("algorithm") == "tcp-md5":
        return None
    fields = ("send_id", "recv_id", "local", "remote", *_PORTS, "vrf", "reading", "name")
    arguments: dict[str, Any] = {}
    for field in fields:
        if field in _PORTS and field in table:
            _read_port(field, table[field], arguments, [])
        elif field in table:
            arguments[field] = table[field]
    try:
        return MasterKey(algorithm="hmac-sha-1-96", secret=b"?", **arguments)
    except InvalidKeyError:
        return None


def _read_port(field: str, value: object, arguments: dict[str, Any], problems: Problems) -> None:
    if isinstance(value, str):
        low, dash, high = value.partition("-")
        if low.strip().isdecimal() and (not dash or high.strip().isdecimal()):
            arguments[field] = (int(low), int(high if dash else low))
            return
    elif isinstance(value, int) and not isinstance(value, bool):
        arguments[field] = value
        return
    problems.append((field, 'must be a port or a range such as "1000-2000"'))


def _read_lifetime(
    field: str, value: object, arguments: dict[str, Any], problems: Problems
) -> None:
    if (
        isinstance(value, dict)
        and value.keys() <= {"start", "end"}
        and all(isinstance(moment, datetime) for moment in value.values())
    ):
        arguments[field] = (value.get("start"), value.get("end"))
    elif (  # RFC 8177's third form
        isinstance(value, dict)
        and value.keys() == {"start", "duration"}
        and isinstance(value["start"], datetime)
        and type(value["duration"]) is int
        and 0 < value["duration"] < 2**32
    ):
        arguments[field] = lasting(value["start"], value["duration"])
    else:
        problems.append(
            (
                field,
                "must be { start = date-time, end = date-time } or "
                "{ start = date-time, duration = seconds }",
            )
        )


def _read_secret(table: Mapping[str, Any], folder: Path, problems: Problems) -> bytes | None:
    given = [field for field in _SECRETS if field in table]
    if len(given) != 1:
        what = (
            "is missing; give one of " + ", ".join(_SECRETS)
            if not given
            else f"is given {len(given)} times ({', '.join(given)}); give one"
        )
        problems.append(("secret", what))
        return None
    field, value = given[0], table[given[0]]
    if not isinstance(value, str):
        problems.append((field, "must be text"))
        return None
    try:
        return _decode_secret(field, value, folder)
    except (ValueError, OSError) as error:
        # messages of the decoders may quote what they could not decode: not passed on
        what = {
            "secret_hex": "is not hexadecimal",
            "secret_base64": "is not base64",
            "secret_file": f"{value}: {getattr(error, 'strerror', None) or 'cannot be read'}",
            "secret_env": f"the environment has no variable {value!r}",
        }[field]
        problems.append((field, what))
        return None


def _decode_secret(field: str, value: str, folder: Path) -> bytes:
    if field == "secret":
        return value.encode()
    if field == "secret_hex":
        return bytes.fromhex(value)
    if field == "secret_base64":
        return base64.b64decode(value, validate=True)
    if field == "secret_file":
        data = (folder / value).read_bytes()
        return data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    found = os.environb.get(os.fsencode(value)) if os.supports_bytes_environ else None
    if found is None and (text := os.environ.get(value)) is not None:
        found = text.encode()
    if found is None:
        raise ValueError(value)
    return found


def write_toml(chain: KeyChain, variables: Mapping[int, str] | None = None) -> Written:
    """A chain as a native key file; it carries everything.

    Parameters
    ----------
    chain : KeyChain
    variables : dict of int to str, optional
        By number, the environment variables that hold secrets which are not known here.
    """
    parts: list[str] = []
    if chain.accept_tolerance:
        infinite = math.isinf(chain.accept_tolerance)
        value = '"forever"' if infinite else str(int(chain.accept_tolerance))
        parts.append(f"accept_tolerance = {value}\n")
    taken: set[str] = set()
    for number, key in enumerate(chain):
        name = _free_name(key.name, taken)  # in a key file each is another
        table = _table(replace(key, name=name), (variables or {}).get(number))
        parts.append("\n".join(["[[key]]", *table]) + "\n")
    return Written("\n".join(parts), chain, EVERYTHING)


def _free_name(name: str | None, taken: set[str]) -> str | None:
    """A name that no key before has."""
    if name is None:
        return None
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    taken.add(free)
    return free


def _table(key: MasterKey, variable: str | None) -> list[str]:
    lines = [] if key.name is None else [f"name = {_quoted(key.name)}"]
    lines.append(f"algorithm = {_quoted(key.algorithm)}")
    if variable is not None:
        lines.append(f"secret_env = {_quoted(variable)}")
    else:
        lines.append(_secret_line(key.secret))
    if not key.is_tcp_md5:
        lines += [f"send_id = {key.send_id}", f"recv_id = {key.recv_id}"]
    for name, network in (("local", key.local), ("remote", key.remote)):
        if network is not None:
            lines.append(f"{name} = {_quoted(network_text(network))}")
    for name in _PORTS:
        ports = getattr(key, name)
        if isinstance(ports, tuple):
            one = ports[0] == ports[1]
            lines.append(f"{name} = {ports[0] if one else _quoted(f'{ports[0]}-{ports[1]}')}")
    if not key.is_tcp_md5:
        lines.append(f"mac_length = {key.mac_length}")
        lines.append(f"exclude_options = {str(key.exclude_options).lower()}")
    if key.vrf is not None:
        lines.append(f"vrf = {_quoted(key.vrf) if isinstance(key.vrf, str) else key.vrf}")
    if key.reading is not None:
        lines.append(f"reading = {_quoted(key.reading)}")
    lines += [f"{flag} = true" for flag in ("local_nat", "remote_nat") if getattr(key, flag)]
    for name in _LIFETIMES:
        lifetime = getattr(key, name)
        if lifetime is not None:
            ends = [
                f"{end} = {moment.isoformat()}"
                for end, moment in zip(("start", "end"), lifetime, strict=True)
                if moment is not None
            ]
            lines.append(f"{name} = {{ {', '.join(ends)} }}")
    return lines


def _secret_line(secret: bytes) -> str:
    text = secret.decode("latin-1")
    if text.isascii() and text.isprintable():
        return f"secret = {_quoted(text)}"
    return f"secret_hex = {_quoted(secret.hex())}"


def _quoted(text: str) -> str:
    """A basic string of TOML: JSON's escapes are TOML's too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")
