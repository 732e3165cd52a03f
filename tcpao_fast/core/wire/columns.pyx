# cython: nonecheck=False
"""The way out: parsed segments -> columns, one entry a segment, in one pass."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from tcpao_fast.core.wire.parse cimport parse_tagged
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.segment cimport AUTH_AO, KIND_MALFORMED, KIND_SEGMENT, Segment

from tcpao_fast.core.wire.records import as_column
from tcpao_fast.errors import InvalidArgumentError

cdef uint64_t ODD = 0x9E3779B97F4A7C15ULL

cdef struct Address:
    uint8_t size              # 0, 4 or 16
    uint8_t octets[16]


@cython.final
cdef class Addresses:
    """Addresses numbered as they first appear."""

    cdef Address *known
    cdef int32_t *slots       # a hash table of numbers
    cdef uint64_t mask
    cdef int32_t count
    cdef int32_t last[2]      # what came last from each side: nearly always comes next

    def __cinit__(self, Py_ssize_t most):
        cdef uint64_t size = 16
        while size < 2 * <uint64_t>most:
            size *= 2
        self.mask = size - 1
        self.known = <Address *>calloc(most + 1, sizeof(Address))
        self.slots = <int32_t *>calloc(size, sizeof(int32_t))
        if self.known == NULL or self.slots == NULL:
            raise MemoryError()
        memset(self.slots, 0xFF, size * sizeof(int32_t))
        self.last[0] = self.last[1] = -1

    def __dealloc__(self):
        free(self.known)
        free(self.slots)

    cdef int32_t number(self, const uint8_t *octets, int size, int side) noexcept nogil:
        cdef int32_t one = self.last[side]
        cdef uint64_t words[2]
        cdef uint64_t at
        if size == 0:                     # there is none: not even a pointer
            octets = self.known[0].octets
        if one >= 0 and self.known[one].size == size and memcmp(self.known[one].octets, octets, size) == 0:
            return one
        words[0] = words[1] = 0
        memcpy(words, octets, size)
        at = (words[0] ^ words[1] * ODD ^ size) * ODD
        at = (at ^ at >> 29) * ODD >> 20 & self.mask
        while self.slots[at] >= 0:
            one = self.slots[at]
            if self.known[one].size == size and memcmp(self.known[one].octets, octets, size) == 0:
                break
            at = (at + 1) & self.mask
        else:
            one = self.slots[at] = self.count
            self.known[one].size = <uint8_t>size
            memcpy(self.known[one].octets, octets, size)
            self.count += 1
        self.last[side] = one
        return one

    cdef list octets(self):
        cdef int32_t i
        return [self.known[i].octets[:self.known[i].size] for i in range(self.count)]


def segment_columns(Records records not None, rows):
    """What headers say of some records, as columns.

    Parameters
    ----------
    records : Records
    rows : int64[m]
        Which records.

    Returns
    -------
    tuple of (dict of str to array, list of bytes)
        ``source``, ``destination`` (int32: indices of the list of addresses), ``source_port``,
        ``destination_port`` (uint16), ``vlan``, ``seq``, ``ack``, ``length`` of the payload
        (uint32), ``flags`` (int32: the low 8), ``key_id``, ``rnext_key_id``, ``mac_length`` (uint8);
        and as bool, where some of them are: ``is_ip``, ``has_ports``, ``whole`` (a TCP header to its
        end), ``segment`` (a sound one), ``signed`` (with TCP-AO). Addresses: 4 or 16 bytes, and none
        where a record has none.
    """
    cdef const int64_t[::1] at = as_column("rows", rows, np.int64, -1)
    cdef Py_ssize_t i, n = at.shape[0]
    cdef int64_t row
    cdef Segment it
    cdef int size
    cdef bint whole, segment, signed
    cdef Addresses addresses = Addresses(2 * n + 1)
    kinds = {
        "source": np.int32, "destination": np.int32, "source_port": np.uint16,
        "destination_port": np.uint16, "vlan": np.uint32, "flags": np.int32, "seq": np.uint32,
        "ack": np.uint32, "length": np.uint32, "key_id": np.uint8, "rnext_key_id": np.uint8,
        "mac_length": np.uint8, "is_ip": np.bool_, "has_ports": np.bool_, "whole": np.bool_,
        "segment": np.bool_, "signed": np.bool_,
    }
    found = {name: np.empty(n, kind) for name, kind in kinds.items()}
    cdef int32_t[::1] source = found["source"], destination = found["destination"]
    cdef int32_t[::1] flags = found["flags"]
    cdef uint16_t[::1] source_port = found["source_port"], destination_port = found["destination_port"]
    cdef uint32_t[::1] vlan = found["vlan"], seq = found["seq"], ack = found["ack"]
    cdef uint32_t[::1] length = found["length"]
    cdef uint8_t[::1] key_id = found["key_id"], rnext = found["rnext_key_id"]
    cdef uint8_t[::1] mac_length = found["mac_length"]
    cdef uint8_t[::1] is_ip = found["is_ip"].view(np.uint8), ports = found["has_ports"].view(np.uint8)
    cdef uint8_t[::1] wholes = found["whole"].view(np.uint8), signeds = found["signed"].view(np.uint8)
    cdef uint8_t[::1] sounds = found["segment"].view(np.uint8)
    for i in range(n):
        if not 0 <= at[i] < records.count:
            raise InvalidArgumentError(f"rows[{i}] is {at[i]}; there are {records.count} records")
    with nogil:
        for i in range(n):
            row = at[i]
            parse_tagged(records.start(row), records.length(row), records.wire_length(row),
                         records.linktype(row), records.vlan(row), &it, NULL)
            segment = it.kind == KIND_SEGMENT
            whole = segment or it.kind == KIND_MALFORMED
            signed = segment and it.auth == AUTH_AO
            size = 0 if it.ip == NULL else 16 if it.version == 6 else 4
            source[i] = addresses.number(it.source, size, 0)
            destination[i] = addresses.number(it.destination, size, 1)
            source_port[i] = it.source_port
            destination_port[i] = it.destination_port
            vlan[i] = it.vlan
            flags[i] = it.flags & 255
            seq[i] = it.seq
            ack[i] = it.ack
            length[i] = it.length - it.header_length if it.length > it.header_length else 0
            key_id[i] = it.key_id
            rnext[i] = it.rnext_key_id
            mac_length[i] = it.auth_length - 4 if it.auth_length > 4 else 0
            is_ip[i] = it.version != 0
            ports[i] = it.source_port != 0 or it.destination_port != 0
            wholes[i] = whole
            sounds[i] = segment
            signeds[i] = signed
    return found, addresses.octets()
