"""The job of ``tcpao merge``: reports, or states, of several runs as one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tcpao_fast.capture.sources import PathLike
from tcpao_fast.core.flow.connections import INCARNATIONS
from tcpao_fast.engine.state import STATE_VERSION
from tcpao_fast.engine.verdicts import SEGMENT_VERDICTS
from tcpao_fast.errors import InvalidArgumentError
from tcpao_fast.report.results import exit_status_of, exit_status_with

Json = dict[str, Any]
_NEVER = "9999"


def merge_files(paths: Sequence[PathLike]) -> Json:
    """What several runs wrote, as one.

    Parameters
    ----------
    paths : sequence of path-like
        Reports (``tcpao verify --json``), or states (``--state``); all of one kind. Reports of one
        stream of captures are given in its order: packet numbers go on from one to the next.

    Returns
    -------
    dict
        A report or a state, of plain JSON types.

    Raises
    ------
    InvalidArgumentError
        A file cannot be read or is neither, or there are both.
    """
    found = [(str(path), _read(path)) for path in paths]
    kinds = {_kind(name, one) for name, one in found}
    if len(kinds) > 1:
        raise InvalidArgumentError("there are reports and states; merge those of one kind")
    documents = [one for _, one in found]
    try:
        return merge_states(documents) if kinds == {"state"} else merge_reports(documents)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        names = ", ".join(name for name, _ in found)
        raise InvalidArgumentError(
            f"{names}: not all of them are as tcpao wrote them: {type(error).__name__}: {error}"
        ) from None


def _read(path: PathLike) -> Json:
    try:
        found = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        what = getattr(error, "strerror", None) or f"is not JSON: {error}"
        raise InvalidArgumentError(f"{path}: {what}") from None
    if not isinstance(found, dict):
        raise InvalidArgumentError(f"{path}: holds neither a report nor a state")
    return found


def _kind(name: str, document: Json) -> str:
    if "verdicts" in document and isinstance(document.get("connections"), list):
        return "report"
    if document.get("version") == STATE_VERSION and isinstance(document.get("connections"), list):
        return "state"
    raise InvalidArgumentError(
        f"{name}: holds neither a report (tcpao verify --json) nor a state (--state)"
    )


# -- reports ------------------------------------------------------------------------------------


def merge_reports(reports: Sequence[Json]) -> Json:
    """Reports as one: counts are added up, connections by their ends.

    Parameters
    ----------
    reports : sequence of dict
        As `CaptureReport.as_dict` gives them.

    Returns
    -------
    dict
    """
    merged: Json = {
        "captures": [], "records": 0, "segments": 0, "signed": 0, "verdicts": {},
        "times": {"first": None, "last": None, "first_bad": None},
    }  # fmt: skip
    connections: dict[Any, Json] = {}
    unread: dict[int, Json] = {}
    damage: list[Json] = []
    others: Json | None = None
    notes: list[str] = []
    for report in reports:
        before = merged["records"]
        for one in report["connections"]:
            one = _shifted(one, before)
            ends = frozenset((one["client"], one["server"])), one["vrf"]
            known = connections.get(ends)
            connections[ends] = one if known is None else _joined(known, one)
        if report.get("others"):
            rest = _shifted(report["others"], before)
            others = rest if others is None else {
                **_joined(others, rest),
                "connections": others["connections"] + rest["connections"],
            }  # fmt: skip
        merged["captures"] += report["captures"]
        for name in ("records", "segments", "signed"):
            merged[name] += report[name]
        _add(merged["verdicts"], report["verdicts"])
        merged["times"] = _times(merged["times"], report["times"])
        for row in report.get("unread", ()):
            known = unread.setdefault(row["linktype"], {**row, "records": 0})
            known["records"] += row["records"]
        damage += report.get("damage", ())
        notes += [note for note in report.get("notes", ()) if note not in notes]
    if unread:
        merged["unread"] = [unread[linktype] for linktype in sorted(unread)]
    if damage:
        merged["damage"] = damage
    merged["connections"] = list(connections.values())
    if others is not None:
        merged["others"] = others
    if notes:
        merged["notes"] = notes
    return merged


def _shifted(one: Json, before: int) -> Json:
    """With packets counted on from those of the reports before."""
    first = one["first_bad"]
    return {**one, "first_bad": None if first is None else first + before}


def _joined(known: Json, more: Json) -> Json:
    found = dict(known)
    found["verdicts"] = dict(known["verdicts"])
    _add(found["verdicts"], more["verdicts"])
    bad = [one["first_bad"] for one in (known, more) if one["first_bad"] is not None]
    found["first_bad"] = min(bad, default=None)
    found["times"] = _times(known["times"], more["times"])
    if "keys" in known:
        found["keys"] = [*known["keys"], *(one for one in more["keys"] if one not in known["keys"])]
        later = (more["times"]["last"] or "") >= (known["times"]["last"] or "")
        newer, older = (more, known) if later else (known, more)
        same = newer["client"] == known["client"]
        sne = newer["sne"] if None not in newer["sne"].values() else older["sne"]
        found["sne"] = sne if same else {"client": sne["server"], "server": sne["client"]}
    return found


def _add(to: Json, more: Mapping[str, int]) -> None:
    for name, count in more.items():
        to[name] = to.get(name, 0) + count


def _times(one: Json, other: Json) -> Json:
    """All are UTC in one form, so that they are in the order of their letters."""
    last = max(one["last"] or "", other["last"] or "") or None
    found = {"first": None, "last": last, "first_bad": None}
    for name in ("first", "first_bad"):
        earliest = min(one[name] or _NEVER, other[name] or _NEVER)
        found[name] = None if earliest == _NEVER else earliest
    return found


# -- states -------------------------------------------------------------------------------------


def merge_states(states: Sequence[Json]) -> Json:
    """States as one: of each connection everything that is known of it.

    Where two know the same pair of ISNs as the one in use, the one that got further says how far.
    Where they know different ones, that of the later state is in use.

    Parameters
    ----------
    states : sequence of dict
        As `Engine.export_state` gives them, the older first.

    Returns
    -------
    dict
    """
    keys: list[Json] = []
    connections: dict[Any, Json] = {}
    for state in states:
        places: list[int] = []
        for identity in state.get("keys") or ():
            if identity not in keys:
                keys.append(identity)
            places.append(keys.index(identity))
        for one in state["connections"]:
            one = _with_keys(one, places)
            ends = frozenset((_end(one["client"]), _end(one["server"]))), one["vrf"]
            known = connections.get(ends)
            connections[ends] = one if known is None else _joined_state(known, one)
    return {"version": STATE_VERSION, "keys": keys, "connections": list(connections.values())}


def _end(end: Json) -> tuple[str, int]:
    return end["address"], end["port"]


def _with_keys(one: Json, places: Sequence[int]) -> Json:
    """With its keys by their places in the merged state."""

    def placed(numbers: Any) -> Any:
        if numbers is None:
            return None
        return [None if number is None else places[number] for number in numbers]

    found = dict(one)
    if "current_keys" in one:
        found["current_keys"] = placed(one["current_keys"])
    if "incarnations" in one:
        found["incarnations"] = [
            {**it, "current_keys": placed(it["current_keys"])} for it in one["incarnations"]
        ]
    elif "current_keys" in one:  # of a state without candidates: the one in use
        found["incarnations"] = [
            {
                "live": True, "proof": "both", "initiator": None, "ours": False,
                "current_keys": found["current_keys"],
                "client": {**_side(one["client"]), "key_id": 0},
                "server": {**_side(one["server"]), "key_id": 0},
            }
        ]  # fmt: skip
    else:
        found["incarnations"] = []
    return found


def _side(end: Json) -> Json:
    return {name: end[name] for name in ("isn", "sne", "seq", "current_key", "rnext_key_id")}


def _turned(one: Json) -> Json:
    """The same with client and server in each other's place."""
    found = {**one, "client": one["server"], "server": one["client"]}
    if one.get("current_keys"):
        found["current_keys"] = one["current_keys"][::-1]
    if "incarnations" in one:
        found["incarnations"] = [_turned(it) for it in one["incarnations"]]
    if one.get("initiator"):
        found["initiator"] = {"client": "server", "server": "client"}[one["initiator"]]
    return found


