"""Connections, and what is believed and proved about the ISNs of each."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from tcpao_fast.core.mac.attempt cimport Attempt
from tcpao_fast.core.mac.kernels cimport tcpao_flow_secret
from tcpao_fast.core.wire.segment cimport FLAG_FIN, FLAG_RST, FLAG_SYN, Segment

cdef enum:
    MAX_INCARNATIONS = 4      # a connection keeps so many
    NONE = -1
    FEW = 1500                # connections: they and their keys stay in the second-level cache
    INITIATOR_UNKNOWN = 2

cdef enum Proof:
    PROOF_NONE = 0            # seen, not proved
    PROOF_SYN = 1             # the MAC of the SYN was good: one ISN is certain
    PROOF_BOTH = 2            # a MAC over both ISNs was good

# Either direction is 0 (from the lower endpoint) or 1.  64 bytes: one line of the cache.
cdef struct Incarnation:
    int64_t anchor[2]         # the highest proved position of each direction's sender
    uint32_t isn[2]
    int32_t keys[2]           # first traffic key of each direction (stage `keys`)
    int32_t key_in_use[2]     # MKT of the last good segment
    int32_t next              # older incarnation of the same connection
    uint8_t known             # bit d: isn[d] is known
    uint8_t proof
    uint8_t listed            # among its connection's incarnations; else only speculated on
    uint8_t rnext_key_id[2]   # of the last good segment
    uint8_t key_id[2]         # likewise
    uint8_t initiator         # the direction of its SYN, or INITIATOR_UNKNOWN
    uint32_t serial           # counts up: which of two was proved first
    uint8_t ours              # its handshake passed through `sign`, which believes what it is given
    uint8_t supposed          # its SYN-ACK says both ISNs, but no SYN and no MAC confirms the other's
    uint8_t unused[6]

cdef enum LookedUp:
    HAS_CANDIDATES = 1        # << direction: `Details.candidates` is valid
    HAS_DETAILS = 4           # HAS_MKT and `Details.md5_key` are valid
    IS_SPECULATED = 8         # `Details.speculated` is an incarnation
    HAS_MKT = 16              # with HAS_DETAILS: an MKT matches
    IS_PROVED = 32            # a MAC was good on it: a stranger's packets cannot push it out
    SYN_UNSIGNED = 64         # << direction: `sign` could not sign the SYN or SYN-ACK of that side

# What every segment asks for: one line of the cache.
cdef struct Connection:
    uint8_t address[2][16]    # IPv4 in the first 4 bytes; the lower endpoint first
    uint16_t port[2]          # host order
    uint32_t vrf
    int64_t id                # never used twice
    int32_t live              # of the incarnations that a MAC proved, the one that was proved last
    int32_t newest            # head of the list of incarnations
    uint32_t batch            # that last touched it: not evicted while it runs
    uint8_t looked_up         # bits of LookedUp
    uint8_t version           # 4 or 6; 0: no connection is here
    uint8_t initiator         # the direction of the SYN
    uint8_t referenced        # verified since the eviction hand passed

# What the usual segment does not ask for.
cdef struct Details:
    int32_t candidates[2][2]  # MKTs that candidate_id may mean (stage `keys`)
    int32_t md5_key           # MKT for TCP-MD5
    int32_t speculated        # incarnation that this batch's SYN-ACK would make
    int32_t before, behind    # neighbours in the queue of connections without proof
    uint8_t candidate_id[2]

cdef struct Slot:
    uint32_t hash
    int32_t connection        # NONE: empty


# A connection whose id is provisional.
cdef struct Unnumbered:
    int64_t origin            # the record that it appeared in
    int32_t connection
    int64_t number            # its id to be


cdef inline void advance(Incarnation *one, const Segment *segment,
                         const Attempt *row) noexcept nogil:
    """A proved segment moves its direction's anchor and the keys in use."""
    cdef int64_t end = row.position + segment.length - segment.header_length
    one.key_in_use[row.direction] = row.mkt
    one.rnext_key_id[row.direction] = segment.rnext_key_id
    one.key_id[row.direction] = segment.key_id
    if segment.flags & FLAG_RST:
        return                   # its SEQ may be far away, and nothing follows it
    end += (segment.flags & FLAG_SYN != 0) + (segment.flags & FLAG_FIN != 0)
    if end > one.anchor[row.direction]:
        one.anchor[row.direction] = end


cdef int out_of_memory() except -1 with gil

