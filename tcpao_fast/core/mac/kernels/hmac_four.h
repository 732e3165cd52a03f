/* HMAC (RFC 2104) with cached midstates, up to four messages side by side: while an instruction of
 * one hash waits for its result, the other messages' run.
 *
 * Included once by each kernel with SHA instructions, after the definitions that hmac_keys.h asks
 * for and
 *   hash_state     the state in registers
 *   hash_words     the 16 words of a block in registers
 *   hash_load      hash_state (const uint8_t *midstate)
 *   hash_store     void (hash_state, uint8_t *digest)
 *   hash_read      void (hash_words *, const uint8_t *block)
 *   hash_last      void (hash_words *, hash_state): the block of the outer hash (hash_outer_block)
 *   hash_rounds    void (hash_state *, hash_words *, int sides): `sides` is a constant
 */
#include "hmac_keys.h"

enum { LANES = 4 };
#include "group.h"

#define ALWAYS static inline __attribute__((always_inline))

ALWAYS void hash_sides(hash_state *state, const uint8_t *const *at, uint32_t count, int sides)
{
    hash_state now[LANES];
    hash_words words[LANES];

    for (int i = 0; i < sides; i++)
        now[i] = state[i];
    for (size_t offset = 0; count--; offset += 64) {
        for (int i = 0; i < sides; i++)
            hash_read(&words[i], at[i] + offset);
        hash_rounds(now, words, sides);
    }
    for (int i = 0; i < sides; i++)
        state[i] = now[i];
}

/* Compress `count` blocks of the first `sides` lanes, of which three count as four. */
static void hash_blocks(hash_state *state, const uint8_t *const *at, uint32_t count, size_t sides)
{
    if (sides > 2)
        hash_sides(state, at, count, 4);
    else if (sides == 2)
        hash_sides(state, at, count, 2);
    else
        hash_sides(state, at, count, 1);
}

ALWAYS void hash_outer(hash_state *inner, const tcpao_message *const *messages, int sides, size_t n)
{
    hash_state state[LANES];
    hash_words words[LANES];

    for (int i = 0; i < sides; i++) {
        hash_last(&words[i], inner[i]);
        state[i] = hash_load(messages[(size_t)i < n ? i : 0]->key + HASH_BYTES);
    }
    hash_rounds(state, words, sides);
    for (int i = 0; i < sides; i++)
        if ((size_t)i < n)
            hash_store(state[i], messages[i]->mac);
}

/* Whether all lanes have as many blocks in every piece, as neighbours in a sorted batch mostly do. */
static inline int alike(const tcpao_message *const *messages)
{
    uint32_t difference = 0;

    for (int i = 1; i < LANES; i++)
        for (int piece = 0; piece < 3; piece++)
            difference |= messages[i]->blocks[piece] ^ messages[0]->blocks[piece];
    return difference == 0;
}

/* Four messages of the same lengths. */
static void hmac_alike(const tcpao_message *const *messages)
{
    hash_state state[LANES];
    const uint8_t *at[LANES];

    for (int i = 0; i < LANES; i++)
        state[i] = hash_load(messages[i]->key);
    for (int piece = 0; piece < 3; piece++) {
        for (int i = 0; i < LANES; i++)
            at[i] = messages[i]->piece[piece];
        hash_sides(state, at, messages[0]->blocks[piece], LANES);
    }
    hash_outer(state, messages, LANES, LANES);
}

/* Up to four messages of any lengths. */
static void hmac_group(const tcpao_message *const *messages, size_t n)
{
    lane_group group;
    hash_state state[LANES], inner[LANES];

    for (size_t i = 0; i < LANES; i++)
        state[i] = inner[i] = hash_load(messages[i < n ? i : 0]->key);
    group_start(&group, messages, n);
    while (group.live) {
        hash_blocks(state, group.at, group.together, n);
        const uint32_t ended = group_step(&group, 64);
        for (int i = 0; i < LANES; i++)
            if (ended >> i & 1)
                inner[i] = state[i];
    }
    if (n > 2)
        hash_outer(inner, messages, 4, n);
    else if (n == 2)
        hash_outer(inner, messages, 2, n);
    else
        hash_outer(inner, messages, 1, n);
}

static void hmac_many(const tcpao_message *const *messages, size_t count)
{
    for (; count >= LANES; messages += LANES, count -= LANES) {
        if (alike(messages))
            hmac_alike(messages);
        else
            hmac_group(messages, LANES);
    }
    if (count)
        hmac_group(messages, count);
}
