"""MKTs (RFC 5925 section 3.1) as the core has them, and the traffic keys derived from them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

from tcpao_fast.core.connections cimport Connection
from tcpao_fast.core.kernels cimport tcpao_message
from tcpao_fast.core.mac cimport Scheduler
from tcpao_fast.core.segment cimport Segment

cdef enum:
    SLABS = 5                 # one a compiled kernel, one for the library algorithms

cdef struct Side:
    uint8_t network[16]
    uint8_t any
    uint8_t prefix            # bits
    uint16_t port_low
    uint16_t port_high

cdef struct Mkt:
    Side local
    Side remote
    int64_t vrf               # -1: any
    int64_t accept[2]         # lifetimes in ns since 1970, both ends included
    int64_t send[2]
    uint8_t *master           # prepared PRF key; TCP-MD5: the key itself; library: NULL
    size_t master_length
    uint8_t kdf_prefix[8]
    uint8_t kdf_suffix[2]
    uint8_t kdf_prefix_length
    uint8_t kdf_suffix_length
    uint8_t version           # 4, 6, or 0 for either
    uint8_t send_id
    uint8_t recv_id
    uint8_t mac_length
    uint8_t traffic_key_length
    uint8_t exclude_options
    uint8_t kernel

cdef struct Slab:
    uint8_t *data
    int32_t *mkt
    int32_t *next             # next key of the same incarnation and direction, or free slot
    size_t stride
    int32_t capacity
    int32_t free
    int32_t available

cdef struct Derivation:
    const Segment *segment
    uint32_t isn_source
    uint32_t isn_destination
    int32_t mkt
    int32_t slot

cdef class KeyTable:
    cdef Mkt *mkts
    cdef readonly int32_t count
    cdef int32_t *by_send_id              # MKT indices, in the order of their SendID
    cdef int32_t *by_recv_id
    cdef int32_t send_starts[257]
    cdef int32_t recv_starts[257]
    cdef list algorithms                  # of each MKT
    cdef list library_secrets             # of each MKT of a library algorithm, else None
    cdef Slab slabs[SLABS]
    cdef Scheduler scheduler              # these three: memory to derive keys in
    cdef uint8_t *scratch
    cdef tcpao_message *messages
    cdef void match(self, const Segment *segment, uint8_t key_id, int32_t *found) noexcept nogil
    cdef void look_up(self, const Segment *segment, Connection *connection) noexcept nogil
    cdef int candidates(self, const Segment *segment, Connection *connection, int direction,
                        int64_t timestamp, int32_t *found) noexcept nogil
    cdef int32_t to_send(self, const Segment *segment, const Connection *connection, int direction,
                         int64_t timestamp, bint *forward) noexcept nogil
    cdef int reserve(self, Py_ssize_t more) except -1
    cdef int32_t take_slot(self, int32_t mkt) noexcept nogil
    cdef void free_slot(self, int32_t slot) noexcept nogil
    cdef void free_list(self, int32_t head) noexcept nogil
    cdef int32_t find_slot(self, int32_t head, int32_t mkt) noexcept nogil
    cdef int derive(self, Derivation *wanted, Py_ssize_t count) except -1 nogil
    cdef int derive_library(self, Derivation *wanted, Py_ssize_t count) except -1
    cdef int library_mac(self, int32_t mkt, const tcpao_message *message) except -1 nogil

cdef inline uint8_t *slot_data(Slab *slab, int32_t slot) noexcept nogil:
    return slab.data + slab.stride * <size_t>slot

cdef bint matches(const Mkt *mkt, const Segment *segment, bint forward) noexcept nogil
cdef inline bint within(const int64_t *lifetime, int64_t timestamp) noexcept nogil:
    """Whether a lifetime covers a time; no clock (-1) is always covered."""
    return timestamp < 0 or (lifetime[0] <= timestamp <= lifetime[1])
