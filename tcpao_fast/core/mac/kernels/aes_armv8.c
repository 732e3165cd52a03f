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

#include "bytes.h"
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

/* The S-box on one word: with its four copies as columns ShiftRows does nothing. */
static inline uint32_t substitute(uint32_t word)
{
    const uint8x16_t column = vreinterpretq_u8_u32(vdupq_n_u32(word));
    return vgetq_lane_u32(vreinterpretq_u32_u8(vaeseq_u8(column, vdupq_n_u8(0))), 0);
}

void tcpao_aes_cmac_prepare_armv8(const uint8_t *raw, size_t raw_length, size_t count,
                                  uint8_t *prepared)
{
    (void)raw_length; /* AES-128: always 16 */
    for (size_t n = 0; n < count; n++, raw += BLOCK, prepared += TCPAO_AES_CMAC_PREPARED) {
        uint32_t word[4 * (ROUNDS + 1)], constant = 1;
        uint8x16_t zero = vdupq_n_u8(0);
        uint8_t encrypted[BLOCK];

        for (int i = 0; i < 4; i++)
            word[i] = load32_le(raw + 4 * i);
        for (int i = 4; i < 4 * (ROUNDS + 1); i++) {
            uint32_t last = word[i - 1];
            if (i % 4 == 0) {
                last = substitute(rotr32(last, 8)) ^ constant;
                constant = (constant << 1) ^ (constant >> 7) * 0x11b;
            }
            word[i] = word[i - 4] ^ last;
        }
        for (int i = 0; i < 4 * (ROUNDS + 1); i++)
            store32_le(prepared + 4 * i, word[i]);
        for (int round = 0; round < ROUNDS - 1; round++)
            zero = vaesmcq_u8(vaeseq_u8(zero, vld1q_u8(prepared + BLOCK * round)));
        zero = vaeseq_u8(zero, vld1q_u8(prepared + BLOCK * (ROUNDS - 1)));
        vst1q_u8(encrypted, veorq_u8(zero, vld1q_u8(prepared + BLOCK * ROUNDS)));
        double_block(encrypted, prepared + SUBKEY1);
        double_block(prepared + SUBKEY1, prepared + SUBKEY2);
        tcpao_wipe(word, sizeof word);
        tcpao_wipe(encrypted, sizeof encrypted);
    }
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
