"""Trace events of what an engine verified."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.pipeline import ASKED_FOR_KEY, STEPPED_SNE
from tcpao_fast.core.wire.parse import parse_records
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine.events import Event, Tracer, flag_letters
from tcpao_fast.engine.results import VerifyResult
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.keys import MasterKey

_EVENT_OF = {
    Verdict.malformed: "tcp_hash_bad_header",
    Verdict.ao_required: "tcp_hash_ao_required",
    Verdict.key_not_found: "tcp_ao_key_not_found",
    Verdict.bad_mac: "tcp_ao_mismatch",
    Verdict.md5_bad: "tcp_hash_md5_mismatch",
    Verdict.md5_required: "tcp_hash_md5_required",
    Verdict.md5_unchecked: "tcp_hash_md5_unexpected",
}


def emit_events(
    trace: Tracer,
    keys: Sequence[MasterKey],
    result: VerifyResult,
    effects: npt.NDArray[np.uint8],
    records: Records,
) -> None:
    """Send the events of one call of `Engine.verify`, in the order of its records."""
    rows = np.flatnonzero(np.isin(result.verdict, list(_EVENT_OF)) | (effects != 0))
    if not len(rows):
        return
    for row, segment in zip(rows.tolist(), parse_records(records.subset(rows)), strict=True):
        verdict = Verdict(result.verdict[row])
        key = keys[result.key[row]] if result.key[row] >= 0 else None
        names: list[tuple[str, int | None]] = []
        mac_length = int(segment["auth_length"]) - 4 if segment["auth"] == 1 else None
        if verdict is Verdict.bad_mac and key is not None and mac_length != key.mac_length:
            names.append(("tcp_ao_wrong_maclen", None))
        elif verdict in _EVENT_OF:
            names.append((_EVENT_OF[verdict], None))
        if effects[row] & ASKED_FOR_KEY:
            names.append(("tcp_ao_rnext_request", None))
        if effects[row] & STEPPED_SNE:
            end = int(segment["seq"]) + int(segment["length"]) - int(segment["header_length"])
            end += bool(segment["flags"] & 1)
            names.append(("tcp_ao_rcv_sne_update", int(result.sne[row]) + (end >> 32)))
        size = 16 if segment["version"] == 6 else 4
        for name, sne in names:
            if not trace.wants(name) or not segment["version"]:
                continue
            trace.emit(
                Event(
                    name,
                    ip_address(segment["source"][:size].tobytes()),
                    int(segment["source_port"]),
                    ip_address(segment["destination"][:size].tobytes()),
                    int(segment["destination_port"]),
                    vrf=int(segment["vlan"]),
                    flags=flag_letters(int(segment["flags"])),
                    key_id=None if mac_length is None else int(segment["key_id"]),
                    rnext_key_id=None if mac_length is None else int(segment["rnext_key_id"]),
                    mac_length=mac_length,
                    sne=sne,
                )
            )
