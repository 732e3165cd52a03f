"""ISNs and SNEs of connections whose handshake a capture lacks, as somebody else knows them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tcpao_fast.engine.state import ConnectionState, RepairState
from tcpao_fast.errors import StateError

IsnsLike = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any]

#: Where the SEQ that goes with an SNE is not said: from there every SEQ has this SNE.
_MIDDLE = 1 << 31
_ENDPOINT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d{1,5})")
_NEEDED = ("local", "remote", "snt_isn", "rcv_isn")
_MAY = ("snd_sne", "rcv_sne", "snd_una", "rcv_nxt", "vrf")
_FORM = (
    "LOCAL,REMOTE,SNT_ISN,RCV_ISN[,SND_SNE,RCV_SNE], as "
    "10.0.0.1:40000,10.0.0.2:179,305419896,0x9abcdef0"
)


def read_isns(source: IsnsLike) -> list[ConnectionState]:
    """ISNs from text, from JSON files or from mappings.

    Parameters
    ----------
    source : str, path-like, mapping, or sequence of those
        A mapping has ``local`` and ``remote`` (``10.0.0.1:179``, ``[fd00::1]:179``) and what Linux
        gives for ``TCP_AO_REPAIR``: ``snt_isn``, ``rcv_isn``, and if it may, ``snd_sne``,
        ``rcv_sne`` (0), ``snd_una``, ``rcv_nxt`` (the positions that the SNEs are of) and ``vrf``
        (0). Text with commas is the same by place: LOCAL,REMOTE,SNT_ISN,RCV_ISN[,SND_SNE,RCV_SNE].
        Other text is the path of a JSON file with one mapping or a list of them. Numbers may be
        text, also hexadecimal with 0x.

    Returns
    -------
    list of ConnectionState
        For `Engine.restore`.

    Raises
    ------
    StateError
        With what was wrong, and where.
    """
    if isinstance(source, Mapping):
        return [_record(source, "isns")]
    if isinstance(source, os.PathLike) or (isinstance(source, str) and "," not in source):
        return _from_file(os.fspath(source))
    if isinstance(source, str):
        parts = [part.strip() for part in source.split(",")]
        if len(parts) not in (4, 6):
            raise StateError(f"--isn {source!r} has {len(parts)} parts; it must be {_FORM}")
        names = (*_NEEDED, "snd_sne", "rcv_sne")[: len(parts)]
        return [_record(dict(zip(names, parts, strict=True)), f"--isn {source!r}")]
    if not isinstance(source, Sequence):
        raise StateError(f"isns is {source!r}; it must be {_FORM}, a file, or mappings")
    return [record for one in source for record in read_isns(one)]


def _from_file(path: str) -> list[ConnectionState]:
    try:
        document = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise StateError(f"{path}: {error.strerror}; ISNs are a JSON file, or {_FORM}") from error
    except ValueError as error:
        raise StateError(f"{path}: is not JSON: {error}") from None
    except RecursionError:
        raise StateError(f"{path}: is JSON that is nested too deeply") from None
    listed = document if isinstance(document, list) else [document]
    return [_record(one, f"{path}: entry {n + 1}") for n, one in enumerate(listed)]


def _record(entry: Any, where: str) -> ConnectionState:
    if not isinstance(entry, Mapping):
        raise StateError(f"{where}: must be an object with {', '.join(_NEEDED)}")
    missing = [name for name in _NEEDED if name not in entry]
    if missing:
        raise StateError(f"{where}: lacks {', '.join(missing)}; needed are {', '.join(_NEEDED)}")
    for name in entry:
        if name not in (*_NEEDED, *_MAY):
            raise StateError(f"{where}: unknown {name!r}; known are {', '.join((*_NEEDED, *_MAY))}")
    numbers = {
        name: _number(entry.get(name, default), f"{where}: {name}", most)
        for name, default, most in (
            ("snt_isn", None, 0xFFFFFFFF),
            ("rcv_isn", None, 0xFFFFFFFF),
            ("snd_sne", 0, 0x7FFFFFFF),
            ("rcv_sne", 0, 0x7FFFFFFF),
            ("snd_una", _MIDDLE, 0xFFFFFFFF),
            ("rcv_nxt", _MIDDLE, 0xFFFFFFFF),
        )
    }
    return ConnectionState.joined(
        _endpoint(entry["local"], f"{where}: local"),
        _endpoint(entry["remote"], f"{where}: remote"),
        RepairState(**numbers),
        _number(entry.get("vrf", 0), f"{where}: vrf"),
    )


def _endpoint(value: Any, where: str) -> tuple[str, int]:
    match = _ENDPOINT.fullmatch(value) if isinstance(value, str) else None
    try:
        if match and int(match[3]) < 65536:
            return str(ip_address(match[1] or match[2])), int(match[3])
    except ValueError:
        pass
    raise StateError(f"{where} is {value!r}; it must be ADDRESS:PORT, or [ADDRESS]:PORT for IPv6")


def _number(value: Any, where: str, most: int = 0xFFFFFFFF) -> int:
    try:
        number = int(value, 0) if isinstance(value, str) else value
    except ValueError:
        number = None
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= most:
        raise StateError(f"{where} is {value!r}; it must be a number from 0 to {most}")
    return number
