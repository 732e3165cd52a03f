/* MD5 in plain C (RFC 1321): the definition of every other MD5 kernel.  TCP-MD5 (RFC 2385) hashes the
 * key as the message's last bytes, so there is no key to prepare. */
#include <string.h>

#include "bytes.h"
#include "kernels.h"
#include "md5.h"

static const uint8_t md5_shift[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

static void md5_compress(uint32_t state[4], const uint8_t block[64])
{
    uint32_t w[16], a = state[0], b = state[1], c = state[2], d = state[3];

    for (int i = 0; i < 16; i++)
        w[i] = load32_le(block + 4 * i);
#pragma GCC unroll 64
    for (int i = 0; i < 64; i++) {
        uint32_t f;
        int g;
        if (i < 16)
            f = d ^ (b & (c ^ d)), g = i;
        else if (i < 32)
            f = c ^ (d & (b ^ c)), g = (5 * i + 1) & 15;
        else if (i < 48)
            f = b ^ c ^ d, g = (3 * i + 5) & 15;
        else
            f = c ^ (b | ~d), g = (7 * i) & 15;
        uint32_t next = b + rotl32(a + f + md5_sine[i] + w[g], md5_shift[i >> 4][i & 3]);
        a = d, d = c, c = b, b = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
}

void tcpao_md5_prepare_portable(const uint8_t *raw, size_t raw_length, size_t count, uint8_t *prepared)
{
    (void)raw, (void)raw_length, (void)count, (void)prepared;
}

void tcpao_md5_portable(const tcpao_message *const *messages, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        const tcpao_message *message = messages[n];
        uint32_t state[4];

        memcpy(state, md5_initial, sizeof state);
        for (int p = 0; p < 3; p++)
            for (uint32_t b = 0; b < message->blocks[p]; b++)
                md5_compress(state, message->piece[p] + (size_t)64 * b);
        for (int i = 0; i < 4; i++)
            store32_le(message->mac + 4 * i, state[i]);
    }
}
