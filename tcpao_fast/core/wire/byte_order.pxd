"""Numbers in captures, which are in the byte order of whoever wrote them."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from tcpao_fast.core.mac.kernels cimport (
    load16_be,
    load16_le,
    load32_be,
    load32_le,
    store16_be,
    store16_le,
    store32_be,
    store32_le,
)


cdef inline uint32_t word(const uint8_t *p, bint big_endian) noexcept nogil:
    return load32_be(p) if big_endian else load32_le(p)


cdef inline uint16_t half(const uint8_t *p, bint big_endian) noexcept nogil:
    return load16_be(p) if big_endian else load16_le(p)


cdef inline void put_word(uint8_t *to, uint32_t value, bint big_endian) noexcept nogil:
    if big_endian:
        store32_be(to, value)
    else:
        store32_le(to, value)


cdef inline void put_half(uint8_t *to, uint32_t value, bint big_endian) noexcept nogil:
    if big_endian:
        store16_be(to, <uint16_t>value)
    else:
        store16_le(to, <uint16_t>value)
