from libc.stdint cimport int32_t, uint8_t, uint32_t

from tcpao_fast.core.mac.attempt cimport Attempt
from tcpao_fast.core.mac.kernels cimport TCPAO_KERNEL_COUNT, tcpao_message
from tcpao_fast.core.keys.mkt cimport Mkt
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.segment cimport Segment

cdef enum:
    PRIMITIVE_LIBRARY = TCPAO_KERNEL_COUNT   # none is compiled
    SCRATCH = 384         # bytes of scratch a message: head and tail
    MAX_SUFFIX = 80       # of the TCP-MD5 key behind the message (as Linux)
    MAX_PREFIX = 104      # SNE, IPv6 pseudo-header, longest TCP header
    DIGEST = 64           # bytes kept for each MAC

cdef size_t ao_prefix(const Segment *segment, uint32_t sne, bint exclude_options, uint8_t nat,
                      uint8_t *out) noexcept nogil
cdef size_t md5_prefix(const Segment *segment, uint8_t *out) noexcept nogil
cdef size_t context(const Segment *segment, uint32_t isn_source, uint32_t isn_destination,
                    uint8_t nat, uint8_t *out) noexcept nogil
cdef void layout(int primitive, const uint8_t *key, uint8_t *scratch, size_t prefix_length,
                 const uint8_t *body, size_t body_length, const uint8_t *suffix,
                 size_t suffix_length, uint8_t *mac, tcpao_message *out) noexcept nogil
cdef Py_ssize_t assemble(int primitive, const Mkt *mkts, const Segment *segments,
                         const Attempt *rows, Py_ssize_t count, uint8_t *scratch, uint8_t *macs,
                         tcpao_message *out) noexcept nogil
cdef void lay_batch(int primitive, const uint8_t *keys, size_t stride, size_t key_count,
                    const int32_t *index, Records records, Py_ssize_t first, Py_ssize_t count,
                    uint8_t *scratch, uint8_t *macs, size_t digest_length,
                    tcpao_message *out) noexcept nogil
