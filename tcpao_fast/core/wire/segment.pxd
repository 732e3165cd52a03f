"""The row that travels through the stages: one TCP segment as `parse` found it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from tcpao_fast.core.mac.kernels cimport load16_be, load32_be, store16_be, store32_be

cdef enum Kind:
    KIND_NOT_TCP = 0
    KIND_SEGMENT = 1     # a whole TCP header
    KIND_CUT = 2         # TCP, but the capture ends inside the header
    KIND_MALFORMED = 3   # broken header length or options
    KIND_FRAGMENT = 4    # an IP fragment: for the `fragments` stage

cdef enum Auth:
    AUTH_NONE = 0
    AUTH_AO = 1          # TCP-AO, kind 29
    AUTH_MD5 = 2         # TCP-MD5, kind 19

cdef enum Flag:
    FLAG_FIN = 0x01
    FLAG_SYN = 0x02
    FLAG_RST = 0x04
    FLAG_ACK = 0x10

cdef struct Segment:
    const uint8_t *ip            # the innermost IP header
    const uint8_t *tcp           # the TCP header
    const uint8_t *source        # addresses as the MAC has them: 4 or 16 bytes, network order
    const uint8_t *destination
    uint32_t length              # TCP header and payload, by the IP header
    uint32_t captured            # how much of `length` is in the buffer
    uint32_t seq
    uint32_t ack
    uint32_t vlan                 # VLAN tags as one number, 0 without
    uint16_t source_port
    uint16_t destination_port
    uint16_t flags
    uint8_t header_length        # bytes
    uint8_t version              # 4 or 6
    uint8_t kind
    uint8_t auth
    uint8_t auth_offset          # of the option in the TCP header
    uint8_t auth_length          # of the option, kind and length bytes included
    uint8_t key_id
    uint8_t rnext_key_id
    uint8_t has_ports            # ports are known (also in some cut or malformed segments)

cdef inline uint16_t be16(const uint8_t *p) noexcept nogil:
    return load16_be(p)

cdef inline uint32_t be32(const uint8_t *p) noexcept nogil:
    return load32_be(p)

cdef inline void put16(uint8_t *p, uint32_t v) noexcept nogil:
    store16_be(p, <uint16_t>v)

cdef inline void put32(uint8_t *p, uint32_t v) noexcept nogil:
    store32_be(p, v)

cdef inline bint is_syn(const Segment *s) noexcept nogil:
    return (s.flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN

cdef inline bint is_syn_ack(const Segment *s) noexcept nogil:
    return (s.flags & (FLAG_SYN | FLAG_ACK)) == (FLAG_SYN | FLAG_ACK)

cdef inline void between(Segment *out, int version, const uint8_t *low, const uint8_t *high,
                         uint16_t low_port, uint16_t high_port, uint32_t vlan) noexcept nogil:
    """A segment of which nothing but the endpoints is known."""
    memset(out, 0, sizeof(Segment))
    out.has_ports = 1
    out.version = <uint8_t>version
    out.source = low
    out.destination = high
    out.source_port = low_port
    out.destination_port = high_port
    out.vlan = vlan
