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
#define reg_repeat(word) _mm_set1_epi32((int)(word))
#define reg_shuffle(x, which) _mm_shuffle_epi8(x, which)
#define reg_up(x, bytes) _mm_slli_si128(x, bytes)
#define reg_same(block) (block)

static inline __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

#include "cmac_lanes.h"

#include "aes_x86.h"

void tcpao_aes_cmac_prepare_aesni(const uint8_t *raw, size_t raw_length, size_t count,
                                  uint8_t *prepared)
{
    (void)raw_length; /* AES-128: always 16 */
    cmac_prepare(raw, count, prepared);
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
