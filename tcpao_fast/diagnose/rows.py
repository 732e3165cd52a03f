"""The segments of verified records, as diagnosis looks at them: columns, and single packets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.engine import VerifyResult
from tcpao_fast.text import address_text

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Rows:
    """The segments of some records that are looked at: of each column an entry a segment.

    Attributes
    ----------
    result : VerifyResult
    at : int64[n]
        Which record each is.
    segments : n rows of `tcpao_fast.core.wire.parse.DTYPE`
    connection, direction : int64[n]
    verdict : uint8[n]
    numbers : int64[n]
        Of its packet, counted through all captures from 1.
    """

    result: VerifyResult
    at: npt.NDArray[np.int64]
    segments: npt.NDArray[np.void]
    connection: npt.NDArray[np.int64]
    direction: npt.NDArray[np.int64]
    verdict: npt.NDArray[np.uint8]
    numbers: npt.NDArray[np.int64]

    @classmethod
    def of(cls, result: VerifyResult, at: npt.NDArray[np.int64]) -> Rows:
        """Those of these records."""
        segments = result.segments[at]
        return cls(
            result,
            at,
            segments,
            result.connection[at],
            directions(segments),
            result.verdict[at],
            result.records.preceding + result.records.numbers[at],
        )

    def payload(self) -> npt.NDArray[np.int64]:
        """Bytes of each payload."""
        length: npt.NDArray[np.int64] = self.segments["length"].astype(np.int64)
        length -= self.segments["header_length"]
        return length

    def repeats(self, connection: int, direction: int, seq: int, number: int) -> int:
        """How many segments with this SEQ come behind packet `number`."""
        again = (self.connection == connection) & (self.direction == direction)
        again &= (self.segments["seq"] == seq) & (self.numbers > number)
        return int(again.sum())

    def header(self, i: int) -> bytes:
        """The TCP header of the i-th."""
        row = self.segments[i]
        start = int(row["tcp_offset"])
        return self._data(i)[start : start + int(row["header_length"])]

    def packet(self, i: int) -> bytes:
        """The packet of the i-th, from its innermost IP header on."""
        return self._data(i)[int(self.segments[i]["ip_offset"]) :]

    def _data(self, i: int) -> bytes:
        return self.result.records.data(int(self.at[i]))


def directions(rows: npt.NDArray[np.void]) -> npt.NDArray[np.int64]:
    """0 where the sender is the smaller end, else 1."""
    source = np.ascontiguousarray(rows["source"]).view(">u8").reshape(-1, 2)
    destination = np.ascontiguousarray(rows["destination"]).view(">u8").reshape(-1, 2)
    larger = np.zeros(len(rows), bool)
    same = np.ones(len(rows), bool)
    for mine, other in (
        (source[:, 0], destination[:, 0]),
        (source[:, 1], destination[:, 1]),
        (rows["source_port"], rows["destination_port"]),
    ):
        larger |= same & (mine > other)
        same &= mine == other
    return larger.astype(np.int64)


def ends_of(row: Any) -> tuple[Endpoint, Endpoint]:
    """Address and port of both ends of a segment, the smaller first, as `directions` counts."""
    low, high = sorted((_packed_end(row, "source"), _packed_end(row, "destination")))
    return (address_text(low[0]), low[1]), (address_text(high[0]), high[1])


def _packed_end(row: Any, side: str) -> tuple[bytes, int]:
    return packed_address(row, side), int(row[f"{side}_port"])


def packed_address(row: Any, side: str) -> bytes:
    """The address of ``source`` or ``destination``: 4 or 16 bytes, network order."""
    size = 16 if row["version"] == 6 else 4
    packed: bytes = row[side][:size].tobytes()
    return packed
