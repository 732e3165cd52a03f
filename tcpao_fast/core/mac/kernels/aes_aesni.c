/* AES-128-CMAC with the AES instructions of x86-64, eight messages side by side: an aesenc takes
 * four cycles, and the other seven messages' run meanwhile. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes,avx"))), apply_to = function)
#else
#pragma GCC target("aes,avx")
#endif

enum { REGISTERS = 8, PER_REGISTER = 1 };
typedef __m128i aes_reg;

#define reg_load(p) _mm_load_si128((const __m128i *)(p))
#define reg_store(p, x) _mm_store_si128((__m128i *)(p), x)
#define reg_xor(a, b) _mm_xor_si128(a, b)
#define reg_gather(at, offset) load((at)[0] + (offset))
#define reg_aesenc(x, key) _mm_aesenc_si128(x, key)
#define reg_aesenclast(x, key) _mm_aesenclast_si128(x, key)

static inline __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

#include "cmac_lanes.h"

#include "aes_x86.h"

static inline void store(uint8_t *p, __m128i value)
{
    _mm_storeu_si128((__m128i *)p, value);
}

/* One step of FIPS 197's key expansion: `assist` has the rotated, substituted last word in its
 * highest word; every word of the round key adds the ones before it. */
static inline __m128i next_round_key(__m128i key, __m128i assist)
{
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

#define EXPAND(round, constant)                                                                    \
    key = next_round_key(key, _mm_aeskeygenassist_si128(key, constant));                           \
    store(prepared + BLOCK * (round), key);                                                        \
    zero = (round) < ROUNDS ? _mm_aesenc_si128(zero, key) : _mm_aesenclast_si128(zero, key)

void tcpao_aes_cmac_prepare_aesni(const uint8_t *raw, size_t raw_length, size_t count,
                                  uint8_t *prepared)
{
    (void)raw_length; /* AES-128: always 16 */
    for (size_t n = 0; n < count; n++, raw += BLOCK, prepared += TCPAO_AES_CMAC_PREPARED) {
        uint8_t encrypted[BLOCK];
        __m128i key = load(raw), zero = key; /* the block of zeros after the first key */
        store(prepared, key);
        EXPAND(1, 0x01);
        EXPAND(2, 0x02);
        EXPAND(3, 0x04);
        EXPAND(4, 0x08);
        EXPAND(5, 0x10);
        EXPAND(6, 0x20);
        EXPAND(7, 0x40);
        EXPAND(8, 0x80);
        EXPAND(9, 0x1b);
        EXPAND(10, 0x36);
        store(encrypted, zero);
        double_block(encrypted, prepared + SUBKEY1);
        double_block(prepared + SUBKEY1, prepared + SUBKEY2);
        tcpao_wipe(encrypted, sizeof encrypted);
    }
}

void tcpao_aes_cmac_aesni(const tcpao_message *const *messages, size_t count)
{
    cmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
