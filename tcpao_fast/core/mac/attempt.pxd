"""What a segment is verified under: the row that the stages from `connections` to `verdict` fill in."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

cdef enum Check:
    CHECK_NOTHING = 0     # the verdict is known without a MAC
    CHECK_AO = 1
    CHECK_MD5 = 2

# What a good segment did, beside being good.
cdef enum Effect:
    ASKED_FOR_KEY = 1         # its RNextKeyID is not the KeyID that its receiver sends
    STEPPED_SNE = 2           # its sender's SNE is a new one

cdef struct Attempt:
    int64_t position          # 64-bit sequence position; the SNE is its high half
    const uint8_t *key        # the prepared traffic key, when `traffic_key` is one
    int64_t id                # of the connection, -1 without
    uint32_t hash             # of the 4-tuple and VLAN
    uint32_t isn_source
    uint32_t isn_destination
    int32_t connection        # slot in the table, -1 without
    int32_t incarnation       # -1: ISNs that the segment itself states
    int32_t mkt               # -1 without
    int32_t traffic_key       # slot in the MKT's slab, -1 without
    int32_t tried             # the first of `Tried` of this row, counted from 1; 0 without
    uint8_t direction
    uint8_t check
    uint8_t verdict
    uint8_t temporary         # the traffic key belongs to this row alone
    uint8_t effects          # bits of Effect, where somebody traces

# A further try of a row whose first one failed, computed along with others: see `Shard.try_further`.
cdef struct Tried:
    uint32_t isn_source
    uint32_t isn_destination
    uint32_t sne
    int32_t mkt
    int32_t row
    int32_t next              # of the same row, counted from 1; 0 at the end
    uint8_t good
