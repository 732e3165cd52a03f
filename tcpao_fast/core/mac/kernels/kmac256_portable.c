/* KMAC256 with 128 bits of output (NIST SP 800-185 section 4) in plain C.  A prepared key is the state
 * behind the blocks with the function's name and the key. */
#include "bytes.h"
#include "kernels.h"

enum { BLOCK_BYTES = 136, LANES = 25, MAC_BYTES = 16 };

typedef struct {
    uint64_t lanes[LANES];
} block_state;

/* FIPS 202 section 3.2.5 */
static const uint64_t constants[24] = {
    0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
    0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
    0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
    0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
    0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
    0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008};
/* By lane x + 5 y: how far it turns (section 3.2.2), and where it goes (section 3.2.3). */
static const uint8_t turns[LANES] = {0,  1,  62, 28, 27, 36, 44, 6,  55, 20, 3,  10, 43,
                                     25, 39, 41, 45, 15, 21, 8,  18, 2,  61, 56, 14};
static const uint8_t places[LANES] = {0,  10, 20, 5,  15, 16, 1,  11, 21, 6,  7,  17, 2,
                                      12, 22, 23, 8,  18, 3,  13, 14, 24, 9,  19, 4};

static void keccak(uint64_t a[LANES])
{
    uint64_t b[LANES], column[5];

    for (int round = 0; round < 24; round++) {
#pragma GCC unroll 5
        for (int x = 0; x < 5; x++)
            column[x] = a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20];
#pragma GCC unroll 25
        for (int i = 0; i < LANES; i++) {
            const uint64_t mixed =
                a[i] ^ column[(i + 4) % 5] ^ rotr64(column[(i + 1) % 5], 63);
            b[places[i]] = rotr64(mixed, (64 - turns[i]) & 63);
        }
#pragma GCC unroll 25
        for (int i = 0; i < LANES; i++)
            a[i] = b[i] ^ (~b[i / 5 * 5 + (i + 1) % 5] & b[i / 5 * 5 + (i + 2) % 5]);
        a[0] ^= constants[round];
    }
}

static void block_take(block_state *state, const uint8_t block[BLOCK_BYTES])
{
    for (int i = 0; i < BLOCK_BYTES / 8; i++)
        state->lanes[i] ^= load64_le(block + 8 * i);
    keccak(state->lanes);
}

#include "pieces.h"

/* bytepad: zeros up to a whole block */
static void blocks_fill(block_state *state, block_rest *rest)
{
    if (!rest->used)
        return;
    memset(rest->block + rest->used, 0, BLOCK_BYTES - rest->used);
    block_take(state, rest->block);
    rest->used = 0;
}

/* left_encode of a length in bits */
static void take_length(block_state *state, block_rest *rest, uint64_t bits)
{
    uint8_t encoded[9];
    uint8_t size = 1;

    while (size < 8 && bits >> (8 * size))
        size++;
    encoded[0] = size;
    for (uint8_t i = 0; i < size; i++)
        encoded[1 + i] = (uint8_t)(bits >> (8 * (size - 1 - i)));
    blocks_take(state, rest, encoded, (size_t)size + 1);
}

void tcpao_kmac256_prepare_portable(const uint8_t *raw, size_t raw_length, size_t count, uint8_t *prepared)
{
    static const uint8_t name[] = {'K', 'M', 'A', 'C'};
    block_state state;
    block_rest rest = {.used = 0};

    for (; count--; raw += raw_length, prepared += TCPAO_KMAC256_PREPARED) {
        memset(&state, 0, sizeof state);
        take_length(&state, &rest, BLOCK_BYTES);
        take_length(&state, &rest, 8 * sizeof name);
        blocks_take(&state, &rest, name, sizeof name);
        take_length(&state, &rest, 0); /* no customization */
        blocks_fill(&state, &rest);
        take_length(&state, &rest, BLOCK_BYTES);
        take_length(&state, &rest, 8 * (uint64_t)raw_length);
        if (raw_length)
            blocks_take(&state, &rest, raw, raw_length);
        blocks_fill(&state, &rest);
        memcpy(prepared, &state, sizeof state);
    }
    tcpao_wipe(&state, sizeof state);
    tcpao_wipe(&rest, sizeof rest);
}

void tcpao_kmac256_portable(const tcpao_message *const *messages, size_t count)
{
    static const uint8_t output_length[] = {8 * MAC_BYTES, 1}; /* right_encode */

    for (size_t n = 0; n < count; n++) {
        const tcpao_message *message = messages[n];
        block_state state;
        block_rest rest = {.used = 0};

        memcpy(&state, message->key, sizeof state);
        blocks_take_message(&state, &rest, message);
        blocks_take(&state, &rest, output_length, sizeof output_length);
        memset(rest.block + rest.used, 0, BLOCK_BYTES - rest.used);
        rest.block[rest.used] = 0x04; /* cSHAKE's bits, and pad10*1 */
        rest.block[BLOCK_BYTES - 1] |= 0x80;
        block_take(&state, rest.block);
        for (int i = 0; i < MAC_BYTES / 8; i++)
            store64_le(message->mac + 8 * i, state.lanes[i]);
    }
}
