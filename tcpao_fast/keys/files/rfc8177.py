"""RFC 8177 key chains in JSON (RFC 7951) or XML, with the TCP-AO IDs of RFC 9648; also inside of
what RESTCONF and NETCONF wrap around them.

Module names before a colon may be there or not. ``send-id``, ``recv-id`` and
``include-tcp-options`` are taken from the key or from objects inside it (``authentication``,
``ao``). Key chains know no addresses: keys are for any.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from xml.etree import ElementTree

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.files.documents import parsed_json
from tcpao_fast.keys.files.entries import (
    LIFETIMES,
    TOLERANCE,
    Entry,
    Format,
    KeyFile,
    Written,
    not_carried,
)
from tcpao_fast.keys.files.times import lasting
from tcpao_fast.keys.lifetimes import Lifetime

_ALGORITHMS = {
    "hmac-sha-1-12": "hmac-sha-1-96",
    "hmac-sha-1": "hmac-sha-1-96",
    "aes-cmac-prf-128": "aes-128-cmac-96",
    "hmac-sha-256": "hmac(sha256)",
    "hmac-sha-384": "hmac(sha384)",
    "hmac-sha-512": "hmac(sha512)",
    "md5": "tcp-md5",
}
_WRITTEN = {
    "hmac-sha-1-96": "hmac-sha-1-12",
    "aes-128-cmac-96": "aes-cmac-prf-128",
    "hmac(sha256)": "hmac-sha-256",
    "hmac(sha384)": "hmac-sha-384",
    "hmac(sha512)": "hmac-sha-512",
    "tcp-md5": "md5",
}
_AO = ("send-id", "recv-id", "include-tcp-options")


def _looks_like(text: str) -> bool:
    begin = text.lstrip()[:1]
    return begin in ("{", "<") and "key-chain" in text and "openconfig-" not in text


def read_rfc8177(text: str) -> KeyFile:
    """The keys of an RFC 8177 document."""
    found = KeyFile()
    is_xml = text.lstrip()[:1] == "<"
    document = _from_xml(text, found) if is_xml else parsed_json(text, found)
    if document is None:
        return found
    inside = _object(found, "key-chains", _unwrapped(document))
    wrap = _object(found, "aes-key-wrap", inside.get("aes-key-wrap", {}))
    wrapped = str(wrap.get("enable", "")).lower() == "true"
    if wrapped:
        found.notes.append("aes-key-wrap: the key strings are wrapped, and not unwrapped here")
    for chain in _objects(found, "key-chain", inside.get("key-chain", [])):
        name = str(chain.get("name", ""))
        _tolerance(found, name, chain.get("accept-tolerance", {}))
        for key in _objects(found, f"key-chain {name}: key", chain.get("key", [])):
            _read_key(found, name, key, wrapped)
    return found


def _unwrapped(document: Any) -> Any:
    """The ``key-chains`` of a document, however deep they stand in it; or its ``key-chain``."""
    stack = [document]
    while stack:
        one = stack.pop(0)
        if isinstance(one, dict):
            if "key-chains" in one:
                return one["key-chains"]
            if "key-chain" in one:
                return one
            stack += one.values()
        elif isinstance(one, list):
            stack += one
    return document


#: Elements that are rows of a list, and leaves that are numbers or truth values.
_ROWS = ("key-chain", "key")
_TYPED = ("send-id", "recv-id", "duration", "include-tcp-options", "enable", "enable-ao")


def _from_xml(text: str, found: KeyFile) -> Any:
    """XML as the objects that JSON would give; None, and a problem, where it is none."""
    if re.search(r"<!(DOCTYPE|ENTITY)", text):
        found.problems.append("is XML with a document type, which is not read")
        return None
    try:
        return {"data": _element(ElementTree.fromstring(text))}
    except (ElementTree.ParseError, RecursionError) as error:
        line = getattr(error, "position", (0,))[0]
        found.problems.append(f"line {line}: is not XML" if line else "is not XML")
        return None


def _element(element: ElementTree.Element) -> Any:
    inside: dict[str, Any] = {}
    for one in element:
        name = one.tag.rpartition("}")[2].rpartition(":")[2]
        value = _element(one)
        if name in _TYPED and isinstance(value, str):
            value = {"true": True, "false": False}.get(value, _number(value))
        if name in _ROWS:
            inside.setdefault(name, []).append(value)
        else:
            inside[name] = value
    return inside or (element.text or "").strip()


def _number(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _object(found: KeyFile, where: str, value: Any) -> dict[str, Any]:
    """What must be an object; empty where it is none, which is noted as a mistake."""
    if isinstance(value, dict):
        return value
    found.problems.append(f"{where} must be an object")
    return {}


def _objects(found: KeyFile, where: str, value: Any) -> list[dict[str, Any]]:
    """What must be a list of objects."""
    if not isinstance(value, list):
        found.problems.append(f"{where} must be a list")
        return []
    return [_object(found, f"each {where}", one) for one in value]


def _tolerance(found: KeyFile, chain: str, value: Any) -> None:
    where = f"key-chain {chain}: accept-tolerance"
    duration = _object(found, where, value).get("duration", 0)
    if duration == "forever":
        found.tolerances[chain] = math.inf
    elif isinstance(duration, int) and not isinstance(duration, bool) and 0 <= duration < 2**32:
        found.tolerances[chain] = duration
    else:
        found.problems.append(f'{where}: duration must be "forever" or seconds')


def _ao(key: Mapping[str, Any]) -> dict[str, Any]:
    """The TCP-AO leaves of a key, wherever in it they stand."""
    found = {name: key[name] for name in _AO if name in key}
    for name in ("authentication", "ao", "tcp-ao"):
        if isinstance(key.get(name), dict):
            found |= _ao(key[name])
    return found


def _read_key(found: KeyFile, chain: str, key: dict[str, Any], wrapped: bool) -> None:
    number = key.get("key-id", "?")
    where = f"key-chain {chain} key {number}"
    algorithm = str(key.get("crypto-algorithm", "")).rpartition(":")[2]
    if algorithm not in _ALGORITHMS:
        found.notes.append(f"{where}: crypto-algorithm {algorithm or 'is missing'}: left out")
        return
    fields: dict[str, Any] = {"name": f"{chain} key {number}"}
    fields["algorithm"] = _ALGORITHMS[algorithm]
    ao = _ao(key)
    if fields["algorithm"] != "tcp-md5":
        if "send-id" not in ao or "recv-id" not in ao:
            found.notes.append(f"{where} has no send-id and recv-id: not for TCP-AO, left out")
            return
        fields |= {"send_id": ao["send-id"], "recv_id": ao["recv-id"]}
        fields["exclude_options"] = ao.get("include-tcp-options", True) is False
    string = _object(found, f"{where}: key-string", key.get("key-string", {}))
    try:
        if "hexadecimal-string" in string:
            fields["secret"] = bytes.fromhex(str(string["hexadecimal-string"]).replace(":", ""))
        elif "keystring" in string:
            fields["secret"] = str(string["keystring"]).encode()
        else:
            found.problems.append(f"{where}: lacks key-string")
            return
    except ValueError:
        found.problems.append(f"{where}: hexadecimal-string is not hexadecimal")
        return
    lifetime = _object(found, f"{where}: lifetime", key.get("lifetime", {}))
    both = lifetime.get("send-accept-lifetime")
    for name in ("send", "accept"):
        value = lifetime.get(f"{name}-lifetime", both)
        if value is not None:
            try:
                fields[f"{name}_lifetime"] = _lifetime(value)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
                found.problems.append(f"{where}: {name}-lifetime is not RFC 8177's")
    if "aes-128" in fields["algorithm"] or fields["algorithm"].startswith("hmac"):
        fields["mac_length"] = 12
    found.chains.add(chain)
    found.entries.append(Entry(where, fields, "AES key wrap" if wrapped else None))


def _moment(text: str) -> datetime:
    text = re.sub(r"Z$", "+00:00", text)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def _lifetime(value: dict[str, Any]) -> Lifetime | None:
    if "always" in value:
        return None
    start = _moment(value["start-date-time"])
    if "end-date-time" in value:
        return start, _moment(value["end-date-time"])
    if "duration" in value:
        return lasting(start, int(value["duration"]))
    return start, None


#: What the text has of keys.
_CARRIES = LIFETIMES | {"keys for any address", "options left out of the MAC", TOLERANCE}


def write_rfc8177(chain: KeyChain) -> Written:
    """A chain as one key-chain."""
    usable = [key for key in chain if key.algorithm in _WRITTEN]
    body: dict[str, Any] = {"name": "tcpao", "key": [_key(n, k) for n, k in enumerate(usable, 1)]}
    if chain.accept_tolerance:
        infinite = math.isinf(chain.accept_tolerance)
        body["accept-tolerance"] = {
            "duration": "forever" if infinite else int(chain.accept_tolerance)
        }
    document = {"ietf-key-chain:key-chains": {"key-chain": [body]}}
    lost = not_carried(
        chain, "no crypto-algorithm of that name", lambda k: k.algorithm not in _WRITTEN
    )
    lost += not_carried(
        usable,
        "lifetimes without a start begin in 1970",
        lambda k: any(one and one[0] is None for one in (k.send_lifetime, k.accept_lifetime)),
    )
    return Written(json.dumps(document, indent=2) + "\n", usable, _CARRIES, tuple(lost))


def _key(number: int, key: MasterKey) -> dict[str, Any]:
    def lifetime(value: Lifetime | None) -> dict[str, Any]:
        if value is None:
            return {"always": [None]}
        start, end = value
        start = start or datetime(1970, 1, 1, tzinfo=timezone.utc)
        ending: dict[str, Any] = (
            {"no-end-time": [None]} if end is None else {"end-date-time": end.isoformat()}
        )
        return {"start-date-time": start.isoformat(), **ending}

    written: dict[str, Any] = {
        "key-id": str(number),
        "lifetime": {
            "send-lifetime": lifetime(key.send_lifetime),
            "accept-lifetime": lifetime(key.accept_lifetime),
        },
        "crypto-algorithm": f"ietf-key-chain:{_WRITTEN[key.algorithm]}",
        "key-string": {"hexadecimal-string": key.secret.hex(":")},
    }
    if not key.is_tcp_md5:
        written["ietf-tcp:authentication"] = {
            "ao": {
                "enable-ao": True,
                "send-id": key.send_id,
                "recv-id": key.recv_id,
                "include-tcp-options": not key.exclude_options,
            }
        }
    return written


FORMAT = Format("rfc8177", "RFC 8177 key chains (JSON)", _looks_like, read_rfc8177, write_rfc8177)
