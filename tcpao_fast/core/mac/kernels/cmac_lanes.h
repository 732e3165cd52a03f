/* AES-128-CMAC (RFC 4493) with a message a lane and a key a lane.
 *
 * A block of one message waits for the one before, but the other lanes' blocks do not: REGISTERS
 * registers of PER_REGISTER blocks each keep the AES units busy.  The round keys of a group are
 * made side by side first, so that a round of a register is one instruction with one operand in
 * memory.
 *
 * Included once by each kernel with AES instructions, after it has defined
 *   REGISTERS, PER_REGISTER
 *   aes_reg        PER_REGISTER blocks
 *   reg_load       aes_reg (const uint8_t *), blocks side by side, aligned
 *   reg_store      void (uint8_t *, aes_reg)
 *   reg_gather     aes_reg (const uint8_t *const *at, size_t offset): a block of each lane
 *   reg_next_key   aes_reg (aes_reg key, uint32_t constant): a step of the key schedule
 *   reg_twice      aes_reg (aes_reg): `twice` of each block
 *   aes_encrypt    void (aes_reg x[REGISTERS], const uint8_t (*round_keys)[LANES * BLOCK])
 */
#include <string.h>

#include "cmac.h"

#define LANES (REGISTERS * PER_REGISTER)
#include "group.h"

typedef uint8_t lane_blocks[LANES * BLOCK] __attribute__((aligned(64)));

static inline void aes_encrypt(aes_reg x[REGISTERS], const lane_blocks round_keys[ROUNDS + 1]);
static inline aes_reg reg_next_key(aes_reg key, uint32_t constant);
static inline aes_reg reg_twice(aes_reg x);

/* The round keys of a key a lane (FIPS 197 section 5.2). */
static inline void expand_keys(lane_blocks round_keys[ROUNDS + 1], const uint8_t *const keys[LANES])
{
    aes_reg key[REGISTERS];
    uint32_t constant = 1;

    for (int i = 0; i < REGISTERS; i++)
        reg_store(round_keys[0] + BLOCK * PER_REGISTER * i, key[i] = reg_gather(keys + PER_REGISTER * i, 0));
#pragma GCC unroll 10
    for (int round = 1; round <= ROUNDS; round++) {
#pragma GCC unroll 8
        for (int i = 0; i < REGISTERS; i++)
            reg_store(round_keys[round] + BLOCK * PER_REGISTER * i, key[i] = reg_next_key(key[i], constant));
        constant = constant << 1 ^ (constant >> 7) * 0x11b;
    }
}

/* The subkeys of a key a lane, for last blocks that all were padded or all were not. */
static inline void gather_subkeys(lane_blocks subkeys, const uint8_t *const keys[LANES], uint32_t padded)
{
    for (int i = 0; i < REGISTERS; i++) {
        const aes_reg k1 = reg_gather(keys + PER_REGISTER * i, SUBKEY1);
        reg_store(subkeys + BLOCK * PER_REGISTER * i, padded ? reg_twice(k1) : k1);
    }
}

/* `count` blocks of every lane: x = AES(x ^ block); `subkeys` (or NULL) are added to the last of
 * them, `ahead` (or NULL) is what comes afterwards. */
static inline void cbc_blocks(lane_blocks state, const lane_blocks round_keys[ROUNDS + 1],
                              const uint8_t *const at[LANES], const uint8_t *subkeys,
                              const uint8_t *const *ahead, uint32_t count)
{
    aes_reg x[REGISTERS];

    for (int i = 0; i < REGISTERS; i++)
        x[i] = reg_load(state + BLOCK * PER_REGISTER * i);
    for (size_t offset = 0; count--; offset += BLOCK) {
        if (ahead && offset % 64 == 0) /* a cache line is four blocks */
            lanes_prefetch(ahead, offset);
        for (int i = 0; i < REGISTERS; i++)
            x[i] = reg_xor(x[i], reg_gather(at + PER_REGISTER * i, offset));
        if (subkeys && !count)
            for (int i = 0; i < REGISTERS; i++)
                x[i] = reg_xor(x[i], reg_load(subkeys + BLOCK * PER_REGISTER * i));
        aes_encrypt(x, round_keys);
    }
    for (int i = 0; i < REGISTERS; i++)
        reg_store(state + BLOCK * PER_REGISTER * i, x[i]);
}

