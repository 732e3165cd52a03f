"""Blocks of an AF_PACKET ring (TPACKET_V3), as the kernel fills them: where their packets are."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

import numpy as np

cdef extern from *:
    """
    /* a block's status is shared with the kernel, which writes packets before it and reads it after */
    static inline uint32_t tcpao_acquire(const void *at)
    {
        return __atomic_load_n((const uint32_t *)at, __ATOMIC_ACQUIRE);
    }
    static inline void tcpao_release(void *at)
    {
        __atomic_store_n((uint32_t *)at, 0, __ATOMIC_RELEASE);
    }
    """
    uint32_t tcpao_acquire(const void *at) nogil
    void tcpao_release(void *at) nogil

cdef enum:
    BLOCK_STATUS = 8
    BLOCK_PACKETS = 12        # offsets in a block's header (linux/if_packet.h)
    BLOCK_FIRST = 16
    BLOCK_USED = 20
    PACKET_HEADER = 48        # tpacket3_hdr, aligned
    VLAN_VALID = 1 << 4       # TP_STATUS_VLAN_VALID
    LEAST = 48

cdef int64_t SECOND = 1000000000


def is_ours(ring, Py_ssize_t start):
    """Whether the kernel has handed over the block that begins at `start`."""
    cdef const uint8_t[::1] memory = ring
    if start < 0 or start > memory.shape[0] - LEAST:
        raise ValueError("the block is not in the ring")
    return bool(tcpao_acquire(&memory[start + BLOCK_STATUS]) & 1)


def give_back(ring, Py_ssize_t start):
    """Hand the block that begins at `start` back to the kernel."""
    cdef uint8_t[::1] memory = ring
    if start < 0 or start > memory.shape[0] - LEAST:
        raise ValueError("the block is not in the ring")
    tcpao_release(&memory[start + BLOCK_STATUS])


cdef inline uint32_t word(const uint8_t *at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline uint16_t half(const uint8_t *at) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, at, 2)
    return value


def scan_block(ring, Py_ssize_t start, Py_ssize_t size):
    """The packets of one block; what its headers say is checked against the block's size.

    Parameters
    ----------
    ring : buffer protocol
    start, size : int
        Where the block is.

    Returns
    -------
    tuple of (int64[n], int64[n], int64[n], int64[n], int32[n])
        Offsets in the ring, captured lengths, timestamps in nanoseconds, lengths on the wire, VLAN
        tags (-1 without).
    """
    cdef const uint8_t[::1] memory = ring
    cdef const uint8_t *block
    cdef const uint8_t *packet
    cdef Py_ssize_t at, count, n = 0
    cdef uint32_t following, length, where
    if start < 0 or size < LEAST or start > memory.shape[0] - size:
        raise ValueError("the block is not in the ring")
    block = &memory[start]
    count = min(<Py_ssize_t>word(block + BLOCK_PACKETS), size // PACKET_HEADER)
    offsets = np.empty(count, np.int64)
    lengths = np.empty(count, np.int64)
    times = np.empty(count, np.int64)
    wire_lengths = np.empty(count, np.int64)
    tags = np.empty(count, np.int32)
    cdef int64_t[::1] offset = offsets, captured = lengths, stamp = times, wire = wire_lengths
    cdef int32_t[::1] vlan = tags
    at = word(block + BLOCK_FIRST)
    while n < count and at + PACKET_HEADER <= size:
        packet = block + at
        following = word(packet)
        length = word(packet + 12)
        where = half(packet + 24)             # tp_mac
        if at + where > size or length > size - at - where:
            break
        offset[n] = start + at + where
        captured[n] = length
        stamp[n] = word(packet + 4) * SECOND + word(packet + 8)
        wire[n] = word(packet + 16)
        vlan[n] = half(packet + 32) if word(packet + 20) & VLAN_VALID else -1
        n += 1
        if following < PACKET_HEADER:
            break
        at += following
    return offsets[:n], lengths[:n], times[:n], wire_lengths[:n], tags[:n]
