/* Loads and stores with a stated byte order, and rotations: each is one instruction.  (Bytes that are
 * put together by shifts are not with every compiler: gcc likes to make vectors of them.) */
#ifndef TCPAO_BYTES_H
#define TCPAO_BYTES_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define swap32_be(v) __builtin_bswap32(v)
#define swap64_be(v) __builtin_bswap64(v)
#define swap32_le(v) (v)
#define swap64_le(v) (v)
#else
#define swap32_be(v) (v)
#define swap64_be(v) (v)
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

LOAD_AND_STORE(32, be)
LOAD_AND_STORE(32, le)
LOAD_AND_STORE(64, be)
LOAD_AND_STORE(64, le)

#undef LOAD_AND_STORE

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
