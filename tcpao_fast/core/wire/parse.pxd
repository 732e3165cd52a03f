from libc.stdint cimport uint8_t, uint16_t, uint32_t

from tcpao_fast.core.wire.segment cimport Segment

cdef enum:
    MAX_LAYERS = 20       # an IP and a GRE header at each depth

cdef enum LayerKind:
    LAYER_IPV4 = 4
    LAYER_IPV6 = 6
    LAYER_GRE = 47       # a GRE header with a checksum
    LAYER_AH = 51        # an IPsec header that authenticates what follows
    LAYER_PPPOE = 1      # PPPoE's 16-bit length of what follows it
    LAYER_8023 = 2       # the same of 802.3, which above 1,500 would be an EtherType

# A header around the TCP segment whose length or checksum depends on it.
cdef struct Layer:
    uint32_t start        # bytes from the record's first
    uint16_t field        # its length field, as it was when it was parsed
    uint8_t size          # of an IPv4 header, in bytes
    uint8_t kind

cdef struct Layers:
    uint32_t count        # outermost first
    uint32_t incomplete   # there are more than are noted here
    Layer layer[MAX_LAYERS]

# What `parse_frame` hands down: the record's first byte, and where layers are noted, or NULL.
cdef struct Noted:
    const uint8_t *frame
    Layers *layers

cdef void parse_options(Segment *out, uint32_t at, uint32_t least=*) noexcept nogil
cdef void parse_tagged(const uint8_t *frame, size_t length, size_t wire_length, int linktype,
                       uint32_t vlan, Segment *out, Layers *layers) noexcept nogil

cdef inline void parse_frame(const uint8_t *frame, size_t length, size_t wire_length, int linktype,
                             Segment *out, Layers *layers) noexcept nogil:
    """`parse_tagged` of a frame that has all its VLAN tags in it."""
    parse_tagged(frame, length, wire_length, linktype, 0, out, layers)
cdef void parse_ip(const uint8_t *ip, const uint8_t *end, size_t missing, int depth, uint32_t vlan,
                   Segment *out, Noted *noted) noexcept nogil
