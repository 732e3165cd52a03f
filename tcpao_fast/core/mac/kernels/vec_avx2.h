/* Eight 32-bit words in a register, one a lane: what the *_lanes.h templates are written in, for AVX2. */
#ifndef TCPAO_VEC_H
#define TCPAO_VEC_H

#include <immintrin.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif

enum { VEC_LANES = 8 };
typedef __m256i vec;

#define vec_set(word) _mm256_set1_epi32((int)(word))
#define vec_load(p) _mm256_load_si256((const __m256i *)(p))
#define vec_store(p, v) _mm256_store_si256((__m256i *)(p), v)
#define vec_add(a, b) _mm256_add_epi32(a, b)
#define vec_xor(a, b) _mm256_xor_si256(a, b)
#define vec_xor3(a, b, c) vec_xor(vec_xor(a, b), c)
#define vec_shift_right(a, n) _mm256_srli_epi32(a, n)
#define vec_rotate_left(a, n) _mm256_or_si256(_mm256_slli_epi32(a, n), _mm256_srli_epi32(a, 32 - (n)))
/* x ? y : z, bit by bit */
#define vec_choose(x, y, z) vec_xor(z, _mm256_and_si256(x, vec_xor(y, z)))
#define vec_majority(x, y, z)                                                                      \
    _mm256_or_si256(_mm256_and_si256(x, y), _mm256_and_si256(z, _mm256_or_si256(x, y)))
/* y ^ (x | ~z) */
#define vec_md5_i(x, y, z) vec_xor(y, _mm256_or_si256(x, vec_xor(z, vec_set(-1))))

/* Reverse the bytes of every word. */
static inline vec vec_swap(vec a)
{
    return _mm256_shuffle_epi8(
        a, _mm256_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203, 0x0c0d0e0f08090a0b, 0x0405060700010203));
}

static inline __m128i vec_half(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

/* 4 x 4 words transposed within each 128-bit half. */
static inline void vec_transpose4(vec w[4], const vec row[4])
{
    const vec a = _mm256_unpacklo_epi32(row[0], row[1]), b = _mm256_unpackhi_epi32(row[0], row[1]);
    const vec c = _mm256_unpacklo_epi32(row[2], row[3]), d = _mm256_unpackhi_epi32(row[2], row[3]);
    w[0] = _mm256_unpacklo_epi64(a, c);
    w[1] = _mm256_unpackhi_epi64(a, c);
    w[2] = _mm256_unpacklo_epi64(b, d);
    w[3] = _mm256_unpackhi_epi64(b, d);
}

/* Four words of every lane, read at at[lane] + offset, as four vectors, lanes 0 to 3 in the low
 * half. */
static inline void vec_gather4(vec w[4], const uint8_t *const at[VEC_LANES], size_t offset)
{
    vec row[4];
    for (int i = 0; i < 4; i++)
        row[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(vec_half(at[i] + offset)),
                                         vec_half(at[i + 4] + offset), 1);
    vec_transpose4(w, row);
}

/* Sixteen words of every lane; as there are no registers for all, a quarter at a time. */
static inline void vec_gather16(vec w[16], const uint8_t *const at[VEC_LANES], size_t offset)
{
    for (int i = 0; i < 16; i += 4)
        vec_gather4(w + i, at, offset + 4 * (size_t)i);
}

/* The way back: 16 bytes to[lane] of each lane. */
static inline void vec_scatter4(const vec w[4], uint8_t *const to[VEC_LANES])
{
    vec row[4];
    vec_transpose4(row, w);
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((__m128i *)to[i], _mm256_castsi256_si128(row[i]));
        _mm_storeu_si128((__m128i *)to[i + 4], _mm256_extracti128_si256(row[i], 1));
    }
}

#endif
