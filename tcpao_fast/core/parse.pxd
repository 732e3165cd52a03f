from libc.stdint cimport uint8_t, uint32_t

from tcpao_fast.core.segment cimport Segment

cdef enum:
    MAX_LAYERS = 20       # an IP and a GRE header at each depth

cdef enum LayerKind:
    LAYER_IPV4 = 4
    LAYER_IPV6 = 6
    LAYER_GRE = 47       # a GRE header with a checksum
    LAYER_AH = 51        # an IPsec header that authenticates what follows
    LAYER_LENGTH = 1     # a 16-bit length of what follows (802.3, PPPoE)

cdef struct Layers:
    # the headers around the TCP segment whose lengths and checksums depend on it, outermost first
    uint32_t count
    const uint8_t *start[MAX_LAYERS]
    uint8_t kind[MAX_LAYERS]

cdef void parse_frame(const uint8_t *frame, size_t length, size_t wire_length, int linktype,
                      Segment *out, Layers *layers) noexcept nogil
cdef void parse_ip(const uint8_t *ip, const uint8_t *end, size_t missing, int depth, uint32_t vrf,
                   Segment *out, Layers *layers) noexcept nogil
