/* HMAC (RFC 2104) with cached midstates, a message a lane.
 *
 * A group of messages goes through the hash together.  State and blocks are transposed, a vector
 * holding one word of every lane; so the outer block, which is a digest and constants, needs no
 * transposing at all.
 *
 * Included once by each kernel that works in lanes, behind a vec_*.h, after the definitions that
 * hmac_keys.h asks for and
 *   SIDES          vectors of lanes that go side by side
 *   hash_rounds    void (vec state[SIDES][HASH_WORDS], vec w[SIDES][16]): compress one block of each
 *                  lane, w is used up
 */
static void hash_compress(uint32_t state[HASH_WORDS], const uint8_t block[64]);

#define LANES (SIDES * VEC_LANES)
#include "group.h"
#include "hmac_keys.h"

typedef uint32_t lane_words[HASH_WORDS][LANES] __attribute__((aligned(64)));

static inline void words_load(vec state[SIDES][HASH_WORDS], lane_words words)
{
    for (int side = 0; side < SIDES; side++)
        for (int i = 0; i < HASH_WORDS; i++)
            state[side][i] = vec_load(words[i] + VEC_LANES * side);
}

static inline void words_store(vec state[SIDES][HASH_WORDS], lane_words words)
{
    for (int side = 0; side < SIDES; side++)
        for (int i = 0; i < HASH_WORDS; i++)
            vec_store(words[i] + VEC_LANES * side, state[side][i]);
}

/* A midstate of every lane's key, which begins `offset` bytes into the prepared key. */
static inline void midstates_load(vec state[SIDES][HASH_WORDS], const uint8_t *const keys[LANES],
                                  size_t offset)
{
    vec last[4];

    for (int side = 0; side < SIDES; side++) {
        vec_gather4(state[side], keys + VEC_LANES * side, offset);
        /* overlaps where there are five words */
        vec_gather4(last, keys + VEC_LANES * side, offset + HASH_BYTES - 16);
        for (int i = 4; i < HASH_WORDS; i++)
            state[side][i] = last[i - HASH_WORDS + 4];
    }
}

/* Compress `count` blocks of every lane; `ahead` (or NULL) is what comes afterwards. */
static void hash_blocks(lane_words words, const uint8_t *const at[LANES],
                        const uint8_t *const *ahead, uint32_t count)
{
    vec state[SIDES][HASH_WORDS], w[SIDES][16];

    words_load(state, words);
    for (size_t offset = 0; count--; offset += 64) {
        if (ahead)
            lanes_prefetch(ahead, offset);
        for (int side = 0; side < SIDES; side++) {
            vec_gather16(w[side], at + VEC_LANES * side, offset);
            for (int i = 0; i < 16; i++)
                w[side][i] = vec_swap(w[side][i]);
        }
        hash_rounds(state, w);
    }
    words_store(state, words);
}

/* The outer hash over inner digests, both transposed: see hash_outer_block. */
static inline void hash_outer(vec state[SIDES][HASH_WORDS], lane_words digests)
{
    vec digest[SIDES][HASH_WORDS], w[SIDES][16];

    words_load(digest, digests);
    for (int side = 0; side < SIDES; side++) {
        for (int i = 0; i < HASH_WORDS; i++)
            w[side][i] = digest[side][i];
        w[side][HASH_WORDS] = vec_set(0x80000000);
        for (int i = HASH_WORDS + 1; i < 15; i++)
            w[side][i] = vec_set(0);
        w[side][15] = vec_set(8 * (64 + HASH_BYTES));
    }
    hash_rounds(state, w);
}

