/* HMAC-SHA-1 with the SHA instructions of x86-64, two messages interleaved. */
#if defined(__x86_64__)

#include <immintrin.h>

#include "bytes.h"
#include "kernels.h"
#include "sha1.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("sha,sse4.1,ssse3"))), apply_to = function)
#else
#pragma GCC target("sha,sse4.1,ssse3")
#endif

typedef struct {
    __m128i abcd; /* a in the highest word, as the instructions have it */
    __m128i e;
} hash_state;

static inline hash_state hash_load(const uint8_t *midstate)
{
    hash_state state;
    state.abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)midstate), 0x1b);
    state.e = _mm_set_epi32((int)load32_le(midstate + 16), 0, 0, 0);
    return state;
}

static inline void hash_save(hash_state state, uint32_t words[5])
{
    _mm_storeu_si128((__m128i *)words, _mm_shuffle_epi32(state.abcd, 0x1b));
    words[4] = (uint32_t)_mm_extract_epi32(state.e, 3);
}

static inline __m128i load_words(const uint8_t *p)
{
    const __m128i reverse = _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), reverse);
}

/* Four rounds of stream s: w[] holds the last 16 words of the schedule, e[] alternates between the
 * e of these rounds and the a that becomes the next e. */
#define FOUR_ROUNDS(s, g)                                                                          \
    do {                                                                                           \
        const __m128i current = w[s][(g) % 4];                                                     \
        e[s][(g) % 2] = (g) == 0 ? _mm_add_epi32(e[s][0], current)                                 \
                                 : _mm_sha1nexte_epu32(e[s][(g) % 2], current);                    \
        e[s][1 - (g) % 2] = abcd[s];                                                               \
        if ((g) >= 3 && (g) <= 18)                                                                 \
            w[s][((g) + 1) % 4] = _mm_sha1msg2_epu32(w[s][((g) + 1) % 4], current);                \
        abcd[s] = _mm_sha1rnds4_epu32(abcd[s], e[s][(g) % 2], (g) / 5);                            \
        if ((g) >= 1 && (g) <= 16)                                                                 \
            w[s][((g) + 3) % 4] = _mm_sha1msg1_epu32(w[s][((g) + 3) % 4], current);                \
        if ((g) >= 2 && (g) <= 17)                                                                 \
            w[s][((g) + 2) % 4] = _mm_xor_si128(w[s][((g) + 2) % 4], current);                     \
    } while (0)

#define BOTH(g)                                                                                    \
    FOUR_ROUNDS(0, g);                                                                             \
    FOUR_ROUNDS(1, g)
#define ALONE(g) FOUR_ROUNDS(0, g)
#define TWENTY_TIMES(step)                                                                         \
    step(0); step(1); step(2); step(3); step(4); step(5); step(6); step(7); step(8); step(9);      \
    step(10); step(11); step(12); step(13); step(14); step(15); step(16); step(17); step(18);      \
    step(19)

static void hash_two(hash_state *one, hash_state *other, const uint8_t *p, const uint8_t *q,
                     uint32_t count)
{
    hash_state state[2] = {*one, *other};
    __m128i abcd[2], e[2][2], w[2][4];

    for (; count; count--, p += 64, q += 64) {
        for (int s = 0; s < 2; s++) {
            abcd[s] = state[s].abcd;
            e[s][0] = e[s][1] = state[s].e;
            for (int i = 0; i < 4; i++)
                w[s][i] = load_words((s ? q : p) + 16 * i);
        }
        TWENTY_TIMES(BOTH);
        for (int s = 0; s < 2; s++) {
            state[s].e = _mm_sha1nexte_epu32(e[s][0], state[s].e);
            state[s].abcd = _mm_add_epi32(abcd[s], state[s].abcd);
        }
    }
    *one = state[0];
    *other = state[1];
}

static void hash_one(hash_state *one, const uint8_t *p, uint32_t count)
{
    hash_state state = *one;
    __m128i abcd[1], e[1][2], w[1][4];

    for (; count; count--, p += 64) {
        abcd[0] = state.abcd;
        e[0][0] = e[0][1] = state.e;
        for (int i = 0; i < 4; i++)
            w[0][i] = load_words(p + 16 * i);
        TWENTY_TIMES(ALONE);
        state.e = _mm_sha1nexte_epu32(e[0][0], state.e);
        state.abcd = _mm_add_epi32(abcd[0], state.abcd);
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

void tcpao_hmac_sha1_prepare_shani(const uint8_t *raw, size_t raw_length, size_t count,
                                   uint8_t *prepared)
{
    hmac_prepare(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha1_shani(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
