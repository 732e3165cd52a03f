/* AES-128-CMAC (RFC 4493) with a message a lane and a key a lane.
 *
 * A block of one message waits for the one before, but the other lanes' blocks do not: REGISTERS
 * registers of PER_REGISTER blocks each keep the AES units busy.  The round keys of a group are
 * laid side by side first, so that a round of a register is one instruction with one operand in
 * memory; to fetch every lane's own round keys each time costs twice that.
 *
 * Included once by each kernel with AES instructions, after it has defined
 *   REGISTERS, PER_REGISTER
 *   aes_reg        PER_REGISTER blocks
 *   reg_load       aes_reg (const uint8_t *), blocks side by side, aligned
 *   reg_store      void (uint8_t *, aes_reg)
 *   reg_gather     aes_reg (const uint8_t *const *at, size_t offset): a block of each lane
 *   aes_encrypt    void (aes_reg x[REGISTERS], const uint8_t (*round_keys)[LANES * BLOCK])
 */
#include <string.h>

#include "cmac.h"

#define LANES (REGISTERS * PER_REGISTER)
#include "group.h"

typedef uint8_t lane_blocks[LANES * BLOCK] __attribute__((aligned(64)));

static inline void aes_encrypt(aes_reg x[REGISTERS], const lane_blocks round_keys[ROUNDS + 1]);

/* `count` blocks of every lane: x = AES(x ^ block); `ahead` (or NULL) is what comes afterwards. */
static inline void cbc_blocks(lane_blocks state, const lane_blocks round_keys[ROUNDS + 1],
                              const uint8_t *const at[LANES], const uint8_t *const *ahead,
                              uint32_t count)
{
    aes_reg x[REGISTERS];

    for (int i = 0; i < REGISTERS; i++)
        x[i] = reg_load(state + BLOCK * PER_REGISTER * i);
    for (size_t offset = 0; count--; offset += BLOCK) {
        if (ahead && offset % 64 == 0) /* a cache line is four blocks */
            lanes_prefetch(ahead, offset);
        for (int i = 0; i < REGISTERS; i++)
            x[i] = reg_xor(x[i], reg_gather(at + PER_REGISTER * i, offset));
        aes_encrypt(x, round_keys);
    }
    for (int i = 0; i < REGISTERS; i++)
        reg_store(state + BLOCK * PER_REGISTER * i, x[i]);
}

static void cmac_many(const tcpao_message *const *messages, size_t count)
{
    lane_group group;
    lane_blocks round_keys[ROUNDS + 1], state;
    const uint8_t *keys[LANES];

    for (size_t n; count; messages += n, count -= n) {
        n = count < LANES ? count : LANES;
        for (size_t i = 0; i < LANES; i++)
            keys[i] = messages[i < n ? i : 0]->key;
        for (int round = 0; round <= ROUNDS; round++)
            for (int i = 0; i < REGISTERS; i++)
                reg_store(round_keys[round] + BLOCK * PER_REGISTER * i,
                          reg_gather(keys + PER_REGISTER * i, (size_t)BLOCK * (size_t)round));
        memset(state, 0, sizeof state);
        const uint32_t alike = group_alike(messages, n, group.at);
        group.live = 0;
        if (alike) {
            cbc_blocks(state, round_keys, group.at, NULL, alike);
            for (size_t i = 0; i < n; i++)
                memcpy(messages[i]->mac, state + BLOCK * i, BLOCK);
        } else {
            group_start(&group, messages, count);
        }
        while (group.live) {
            cbc_blocks(state, round_keys, group.at, group_ahead(&group), group.together);
            const uint32_t ended = group_step(&group, BLOCK);
            for (int i = 0; i < LANES; i++)
                if (ended >> i & 1)
                    memcpy(messages[i]->mac, state + BLOCK * i, BLOCK);
        }
    }
    tcpao_wipe(round_keys, sizeof round_keys);
}
