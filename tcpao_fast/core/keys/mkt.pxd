"""A master key tuple (RFC 5925 section 3.1) as the core has it, and sets of them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t

from tcpao_fast.core.wire.segment cimport Segment

cdef struct Side:
    uint8_t network[16]
    uint8_t any
    uint8_t prefix            # bits
    uint8_t nat               # RFC 6978: address and port are zero in context and message
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
    uint8_t primitive
    uint8_t tcp_md5
    uint8_t nat               # either side's

cdef enum Nat:
    NAT_SOURCE = 1            # of a segment: its source counts as zero
    NAT_DESTINATION = 2

# What an MKT is found by: its connection identifier, and beside it one of these.
cdef enum Purpose:
    BY_SEND_ID = 0
    BY_RECV_ID = 1
    BY_ANY_ID = 2             # any TCP-AO key
    BY_TCP_MD5 = 3            # any TCP-MD5 key
    PURPOSES = 3              # entries an MKT has at most

# A pair of prefix lengths that occurs: each is one probe of the table.
cdef struct Shape:
    uint8_t version
    uint8_t local_prefix
    uint8_t remote_prefix
    uint8_t unused
    int32_t count             # MKTs of this shape

cdef struct Entry:
    uint64_t hash
    int32_t next              # in the same bucket, or -1

# Where a search stands: see `MktSet.next_match`.
cdef struct Search:
    int32_t shape
    int32_t entry
    uint64_t hash

cdef class MktSet:
    cdef Mkt *mkts
    cdef uint8_t *present                 # of each number: still in the set
    cdef Entry *entries                   # `PURPOSES` of each MKT
    cdef int32_t *buckets
    cdef Shape *shapes
    cdef int32_t shape_count
    cdef readonly int32_t count           # numbers given out
    cdef readonly bint has_alternatives   # whether MKTs for one connection may share IDs
    cdef int32_t capacity
    cdef uint64_t mask
    cdef int reserve(self) except -1
    cdef void link(self, int32_t entry) noexcept nogil
    cdef void unlink(self, int32_t entry) noexcept nogil
    cdef const Mkt *checked(self, int32_t number) except NULL
    cdef void start(self, Search *search) noexcept nogil
    cdef int32_t next_match(self, Search *search, Purpose purpose, uint8_t key_id,
                            const Segment *segment, bint forward) noexcept nogil
    cdef set neighbours(self, const Mkt *mkt, Purpose purpose, uint8_t key_id)
    cdef int32_t first_match(self, Purpose purpose, uint8_t key_id, const Segment *segment,
                             bint forward) noexcept nogil

cdef bint matches(const Mkt *mkt, const Segment *segment, bint forward) noexcept nogil

cdef inline bint within(const int64_t *lifetime, int64_t timestamp) noexcept nogil:
    """Whether a lifetime covers a time; no clock (-1) is always covered."""
    return timestamp < 0 or (lifetime[0] <= timestamp <= lifetime[1])

cdef inline uint8_t nat_of(const Mkt *mkt, const Segment *segment) noexcept nogil:
    """Which addresses and ports of a segment count as zero under an MKT (RFC 6978).  Where both ends
    could be the local one, the KeyID decides, then the sender is."""
    cdef bint forward
    if not mkt.nat:
        return 0
    forward = matches(mkt, segment, True) and (
        segment.key_id == mkt.send_id or not matches(mkt, segment, False))
    if forward:
        return mkt.local.nat * NAT_SOURCE | mkt.remote.nat * NAT_DESTINATION
    return mkt.remote.nat * NAT_SOURCE | mkt.local.nat * NAT_DESTINATION
