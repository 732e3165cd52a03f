/* HMAC-SHA-1 in plain C: the definition of every other SHA-1 kernel (FIPS 180-4, RFC 2104). */
#include "bytes.h"
#include "kernels.h"
#include "sha1.h"

static void sha1_compress(uint32_t state[5], const uint8_t block[64])
{
    uint32_t w[16], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];

    /* unrolled, the schedule's indices and the choice of f are constants: twice the speed */
#pragma GCC unroll 80
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 16)
            w[t] = load32_be(block + 4 * t);
        else
            w[t & 15] = rotl32(w[(t + 13) & 15] ^ w[(t + 8) & 15] ^ w[(t + 2) & 15] ^ w[t & 15], 1);
        if (t < 20)
            f = d ^ (b & (c ^ d)), k = 0x5a827999;
        else if (t < 40)
            f = b ^ c ^ d, k = 0x6ed9eba1;
        else if (t < 60)
            f = (b & c) | (d & (b | c)), k = 0x8f1bbcdc;
        else
            f = b ^ c ^ d, k = 0xca62c1d6;
        uint32_t next = rotl32(a, 5) + f + e + k + w[t & 15];
        e = d, d = c, c = rotl32(b, 30), b = a, a = next;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

#define HASH_WORDS 5
#define HASH_INITIAL sha1_initial
#define hash_compress sha1_compress
#include "hmac_portable.h"

void tcpao_hmac_sha1_prepare_portable(const uint8_t *raw, size_t raw_length, size_t count,
                                      uint8_t *prepared)
{
    hmac_prepare(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha1_portable(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}
