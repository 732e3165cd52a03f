/* Sixteen 32-bit words in a register, one a lane: what the *_lanes.h templates are written in, for
 * AVX-512 (F and BW). */
#ifndef TCPAO_VEC_H
#define TCPAO_VEC_H

#include <immintrin.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw")
#endif

enum { VEC_LANES = 16 };
typedef __m512i vec;

#define vec_set(word) _mm512_set1_epi32((int)(word))
#define vec_load(p) _mm512_load_si512((const void *)(p))
#define vec_store(p, v) _mm512_store_si512((void *)(p), v)
#define vec_add(a, b) _mm512_add_epi32(a, b)
#define vec_xor(a, b) _mm512_xor_si512(a, b)
#define vec_shift_right(a, n) _mm512_srli_epi32(a, n)
#define vec_rotate_left(a, n) _mm512_rol_epi32(a, n)
/* Truth tables of three inputs, x the highest bit of the index. */
#define vec_xor3(a, b, c) _mm512_ternarylogic_epi32(a, b, c, 0x96)
/* x ? y : z, bit by bit */
#define vec_choose(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xca)
#define vec_majority(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0xe8)
/* y ^ (x | ~z) */
#define vec_md5_i(x, y, z) _mm512_ternarylogic_epi32(x, y, z, 0x39)

/* Reverse the bytes of every word. */
static inline vec vec_swap(vec a)
{
    return _mm512_shuffle_epi8(
        a, _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203)));
}

/* Quarter `q` of a row becomes the 16 bytes at p: a load that broadcasts under a mask costs no
 * shuffle, where inserting a quarter would. */
static inline vec vec_quarter(vec row, __mmask16 q, const uint8_t *p)
{
    return _mm512_mask_broadcast_i32x4(row, q, _mm_loadu_si128((const __m128i *)p));
}

/* 4 x 4 words transposed within each 128-bit quarter. */
static inline void vec_transpose4(vec w[4], const vec row[4])
{
    const vec a = _mm512_unpacklo_epi32(row[0], row[1]), b = _mm512_unpackhi_epi32(row[0], row[1]);
    const vec c = _mm512_unpacklo_epi32(row[2], row[3]), d = _mm512_unpackhi_epi32(row[2], row[3]);
    w[0] = _mm512_unpacklo_epi64(a, c);
    w[1] = _mm512_unpackhi_epi64(a, c);
    w[2] = _mm512_unpacklo_epi64(b, d);
    w[3] = _mm512_unpackhi_epi64(b, d);
}

/* Four words of every lane, read at at[lane] + offset, as four vectors, lanes 0 to 3 in the lowest
 * quarter. */
static inline void vec_gather4(vec w[4], const uint8_t *const at[VEC_LANES], size_t offset)
{
    vec row[4];
    for (int i = 0; i < 4; i++) {
        row[i] = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(at[i] + offset)));
        row[i] = vec_quarter(row[i], 0x00f0, at[i + 4] + offset);
        row[i] = vec_quarter(row[i], 0x0f00, at[i + 8] + offset);
        row[i] = vec_quarter(row[i], 0xf000, at[i + 12] + offset);
    }
    vec_transpose4(w, row);
}

/* Sixteen words of every lane.  All that is in a lane's cache line is read before the next lane's:
 * lanes that are a multiple of 4,096 bytes apart push each other's lines out of the first-level
 * cache, which cost messages of 4,096 bytes a third. */
static inline void vec_gather16(vec w[16], const uint8_t *const at[VEC_LANES], size_t offset)
{
    vec row[4][4];
    for (int i = 0; i < 4; i++) {
        for (int q = 0; q < 4; q++)
            row[q][i] =
                _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(at[i] + offset + 16 * q)));
        for (int q = 0; q < 4; q++)
            row[q][i] = vec_quarter(row[q][i], 0x00f0, at[i + 4] + offset + 16 * q);
        for (int q = 0; q < 4; q++)
            row[q][i] = vec_quarter(row[q][i], 0x0f00, at[i + 8] + offset + 16 * q);
        for (int q = 0; q < 4; q++)
            row[q][i] = vec_quarter(row[q][i], 0xf000, at[i + 12] + offset + 16 * q);
    }
    for (int q = 0; q < 4; q++)
        vec_transpose4(w + 4 * q, row[q]);
}

/* The way back: 16 bytes to[lane] of each lane. */
static inline void vec_scatter4(const vec w[4], uint8_t *const to[VEC_LANES])
{
    vec row[4];
    vec_transpose4(row, w);
    for (int i = 0; i < 4; i++) {
        _mm_storeu_si128((__m128i *)to[i], _mm512_castsi512_si128(row[i]));
        _mm_storeu_si128((__m128i *)to[i + 4], _mm512_extracti32x4_epi32(row[i], 1));
        _mm_storeu_si128((__m128i *)to[i + 8], _mm512_extracti32x4_epi32(row[i], 2));
        _mm_storeu_si128((__m128i *)to[i + 12], _mm512_extracti32x4_epi32(row[i], 3));
    }
}

#endif
