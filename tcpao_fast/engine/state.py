"""The state of an engine in plain JSON types: its one codec, out and in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

from tcpao_fast.core.flow.connections import INCARNATIONS
from tcpao_fast.engine.connections import endpoint_of, sides
from tcpao_fast.errors import StateError
from tcpao_fast.keys import MasterKey
from tcpao_fast.text import endpoint_text

STATE_VERSION = 1
#: What a MAC proved of an incarnation, by the numbers of core/flow/connections.
_PROOFS = ("none", "syn", "both")


def _check_number(value: object, name: str, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise StateError(f"{name} is {value!r}; it must be 0 to {most}")


def record_of(
    row: Mapping[str, Any], keys: Sequence[MasterKey], candidates: bool
) -> dict[str, Any]:
    """What a state has of one connection."""
    order = dict(zip(("client", "server"), sides(row), strict=True))
    record: dict[str, Any] = {
        "vrf": row["vrf"],
        "has_handshake": row["initiator"] is not None,
        "client": {},
        "server": {},
    }
    for side, index in order.items():
        address, port = endpoint_of(row, index)
        record[side] = {"address": address, "port": port}
        if row["live"] is not None:
            record[side] |= _exported(row["live"], index, keys)
    if row["live"] is not None:
        record["current_keys"] = [row["live"]["key_in_use"][i] for i in order.values()]
    if candidates:
        names = {index: side for side, index in order.items()}
        record["incarnations"] = [
            {
                "live": number == row["live_index"],
                "proof": _PROOFS[one["proof"]],
                "initiator": names.get(one["initiator"]),
                "ours": one["ours"],
                "current_keys": [one["key_in_use"][i] for i in order.values()],
                **{
                    side: {**_exported(one, index, keys), "key_id": one["key_id"][index]}
                    for side, index in order.items()
                },
            }
            for number, one in enumerate(row["incarnations"])
        ]
    return record


def _exported(
    incarnation: Mapping[str, Any], index: int, keys: Sequence[MasterKey]
) -> dict[str, Any]:
    """What a state has of one side of an incarnation."""
    number = incarnation["key_in_use"][index]
    key = None if number is None else keys[number]
    position = incarnation["position"][index]
    known = incarnation["known"] >> index & 1
    return {
        "isn": incarnation["isn"][index] if known else None,
        "sne": position >> 32,
        "seq": position & 0xFFFFFFFF,
        "current_key": key and {"send_id": key.send_id, "recv_id": key.recv_id},
        "rnext_key_id": incarnation["rnext_key_id"][index],
    }


def known_keys(identities: object, keys: Sequence[MasterKey]) -> list[int | str] | None:
    """For each key of a state its index in `keys`, or what is wrong with it."""
    if identities is None:
        return None
    if not isinstance(identities, list):
        raise StateError("state's keys is no list")
    own = [key.identity() for key in keys]
    found: list[int | str] = []
    for identity in identities:
        if not isinstance(identity, Mapping) or not {"send_id", "recv_id"} <= set(identity):
            raise StateError(f"a key of the state is {identity!r}; it must be an identity")
        same = [index for index, one in enumerate(own) if one == identity]
        name = identity.get("name") or f"{identity['send_id']}/{identity['recv_id']}"
        if len(same) == 1:
            found.append(same[0])
        else:
            many = "more than one" if same else "none"
            found.append(f"its current key {name!s} is {many} of the keys here")
    return found


def restorable(
    record: Mapping[str, Any],
    keys: Sequence[MasterKey],
    known: list[int | str] | None,
    unmatched: dict[str, None],
) -> dict[str, Any]:
    """A connection of a state as `Pipeline.restore` takes it; keys that are none of `keys` are said
    in `unmatched`.
    """
    ends = [record["client"], record["server"]]
    if not all(isinstance(end["address"], str) and "%" not in end["address"] for end in ends):
        raise StateError("an address must be text, without a zone")
    addresses = [ip_address(end["address"]) for end in ends]
    if addresses[0].version != addresses[1].version:
        raise StateError(f"{addresses[0]} and {addresses[1]} are of two IP versions")
    for value, name, most in (
        (ends[0]["port"], "port", 0xFFFF),
        (ends[1]["port"], "port", 0xFFFF),
        (record["vrf"], "vrf", 0xFFFFFFFF),
    ):
        _check_number(value, name, most)
    listed = record.get("incarnations")
    if listed is None:  # the one that is live
        listed = [
            {"live": True, "proof": "both", "client": ends[0], "server": ends[1],
             "current_keys": record.get("current_keys")}
        ]  # fmt: skip
    if not isinstance(listed, list) or len(listed) > INCARNATIONS:
        raise StateError(f"incarnations must be a list of {INCARNATIONS} at most")
    where = " - ".join(endpoint_text(end["address"], end["port"]) for end in ends)
    incarnations = []
    for one in listed:
        current = _current_keys(one, keys, known)
        for problem in (key for key in current if isinstance(key, str)):
            unmatched[f"{where}: {problem}"] = None
        incarnations.append(
            _incarnation(one, [key if isinstance(key, int) else None for key in current])
        )
    live = [number for number, one in enumerate(listed) if one["live"]]
    if len(live) > 1 or any(listed[number]["proof"] != "both" for number in live):
        raise StateError("more than one incarnation is live, or one that is not proved")
    return {
        "version": addresses[0].version,
        "address": [address.packed for address in addresses],
        "port": [end["port"] for end in ends],
        "vrf": record["vrf"],
        "initiator": 0 if record["has_handshake"] else None,
        "incarnations": incarnations,
        "live_index": live[0] if live else None,
    }


def _current_keys(
    one: Mapping[str, Any], keys: Sequence[MasterKey], known: list[int | str] | None
) -> list[int | str | None]:
    """The current key of client and server: an index, what is wrong with it, or None."""
    numbers = one.get("current_keys")
    if known is not None and numbers is not None:
        if not isinstance(numbers, list) or len(numbers) != 2:
            raise StateError(f"current_keys is {numbers!r}; it must be two numbers")
        for number in numbers:
            if number is not None:
                _check_number(number, "current_keys", len(known) - 1)
        return [None if number is None else known[number] for number in numbers]
    found: list[int | str | None] = []
    for end in (one["client"], one["server"]):
        ids = end["current_key"]
        if ids is None:
            found.append(None)
            continue
        wanted = (ids["send_id"], ids["recv_id"])
        same = [
            index
            for index, key in enumerate(keys)
            if (key.send_id, key.recv_id) == wanted and key.send_id is not None
        ]
        many = "more than one key" if same else "no key"
        found.append(
            same[0]
            if len(same) == 1
            else f"{many} here has the IDs {wanted[0]}/{wanted[1]} of its current key"
        )
    return found


def _incarnation(one: Mapping[str, Any], keys: list[int | None]) -> dict[str, Any]:
    """An incarnation of a state in the form of `Shard.connection_rows`, client first."""
    ends = [one["client"], one["server"]]
    known = [end["isn"] is not None for end in ends]
    if one["proof"] not in _PROOFS or not any(known) or (one["proof"] == "both") > all(known):
        raise StateError(f"proof is {one['proof']!r}, and ISNs are {[e['isn'] for e in ends]}")
    if not isinstance(one["live"], bool):
        raise StateError(f"live is {one['live']!r}; it must be true or false")
    initiator = one.get("initiator")
    if initiator not in (None, "client", "server"):
        raise StateError(f"initiator is {initiator!r}; it must be client, server or null")
    for end in ends:
        for name, most in (("sne", 0x7FFFFFFF), ("seq", 0xFFFFFFFF), ("rnext_key_id", 0xFF)):
            _check_number(end[name], name, most)
        _check_number(end.get("key_id", 0), "key_id", 0xFF)
        if end["isn"] is not None:
            _check_number(end["isn"], "isn", 0xFFFFFFFF)
    return {
        "known": known[0] | known[1] << 1,
        "proof": _PROOFS.index(one["proof"]),
        "isn": [end["isn"] or 0 for end in ends],
        "position": [end["sne"] << 32 | end["seq"] for end in ends],
        "key_in_use": keys,
        "rnext_key_id": [end["rnext_key_id"] for end in ends],
        "key_id": [end.get("key_id", 0) for end in ends],
        "initiator": None if initiator is None else int(initiator == "server"),
        "ours": one.get("ours") is True,
    }
