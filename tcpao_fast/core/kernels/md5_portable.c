/* MD5 in plain C (RFC 1321): the definition of every other MD5 kernel.  TCP-MD5 (RFC 2385) hashes the
 * key as the message's last bytes, so there is no key to prepare. */
#include <string.h>

#include "bytes.h"
#include "kernels.h"

/* floor(2^32 * abs(sin(i + 1))) */
static const uint32_t md5_sine[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
    0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
    0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
    0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
    0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
    0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
    0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
    0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};

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
        uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};

        for (int p = 0; p < 3; p++)
            for (uint32_t b = 0; b < message->blocks[p]; b++)
                md5_compress(state, message->piece[p] + (size_t)64 * b);
        for (int i = 0; i < 4; i++)
            store32_le(message->mac + 4 * i, state[i]);
    }
}
