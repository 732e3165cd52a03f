"""Results as columns of numpy, one row a record or a segment, handed out as Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.wire.arrow_table import ArrowTable
from tcpao_fast.core.wire.columns import segment_columns
from tcpao_fast.engine.events import flag_letters
from tcpao_fast.engine.verdicts import Verdict
from tcpao_fast.text import address_text

if TYPE_CHECKING:
    from tcpao_fast.engine.results import VerifyResult

_VERDICTS = tuple(verdict.name for verdict in Verdict)
_FLAGS = tuple(flag_letters(flags) for flags in range(256))
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
    every: Any = np.arange(len(result.verdict)) if at is None else at
    found, addresses = segment_columns(records, every)
    signed, is_ip, whole = found["signed"], found["is_ip"], found["whole"]
    texts = tuple(address_text(one) if one else "" for one in addresses) or ("",)
    if len(every) == len(result.verdict):  # nearly always: all of them, in their order
        every = slice(None)
    key = result.key[every]
    connection = result.connection[every]
    times = records.timestamps[every]
    labels = None if labels is None else tuple(labels)
    return {
        "time": (times, times >= 0, None),
        "file": (np.zeros(len(times), np.int32), None, (records.source,)),
        "number": (records.numbers[every], None, None),
        "source": (found["source"], is_ip, texts),
        "source_port": (found["source_port"], found["has_ports"], None),
        "destination": (found["destination"], is_ip, texts),
        "destination_port": (found["destination_port"], found["has_ports"], None),
        "vlan": (found["vlan"], None, None),
        "flags": (found["flags"], whole, _FLAGS),
        "seq": (found["seq"], whole, None),
        "ack": (found["ack"], whole, None),
        "length": (found["length"], found["segment"], None),
        "sne": (result.sne[every], signed & (key >= 0), None),
        "key_id": (found["key_id"], signed, None),
        "rnext_key_id": (found["rnext_key_id"], signed, None),
        "mac_length": (found["mac_length"], signed, None),
        "verdict": (result.verdict[every].astype(np.int32), None, _VERDICTS),
        "key": (np.maximum(key, 0) if labels is not None else key, key >= 0, labels),
        "connection": (connection, connection >= 0, None),
    }


def table_of(result: VerifyResult, labels: Sequence[str] | None = None) -> ArrowTable:
    """All columns, a row a record, for whoever reads Arrow."""
    return ArrowTable(columns_of(result, labels), TIMES)
