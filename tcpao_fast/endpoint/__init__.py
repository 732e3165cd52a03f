"""Linux's TCP-AO sockets without the sockets: what `setsockopt` and the TCP input path do with keys
and segments (``tcp_ao.rst``), for packets that the caller receives and sends.
"""

from tcpao_fast.endpoint.connection import Connection
from tcpao_fast.endpoint.keyring import KeyInfo
from tcpao_fast.endpoint.listener import Listener
from tcpao_fast.endpoint.uapi import AoInfo, DropReason, Outcome, State
from tcpao_fast.engine.state import RepairState

__all__ = [
    "AoInfo",
    "Connection",
    "DropReason",
    "KeyInfo",
    "Listener",
    "Outcome",
    "RepairState",
    "State",
]
