/* Loads and stores with a stated byte order, and rotations: each is one instruction.  (Bytes that are
 * put together by shifts are not with every compiler: gcc likes to make vectors of them.) */
#ifndef TCPAO_BYTES_H
#define TCPAO_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define swap16_be(v) __builtin_bswap16(v)
#define swap32_be(v) __builtin_bswap32(v)
#define swap64_be(v) __builtin_bswap64(v)
#define swap16_le(v) (v)
#define swap32_le(v) (v)
#define swap64_le(v) (v)
#else
#define swap16_be(v) (v)
#define swap32_be(v) (v)
#define swap64_be(v) (v)
#define swap16_le(v) __builtin_bswap16(v)
#define swap32_le(v) __builtin_bswap32(v)
#define swap64_le(v) __builtin_bswap64(v)
#endif

#define LOAD_AND_STORE(bits, order)                                                                \
    static inline uint##bits##_t load##bits##_##order(const uint8_t *p)                            \
    {                                                                                              \
        uint##bits##_t v;                                                                          \
        memcpy(&v, p, sizeof v);                                                                   \
        return swap##bits##_##order(v);                                                            \
    }                                                                                              \
    static inline void store##bits##_##order(uint8_t *p, uint##bits##_t v)                         \
    {                                                                                              \
        v = swap##bits##_##order(v);                                                               \
        memcpy(p, &v, sizeof v);                                                                   \
    }

LOAD_AND_STORE(16, be)
LOAD_AND_STORE(16, le)
LOAD_AND_STORE(32, be)
LOAD_AND_STORE(32, le)
LOAD_AND_STORE(64, be)
LOAD_AND_STORE(64, le)

#undef LOAD_AND_STORE

/* As memcpy, of few bytes: what compilers make of that where they know that there are few (rep movs)
 * takes longer than all of this. */
static inline void tcpao_copy_few(uint8_t *to, const uint8_t *from, size_t length)
{
    uint64_t first, last;
    uint32_t head, tail;

    if (length >= 16) {
        for (size_t at = 0; at + 16 < length; at += 16)
            memcpy(to + at, from + at, 16);
        memcpy(to + length - 16, from + length - 16, 16);
    } else if (length >= 8) {
        memcpy(&first, from, 8);
        memcpy(&last, from + length - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + length - 8, &last, 8);
    } else if (length >= 4) {
        memcpy(&head, from, 4);
        memcpy(&tail, from + length - 4, 4);
        memcpy(to, &head, 4);
        memcpy(to + length - 4, &tail, 4);
    } else {
        for (; length; length--)
            *to++ = *from++;
    }
}

static inline uint32_t rotl32(uint32_t v, int n)
{
    return v << n | v >> (32 - n);
}

static inline uint64_t rotr64(uint64_t v, int n)
{
    return v >> n | v << (-n & 63);
}

static inline uint32_t rotr32(uint32_t v, int n)
{
    return v >> n | v << (32 - n);
}

#endif
