"""The state of connections, typed, and its one codec to and from JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.connections import INCARNATIONS
from tcpao_fast.core.flow.snapshot import CONNECTION, INCARNATION
from tcpao_fast.errors import StateError
from tcpao_fast.keys import MasterKey
from tcpao_fast.text import address_text, endpoint_text

STATE_VERSION = 1
#: What a MAC proved of an incarnation, by the numbers of core/flow/connections.
PROOFS = ("none", "syn", "both")
_SIDES = ("client", "server")

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class RepairState:
    """What ``TCP_AO_REPAIR`` carries of a connection, and the two positions that Linux keeps beside
    it (``TCP_QUEUE_SEQ``).

    Attributes
    ----------
    snt_isn, rcv_isn : int
        The own ISN and the peer's.
    snd_sne, rcv_sne : int
        The SNEs of `snd_una` and `rcv_nxt`.
    snd_una, rcv_nxt : int or None
        The oldest SEQ that the peer has not acknowledged and the next that is expected; None leaves
        what the connection has, or the ISNs.
    """

    snt_isn: int
    rcv_isn: int
    snd_sne: int = 0
    rcv_sne: int = 0
    snd_una: int | None = None
    rcv_nxt: int | None = None


@dataclass(frozen=True, slots=True)
class SideState:
    """What one side of an incarnation sent.

    Attributes
    ----------
    isn : int or None
    sne, seq : int
        Behind its last good segment.
    key : int or None
        Index of the key it signs with.
    rnext_key_id, key_id : int
        Of its last good segment.
    """

    isn: int | None
    sne: int = 0
    seq: int = 0
    key: int | None = None
    rnext_key_id: int = 0
    key_id: int = 0


@dataclass(frozen=True, slots=True)
class IncarnationState:
    """One pair of ISNs of a connection.

    Attributes
    ----------
    client, server : SideState
    live : bool
        Whether segments are verified under it first.
    proof : str
        What a MAC proved: ``none``, ``syn`` (of the SYN: one ISN) or ``both``.
    initiator : str or None
        Who sent its SYN: ``client`` or ``server``.
    ours : bool
        Whether its handshake passed through `Engine.sign`.
    """

    client: SideState
    server: SideState
    live: bool = True
    proof: str = "both"
    initiator: str | None = None
    ours: bool = False


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """What is known of one connection.

    Attributes
    ----------
    client, server : (str, int)
        Address and port; the client sent the SYN (without one: the side with the higher port).
    vrf : int
    has_handshake : bool
        Whether a SYN or SYN-ACK was seen.
    incarnations : tuple of IncarnationState
        The oldest first.
    """

    client: Endpoint
    server: Endpoint
    vrf: int = 0
    has_handshake: bool = False
    incarnations: tuple[IncarnationState, ...] = ()

    @property
    def live(self) -> IncarnationState | None:
        """The incarnation that a MAC proved last."""
        return next((one for one in self.incarnations if one.live), None)

    @classmethod
    def joined(
        cls, local: Endpoint, remote: Endpoint, state: RepairState, vrf: int = 0
    ) -> ConnectionState:
        """A connection of which nothing but ISNs and SNEs is known, as somebody states them.

        Raises
        ------
        StateError
            The endpoints are of two IP versions.
        """
        if ip_address(local[0]).version != ip_address(remote[0]).version:
            raise StateError(f"{local[0]} and {remote[0]} are of two IP versions")
        return cls(
            local,
            remote,
            vrf,
            incarnations=(
                IncarnationState(
                    SideState(state.snt_isn, state.snd_sne, state.snd_una or 0),
                    SideState(state.rcv_isn, state.rcv_sne, state.rcv_nxt or 0),
                ),
            ),
        )


# -- rows of the core ---------------------------------------------------------------------------


def states_of(rows: npt.NDArray[np.void]) -> Iterator[tuple[int, ConnectionState]]:
    """The connections of a snapshot, each with its number."""
    fields = ("id", "vrf", "port", "version", "initiator", "live", "count", "address")
    names = INCARNATION.names or ()
    columns = [rows["incarnations"][name].tolist() for name in names]
    table = zip(*(rows[name].tolist() for name in fields), strict=True)
    for place, row in enumerate(table):
        number, vrf, ports, version, initiator, live, count, addresses = row
        size = 16 if version == 6 else 4
        ends = [(address_text(bytes(addresses[d][:size])), ports[d]) for d in (0, 1)]
        client = initiator if initiator >= 0 else int(ports[0] < ports[1])
        incarnations = []
        for index in range(count):
            values = (column[place][index] for column in columns)
            one = dict(zip(names, values, strict=True))
            incarnations.append(_incarnation_of(one, client, live=index == live))
        yield (
            number,
            ConnectionState(
                ends[client], ends[1 - client], vrf, initiator >= 0, tuple(incarnations)
            ),
        )


def _incarnation_of(row: Mapping[str, Any], client: int, *, live: bool) -> IncarnationState:
    own, other = (
        SideState(
            row["isn"][d] if row["known"] >> d & 1 else None,
            row["position"][d] >> 32,
            row["position"][d] & 0xFFFFFFFF,
            row["key"][d] if row["key"][d] >= 0 else None,
            row["rnext_key_id"][d],
            row["key_id"][d],
        )
        for d in (client, 1 - client)
    )
    sender = None if row["initiator"] < 0 else _SIDES[row["initiator"] != client]
    return IncarnationState(own, other, live, PROOFS[row["proof"]], sender, bool(row["ours"]))


def rows_of(states: Sequence[ConnectionState]) -> npt.NDArray[np.void]:
    """Connections as rows that the core takes over; the client is the lower endpoint in each."""
    rows = np.zeros(len(states), CONNECTION)
    for row, state in zip(rows, states, strict=True):
        row["vrf"] = state.vrf
        row["initiator"] = 0 if state.has_handshake else -1
        row["live"] = -1
        row["count"] = len(state.incarnations)
        for d, (address, port) in enumerate((state.client, state.server)):
            packed = ip_address(address).packed
            row["version"] = 6 if len(packed) == 16 else 4
            row["address"][d][: len(packed)] = list(packed)
            row["port"][d] = port
        for index, one in enumerate(state.incarnations):
            if one.live:
                row["live"] = index
            ends = one.client, one.server
            row["incarnations"][index] = (
                [end.sne << 32 | end.seq for end in ends],
                [end.isn or 0 for end in ends],
                [-1 if end.key is None else end.key for end in ends],
                sum((end.isn is not None) << d for d, end in enumerate(ends)),
                PROOFS.index(one.proof),
                -1 if one.initiator is None else _SIDES.index(one.initiator),
                one.ours,
                [end.rnext_key_id for end in ends],
                [end.key_id for end in ends],
            )
    return rows


# -- out ----------------------------------------------------------------------------------------


def to_json(
    state: ConnectionState, keys: Sequence[MasterKey], *, candidates: bool
) -> dict[str, Any]:
    """One of the ``connections`` of a state; with `candidates` with all its incarnations."""
    live = state.live
    record: dict[str, Any] = {
        "vrf": state.vrf,
        "has_handshake": state.has_handshake,
        "client": {"address": state.client[0], "port": state.client[1]},
        "server": {"address": state.server[0], "port": state.server[1]},
    }
    if live is not None:
        record["client"] |= _side_to_json(live.client, keys)
        record["server"] |= _side_to_json(live.server, keys)
        record["current_keys"] = [live.client.key, live.server.key]
    if candidates:
        record["incarnations"] = [
            {
                "live": one.live,
                "proof": one.proof,
                "initiator": one.initiator,
                "ours": one.ours,
                "current_keys": [one.client.key, one.server.key],
                "client": {**_side_to_json(one.client, keys), "key_id": one.client.key_id},
                "server": {**_side_to_json(one.server, keys), "key_id": one.server.key_id},
            }
            for one in state.incarnations
        ]
    return record


def _side_to_json(side: SideState, keys: Sequence[MasterKey]) -> dict[str, Any]:
    key = None if side.key is None else keys[side.key]
    return {
        "isn": side.isn,
        "sne": side.sne,
        "seq": side.seq,
        "current_key": key and {"send_id": key.send_id, "recv_id": key.recv_id},
        "rnext_key_id": side.rnext_key_id,
    }


# -- in -----------------------------------------------------------------------------------------


class Reader:
    """Takes the JSON of a state apart, for an engine with these keys.

    Attributes
    ----------
    unmatched : dict of str to None
        For each current key that is not just one of `keys` what is wrong, in their order.
    """

    def __init__(self, keys: Sequence[MasterKey]) -> None:
        self.keys = keys
        self.unmatched: dict[str, None] = {}
        #: For each key of the state its index, or what is wrong with it; None: it has none.
        self._known: list[int | str] | None = None

    def read(self, state: Mapping[str, Any]) -> list[ConnectionState]:
        """The connections of a state.

        Raises
        ------
        StateError
            The state is not of that form.
        """
        try:
            if state["version"] != STATE_VERSION or isinstance(state["version"], (bool, float)):
                raise StateError(
                    f"state has version {state['version']!r}; this engine reads {STATE_VERSION}"
                )
            if not isinstance(state["connections"], list):
                raise StateError("the state's connections are not a list")
            if state.get("keys") is not None:
                self._read_keys(state["keys"])
            return [self._connection(record) for record in state["connections"]]
        except (
            KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError,
        ) as error:  # fmt: skip
            if isinstance(error, StateError):
                raise
            raise StateError(
                f"state is not what Engine.export_state gives: {type(error).__name__}: {error}"
            ) from None

    def _read_keys(self, identities: object) -> None:
        if not isinstance(identities, list):
            raise StateError("the state's keys are not a list")
        own = [key.identity() for key in self.keys]
        self._known = []
        for identity in identities:
            if not isinstance(identity, Mapping) or not {"send_id", "recv_id"} <= set(identity):
                raise StateError(f"a key of the state is {identity!r}; it must be an identity")
            same = [index for index, one in enumerate(own) if one == identity]
            name = identity.get("name") or f"{identity['send_id']}/{identity['recv_id']}"
            if len(same) == 1:
                self._known.append(same[0])
            else:
                many = "more than one" if same else "none"
                self._known.append(f"its current key {name!s} is {many} of the keys here")

    def _connection(self, record: Mapping[str, Any]) -> ConnectionState:
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
            current = record.get("current_keys")
            listed = [{"live": True, "proof": "both", "current_keys": current, **record}]
        if not isinstance(listed, list) or len(listed) > INCARNATIONS:
            raise StateError(f"incarnations must be a list of {INCARNATIONS} at most")
        where = " - ".join(endpoint_text(end["address"], end["port"]) for end in ends)
        incarnations = tuple(self._incarnation(one, where) for one in listed)
        live = [one for one in incarnations if one.live]
        if len(live) > 1 or any(one.proof != "both" for one in live):
            raise StateError("more than one incarnation is live, or one that is not proved")
        client, server = ((str(a), end["port"]) for a, end in zip(addresses, ends, strict=True))
        return ConnectionState(
            client, server, record["vrf"], bool(record["has_handshake"]), incarnations
        )

    def _incarnation(self, one: Mapping[str, Any], where: str) -> IncarnationState:
        keys: list[int | None] = []
        for key in self._current_keys(one):
            if isinstance(key, str):
                self.unmatched[f"{where}: {key}"] = None
            keys.append(key if isinstance(key, int) else None)
        client, server = (
            _side_from_json(one[side], key) for side, key in zip(_SIDES, keys, strict=True)
        )
        known = [side.isn is not None for side in (client, server)]
        if one["proof"] not in PROOFS or not any(known) or (one["proof"] == "both") > all(known):
            raise StateError(f"proof is {one['proof']!r}, and ISNs are {[client.isn, server.isn]}")
        if not isinstance(one["live"], bool):
            raise StateError(f"live is {one['live']!r}; it must be true or false")
        initiator = one.get("initiator")
        if initiator not in (None, *_SIDES):
            raise StateError(f"initiator is {initiator!r}; it must be client, server or null")
        ours = one.get("ours") is True
        return IncarnationState(client, server, one["live"], one["proof"], initiator, ours)

    def _current_keys(self, one: Mapping[str, Any]) -> list[int | str | None]:
        """The current key of client and server: an index, what is wrong with it, or None."""
        numbers = one.get("current_keys")
        known = self._known
        if known is not None and numbers is not None:
            if not isinstance(numbers, list) or len(numbers) != 2:
                raise StateError(f"current_keys is {numbers!r}; it must be two numbers")
            for number in numbers:
                if number is not None:
                    _check_number(number, "current_keys", len(known) - 1)
            return [None if number is None else known[number] for number in numbers]
        return [self._key_with_ids(one[side]["current_key"]) for side in _SIDES]

    def _key_with_ids(self, ids: Mapping[str, Any] | None) -> int | str | None:
        if ids is None:
            return None
        wanted = (ids["send_id"], ids["recv_id"])
        same = [
            index
            for index, key in enumerate(self.keys)
            if (key.send_id, key.recv_id) == wanted and key.send_id is not None
        ]
        if len(same) == 1:
            return same[0]
        many = "more than one key" if same else "no key"
        return f"{many} here has the IDs {wanted[0]}/{wanted[1]} of its current key"


def _side_from_json(end: Mapping[str, Any], key: int | None) -> SideState:
    for name, most in (("sne", 0x7FFFFFFF), ("seq", 0xFFFFFFFF), ("rnext_key_id", 0xFF)):
        _check_number(end[name], name, most)
    _check_number(end.get("key_id", 0), "key_id", 0xFF)
    if end["isn"] is not None:
        _check_number(end["isn"], "isn", 0xFFFFFFFF)
    return SideState(
        end["isn"], end["sne"], end["seq"], key, end["rnext_key_id"], end.get("key_id", 0)
    )


def _check_number(value: object, name: str, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise StateError(f"{name} is {value!r}; it must be 0 to {most}")
