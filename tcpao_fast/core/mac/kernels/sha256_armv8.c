/* HMAC-SHA-256 with the SHA-2 instructions of ARMv8, two messages interleaved. */
#if defined(__aarch64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("sha2"))), apply_to = function)
#if !defined(__ARM_FEATURE_SHA2)
#define __ARM_FEATURE_SHA2 1 /* else clang before 16 declares no intrinsics for it */
#endif
#if !defined(__ARM_FEATURE_CRYPTO)
#define __ARM_FEATURE_CRYPTO 1
#endif
#else
#pragma GCC target("+crypto")
#endif

#include <arm_neon.h>

#include "bytes.h"
#include "kernels.h"
#include "sha256.h"

typedef struct {
    uint32x4_t abcd;
    uint32x4_t efgh;
} hash_state;

static inline hash_state hash_load(const uint8_t *midstate)
{
    return (hash_state){vreinterpretq_u32_u8(vld1q_u8(midstate)),
                        vreinterpretq_u32_u8(vld1q_u8(midstate + 16))};
}

static inline void hash_save(hash_state state, uint32_t words[8])
{
    vst1q_u32(words, state.abcd);
    vst1q_u32(words + 4, state.efgh);
}

/* Four rounds of stream s: w[] holds the last 16 words of the schedule. */
#define FOUR_ROUNDS(s, g)                                                                          \
    do {                                                                                           \
        const uint32x4_t sum = vaddq_u32(w[s][(g) % 4], vld1q_u32(sha256_k + 4 * (g)));            \
        const uint32x4_t abcd = x[s].abcd;                                                         \
        if ((g) < 12)                                                                              \
            w[s][(g) % 4] = vsha256su1q_u32(vsha256su0q_u32(w[s][(g) % 4], w[s][((g) + 1) % 4]),   \
                                            w[s][((g) + 2) % 4], w[s][((g) + 3) % 4]);             \
        x[s].abcd = vsha256hq_u32(abcd, x[s].efgh, sum);                                           \
        x[s].efgh = vsha256h2q_u32(x[s].efgh, abcd, sum);                                          \
    } while (0)

#define BOTH(g)                                                                                    \
    FOUR_ROUNDS(0, g);                                                                             \
    FOUR_ROUNDS(1, g)
#define ALONE(g) FOUR_ROUNDS(0, g)
#define SIXTEEN_TIMES(step)                                                                        \
    step(0); step(1); step(2); step(3); step(4); step(5); step(6); step(7); step(8); step(9);      \
    step(10); step(11); step(12); step(13); step(14); step(15)

static inline uint32x4_t load_words(const uint8_t *p)
{
    return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)));
}

static inline hash_state add_states(hash_state a, hash_state b)
{
    return (hash_state){vaddq_u32(a.abcd, b.abcd), vaddq_u32(a.efgh, b.efgh)};
}

static void hash_two(hash_state *one, hash_state *other, const uint8_t *p, const uint8_t *q,
                     uint32_t count)
{
    hash_state state[2] = {*one, *other}, x[2];
    uint32x4_t w[2][4];

    for (; count; count--, p += 64, q += 64) {
        for (int s = 0; s < 2; s++) {
            x[s] = state[s];
            for (int i = 0; i < 4; i++)
                w[s][i] = load_words((s ? q : p) + 16 * i);
        }
        SIXTEEN_TIMES(BOTH);
        for (int s = 0; s < 2; s++)
            state[s] = add_states(state[s], x[s]);
    }
    *one = state[0];
    *other = state[1];
}

static void hash_one(hash_state *one, const uint8_t *p, uint32_t count)
{
    hash_state state = *one, x[1];
    uint32x4_t w[1][4];

    for (; count; count--, p += 64) {
        x[0] = state;
        for (int i = 0; i < 4; i++)
            w[0][i] = load_words(p + 16 * i);
        SIXTEEN_TIMES(ALONE);
        state = add_states(state, x[0]);
    }
    *one = state;
}

static void sha256_compress(uint32_t words[8], const uint8_t block[64])
{
    hash_state state = hash_load((const uint8_t *)words);
    hash_one(&state, block, 1);
    hash_save(state, words);
}

#define HASH_WORDS 8
#define HASH_INITIAL sha256_initial
#define hash_compress sha256_compress
#include "hmac_streams.h"

void tcpao_hmac_sha256_prepare_armv8(const uint8_t *raw, size_t raw_length, size_t count,
                                     uint8_t *prepared)
{
    hmac_prepare(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha256_armv8(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_aarch64; /* ISO C wants something in every file */
#endif
