from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from tcpao_fast.core.mac.kernels cimport tcpao_add_up
from tcpao_fast.core.wire.parse cimport LAYER_GRE, LAYER_IPV4, Layers
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.segment cimport (
    KIND_CUT,
    KIND_FRAGMENT,
    KIND_MALFORMED,
    KIND_NOT_TCP,
    Segment,
    put16,
)

cdef enum:
    OPTION_AO = 29            # option kinds
    OPTION_MD5 = 19
    MD5_OPTION_LENGTH = 18
    MAX_GROWTH = 40           # bytes that an option can add to a record
    PLAIN_OPTION = 16         # TCP-AO with a MAC of 12 bytes (RFC 5926)

# `SignOutcome`, and what comes before there is one
cdef enum Outcome:
    SIGNED = 0
    NOT_TCP = 1
    NO_KEY = 2
    MISSING_ISN = 3
    NO_OPTION_SPACE = 4
    ALREADY_SIGNED = 5
    NO_OPTION = 6
    WRONG_MAC_LENGTH = 7
    TRUNCATED = 8
    MALFORMED = 9
    FRAGMENT = 10
    TOO_LONG = 11
    IPSEC = 12
    TOO_MANY_HEADERS = 13
    STRIPPED = 14
    UNSIGNED_HANDSHAKE = 15
    NO_ROOM = 16
    NOT_GOOD = 17
    POSSIBLE = 255            # nothing found so far that forbids it

# How the TCP checksum of a rewritten segment comes about.
cdef enum Checksums:
    CHECKSUMS_FULL = 0        # over all of it
    CHECKSUMS_INCREMENTAL = 1  # from the one that it had (RFC 1624)
    CHECKSUMS_PARTIAL = 2     # of the pseudo-header alone: the hardware does the rest

# Where a rewritten record is.
cdef struct Written:
    uint8_t *start
    size_t length

# The options that a segment keeps when it gets one more.
cdef struct Kept:
    const uint8_t *options
    int length                # a multiple of 4
    int dropped               # bytes of the options that were given up
    uint8_t bytes[40]         # what `options` refers to where some were

cdef inline int aligned(int length) noexcept nogil:
    """The bytes of an option with the NOPs that align it."""
    return (length + 3) // 4 * 4

cdef inline Outcome check_segment(const Segment *segment) noexcept nogil:
    """Why a record cannot be rewritten, or POSSIBLE."""
    if segment.kind == KIND_NOT_TCP:
        return NOT_TCP
    if segment.kind == KIND_FRAGMENT:
        return FRAGMENT
    if segment.kind == KIND_MALFORMED:
        return MALFORMED
    if segment.kind == KIND_CUT or segment.captured < segment.length:
        return TRUNCATED
    return POSSIBLE


cdef Outcome check_room(const uint8_t *frame, const Segment *segment, const Layers *layers,
                        int option, bint make_room, Kept *kept) noexcept nogil
cdef int growth_of(const Segment *segment, int option, const Kept *kept) noexcept nogil
cdef Written insert_option(const uint8_t *frame, size_t length, const Layers *layers, uint8_t kind,
                           int option, uint8_t key_id, uint8_t rnext_key_id, const Kept *kept,
                           uint8_t *to, Segment *segment, int checksums) noexcept nogil
cdef Written remove_option(const uint8_t *frame, size_t length, const Layers *layers, uint8_t *to,
                           Segment *segment, int checksums, Outcome *outcome) noexcept nogil
cdef int strip_rows(Records records, const uint8_t *good, uint8_t *to, int64_t *offset,
                    int64_t *length, uint8_t *outcome, int checksums) noexcept nogil
cdef void carry_checksum(Segment *segment) noexcept nogil
cdef Written insert_plain(const uint8_t *frame, size_t length, const Layers *layers, uint8_t key_id,
                          uint8_t rnext_key_id, uint8_t *to, Segment *segment, int checksums) noexcept nogil
cdef uint32_t fresh_checksum(const Segment *segment, int checksums) noexcept nogil
cdef void mend_gre(uint8_t *frame, const Layers *layers, const Segment *segment) noexcept nogil


cdef inline uint64_t length_sum(const Segment *segment) noexcept nogil:
    """What the length in the pseudo-header adds to the checksum."""
    return (segment.length >> 16) + (segment.length & 0xFFFF)


cdef inline bint fits_plain(const Segment *segment, const Layers *layers) noexcept nogil:
    """Whether an option of `PLAIN_OPTION` bytes fits into a segment that `check_segment` found possible,
    and nothing around it but an IPv4 header without options has to know: nearly every one."""
    return (layers.count == 1 and layers.layer[0].kind == LAYER_IPV4 and not layers.incomplete
            and layers.layer[0].size == 20 and 0 < layers.layer[0].field <= 0xFFFF - PLAIN_OPTION
            and segment.header_length <= 60 - PLAIN_OPTION)


cdef inline void set_checksums(uint8_t *frame, const Layers *layers, const Segment *segment, bint signed,
                               int checksums, bint carries) noexcept nogil:
    """Write the TCP checksum, and compute those of GRE around it.

    With `carries` what addresses and payload add stands in the checksum's place (`insert_option`,
    `carry_checksum`).

    A `signed` segment never gets 0x0000, which Linux takes for a checksum that is still to be
    filled in and drops the segment; 0xFFFF is the same sum (RFC 1071).
    """
    cdef uint8_t *tcp = <uint8_t *>segment.tcp
    cdef uint32_t checksum, i
    if checksums != CHECKSUMS_PARTIAL and carries:
        checksum = ~tcpao_add_up(tcp, segment.header_length, length_sum(segment)) & 0xFFFF
    else:
        checksum = fresh_checksum(segment, checksums)
    put16(tcp + 16, 0xFFFF if signed and checksum == 0 else checksum)
    for i in range(layers.count):
        if layers.layer[i].kind == LAYER_GRE:
            mend_gre(frame, layers, segment)
            break
