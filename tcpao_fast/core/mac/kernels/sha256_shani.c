/* HMAC-SHA-256 with the SHA instructions of x86-64, two messages interleaved. */
#if defined(__x86_64__)

#include <immintrin.h>

#include "bytes.h"
#include "kernels.h"
#include "sha256.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("sha,sse4.1,ssse3"))), apply_to = function)
#else
#pragma GCC target("sha,sse4.1,ssse3")
#endif

typedef struct {
    __m128i abef; /* the halves that the instructions want */
    __m128i cdgh;
} hash_state;

static inline hash_state hash_load(const uint8_t *midstate)
{
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)midstate), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(midstate + 16)), 0x1b);
    hash_state state;
    state.abef = _mm_alignr_epi8(cdab, efgh, 8);
    state.cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    return state;
}

static inline void hash_save(hash_state state, uint32_t words[8])
{
    const __m128i feba = _mm_shuffle_epi32(state.abef, 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(state.cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)words, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(words + 4), _mm_alignr_epi8(dchg, feba, 8));
}

static inline __m128i load_words(const uint8_t *p)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), swap);
}

#define K(a, b, c, d) _mm_set_epi32((int)d, (int)c, (int)b, (int)a)

/* Four rounds of stream s; w[] holds the last 16 words of the schedule. */
#define FOUR_ROUNDS(s, g, k)                                                                       \
    do {                                                                                           \
        const __m128i current = w[s][(g) % 4];                                                     \
        __m128i sum = _mm_add_epi32(current, k);                                                   \
        cdgh[s] = _mm_sha256rnds2_epu32(cdgh[s], abef[s], sum);                                    \
        if ((g) >= 3 && (g) <= 14) {                                                               \
            const __m128i seventh = _mm_alignr_epi8(current, w[s][((g) + 3) % 4], 4);              \
            w[s][((g) + 1) % 4] = _mm_sha256msg2_epu32(                                            \
                _mm_add_epi32(w[s][((g) + 1) % 4], seventh), current);                             \
        }                                                                                          \
        sum = _mm_shuffle_epi32(sum, 0x0e);                                                        \
        abef[s] = _mm_sha256rnds2_epu32(abef[s], cdgh[s], sum);                                    \
        if ((g) >= 1 && (g) <= 12)                                                                 \
            w[s][((g) + 3) % 4] = _mm_sha256msg1_epu32(w[s][((g) + 3) % 4], current);              \
    } while (0)

#define BOTH(g, k)                                                                                 \
    FOUR_ROUNDS(0, g, k);                                                                          \
    FOUR_ROUNDS(1, g, k)
#define ALONE(g, k) FOUR_ROUNDS(0, g, k)
#define SIXTEEN_TIMES(step)                                                                        \
    step(0, K(0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5));                                    \
    step(1, K(0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5));                                    \
    step(2, K(0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3));                                    \
    step(3, K(0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174));                                    \
    step(4, K(0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc));                                    \
    step(5, K(0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da));                                    \
    step(6, K(0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7));                                    \
    step(7, K(0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967));                                    \
    step(8, K(0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13));                                    \
    step(9, K(0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85));                                    \
    step(10, K(0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3));                                   \
    step(11, K(0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070));                                   \
    step(12, K(0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5));                                   \
    step(13, K(0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3));                                   \
    step(14, K(0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208));                                   \
    step(15, K(0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2))

static void hash_two(hash_state *one, hash_state *other, const uint8_t *p, const uint8_t *q,
                     uint32_t count)
{
    hash_state state[2] = {*one, *other};
    __m128i abef[2], cdgh[2], w[2][4];

    for (; count; count--, p += 64, q += 64) {
        for (int s = 0; s < 2; s++) {
            abef[s] = state[s].abef;
            cdgh[s] = state[s].cdgh;
            for (int i = 0; i < 4; i++)
                w[s][i] = load_words((s ? q : p) + 16 * i);
        }
        SIXTEEN_TIMES(BOTH);
        for (int s = 0; s < 2; s++) {
            state[s].abef = _mm_add_epi32(abef[s], state[s].abef);
            state[s].cdgh = _mm_add_epi32(cdgh[s], state[s].cdgh);
        }
    }
    *one = state[0];
    *other = state[1];
}

static void hash_one(hash_state *one, const uint8_t *p, uint32_t count)
{
    hash_state state = *one;
    __m128i abef[1], cdgh[1], w[1][4];

    for (; count; count--, p += 64) {
        abef[0] = state.abef;
        cdgh[0] = state.cdgh;
        for (int i = 0; i < 4; i++)
            w[0][i] = load_words(p + 16 * i);
        SIXTEEN_TIMES(ALONE);
        state.abef = _mm_add_epi32(abef[0], state.abef);
        state.cdgh = _mm_add_epi32(cdgh[0], state.cdgh);
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

void tcpao_hmac_sha256_prepare_shani(const uint8_t *raw, size_t raw_length, size_t count,
                                     uint8_t *prepared)
{
    hmac_prepare(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha256_shani(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
