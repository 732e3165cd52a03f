"""TCP-AO and TCP-MD5 keys of real sockets, where the kernel is Linux: see docs/linux.md."""

from tcpao_fast.endpoint.follow import Follower, follow
from tcpao_fast.endpoint.sockets import (
    add_key,
    delete_key,
    get_keys,
    has_tcp_ao,
    info,
    repair,
    repair_state,
    set_info,
)

__all__ = [
    "Follower",
    "add_key",
    "delete_key",
    "follow",
    "get_keys",
    "has_tcp_ao",
    "info",
    "repair",
    "repair_state",
    "set_info",
]