def _isns(it: Json) -> tuple[int | None, int | None]:
    return it["client"]["isn"], it["server"]["isn"]


def _reached(it: Json) -> int:
    return sum((it[side]["sne"] << 32) + it[side]["seq"] for side in ("client", "server"))


def _joined_state(known: Json, more: Json) -> Json:
    if _end(known["client"]) != _end(more["client"]):
        known = _turned(known)
    pairs: dict[Any, Json] = {}
    for it in (*known["incarnations"], *more["incarnations"]):
        before = pairs.pop(_isns(it), None)
        pairs[_isns(it)] = it if before is None or _reached(it) >= _reached(before) else before
    live = next((_isns(it) for it in more["incarnations"] if it["live"]), None)
    if live is None:
        live = next((_isns(it) for it in known["incarnations"] if it["live"]), None)
    incarnations = [{**it, "live": isns == live} for isns, it in pairs.items()]
    incarnations.sort(key=lambda it: it["live"])  # the one in use is the newest
    incarnations = incarnations[-INCARNATIONS:]
    found = {
        "vrf": more["vrf"],
        "has_handshake": known["has_handshake"] or more["has_handshake"],
        "client": {name: more["client"][name] for name in ("address", "port")},
        "server": {name: more["server"][name] for name in ("address", "port")},
    }
    if incarnations and incarnations[-1]["live"]:
        last = incarnations[-1]
        for side in ("client", "server"):
            found[side] = {**found[side], **_side(last[side])}
        found["current_keys"] = last["current_keys"]
    found["incarnations"] = incarnations
    return found


def exit_status_of_merged(merged: Json) -> int:
    """What a merged report comes to, as `CaptureReport.exit_status`; 0 for a state."""
    if "verdicts" not in merged:
        return 0
    counts = {one.name: 0 for one in SEGMENT_VERDICTS} | merged["verdicts"]
    return exit_status_with(exit_status_of(counts), len(merged.get("damage", ())))
