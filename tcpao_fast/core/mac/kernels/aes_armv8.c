/* AES-128-CMAC with the AES instructions of ARMv8, eight messages side by side. */
#if defined(__aarch64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes"))), apply_to = function)
#if !defined(__ARM_FEATURE_AES)
#define __ARM_FEATURE_AES 1 /* else clang before 16 declares no intrinsics for it */
#endif
#if !defined(__ARM_FEATURE_CRYPTO)
#define __ARM_FEATURE_CRYPTO 1
#endif
#else
#pragma GCC target("+crypto")
#endif

#include <arm_neon.h>

enum { REGISTERS = 8, PER_REGISTER = 1 };
typedef uint8x16_t aes_reg;

#define reg_load(p) vld1q_u8(p)
#define reg_store(p, x) vst1q_u8(p, x)
#define reg_xor(a, b) veorq_u8(a, b)
#define reg_gather(at, offset) vld1q_u8((at)[0] + (offset))

#include "cmac_lanes.h"

/* An instruction adds the round key first and substitutes then, so the last key is added alone. */
static inline void aes_encrypt(aes_reg x[REGISTERS], const lane_blocks round_keys[ROUNDS + 1])
{
#define EACH(step) _Pragma("GCC unroll 8") for (int i = 0; i < REGISTERS; i++) x[i] = step
#define KEY(round) reg_load(round_keys[round] + BLOCK * i)
#pragma GCC unroll 9
    for (int round = 0; round < ROUNDS - 1; round++)
        EACH(vaesmcq_u8(vaeseq_u8(x[i], KEY(round))));
    EACH(reg_xor(vaeseq_u8(x[i], KEY(ROUNDS - 1)), KEY(ROUNDS)));
#undef EACH
#undef KEY
}

/* See aes_x86.h: the last word of each block, rotated, as all four columns. */
static inline aes_reg reg_next_key(aes_reg key, uint32_t constant)
{
    const uint8x16_t zero = vdupq_n_u8(0), rotate = vreinterpretq_u8_u32(vdupq_n_u32(0x0c0f0e0d));
    const uint8x16_t substituted = vaeseq_u8(vqtbl1q_u8(key, rotate), zero);

    key = reg_xor(key, vextq_u8(zero, key, BLOCK - 4));
    key = reg_xor(key, vextq_u8(zero, key, BLOCK - 8));
    return reg_xor(key, reg_xor(substituted, vreinterpretq_u8_u32(vdupq_n_u32(constant))));
}

/* See aes_x86.h: each byte's top bit goes into the byte before it. */
static inline aes_reg reg_twice(aes_reg x)
{
    static const uint8_t carry[BLOCK] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0x87};
    const uint8x16_t top = vcltzq_s8(vreinterpretq_s8_u8(x));

    return veorq_u8(vaddq_u8(x, x), vandq_u8(vextq_u8(top, top, 1), vld1q_u8(carry)));
}

void tcpao_aes_cmac_prepare_armv8(const uint8_t *raw, size_t raw_length, size_t count,
                                  uint8_t *prepared)
{
    (void)raw_length; /* AES-128: always 16 */
    cmac_prepare(raw, count, prepared);
}

void tcpao_aes_cmac_armv8(const tcpao_message *const *messages, size_t count)
{
    cmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_aarch64; /* ISO C wants something in every file */
#endif
