"""The right secret under another KeyID, for other addresses, or in another VRF."""

from __future__ import annotations

from tcpao_fast.diagnose.cases import Case, matches
from tcpao_fast.engine.candidates import is_from_local
from tcpao_fast.keys import MasterKey

Said = tuple[str, str, str]


def key_id(case: Case, key: MasterKey) -> Said | None:
    """What is to be said where `key` is the one that fits: reason, what, advice.

    None where the segment carries the KeyID that the key file says.
    """
    if key.is_tcp_md5:
        return None
    carried = case.sample.segment.key_id
    expected, other = key.send_id, key.recv_id
    if not is_from_local(key, case.sample.segment):
        expected, other = other, expected
    if not matches(key, case.sample):
        if carried not in (key.send_id, key.recv_id):
            return None if key is case.key else _named(case, key, carried, expected)
        return (
            "wrong_key_id",
            f"their MACs are those of key {key.label}, whose addresses or ports do not match this "
            "connection",
            f"correct local, remote and the ports of key {key.label}, or add a key for this "
            "connection",
        )
    if carried == expected:
        vrf = case.connection.vrf
        if key.vrf in (None, vrf):
            return None
        return (
            "wrong_key_id",
            f"their MACs are those of key {key.label}, which is for VRF {key.vrf}; the "
            f"connection is in {f'VLAN {vrf}' if vrf else 'no VLAN (VRF 0)'}",
            f"set vrf = {vrf} for key {key.label}, or remove vrf to match any",
        )
    if carried == other:
        return (
            "swapped_ids",
            f"they carry KeyID {carried}, which key {key.label} uses in the other direction",
            f"swap send_id and recv_id of key {key.label} on one side: the send_id of one side "
            "is the recv_id of the other",
        )
    return _named(case, key, carried, expected)


def _named(case: Case, key: MasterKey, carried: int, expected: int | None) -> Said:
    field = "send_id" if is_from_local(key, case.sample.segment) else "recv_id"
    return (
        "wrong_key_id",
        f"they carry KeyID {carried}, but their MACs are those of key {key.label}, whose KeyID in "
        f"this direction is {expected}",
        f"set {field} of key {key.label} to {carried} here, or to {expected} on the peer",
    )
