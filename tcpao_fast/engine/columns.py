"""Results as columns of numpy, one row a record or a segment, handed out as Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.arrow_table import ArrowTable
from tcpao_fast.engine.events import flag_letters
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.text import address_text

if TYPE_CHECKING:
    from tcpao_fast.engine.results import VerifyResult

_SEGMENT, _CUT, _MALFORMED = 1, 2, 3  # kinds of core.parse
_VERDICTS = [verdict.name for verdict in Verdict]
_FLAGS = [flag_letters(flags) for flags in range(256)]
#: Columns that are nanoseconds since 1970.
TIMES = ("time",)

Column = tuple[npt.NDArray[Any], "npt.NDArray[np.bool_] | None", "Sequence[str] | None"]


def columns_of(
    result: VerifyResult,
    labels: Sequence[str] | None = None,
    at: npt.NDArray[np.intp] | None = None,
) -> dict[str, Column]:
    """The columns of `tcpao_fast.capture.rows.COLUMNS`: values, where there is one, and the texts
    that they are numbers of.

    Parameters
    ----------
    result : VerifyResult
    labels : sequence of str, optional
        What keys are called; without it ``key`` is their number.
    at : int[m], optional
        Which records; all.
    """
    records = result.records
    every = np.arange(len(result.verdict)) if at is None else at
    rows = result.segments[every]
    has_ports = (rows["source_port"] != 0) | (rows["destination_port"] != 0)
    whole = (rows["kind"] == _SEGMENT) | (rows["kind"] == _MALFORMED)
    segment = rows["kind"] == _SEGMENT
    signed = segment & (rows["auth"] == 1)
    key = result.key[every]
    is_ip = rows["version"] != 0
    connection = result.connection[every]
    times = records.timestamps[every]
    source, sources = _addresses(rows, "source")
    destination, destinations = _addresses(rows, "destination")
    payload = np.maximum(rows["length"].astype(np.int64) - rows["header_length"], 0)
    return {
        "time": (times, times >= 0, None),
        "file": (np.zeros(len(every), np.int32), None, [records.source]),
        "number": (records.numbers[every], None, None),
        "source": (source, is_ip, sources),
        "source_port": (rows["source_port"], has_ports, None),
        "destination": (destination, is_ip, destinations),
        "destination_port": (rows["destination_port"], has_ports, None),
        "vlan": (rows["vlan"], None, None),
        "flags": (rows["flags"].astype(np.int32) & 255, whole, _FLAGS),
        "seq": (rows["seq"], whole, None),
        "ack": (rows["ack"], whole, None),
        "length": (payload.astype(np.uint32), segment, None),
        "sne": (result.sne[every], signed & (key >= 0), None),
        "key_id": (rows["key_id"], signed, None),
        "rnext_key_id": (rows["rnext_key_id"], signed, None),
        "mac_length": (np.maximum(rows["auth_length"], 4) - np.uint8(4), signed, None),
        "verdict": (result.verdict[every].astype(np.int32), None, _VERDICTS),
        "key": (np.maximum(key, 0) if labels is not None else key, key >= 0, labels),
        "connection": (connection, connection >= 0, None),
    }


def table_of(result: VerifyResult, labels: Sequence[str] | None = None) -> ArrowTable:
    """All columns, a row a record, for whoever reads Arrow."""
    return ArrowTable(columns_of(result, labels), TIMES)


def _addresses(rows: npt.NDArray[np.void], side: str) -> tuple[npt.NDArray[np.int32], list[str]]:
    """The addresses of one side as numbers of texts."""
    if not len(rows):
        return np.zeros(0, np.int32), [""]
    size = np.where(rows["version"] == 6, 16, np.where(rows["version"] == 4, 4, 0))
    raw = np.zeros((len(rows), 17), np.uint8)
    raw[:, 0] = size
    raw[:, 1:] = np.where(np.arange(16) < size[:, None], rows[side], 0)
    known, numbers = np.unique(raw.view("V17").reshape(-1), return_inverse=True)
    texts = []
    for one in known.tolist():
        address = bytes(one)
        texts.append(address_text(address[1 : 1 + address[0]]) if address[0] else "")
    return numbers.reshape(-1).astype(np.int32), texts
