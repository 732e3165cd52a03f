"""What is known of a connection, for those who read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tcpao_fast.text import address_text


def sides(row: Mapping[str, Any]) -> tuple[int, int]:
    """Which of the two ends in a row of `Engine.connection_rows` is the client, which the server.

    The client sent the SYN; without one it is the side with the higher port.
    """
    client = row["initiator"]
    if client is None:
        client = 0 if row["port"][0] >= row["port"][1] else 1
    return client, 1 - client


def endpoint_of(row: Mapping[str, Any], side: int) -> tuple[str, int]:
    """Address and port of an end."""
    return address_text(row["address"][side]), row["port"][side]


def reached_sne(row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The SNE that client and server have reached; None where nothing was proved."""
    live = row["live"]
    if live is None:
        return None, None
    client, server = sides(row)
    position = live["position"]
    return (position[client] >> 32) & 0xFFFFFFFF, (position[server] >> 32) & 0xFFFFFFFF


def describe_connection(row: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of `Engine.connections` from one of `Engine.connection_rows`."""
    order = dict(zip(("client", "server"), sides(row), strict=True))
    entry: dict[str, Any] = {
        "id": row["id"],
        "vrf": row["vrf"],
        "has_handshake": row["initiator"] is not None,
    }
    for side, index in order.items():
        entry[side] = endpoint_of(row, index)
    live = row["live"]
    for name, source in (
        ("isn", "isn"),
        ("position", "position"),
        ("current_key", "key_in_use"),
        ("rnext_key_id", "rnext_key_id"),
    ):
        entry[name] = live and {side: live[source][index] for side, index in order.items()}
    entry["sne"] = live and dict(zip(order, reached_sne(row), strict=True))
    return entry
