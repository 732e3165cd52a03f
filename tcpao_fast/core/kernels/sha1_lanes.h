/* The rounds of SHA-1 (FIPS 180-4 section 6.1.2) with a message a lane.  Included behind a vec_*.h. */
#include "sha1.h"

#define HASH_WORDS 5
#define HASH_INITIAL sha1_initial

/* Twenty rounds from `first` on; unrolled, w[] and the turns of a to e are registers and constants. */
#define SHA1_TWENTY(first, f, constant)                                                            \
    _Pragma("GCC unroll 20") for (int t = first; t < first + 20; t++)                              \
    {                                                                                              \
        if (t >= 16)                                                                               \
            w[t & 15] = vec_rotate_left(                                                           \
                vec_xor(vec_xor3(w[(t + 13) & 15], w[(t + 8) & 15], w[(t + 2) & 15]), w[t & 15]), 1); \
        const vec sum = vec_add(vec_add(e, w[t & 15]), vec_set(constant));                         \
        const vec next = vec_add(vec_add(sum, f(b, c, d)), vec_rotate_left(a, 5));                 \
        e = d, d = c, c = vec_rotate_left(b, 30), b = a, a = next;                                 \
    }

static inline void hash_rounds(vec state[5], vec w[16])
{
    vec a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];

    SHA1_TWENTY(0, vec_choose, 0x5a827999)
    SHA1_TWENTY(20, vec_xor3, 0x6ed9eba1)
    SHA1_TWENTY(40, vec_majority, 0x8f1bbcdc)
    SHA1_TWENTY(60, vec_xor3, 0xca62c1d6)
    state[0] = vec_add(state[0], a);
    state[1] = vec_add(state[1], b);
    state[2] = vec_add(state[2], c);
    state[3] = vec_add(state[3], d);
    state[4] = vec_add(state[4], e);
}
