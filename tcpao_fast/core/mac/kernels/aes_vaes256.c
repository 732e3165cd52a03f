/* AES-128-CMAC with VAES on 256-bit registers: sixteen messages in eight registers. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes,avx,avx2,vaes"))), apply_to = function)
#else
#pragma GCC target("aes,avx,avx2,vaes")
#endif

enum { REGISTERS = 8, PER_REGISTER = 2 };
typedef __m256i aes_reg;

#define reg_load(p) _mm256_load_si256((const __m256i *)(p))
#define reg_store(p, x) _mm256_store_si256((__m256i *)(p), x)
#define reg_xor(a, b) _mm256_xor_si256(a, b)
#define reg_aesenc(x, key) _mm256_aesenc_epi128(x, key)
#define reg_aesenclast(x, key) _mm256_aesenclast_epi128(x, key)
#define reg_repeat(word) _mm256_set1_epi32((int)(word))
#define reg_shuffle(x, which) _mm256_shuffle_epi8(x, which)
#define reg_up(x, bytes) _mm256_slli_si256(x, bytes)
#define reg_same(block) _mm256_broadcastsi128_si256(block)

static inline aes_reg reg_gather(const uint8_t *const *at, size_t offset)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(at[0] + offset))),
        _mm_loadu_si128((const __m128i *)(at[1] + offset)), 1);
}

#include "cmac_lanes.h"

#include "aes_x86.h"

void tcpao_aes_cmac_prepare_vaes256(const uint8_t *raw, size_t raw_length, size_t count,
                                    uint8_t *prepared)
{
    (void)raw_length; /* AES-128: always 16 */
    cmac_prepare(raw, count, prepared);
}

void tcpao_aes_cmac_vaes256(const tcpao_message *const *messages, size_t count)
{
    cmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
