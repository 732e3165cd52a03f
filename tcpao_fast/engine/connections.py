"""What is known of a connection, for those who read it."""

from __future__ import annotations

from typing import Any

from tcpao_fast.engine.state import ConnectionState


def describe_connection(number: int, state: ConnectionState) -> dict[str, Any]:
    """One entry of `Engine.connections`."""
    entry: dict[str, Any] = {
        "id": number,
        "vrf": state.vrf,
        "has_handshake": state.has_handshake,
        "client": state.client,
        "server": state.server,
    }
    live = state.live
    sides = {} if live is None else {"client": live.client, "server": live.server}
    for name, value in (
        ("isn", {name: side.isn for name, side in sides.items()}),
        ("position", {name: side.sne << 32 | side.seq for name, side in sides.items()}),
        ("current_key", {name: side.key for name, side in sides.items()}),
        ("rnext_key_id", {name: side.rnext_key_id for name, side in sides.items()}),
        ("sne", {name: side.sne for name, side in sides.items()}),
    ):
        entry[name] = value or None
    return entry
