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
            f"key {key.label} gives their MACs, and its addresses or ports are not this "
            "connection's",
            f"mend local, remote and the ports of key {key.label}, or give the connection a key "
            "of its own",
        )
    if carried == expected:
        vrf = case.connection.vrf
        if key.vrf in (None, vrf):
            return None
        return (
            "wrong_key_id",
            f"key {key.label} gives their MACs, and is for VRF {key.vrf}; the connection is in "
            f"{f'VLAN {vrf}' if vrf else 'no VLAN (VRF 0)'}",
            f"set vrf = {vrf} for key {key.label}, or leave it out for any",
        )
    if carried == other:
        return (
            "swapped_ids",
            f"they carry KeyID {carried}, which in key {key.label} is for the other direction",
            f"swap send_id and recv_id of key {key.label} on one side: what one side sends the "
            "other receives",
        )
    return _named(case, key, carried, expected)


def _named(case: Case, key: MasterKey, carried: int, expected: int | None) -> Said:
    return (
        "wrong_key_id",
        f"they carry KeyID {carried}, and their MACs are those of key {key.label}, which has "
        f"{expected} in this direction",
        f"let key {key.label} have KeyID {carried} in this direction here, or {expected} there",
    )
