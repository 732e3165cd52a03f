/* The rounds of SHA-1 (FIPS 180-4 section 6.1.2) with a message a lane.
 *
 * Each round waits for the one before it.  With SIDES 2 two vectors of lanes go side by side and fill
 * the gaps, though the words then live in memory.
 *
 * Included behind a vec_*.h.
 */
#include "sha1.h"

/* Each round waits for the sum of the one before: gcc's idea of a better order of its terms makes it
 * wait for two more additions, which cost an eighth. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-tree-reassoc")
#endif

#define HASH_WORDS 5
#define HASH_INITIAL sha1_initial

/* Twenty rounds from `first` on; unrolled, w[] and the turns of a to e are registers and constants. */
#define SHA1_TWENTY(first, f, constant)                                                            \
    _Pragma("GCC unroll 20") for (int t = first; t < first + 20; t++)                              \
    {                                                                                              \
        _Pragma("GCC unroll 2") for (int side = 0; side < SIDES; side++)                           \
        {                                                                                          \
            vec *const word = w[side], *const v = turn[side];                                      \
            if (t >= 16)                                                                           \
                word[t & 15] = vec_rotate_left(                                                    \
                    vec_xor(vec_xor3(word[(t + 13) & 15], word[(t + 8) & 15], word[(t + 2) & 15]), \
                            word[t & 15]), 1);                                                     \
            const vec a = v[(80 - t) % 5], b = v[(81 - t) % 5];                                    \
            const vec c = v[(82 - t) % 5], d = v[(83 - t) % 5];                                    \
            const vec sum = vec_add(vec_add(v[(84 - t) % 5], word[t & 15]), vec_set(constant));    \
            v[(84 - t) % 5] = vec_add(vec_add(sum, f(b, c, d)), vec_rotate_left(a, 5));            \
            v[(81 - t) % 5] = vec_rotate_left(b, 30);                                              \
        }                                                                                          \
    }

static inline void hash_rounds(vec state[SIDES][5], vec w[SIDES][16])
{
    vec turn[SIDES][5];

    for (int side = 0; side < SIDES; side++)
        for (int i = 0; i < 5; i++)
            turn[side][i] = state[side][i];
    SHA1_TWENTY(0, vec_choose, 0x5a827999)
    SHA1_TWENTY(20, vec_xor3, 0x6ed9eba1)
    SHA1_TWENTY(40, vec_majority, 0x8f1bbcdc)
    SHA1_TWENTY(60, vec_xor3, 0xca62c1d6)
    for (int side = 0; side < SIDES; side++)
        for (int i = 0; i < 5; i++)
            state[side][i] = vec_add(state[side][i], turn[side][i]);
}
