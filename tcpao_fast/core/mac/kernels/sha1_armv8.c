/* HMAC-SHA-1 with the SHA-1 instructions of ARMv8, two messages interleaved. */
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
#include "sha1.h"

typedef struct {
    uint32x4_t abcd;
    uint32_t e;
} hash_state;

static inline hash_state hash_load(const uint8_t *midstate)
{
    return (hash_state){vreinterpretq_u32_u8(vld1q_u8(midstate)), load32_le(midstate + 16)};
}

static inline void hash_save(hash_state state, uint32_t words[5])
{
    vst1q_u32(words, state.abcd);
    words[4] = state.e;
}

/* Four rounds of stream s: w[] holds the last 16 words of the schedule. */
#define FOUR_ROUNDS(s, g)                                                                          \
    do {                                                                                           \
        const uint32x4_t sum = vaddq_u32(w[s][(g) % 4], vdupq_n_u32(constant[(g) / 5]));           \
        const uint32_t next = vsha1h_u32(vgetq_lane_u32(abcd[s], 0));                              \
        if ((g) < 16)                                                                              \
            w[s][(g) % 4] = vsha1su1q_u32(                                                         \
                vsha1su0q_u32(w[s][(g) % 4], w[s][((g) + 1) % 4], w[s][((g) + 2) % 4]),            \
                w[s][((g) + 3) % 4]);                                                              \
        abcd[s] = (g) / 5 == 0   ? vsha1cq_u32(abcd[s], e[s], sum)                                 \
                  : (g) / 5 == 2 ? vsha1mq_u32(abcd[s], e[s], sum)                                 \
                                 : vsha1pq_u32(abcd[s], e[s], sum);                                \
        e[s] = next;                                                                               \
    } while (0)

#define BOTH(g)                                                                                    \
    FOUR_ROUNDS(0, g);                                                                             \
    FOUR_ROUNDS(1, g)
#define ALONE(g) FOUR_ROUNDS(0, g)
#define TWENTY_TIMES(step)                                                                         \
    step(0); step(1); step(2); step(3); step(4); step(5); step(6); step(7); step(8); step(9);      \
    step(10); step(11); step(12); step(13); step(14); step(15); step(16); step(17); step(18);      \
    step(19)

static const uint32_t constant[4] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};

static inline uint32x4_t load_words(const uint8_t *p)
{
    return vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p)));
}

static void hash_two(hash_state *one, hash_state *other, const uint8_t *p, const uint8_t *q,
                     uint32_t count)
{
    hash_state state[2] = {*one, *other};
    uint32x4_t abcd[2], w[2][4];
    uint32_t e[2];

    for (; count; count--, p += 64, q += 64) {
        for (int s = 0; s < 2; s++) {
            abcd[s] = state[s].abcd;
            e[s] = state[s].e;
            for (int i = 0; i < 4; i++)
                w[s][i] = load_words((s ? q : p) + 16 * i);
        }
        TWENTY_TIMES(BOTH);
        for (int s = 0; s < 2; s++) {
            state[s].abcd = vaddq_u32(state[s].abcd, abcd[s]);
            state[s].e += e[s];
        }
    }
    *one = state[0];
    *other = state[1];
}

static void hash_one(hash_state *one, const uint8_t *p, uint32_t count)
{
    hash_state state = *one;
    uint32x4_t abcd[1], w[1][4];
    uint32_t e[1];

    for (; count; count--, p += 64) {
        abcd[0] = state.abcd;
        e[0] = state.e;
        for (int i = 0; i < 4; i++)
            w[0][i] = load_words(p + 16 * i);
        TWENTY_TIMES(ALONE);
        state.abcd = vaddq_u32(state.abcd, abcd[0]);
        state.e += e[0];
    }
    *one = state;
}

static void sha1_compress(uint32_t words[5], const uint8_t block[64])
{
    hash_state state = hash_load((const uint8_t *)words);
    hash_one(&state, block, 1);
    hash_save(state, words);
}

#define HASH_WORDS 5
#define HASH_INITIAL sha1_initial
#define hash_compress sha1_compress
#include "hmac_streams.h"

void tcpao_hmac_sha1_prepare_armv8(const uint8_t *raw, size_t raw_length, size_t count,
                                   uint8_t *prepared)
{
    hmac_prepare(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha1_armv8(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_aarch64; /* ISO C wants something in every file */
#endif
