"""The way out: records -> the bytes of a pcap or pcapng file."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.wire.byte_order cimport put_word
from tcpao_fast.core.wire.records cimport Records

from tcpao_fast.core.wire.records import as_column
from tcpao_fast.errors import InvalidArgumentError


def pcap_header(uint32_t linktype_field, uint32_t snap_length, bint nanoseconds, bint big_endian):
    """The 24 bytes that a pcap file begins with."""
    cdef uint8_t header[24]
    put_word(header, 0xA1B23C4D if nanoseconds else 0xA1B2C3D4, big_endian)
    put_word(header + 4, 2 << 16 | 4 if big_endian else 4 << 16 | 2, big_endian)
    put_word(header + 8, 0, big_endian)
    put_word(header + 12, 0, big_endian)
    put_word(header + 16, snap_length, big_endian)
    put_word(header + 20, linktype_field, big_endian)
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
            put_word(to + at, <uint32_t>(stamp // 1000000000), big_endian)
            stamp %= 1000000000
            put_word(to + at + 4, <uint32_t>(stamp if nanoseconds else stamp // 1000), big_endian)
            put_word(to + at + 8, <uint32_t>records.length(i), big_endian)
            put_word(to + at + 12, <uint32_t>records.wire_length(i), big_endian)
            memcpy(to + at + 16, records.start(i), records.length(i))
            at += 16 + records.length(i)
    return out


cdef enum PcapngBlock:
    BLOCK_SECTION = 0x0A0D0D0A
    BLOCK_INTERFACE = 1
    BLOCK_PACKET = 6
    PACKET_FIXED = 32         # an Enhanced Packet Block around its data and options
    OPTION_COMMENT = 1
    OPTION_TIME_RESOLUTION = 9


def pcapng_section():
    """The Section Header Block that a pcapng file begins with, little endian."""
    cdef uint8_t block[28]
    memset(block, 0xFF, 28)               # the section's length is not stated
    put_word(block, BLOCK_SECTION, False)
    put_word(block + 4, 28, False)
    put_word(block + 8, 0x1A2B3C4D, False)
    put_word(block + 12, 1, False)             # version 1.0
    put_word(block + 24, 28, False)
    return block[:28]


def pcapng_interface(uint32_t linktype, uint32_t snap_length):
    """The Interface Description Block of an interface with timestamps in nanoseconds."""
    cdef uint8_t block[32]
    put_word(block, BLOCK_INTERFACE, False)
    put_word(block + 4, 32, False)
    put_word(block + 8, linktype & 0xFFFF, False)
    put_word(block + 12, snap_length, False)
    put_word(block + 16, 1 << 16 | OPTION_TIME_RESOLUTION, False)
    put_word(block + 20, 9, False)             # 10^-9 s, padded
    put_word(block + 24, 0, False)             # the end of options
    put_word(block + 28, 32, False)
    return block[:32]


cdef inline int64_t padded(int64_t length) noexcept nogil:
    return (length + 3) // 4 * 4


def pcapng_packets(buffer, offsets, lengths, wire_lengths, timestamps, interfaces, comment_of,
                   list comments not None):
    """Records as Enhanced Packet Blocks, one behind the other.

    Parameters
    ----------
    buffer : buffer protocol
    offsets, lengths, wire_lengths : int64[n]
    timestamps : int64[n]
        Nanoseconds since 1970; negative ones become 0.
    interfaces : int32[n]
        Which Interface Description Block of the section each belongs to.
    comment_of : int32[n]
        Index into `comments`, -1 without.
    comments : list of bytes
        UTF-8, up to 65535 bytes each.

    Returns
    -------
    uint8[m]
    """
    cdef Records records = Records(buffer, offsets, lengths, 1, timestamps, wire_lengths)
    cdef const int32_t[::1] interface = as_column("interfaces", interfaces, np.int32, records.count)
    cdef const int32_t[::1] comment = as_column("comment_of", comment_of, np.int32, records.count)
    cdef const int64_t[::1] starts, sizes
    cdef const uint8_t[::1] text
    cdef Py_ssize_t i
    cdef int64_t at = 0, total = 0, size
    cdef uint64_t stamp
    joined = b"".join(comments)
    sizes = np.array([len(one) for one in comments], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    text = joined
    for i in range(records.count):
        if comment[i] >= len(comments):
            raise InvalidArgumentError(f"comment_of[{i}] is {comment[i]}; there are {len(comments)}")
        total += PACKET_FIXED + padded(records.length(i))
        if comment[i] >= 0:
            total += 8 + padded(sizes[comment[i]])
    out = np.zeros(total, np.uint8)
    cdef uint8_t[::1] bytes_out = out
    cdef uint8_t *to = &bytes_out[0] if total else NULL
    with nogil:
        for i in range(records.count):
            size = PACKET_FIXED + padded(records.length(i))
            if comment[i] >= 0:
                size += 8 + padded(sizes[comment[i]])
            stamp = <uint64_t>max(records.timestamp(i), <int64_t>0)
            put_word(to + at, BLOCK_PACKET, False)
            put_word(to + at + 4, <uint32_t>size, False)
            put_word(to + at + 8, <uint32_t>interface[i], False)
            put_word(to + at + 12, <uint32_t>(stamp >> 32), False)
            put_word(to + at + 16, <uint32_t>stamp, False)
            put_word(to + at + 20, <uint32_t>records.length(i), False)
            put_word(to + at + 24, <uint32_t>records.wire_length(i), False)
            memcpy(to + at + 28, records.start(i), records.length(i))
            if comment[i] >= 0:
                at += padded(records.length(i))
                put_word(to + at + 28, <uint32_t>sizes[comment[i]] << 16 | OPTION_COMMENT, False)
                memcpy(to + at + 32, &text[starts[comment[i]]], sizes[comment[i]])
                at -= padded(records.length(i))
            put_word(to + at + size - 4, <uint32_t>size, False)
            at += size
    return out
