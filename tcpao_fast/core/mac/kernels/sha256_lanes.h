/* The rounds of SHA-256 (FIPS 180-4 section 6.2.2) with a message a lane.  Included behind a vec_*.h. */
#include "sha256.h"

#define HASH_WORDS 8
#define HASH_INITIAL sha256_initial

#define rotate_right(x, n) vec_rotate_left(x, 32 - (n))

static inline void sha256_rounds(vec state[8], vec w[16])
{
    vec s[8];

    for (int i = 0; i < 8; i++)
        s[i] = state[i];
    /* eight rounds a turn: then every word is back in its place */
    for (int turn = 0; turn < 64; turn += 16) {
#pragma GCC unroll 16
        for (int t = 0; t < 16; t++) {
            if (turn) {
                const vec x = w[(t + 1) & 15], y = w[(t + 14) & 15];
                const vec low = vec_xor3(rotate_right(x, 7), rotate_right(x, 18), vec_shift_right(x, 3));
                const vec high = vec_xor3(rotate_right(y, 17), rotate_right(y, 19), vec_shift_right(y, 10));
                w[t] = vec_add(vec_add(w[t], low), vec_add(w[(t + 9) & 15], high));
            }
            const vec a = s[(16 - t) & 7], b = s[(17 - t) & 7], c = s[(18 - t) & 7];
            const vec e = s[(20 - t) & 7], f = s[(21 - t) & 7], g = s[(22 - t) & 7];
            const vec one = vec_xor3(rotate_right(e, 6), rotate_right(e, 11), rotate_right(e, 25));
            const vec zero = vec_xor3(rotate_right(a, 2), rotate_right(a, 13), rotate_right(a, 22));
            const vec keyed = vec_add(vec_add(s[(23 - t) & 7], w[t]), vec_set(sha256_k[turn + t]));
            const vec first = vec_add(vec_add(keyed, one), vec_choose(e, f, g));
            s[(19 - t) & 7] = vec_add(s[(19 - t) & 7], first);
            s[(23 - t) & 7] = vec_add(vec_add(first, zero), vec_majority(a, b, c));
        }
    }
    for (int i = 0; i < 8; i++)
        state[i] = vec_add(state[i], s[i]);
}

static inline void hash_rounds(vec state[SIDES][8], vec w[SIDES][16])
{
    for (int side = 0; side < SIDES; side++)
        sha256_rounds(state[side], w[side]);
}