cdef class ConnectionTable:
    cdef Connection *connections
    cdef Details *details                    # of each connection
    cdef Incarnation *incarnations
    cdef Slot *slots
    cdef tcpao_flow_secret secret         # of the keyed hash
    cdef uint32_t mask
    cdef readonly int32_t limit           # most proved connections
    cdef readonly int32_t capacity        # of `connections`
    cdef readonly int32_t count           # connections now
    cdef int32_t free_connection          # chained through `newest`
    cdef int32_t incarnation_capacity
    cdef int32_t used_incarnations        # that ever were
    cdef int32_t free_incarnation         # of them, chained through `next`
    cdef int32_t free_incarnations        # how many there are
    cdef uint32_t batch                   # number of the batch in flight, 31 bits
    cdef readonly int64_t batches         # how many there were
    cdef int32_t hand                     # of the eviction clock
    cdef readonly int64_t next_id
    cdef uint32_t serial                  # of the incarnation proved last
    # connections without proof, in the order of their appearance
    cdef int32_t unproved_first
    cdef int32_t unproved_last
    cdef readonly int32_t unproved        # how many
    cdef readonly int32_t most_unproved
    cdef readonly int32_t room            # proved ones up to the limit, and some for the others
    cdef readonly int64_t evicted
    cdef int32_t *released                # heads of traffic-key lists nobody owns any more
    cdef int32_t released_count
    cdef int32_t released_capacity
    cdef public bint as_endpoint          # only the incarnation that is signed under counts
    cdef bint provisional                 # ids are -2, -3, ... until `assign_number`
    cdef Unnumbered *unnumbered                     # the connections with ids -2, -3, ...
    cdef int32_t unnumbered_count
    cdef int32_t unnumbered_capacity
    cdef void locate_batch(self, const Segment *segments, Attempt *rows, const int64_t *origins,
                           Py_ssize_t count) noexcept nogil
    cdef void guess(self, const Segment *segments, Attempt *rows, Py_ssize_t count) noexcept nogil
    cdef inline bint many(self) noexcept nogil:
        """Whether there are more than what stays in the second-level cache by itself."""
        return self.count > FEW

    cdef void hash_rows(self, const uint64_t *words, int each, const Py_ssize_t *which,
                        Py_ssize_t count, Attempt *rows) noexcept nogil
    cdef void identify(self, const Segment *segment, Attempt *row) noexcept nogil
    cdef int32_t known(self, const Segment *segment, const Attempt *row) noexcept nogil
    cdef int32_t locate(self, const Segment *segment, Attempt *row, int64_t origin) noexcept nogil
    cdef void assign_number(self, int32_t which, int64_t number) noexcept nogil
    cdef int32_t share(self) noexcept nogil
    cdef inline void set_initiator(self, int32_t connection, int direction) noexcept nogil:
        """Note who sent a connection's SYN."""
        self.connections[connection].initiator = <uint8_t>direction

    cdef inline void mark_ours(self, int32_t incarnation) noexcept nogil:
        """Note that an incarnation's handshake passed through `sign`."""
        self.incarnations[incarnation].ours = 1

    cdef inline bint handshake_unsigned(self, int32_t connection, int direction) noexcept nogil:
        """Whether `sign` could not sign a side's SYN or SYN-ACK."""
        return (self.connections[connection].looked_up & SYN_UNSIGNED << direction) != 0

    cdef inline void note_signed(self, int32_t connection, int direction, bint able) noexcept nogil:
        """Note whether `sign` was able to sign a side's SYN or SYN-ACK."""
        cdef Connection *one = &self.connections[connection]
        one.looked_up &= <uint8_t>~(SYN_UNSIGNED << direction)
        if not able:
            one.looked_up |= <uint8_t>(SYN_UNSIGNED << direction)

    cdef inline int64_t numbered(self, int64_t connection) noexcept nogil:
        """What a row's connection is called: its number, or below -1 where it got one only after."""
        return connection if connection >= -1 else self.unnumbered[-2 - connection].number

    cdef inline void prove(self, int32_t connection) noexcept nogil:
        """A MAC was good on it."""
        self.connections[connection].referenced = 1
        if not self.connections[connection].looked_up & IS_PROVED:
            self.prove_first(connection)

    cdef void prove_first(self, int32_t connection) noexcept nogil
    cdef void enqueue(self, int32_t connection) noexcept nogil
    cdef void dequeue(self, int32_t connection) noexcept nogil
    cdef int32_t to_sign(self, int32_t connection) noexcept nogil
    cdef int32_t find_listed(self, int32_t connection, int direction, uint32_t isn_source,
                             uint32_t isn_destination) noexcept nogil
    cdef int32_t find_pair(self, int32_t connection, int direction, uint32_t isn_source,
                           uint32_t isn_destination) noexcept nogil
    cdef int32_t new_incarnation(self) noexcept nogil
    cdef void drop_incarnation(self, int32_t incarnation) noexcept nogil
    cdef void forget(self, int32_t incarnation) noexcept nogil
    cdef bint enlist(self, int32_t connection, int32_t incarnation) noexcept nogil
    cdef void unlist(self, int32_t connection, int32_t incarnation) noexcept nogil
    cdef int32_t note_syn(self, int32_t connection, int direction, uint32_t isn,
                          bint proved) noexcept nogil
    cdef int32_t note_pair(self, int32_t connection, int direction, uint32_t isn_source,
                           uint32_t isn_destination, bint proved, int initiator) noexcept nogil
    cdef int32_t make_pair(self, int32_t connection, int direction, uint32_t isn_source,
                           uint32_t isn_destination) noexcept nogil
    cdef bint speculate(self, const Segment *segment, Attempt *row) noexcept nogil
    cdef void end_speculation(self, int32_t connection) noexcept nogil
    cdef void begin_batch(self) noexcept nogil
    cdef int reserve(self, Py_ssize_t more) except -1 nogil
    cdef void free_slots(self) noexcept nogil
    cdef int rehash(self, uint32_t size) except -1 nogil
    cdef void remove(self, int32_t connection) noexcept nogil
    cdef bint evict_unproved(self) noexcept nogil
    cdef void evict_proved(self) noexcept nogil
    cdef void release_keys(self, int32_t incarnation) noexcept nogil