static void cmac_many(const tcpao_message *const *messages, size_t count)
{
    lane_group group;
    lane_blocks round_keys[ROUNDS + 1], subkeys, state;
    const uint8_t *keys[LANES] = {NULL};
    uint32_t padded = 0;
    int made = 0; /* whether `subkeys` are those of `keys` and `padded` */

    for (size_t n; count; messages += n, count -= n) {
        int other = 0;
        n = count < LANES ? count : LANES;
        for (size_t i = 0; i < LANES; i++) {
            const uint8_t *key = messages[i < n ? i : 0]->key;
            other |= keys[i] != key;
            keys[i] = key;
        }
        if (other) /* one connection's packets follow one another */
            expand_keys(round_keys, keys);
        memset(state, 0, sizeof state);
        const uint32_t alike = group_alike(messages, n, group.at);
        group.live = 0;
        if (alike) {
            if (other || !made || padded != messages[0]->padded) {
                padded = messages[0]->padded;
                gather_subkeys(subkeys, keys, padded);
                made = 1;
            }
            cbc_blocks(state, round_keys, group.at, subkeys, NULL, alike);
            for (size_t i = 0; i < n; i++)
                memcpy(messages[i]->mac, state + BLOCK * i, BLOCK);
        } else {
            group_start(&group, messages, count);
        }
        while (group.live) {
            const uint32_t ending = group_ending(&group);
            if (ending) {
                made = 0;
                memset(subkeys, 0, sizeof subkeys);
                for (int i = 0; i < LANES; i++)
                    if (ending >> i & 1)
                        add_subkey(subkeys + BLOCK * i, keys[i], messages[i]->padded);
            }
            cbc_blocks(state, round_keys, group.at, ending ? subkeys : NULL, group_ahead(&group),
                       group.together);
            group_step(&group, BLOCK);
            for (int i = 0; i < LANES; i++)
                if (ending >> i & 1)
                    memcpy(messages[i]->mac, state + BLOCK * i, BLOCK);
        }
    }
    tcpao_wipe(round_keys, sizeof round_keys);
    tcpao_wipe(subkeys, sizeof subkeys);
}

/* `count` keys prepared: K1 is twice what a block of zeros becomes. */
static void cmac_prepare(const uint8_t *raw, size_t count, uint8_t *prepared)
{
    lane_blocks round_keys[ROUNDS + 1], zeros;
    const uint8_t *keys[LANES];

    for (size_t n; count; raw += BLOCK * n, prepared += TCPAO_AES_CMAC_PREPARED * n, count -= n) {
        n = count < LANES ? count : LANES;
        aes_reg x[REGISTERS];
        for (size_t i = 0; i < LANES; i++)
            keys[i] = raw + BLOCK * (i < n ? i : 0);
        expand_keys(round_keys, keys);
        memset(zeros, 0, sizeof zeros);
        for (int i = 0; i < REGISTERS; i++)
            x[i] = reg_load(zeros + BLOCK * PER_REGISTER * i);
        aes_encrypt(x, round_keys);
        for (int i = 0; i < REGISTERS; i++)
            reg_store(zeros + BLOCK * PER_REGISTER * i, x[i]);
        for (size_t i = 0; i < n; i++) {
            memcpy(prepared + TCPAO_AES_CMAC_PREPARED * i, raw + BLOCK * i, BLOCK);
            number_to(prepared + TCPAO_AES_CMAC_PREPARED * i + SUBKEY1, twice(number_of(zeros + BLOCK * i)));
        }
    }
    tcpao_wipe(round_keys, sizeof round_keys);
    tcpao_wipe(zeros, sizeof zeros);
}
