"""Numbers in captures, which are in the byte order of whoever wrote them."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t


cdef inline uint32_t word(const uint8_t *p, bint big_endian) noexcept nogil:
    if big_endian:
        return <uint32_t>p[0] << 24 | <uint32_t>p[1] << 16 | <uint32_t>p[2] << 8 | p[3]
    return <uint32_t>p[3] << 24 | <uint32_t>p[2] << 16 | <uint32_t>p[1] << 8 | p[0]


cdef inline uint16_t half(const uint8_t *p, bint big_endian) noexcept nogil:
    return <uint16_t>(p[0] << 8 | p[1] if big_endian else p[1] << 8 | p[0])


cdef inline void put_word(uint8_t *to, uint32_t value, bint big_endian) noexcept nogil:
    cdef int i
    for i in range(4):
        to[3 - i if big_endian else i] = <uint8_t>(value >> 8 * i)


cdef inline void put_half(uint8_t *to, uint32_t value, bint big_endian) noexcept nogil:
    to[1 if big_endian else 0] = <uint8_t>value
    to[0 if big_endian else 1] = <uint8_t>(value >> 8)
