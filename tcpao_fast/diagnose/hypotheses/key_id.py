"""The right secret under another KeyID, for other addresses, or in another VRF."""

from __future__ import annotations

from tcpao_fast.diagnose.advice import dialect_of
from tcpao_fast.diagnose.cases import Case, macs_of, matches
from tcpao_fast.engine.candidates import is_from_local
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.addresses import side_text

Said = tuple[str, str, str]


def key_id(case: Case, key: MasterKey) -> Said | None:
    """What is to be said where `key` is the one that fits: reason, what, advice.

    None where the key is the one that the connection, and the segment's KeyID, mean.
    """
    if not matches(key, case.sample.segment):
        return _elsewhere(case, key)
    vrf = case.connection.vrf
    if key.vrf not in (None, vrf):
        return (
            "wrong_key_id",
            f"their {macs_of(key)} are those of key {key.label}, which is for VRF {key.vrf}; the "
            f"connection is in {f'VLAN {vrf}' if vrf else 'no VLAN (VRF 0)'}",
            f"set vrf = {vrf} for key {key.label}, or remove vrf to match any",
        )
    if key.is_tcp_md5:
        return None
    carried = case.sample.segment.key_id
    expected, other = key.send_id, key.recv_id
    from_local = is_from_local(key, case.sample.segment)
    if not from_local:
        expected, other = other, expected
    if carried == expected:
        return None
    if carried == other:
        return (
            "swapped_ids",
            f"they carry KeyID {carried}, which key {key.label} uses in the other direction",
            f"{dialect_of(key).swap_ids(key.send_id or 0, key.recv_id or 0)} for {key.label}, or "
            "swap them on the peer: what one side sends is what the other receives",
        )
    field = "send_id" if from_local else "recv_id"
    return (
        "wrong_key_id",
        f"they carry KeyID {carried}, but their MACs are those of key {key.label}, whose KeyID in "
        f"this direction is {expected}",
        f"{dialect_of(key).set_id(field, carried)} for key {key.label}, or use KeyID {expected} "
        "for it on the peer",
    )


def _elsewhere(case: Case, key: MasterKey) -> Said:
    """The secret is that of a key for other addresses or ports."""
    what = f"their {macs_of(key)} are those of key {key.label}, which is for {_ends(key)}"
    if not key.is_tcp_md5:
        what += f" and has IDs {key.send_id}/{key.recv_id}"
        carried = case.sample.segment.key_id
        ids = {value for one in case.keys for value in (one.send_id, one.recv_id)}
        if carried not in ids:
            what += f"; no key has their KeyID {carried}"
    return (
        "wrong_key_id",
        what,
        "configure the secret of this connection on the side that signs, or, if the secret of key "
        f"{key.label} is meant, add a key for this connection (or correct local, remote and the "
        f"ports of key {key.label})",
    )


def _ends(key: MasterKey) -> str:
    """The addresses and ports that a key is for."""
    remote = side_text(key.remote, key.remote_port, "any address")
    if key.local is None and key.local_port is None:
        return remote
    return f"{side_text(key.local, key.local_port, 'any address')} and {remote}"
