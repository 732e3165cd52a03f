/* HMAC-SHA-1 with the SHA instructions of x86-64, four messages interleaved. */
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

typedef struct {
    __m128i w[4]; /* four words each, the first in the highest */
} hash_words;

static inline hash_state hash_load(const uint8_t *midstate)
{
    hash_state state;
    state.abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)midstate), 0x1b);
    state.e = _mm_set_epi32((int)load32_le(midstate + 16), 0, 0, 0);
    return state;
}

static inline __m128i reversed(__m128i bytes)
{
    return _mm_shuffle_epi8(bytes, _mm_set_epi64x(0x0001020304050607, 0x08090a0b0c0d0e0f));
}

static inline void hash_store(hash_state state, uint8_t *digest)
{
    _mm_storeu_si128((__m128i *)digest, reversed(state.abcd));
    store32_be(digest + 16, (uint32_t)_mm_extract_epi32(state.e, 3));
}

static inline void hash_read(hash_words *words, const uint8_t *block)
{
    for (int i = 0; i < 4; i++)
        words->w[i] = reversed(_mm_loadu_si128((const __m128i *)(block + 16 * i)));
}

static inline void hash_last(hash_words *words, hash_state digest)
{
    words->w[0] = digest.abcd;
    words->w[1] = _mm_or_si128(digest.e, _mm_set_epi32(0, (int)0x80000000, 0, 0));
    words->w[2] = _mm_setzero_si128();
    words->w[3] = _mm_set_epi32(0, 0, 0, 8 * (64 + 20));
}

/* The last two words of `a` and the first two of `b`.  With an XOR it is sha1msg1, which would take
 * turns with the rounds in the same unit. */
static inline __m128i straddle(__m128i a, __m128i b)
{
    return _mm_castpd_si128(_mm_shuffle_pd(_mm_castsi128_pd(b), _mm_castsi128_pd(a), 1));
}

/* Four rounds of one lane: w[] holds the last 16 words of the schedule, e[] alternates between the
 * e of these rounds and the a that becomes the next e. */
#define FOUR_ROUNDS(s, g)                                                                          \
    do {                                                                                           \
        __m128i *const w = words[s].w;                                                             \
        const __m128i current = w[(g) % 4];                                                        \
        e[s][(g) % 2] = (g) == 0 ? _mm_add_epi32(e[s][0], current)                                 \
                                 : _mm_sha1nexte_epu32(e[s][(g) % 2], current);                    \
        e[s][1 - (g) % 2] = abcd[s];                                                               \
        if ((g) >= 3 && (g) <= 18)                                                                 \
            w[((g) + 1) % 4] = _mm_sha1msg2_epu32(w[((g) + 1) % 4], current);                      \
        abcd[s] = _mm_sha1rnds4_epu32(abcd[s], e[s][(g) % 2], (g) / 5);                            \
        if ((g) >= 1 && (g) <= 16)                                                                 \
            w[((g) + 3) % 4] = _mm_xor_si128(w[((g) + 3) % 4], straddle(w[((g) + 3) % 4], current));    \
        if ((g) >= 2 && (g) <= 17)                                                                 \
            w[((g) + 2) % 4] = _mm_xor_si128(w[((g) + 2) % 4], current);                           \
    } while (0)

#define EACH(g) _Pragma("GCC unroll 4") for (int s = 0; s < sides; s++) FOUR_ROUNDS(s, g)
#define TWENTY_TIMES(step)                                                                         \
    step(0); step(1); step(2); step(3); step(4); step(5); step(6); step(7); step(8); step(9);      \
    step(10); step(11); step(12); step(13); step(14); step(15); step(16); step(17); step(18);      \
    step(19)

static inline __attribute__((always_inline)) void hash_rounds(hash_state *state, hash_words *words,
                                                              int sides)
{
    __m128i abcd[4], e[4][2];

    for (int s = 0; s < sides; s++) {
        abcd[s] = state[s].abcd;
        e[s][0] = e[s][1] = state[s].e;
    }
    TWENTY_TIMES(EACH);
    for (int s = 0; s < sides; s++) {
        state[s].e = _mm_sha1nexte_epu32(e[s][0], state[s].e);
        state[s].abcd = _mm_add_epi32(abcd[s], state[s].abcd);
    }
}

static void sha1_compress(uint32_t words[5], const uint8_t block[64])
{
    hash_state state = hash_load((const uint8_t *)words);
    hash_words w;

    hash_read(&w, block);
    hash_rounds(&state, &w, 1);
    _mm_storeu_si128((__m128i *)words, _mm_shuffle_epi32(state.abcd, 0x1b));
    words[4] = (uint32_t)_mm_extract_epi32(state.e, 3);
}

#define HASH_WORDS 5
#define HASH_INITIAL sha1_initial
#define hash_compress sha1_compress
#include "hmac_four.h"

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
