"""Configurations that are documents: TOML, YAML and JSON as plain objects, whatever their shape."""

from __future__ import annotations

import base64
import binascii
import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from tcpao_fast.keys.files.entries import KeyFile
from tcpao_fast.keys.files.records import Secret

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def toml(text: str, found: KeyFile) -> dict[str, Any] | None:
    """A TOML document; None, and a problem, where it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found.problems.append(f"is not TOML: {error}")
        return None


def yaml(text: str, found: KeyFile) -> dict[str, Any] | None:
    """A YAML document; None, and a problem, where it is none, or nothing here reads YAML."""
    try:
        from yaml import YAMLError, safe_load
    except ImportError:
        found.problems.append("is YAML: reading it needs PyYAML (pip install 'tcpao_fast[yaml]')")
        return None
    try:
        document = safe_load(text)
    except (YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        found.problems.append(f"{where}is not YAML")
        return None
    return document if isinstance(document, dict) else {}


def parsed_json(text: str, found: KeyFile) -> Any:
    """A JSON document without module names; None, and a problem, where it is none."""
    try:
        return without_modules(json.loads(text))
    except ValueError as error:
        found.problems.append(f"is not JSON: {error}")
        return None


def without_modules(value: Any) -> Any:
    """JSON (RFC 7951) without the names of modules before a colon."""
    if isinstance(value, Mapping):
        return {str(name).rpartition(":")[2]: without_modules(one) for name, one in value.items()}
    if isinstance(value, list):
        return [without_modules(one) for one in value]
    return value


def table(value: Any, *names: str) -> dict[str, Any]:
    """The object at a path of names; empty where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return dict(value) if isinstance(value, Mapping) else {}


def rows(value: Any, *names: str) -> list[dict[str, Any]]:
    """The objects of the list at a path of names; empty where there is none."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    listed = value if isinstance(value, list) else []
    return [dict(one) for one in listed if isinstance(one, Mapping)]


def text_of(value: Any) -> str | None:
    """A value as text; None where it is empty or none."""
    if value is None or isinstance(value, (dict, list)) or value == "":
        return None
    return str(value)


def from_base64(value: Any) -> Secret | None:
    """A secret in base64; None where it is none."""
    try:
        found = base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        return None
    return Secret(found) if found else None


def looks_like_json(text: str) -> bool:
    """Whether a text begins as a JSON object does."""
    return text.lstrip("\ufeff \t\r\n")[:1] == "{" and re.search(r'"\s*:', text) is not None
