"""The way out: records -> the bytes of a pcap file."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

import numpy as np

from tcpao_fast.core.buffers cimport Records

from tcpao_fast.core.buffers import as_column


cdef void put(uint8_t *to, uint32_t value, bint big_endian) noexcept nogil:
    cdef int i
    for i in range(4):
        to[3 - i if big_endian else i] = <uint8_t>(value >> 8 * i)


def pcap_header(uint32_t linktype_field, uint32_t snap_length, bint nanoseconds, bint big_endian):
    """The 24 bytes that a pcap file begins with."""
    cdef uint8_t header[24]
    put(header, 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, big_endian)
    put(header + 4, 2 << 16 | 4 if big_endian else 4 << 16 | 2, big_endian)
    put(header + 8, 0, big_endian)
    put(header + 12, 0, big_endian)
    put(header + 16, snap_length, big_endian)
    put(header + 20, linktype_field, big_endian)
    return header[:24]


def pcap_records(buffer, offsets, lengths, wire_lengths, timestamps, bint nanoseconds,
                 bint big_endian):
    """Records as they stand in a pcap file, one behind the other.

    Parameters
    ----------
    buffer : buffer protocol
    offsets, lengths, wire_lengths : int64[n]
    timestamps : int64[n]
        Nanoseconds since 1970; negative ones become 0.
    nanoseconds, big_endian : bool
        As in the file's header.

    Returns
    -------
    uint8[m]
    """
    cdef Records records = Records(buffer, offsets, lengths, 1, timestamps, wire_lengths)
    cdef Py_ssize_t i, at = 0
    cdef int64_t total = 0, stamp
    as_column("timestamps", timestamps, np.int64, records.count)
    for i in range(records.count):
        total += 16 + records.length(i)
    out = np.empty(total, np.uint8)
    cdef uint8_t[::1] bytes_out = out
    cdef uint8_t *to = &bytes_out[0] if total else NULL
    with nogil:
        for i in range(records.count):
            stamp = max(records.timestamp(i), <int64_t>0)
            put(to + at, <uint32_t>(stamp // 1000000000), big_endian)
            stamp %= 1000000000
            put(to + at + 4, <uint32_t>(stamp if nanoseconds else stamp // 1000), big_endian)
            put(to + at + 8, <uint32_t>records.length(i), big_endian)
            put(to + at + 12, <uint32_t>records.wire_length(i), big_endian)
            memcpy(to + at + 16, records.start(i), records.length(i))
            at += 16 + records.length(i)
    return out
