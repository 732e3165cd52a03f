/* MD5 (RFC 1321) with a message a lane.  Each step waits for the one before, so vectors of lanes go
 * side by side (SIDES of them) to fill the gaps.
 *
 * Included behind a vec_*.h.
 */
#include <string.h>

#include "kernels.h"
#include "md5.h"

#define LANES (SIDES * VEC_LANES)
#include "group.h"

typedef uint32_t lane_words[4][LANES] __attribute__((aligned(64)));

#define md5_f(x, y, z) vec_choose(x, y, z)
#define md5_g(x, y, z) vec_choose(z, x, y)
#define md5_h(x, y, z) vec_xor3(x, y, z)
#define md5_i(x, y, z) vec_md5_i(x, y, z)

/* Step t + i of every side; t is a multiple of four. */
#define MD5_STEP(i, f, word, rotation)                                                             \
    _Pragma("GCC unroll 2") for (int side = 0; side < SIDES; side++)                               \
    {                                                                                              \
        vec *const s = state[side];                                                                \
        const vec b = s[(5 - i) & 3], c = s[(6 - i) & 3], d = s[(7 - i) & 3];                      \
        const vec keyed = vec_add(vec_add(s[(4 - i) & 3], w[side][(word) & 15]),                   \
                                  vec_set(md5_sine[t + i]));                                       \
        s[(4 - i) & 3] = vec_add(b, vec_rotate_left(vec_add(keyed, f(b, c, d)), rotation));        \
    }

/* Sixteen steps from `first` on; word m t + n of the block is step t's. */
#define MD5_SIXTEEN(first, f, m, n, r0, r1, r2, r3)                                                \
    _Pragma("GCC unroll 4") for (int t = first; t < first + 16; t += 4)                            \
    {                                                                                              \
        MD5_STEP(0, f, m * t + n, r0)                                                              \
        MD5_STEP(1, f, m * (t + 1) + n, r1)                                                        \
        MD5_STEP(2, f, m * (t + 2) + n, r2)                                                        \
        MD5_STEP(3, f, m * (t + 3) + n, r3)                                                        \
    }

static inline void md5_rounds(vec state[SIDES][4], vec w[SIDES][16])
{
    MD5_SIXTEEN(0, md5_f, 1, 0, 7, 12, 17, 22)
    MD5_SIXTEEN(16, md5_g, 5, 1, 5, 9, 14, 20)
    MD5_SIXTEEN(32, md5_h, 3, 5, 4, 11, 16, 23)
    MD5_SIXTEEN(48, md5_i, 7, 0, 6, 10, 15, 21)
}

static void md5_blocks(lane_words words, const uint8_t *const at[LANES],
                       const uint8_t *const *ahead, uint32_t count)
{
    vec state[SIDES][4], w[SIDES][16];

    for (int side = 0; side < SIDES; side++)
        for (int i = 0; i < 4; i++)
            state[side][i] = vec_load(words[i] + VEC_LANES * side);
    for (size_t offset = 0; count--; offset += 64) {
        if (ahead)
            lanes_prefetch(ahead, offset);
        for (int side = 0; side < SIDES; side++)
            vec_gather16(w[side], at + VEC_LANES * side, offset);
        md5_rounds(state, w);
        for (int side = 0; side < SIDES; side++)
            for (int i = 0; i < 4; i++) {
                uint32_t *const word = words[i] + VEC_LANES * side;
                state[side][i] = vec_add(state[side][i], vec_load(word));
                vec_store(word, state[side][i]);
            }
    }
}

static void md5_many(const tcpao_message *const *messages, size_t count)
{
    lane_group group;
    lane_words words;

    for (size_t n; count; messages += n, count -= n) {
        n = count < LANES ? count : LANES;
        for (int i = 0; i < 4; i++)
            for (int at = 0; at < LANES; at += VEC_LANES)
                vec_store(words[i] + at, vec_set(md5_initial[i]));
        group_start(&group, messages, count);
        while (group.live) {
            md5_blocks(words, group.at, group_ahead(&group), group.together);
            const uint32_t ended = group_step(&group, 64);
            for (int i = 0; i < LANES; i++)
                for (int word = 0; ended >> i & 1 && word < 4; word++)
                    memcpy(messages[i]->mac + 4 * word, &words[word][i], 4);
        }
    }
}
