/* A keyed hash of one or three 16-byte blocks, for tables that strangers fill: who can choose
 * addresses and ports must not be able to choose collisions.
 *
 * Where the CPU has the AES instructions, CBC-MAC with AES-128, a pseudo-random function as no input
 * is another's beginning; else SipHash-1-3, which begins differently with each length.  Inline, as
 * it is asked once a segment; eight at a time, AES costs a tenth of SipHash, and one at a time more.
 */
#ifndef TCPAO_FLOW_HASH_H
#define TCPAO_FLOW_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { TCPAO_FLOW_SIDE_BY_SIDE = 8 };

typedef struct {
    uint8_t round_keys[11][16];
    uint64_t secret[2];
    int with_aes;
} tcpao_flow_secret;

static inline uint64_t tcpao_rotl64(uint64_t x, int n)
{
    return x << n | x >> (64 - n);
}

static inline void tcpao_sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = tcpao_rotl64(v[1], 13) ^ v[0];
    v[0] = tcpao_rotl64(v[0], 32);
    v[2] += v[3];
    v[3] = tcpao_rotl64(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = tcpao_rotl64(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = tcpao_rotl64(v[1], 17) ^ v[2];
    v[2] = tcpao_rotl64(v[2], 32);
}

static inline uint32_t tcpao_sip_hash(const tcpao_flow_secret *s, const uint64_t *words, int count)
{
    uint64_t v[4] = {s->secret[0] ^ 0x736f6d6570736575 ^ (uint64_t)count,
                     s->secret[1] ^ 0x646f72616e646f6d, s->secret[0] ^ 0x6c7967656e657261,
                     s->secret[1] ^ 0x7465646279746573};

    for (int i = 0; i < count; i++) {
        v[3] ^= words[i];
        tcpao_sip_round(v);
        v[0] ^= words[i];
    }
    v[2] ^= 0xff;
    tcpao_sip_round(v);
    tcpao_sip_round(v);
    tcpao_sip_round(v);
    v[0] ^= v[1] ^ v[2] ^ v[3];
    return (uint32_t)(v[0] ^ v[0] >> 32);
}

#if defined(__x86_64__)

/* Each function names what it needs, as this header is included where nothing else does. */
#define TCPAO_WITH_AES __attribute__((target("aes,sse2")))

TCPAO_WITH_AES static inline __m128i tcpao_flow_round_key(__m128i key, __m128i assist)
{
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

TCPAO_WITH_AES static inline void tcpao_flow_expand(tcpao_flow_secret *s)
{
    __m128i key = _mm_loadu_si128((const __m128i *)s->secret);

    _mm_storeu_si128((__m128i *)s->round_keys[0], key);
#define TCPAO_STEP(round, constant)                                                                \
    key = tcpao_flow_round_key(key, _mm_aeskeygenassist_si128(key, constant));                     \
    _mm_storeu_si128((__m128i *)s->round_keys[round], key)
    TCPAO_STEP(1, 0x01);
    TCPAO_STEP(2, 0x02);
    TCPAO_STEP(3, 0x04);
    TCPAO_STEP(4, 0x08);
    TCPAO_STEP(5, 0x10);
    TCPAO_STEP(6, 0x20);
    TCPAO_STEP(7, 0x40);
    TCPAO_STEP(8, 0x80);
    TCPAO_STEP(9, 0x1b);
    TCPAO_STEP(10, 0x36);
#undef TCPAO_STEP
}

TCPAO_WITH_AES static inline uint32_t tcpao_aes_hash(const tcpao_flow_secret *s, const uint64_t *words,
                                                     int blocks)
{
    const __m128i *key = (const __m128i *)s->round_keys;
    __m128i x = _mm_setzero_si128();

    for (; blocks--; words += 2) {
        x = _mm_xor_si128(x, _mm_loadu_si128((const __m128i *)words));
        x = _mm_xor_si128(x, _mm_loadu_si128(key));
#pragma GCC unroll 9
        for (int round = 1; round < 10; round++)
            x = _mm_aesenc_si128(x, _mm_loadu_si128(key + round));
        x = _mm_aesenclast_si128(x, _mm_loadu_si128(key + 10));
    }
    return (uint32_t)_mm_cvtsi128_si32(x);
}

/* The same of many, `blocks` each. */
TCPAO_WITH_AES static inline void tcpao_aes_hash_many(const tcpao_flow_secret *s, const uint64_t *words,
                                                      int blocks, uint32_t *hashes, size_t count)
{
    const __m128i *key = (const __m128i *)s->round_keys;
    const size_t stride = 2 * (size_t)blocks;

    for (size_t at = 0; at < count; at += TCPAO_FLOW_SIDE_BY_SIDE) {
        __m128i x[TCPAO_FLOW_SIDE_BY_SIDE];
#pragma GCC unroll 8
        for (size_t i = 0; i < TCPAO_FLOW_SIDE_BY_SIDE; i++)
            x[i] = _mm_setzero_si128();
        for (int block = 0; block < blocks; block++, words += 2) {
            const __m128i first = _mm_loadu_si128(key), last = _mm_loadu_si128(key + 10);
#pragma GCC unroll 8
            for (size_t i = 0; i < TCPAO_FLOW_SIDE_BY_SIDE; i++)
                x[i] = _mm_xor_si128(
                    _mm_xor_si128(x[i], _mm_loadu_si128((const __m128i *)(words + stride * i))), first);
#pragma GCC unroll 9
            for (int round = 1; round < 10; round++) {
                const __m128i k = _mm_loadu_si128(key + round);
#pragma GCC unroll 8
                for (size_t i = 0; i < TCPAO_FLOW_SIDE_BY_SIDE; i++)
                    x[i] = _mm_aesenc_si128(x[i], k);
            }
#pragma GCC unroll 8
            for (size_t i = 0; i < TCPAO_FLOW_SIDE_BY_SIDE; i++)
                x[i] = _mm_aesenclast_si128(x[i], last);
        }
        words += stride * (TCPAO_FLOW_SIDE_BY_SIDE - 1);
#pragma GCC unroll 8
        for (size_t i = 0; i < TCPAO_FLOW_SIDE_BY_SIDE; i++)
            hashes[at + i] = (uint32_t)_mm_cvtsi128_si32(x[i]);
    }
}

#endif

/* Begin with 16 random bytes; with AES if that is wanted and the CPU has it. */
static inline void tcpao_flow_begin(tcpao_flow_secret *s, const uint8_t random[16], int with_aes)
{
    memset(s, 0, sizeof *s);
    memcpy(s->secret, random, 16);
#if defined(__x86_64__)
    /* cpu.c is linked by `mac` alone; nothing beyond SSE's registers is used, so no XGETBV is asked */
    __builtin_cpu_init();
    if (with_aes && __builtin_cpu_supports("aes")) {
        s->with_aes = 1;
        tcpao_flow_expand(s);
    }
#else
    (void)with_aes;
#endif
}

/* The hash of 2 or 6 words; the 6 must not begin with two that could stand alone. */
static inline uint32_t tcpao_flow_hash(const tcpao_flow_secret *s, const uint64_t *words, int count)
{
#if defined(__x86_64__)
    if (s->with_aes)
        return tcpao_aes_hash(s, words, count / 2);
#endif
    return tcpao_sip_hash(s, words, count);
}

/* The hashes of `count` times `each` (2 or 6) words; both arrays have room for a multiple of
 * TCPAO_FLOW_SIDE_BY_SIDE, and what is in it does not matter. */
static inline void tcpao_flow_hash_many(const tcpao_flow_secret *s, const uint64_t *words, int each,
                                        uint32_t *hashes, size_t count)
{
#if defined(__x86_64__)
    if (s->with_aes) {
        if (each == 2)
            tcpao_aes_hash_many(s, words, 1, hashes, count);
        else
            tcpao_aes_hash_many(s, words, each / 2, hashes, count);
        return;
    }
#endif
    for (size_t i = 0; i < count; i++)
        hashes[i] = tcpao_sip_hash(s, words + (size_t)each * i, each);
}

#endif
