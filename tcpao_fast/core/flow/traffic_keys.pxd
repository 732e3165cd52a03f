"""MKTs (RFC 5925 section 3.1) as the core has them, and the traffic keys derived from them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from tcpao_fast.core.flow.connections cimport Connection, ConnectionTable
from tcpao_fast.core.mac.attempt cimport Attempt
from tcpao_fast.core.mac.kernels cimport tcpao_message
from tcpao_fast.core.mac.mac cimport Scheduler
from tcpao_fast.core.keys.mkt cimport Mkt, MktSet
from tcpao_fast.core.wire.segment cimport Segment

cdef enum:
    MOST_CANDIDATES = 16      # MKTs that a segment is tried under
    SLABS = 7                 # one a compiled primitive, one for the library algorithms
    SLAB_BITS = 3             # of a key's number that say in which slab it is
    CHUNK = 131072            # untouched memory costs nothing; whole big pages, whatever the key
    STEP = 16384              # slots more at a time; of a chunk
    IN_USE = 0x80000000       # in KeySlot.batch
    TAG_BITS = 11             # behind them there is room for as many MKTs as `MktSet` takes
    # in KeySlot.tagged: a segment of its connection and direction with that KeyID means this MKT,
    # or another only where this one may not be used at that time
    FIRST_CHOICE = 0x100
    OF_LOCAL_SIDE = 0x200     # the key is used from its MKT's local side to its remote one,
    OF_REMOTE_SIDE = 0x400    # the other way round; neither: not known, or either

# Where a traffic key stands, and whose it is.
cdef struct KeySlot:
    uint32_t tagged           # MKT << TAG_BITS | side | FIRST_CHOICE | KeyID
    int32_t next              # next key of the same incarnation and direction, or free slot
    int32_t owner             # 2 x incarnation + direction; -1: the row that asked for it, or free
    uint32_t batch            # that last used it; the highest bit: since the eviction hand passed

cdef struct Slab:
    uint8_t **chunks          # of `CHUNK` slots each, with the prepared key behind each
    size_t prepared           # bytes of a key
    size_t stride             # of slot and key
    int32_t capacity
    int32_t limit             # capacity does not grow beyond it: keys are evicted
    int32_t used              # slots that ever were; what is behind them is untouched
    int32_t free              # first of those that are free again
    int32_t available
    int32_t hand              # of the eviction clock

cdef struct Derivation:
    const Segment *segment
    uint32_t isn_source
    uint32_t isn_destination
    int32_t mkt
    int32_t slot

cdef class KeyTable:
    cdef MktSet set
    cdef Mkt *mkts                        # of the set
    cdef readonly int32_t count
    cdef list algorithms                  # of each MKT
    cdef list library_secrets             # of each MKT of a library algorithm, else None
    cdef Slab slabs[SLABS]
    cdef bint in_use[SLABS]               # whether any MKT has traffic keys there
    cdef ConnectionTable owners           # whose incarnations the traffic keys belong to
    cdef readonly int64_t evicted
    cdef Scheduler scheduler              # these three: memory to derive keys in
    cdef uint8_t *scratch
    cdef tcpao_message *messages
    cdef void rename(self, int32_t *link, const int32_t[::1] same) noexcept nogil
    cdef void match(self, const Segment *segment, uint8_t key_id, int32_t *found) noexcept nogil
    cdef void look_up(self, const Segment *segment, int32_t connection) noexcept nogil
    cdef bint preferred(self, int32_t one, int32_t other, int64_t timestamp) noexcept nogil
    cdef int candidates(self, const Segment *segment, int32_t connection, int direction,
                        int64_t timestamp, int32_t *found) noexcept nogil
    cdef int every_candidate(self, const Segment *segment, int32_t connection, int direction,
                             int64_t timestamp, int32_t *found) noexcept nogil
    cdef void prefer(self, int32_t connection, int direction, int32_t mkt) noexcept nogil
    cdef int32_t to_send(self, const Segment *segment, const Connection *connection, int direction,
                         int64_t timestamp, bint *forward) noexcept nogil
    cdef int reserve(self, Py_ssize_t more) except -1 nogil
    cdef void prefetch(self, const Attempt *rows, Py_ssize_t count) noexcept nogil
    cdef int32_t take_slot(self, int32_t mkt) noexcept nogil
    cdef int32_t take_owned_slot(self, int32_t mkt, int32_t incarnation, int direction) noexcept nogil
    cdef bint evict(self, Slab *slab) noexcept nogil
    cdef bint disown(self, Slab *slab, int primitive, int32_t slot) noexcept nogil
    cdef void free_slot(self, int32_t slot) noexcept nogil
    cdef void free_list(self, int32_t head) noexcept nogil
    cdef int32_t owned_slot(self, int32_t incarnation, int direction, int32_t mkt) noexcept nogil
    cdef int32_t md5_key(self, const Segment *segment, int32_t connection,
                         int64_t timestamp) noexcept nogil
    cdef int32_t best_md5(self, const Segment *segment, int64_t timestamp, bint to_send) noexcept nogil
    cdef bint better_md5(self, int32_t one, int32_t other, int64_t timestamp,
                         bint to_send) noexcept nogil
    cdef int32_t find_md5(self, const Segment *segment, int32_t connection, int64_t timestamp,
                          int32_t tried, uint8_t *scratch) noexcept nogil
    cdef void expect_again(self, const Attempt *row, uint8_t key_id) noexcept nogil
    cdef void note_side(self, const Attempt *row, const Segment *segment) noexcept nogil
    cdef int32_t find_slot(self, int32_t head, int32_t mkt) noexcept nogil
    cdef int derive(self, Derivation *wanted, Py_ssize_t count) except -1 nogil
    cdef int derive_library(self, int primitive, Derivation *wanted, Py_ssize_t count) except -1
    cdef int library_mac(self, int32_t mkt, const tcpao_message *message) except -1 nogil

cdef inline int slab_of(int32_t key) noexcept nogil:
    return key & ((1 << SLAB_BITS) - 1)

cdef inline int32_t slot_of(int32_t key) noexcept nogil:
    return key >> SLAB_BITS

cdef inline int32_t slot_mkt(const KeySlot *slot) noexcept nogil:
    return <int32_t>(slot.tagged >> TAG_BITS)

cdef inline bint is_expected(const KeySlot *slot, uint8_t key_id) noexcept nogil:
    """Whether this KeyID means the slot's MKT first: see `KeyTable.expect_again`."""
    return slot.tagged & (FIRST_CHOICE | 0xFF) == (FIRST_CHOICE | <uint32_t>key_id)

cdef inline KeySlot *slot_at(const Slab *slab, int32_t number) noexcept nogil:
    cdef uint32_t slot = <uint32_t>number
    return <KeySlot *>(slab.chunks[slot // CHUNK] + slab.stride * (slot % CHUNK))

cdef inline KeySlot *key_slot(const Slab *slabs, int32_t key) noexcept nogil:
    return slot_at(&slabs[slab_of(key)], slot_of(key))

cdef inline uint8_t *key_data(const Slab *slabs, int32_t key) noexcept nogil:
    """The prepared traffic key with a number."""
    return <uint8_t *>(key_slot(slabs, key) + 1)
