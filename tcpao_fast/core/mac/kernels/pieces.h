/* A message whose pieces are counted in bytes, block by block: for MACs with blocks of another size
 * than the lanes have, which pad by themselves.
 *
 * Included once by each such kernel, after it has defined
 *   BLOCK_BYTES
 *   block_state    what a block is taken into
 *   block_take     void (block_state *, const uint8_t block[BLOCK_BYTES])
 */
#include <string.h>

#include "kernels.h"

typedef struct {
    uint8_t block[BLOCK_BYTES]; /* begun, and not full */
    size_t used;
} block_rest;

/* Take what makes whole blocks of `length` more bytes; what is left over stays in `rest`. */
static void blocks_take(block_state *state, block_rest *rest, const uint8_t *data, size_t length)
{
    if (rest->used) {
        const size_t room = BLOCK_BYTES - rest->used, some = length < room ? length : room;
        if (some)
            memcpy(rest->block + rest->used, data, some);
        rest->used += some;
        if (rest->used < BLOCK_BYTES)
            return;
        block_take(state, rest->block);
        rest->used = 0;
        data += some;
        length -= some;
    }
    for (; length >= BLOCK_BYTES; data += BLOCK_BYTES, length -= BLOCK_BYTES)
        block_take(state, data);
    if (length)
        memcpy(rest->block, data, length);
    rest->used = length;
}

/* All pieces; returns how many bytes they have. */
static size_t blocks_take_message(block_state *state, block_rest *rest, const tcpao_message *message)
{
    size_t total = 0;

    for (int p = 0; p < 3; p++) {
        if (message->blocks[p])
            blocks_take(state, rest, message->piece[p], message->blocks[p]);
        total += message->blocks[p];
    }
    return total;
}
