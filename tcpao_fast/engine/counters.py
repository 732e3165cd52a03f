"""What is counted, under Linux's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

#: The counters of ``/proc/net/netstat`` that TCP-AO and TCP-MD5 move.
SNMP_NAMES = (
    "TCPMD5NotFound",
    "TCPMD5Unexpected",
    "TCPMD5Failure",
    "TCPAORequired",
    "TCPAOBad",
    "TCPAOKeyNotFound",
    "TCPAOGood",
    "TCPAODroppedIcmps",
)

#: The verdicts that move one of them in an engine.
_OF_VERDICT = {
    "good": "TCPAOGood",
    "bad_mac": "TCPAOBad",
    "key_not_found": "TCPAOKeyNotFound",
    "ao_required": "TCPAORequired",
    "md5_bad": "TCPMD5Failure",
    "md5_required": "TCPMD5NotFound",
    "md5_unchecked": "TCPMD5Unexpected",
}


def snmp_counters() -> dict[str, int]:
    """All of Linux's counters at 0: one such dict may serve many endpoints, as a namespace does.

    Returns
    -------
    dict of str to int
    """
    return dict.fromkeys(SNMP_NAMES, 0)


def snmp_of(verdicts: Mapping[str, int]) -> dict[str, int]:
    """Linux's counters from how many segments got each verdict."""
    counters = snmp_counters()
    for verdict, name in _OF_VERDICT.items():
        counters[name] += verdicts.get(verdict, 0)
    return counters


@dataclass(slots=True)
class Counters:
    """The five counters of an endpoint (``tcp_ao_info_opt``): ``pkt_good`` and so on.

    Attributes
    ----------
    good, bad, key_not_found, ao_required, dropped_icmp : int
    """

    good: int = 0
    bad: int = 0
    key_not_found: int = 0
    ao_required: int = 0
    dropped_icmp: int = 0


@dataclass(frozen=True, slots=True)
class KeyCounters:
    """What was verified with one key (``pkt_good`` and ``pkt_bad`` of ``tcp_ao_getsockopt``).

    Attributes
    ----------
    good, bad : int
    """

    good: int
    bad: int