static void digests_store(vec state[SIDES][HASH_WORDS], const tcpao_message *const *messages, size_t count)
{
    uint8_t unused[16];
    uint8_t *to[LANES];
    vec w[SIDES][HASH_WORDS];

    for (int side = 0; side < SIDES; side++)
        for (int i = 0; i < HASH_WORDS; i++)
            w[side][i] = vec_swap(state[side][i]);
    for (int at = 0; at < HASH_WORDS; at = at + 4 < HASH_WORDS ? HASH_WORDS - 4 : HASH_WORDS) {
        for (size_t i = 0; i < LANES; i++)
            to[i] = i < count ? messages[i]->mac + 4 * at : unused;
        for (int side = 0; side < SIDES; side++)
            vec_scatter4(w[side] + at, to + VEC_LANES * side);
    }
}

static void hmac_many(const tcpao_message *const *messages, size_t count)
{
    lane_group group;
    lane_words words, digests;
    const uint8_t *keys[LANES];
    vec state[SIDES][HASH_WORDS];

    for (size_t n; count; messages += n, count -= n) {
        n = count < LANES ? count : LANES;
        for (size_t i = 0; i < LANES; i++)
            keys[i] = messages[i < n ? i : 0]->key;
        const uint32_t alike = group_alike(messages, n, group.at);
        midstates_load(state, keys, 0);
        words_store(state, alike ? digests : words);
        group.live = 0;
        if (alike)
            hash_blocks(digests, group.at, NULL, alike);
        else
            group_start(&group, messages, count);
        while (group.live) {
            const uint32_t before = group.live;
            hash_blocks(words, group.at, group_ahead(&group), group.together);
            const uint32_t ended = group_step(&group, 64);
            if (ended == before && before == (uint32_t)((1ull << n) - 1))
                memcpy(digests, words, sizeof digests);
            else
                for (int i = 0; i < LANES; i++)
                    if (ended >> i & 1)
                        for (int word = 0; word < HASH_WORDS; word++)
                            digests[word][i] = words[word][i];
        }
        midstates_load(state, keys, HASH_BYTES);
        hash_outer(state, digests);
        digests_store(state, messages, n);
    }
}

/* One block at a time, in every lane the same: for what is left over. */
static void hash_compress(uint32_t state[HASH_WORDS], const uint8_t block[64])
{
    lane_words words;
    const uint8_t *at[LANES];

    for (int i = 0; i < LANES; i++)
        at[i] = block;
    for (int word = 0; word < HASH_WORDS; word++)
        for (int i = 0; i < LANES; i++)
            words[word][i] = state[word];
    hash_blocks(words, at, NULL, 1);
    for (int word = 0; word < HASH_WORDS; word++)
        state[word] = words[word][0];
}

/* Prepare keys side by side. */
static void hmac_prepare_lanes(const uint8_t *raw, size_t raw_length, size_t count, uint8_t *prepared)
{
    uint8_t key[64], pads[LANES][64];
    const uint8_t *at[LANES];
    lane_words words;

    for (size_t n; count; count -= n, raw += n * raw_length, prepared += n * 2 * HASH_BYTES) {
        n = count < LANES ? count : LANES;
        for (int outer = 0; outer < 2; outer++) {
            for (size_t i = 0; i < LANES; i++) {
                at[i] = pads[i < n ? i : 0];
                if (i >= n)
                    continue;
                hmac_key_block(raw + i * raw_length, raw_length, key);
                hmac_pad(key, outer, pads[i]);
            }
            for (int word = 0; word < HASH_WORDS; word++)
                for (int at_lane = 0; at_lane < LANES; at_lane += VEC_LANES)
                    vec_store(words[word] + at_lane, vec_set(HASH_INITIAL[word]));
            hash_blocks(words, at, NULL, 1);
            for (size_t i = 0; i < n; i++)
                for (int word = 0; word < HASH_WORDS; word++)
                    memcpy(prepared + (i * 2 + (size_t)outer) * HASH_BYTES + 4 * word, &words[word][i], 4);
        }
    }
    tcpao_wipe(key, sizeof key);
    tcpao_wipe(pads, sizeof pads);
    tcpao_wipe(words, sizeof words);
}
