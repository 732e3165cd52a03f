/* AES-128-CMAC with VAES on 512-bit registers: sixteen messages in four registers. */
#if defined(__x86_64__)

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes,avx,avx2,avx512f,avx512bw,vaes"))), apply_to = function)
#else
#pragma GCC target("aes,avx,avx2,avx512f,avx512bw,vaes")
#endif

enum { REGISTERS = 4, PER_REGISTER = 4 };
typedef __m512i aes_reg;

#define reg_load(p) _mm512_load_si512((const void *)(p))
#define reg_store(p, x) _mm512_store_si512((void *)(p), x)
#define reg_xor(a, b) _mm512_xor_si512(a, b)
#define reg_aesenc(x, key) _mm512_aesenc_epi128(x, key)
#define reg_aesenclast(x, key) _mm512_aesenclast_epi128(x, key)
#define reg_repeat(word) _mm512_set1_epi32((int)(word))
#define reg_shuffle(x, which) _mm512_shuffle_epi8(x, which)
#define reg_up(x, bytes) _mm512_bslli_epi128(x, bytes)
#define reg_same(block) _mm512_broadcast_i32x4(block)

/* A load that broadcasts under a mask costs no shuffle. */
static inline aes_reg reg_gather(const uint8_t *const *at, size_t offset)
{
    aes_reg x = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(at[0] + offset)));
    x = _mm512_mask_broadcast_i32x4(x, 0x00f0, _mm_loadu_si128((const __m128i *)(at[1] + offset)));
    x = _mm512_mask_broadcast_i32x4(x, 0x0f00, _mm_loadu_si128((const __m128i *)(at[2] + offset)));
    return _mm512_mask_broadcast_i32x4(x, 0xf000, _mm_loadu_si128((const __m128i *)(at[3] + offset)));
}

#include "cmac_lanes.h"

#include "aes_x86.h"

void tcpao_aes_cmac_prepare_vaes512(const uint8_t *raw, size_t raw_length, size_t count,
                                    uint8_t *prepared)
{
    (void)raw_length; /* AES-128: always 16 */
    cmac_prepare(raw, count, prepared);
}

void tcpao_aes_cmac_vaes512(const tcpao_message *const *messages, size_t count)
{
    cmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
