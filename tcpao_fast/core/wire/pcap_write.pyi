from typing import Any

import numpy as np
import numpy.typing as npt

def pcap_header(
    linktype_field: int, snap_length: int, nanoseconds: bool, big_endian: bool
) -> bytes: ...
def pcap_records(
    buffer: Any,
    offsets: npt.ArrayLike,
    lengths: npt.ArrayLike,
    wire_lengths: npt.ArrayLike,
    timestamps: npt.ArrayLike,
    nanoseconds: bool,
    big_endian: bool,
) -> npt.NDArray[np.uint8]: ...
def pcapng_section() -> bytes: ...
def pcapng_interface(linktype: int, snap_length: int) -> bytes: ...
def pcapng_packets(
    buffer: Any,
    offsets: npt.ArrayLike,
    lengths: npt.ArrayLike,
    wire_lengths: npt.ArrayLike,
    timestamps: npt.ArrayLike,
    interfaces: npt.ArrayLike,
    comment_of: npt.ArrayLike,
    comments: list[bytes],
) -> npt.NDArray[np.uint8]: ...
