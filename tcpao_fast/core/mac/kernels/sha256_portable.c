/* HMAC-SHA-256 in plain C: the definition of every other SHA-256 kernel (FIPS 180-4, RFC 2104). */
#include "bytes.h"
#include "kernels.h"
#include "sha256.h"

static void sha256_compress(uint32_t state[8], const uint8_t block[64])
{
    uint32_t w[16], s[8];

    for (int i = 0; i < 8; i++)
        s[i] = state[i];
#pragma GCC unroll 64
    for (int t = 0; t < 64; t++) {
        if (t < 16) {
            w[t] = load32_be(block + 4 * t);
        } else {
            uint32_t x = w[(t + 1) & 15], y = w[(t + 14) & 15];
            w[t & 15] += (rotr32(x, 7) ^ rotr32(x, 18) ^ (x >> 3)) + w[(t + 9) & 15] +
                         (rotr32(y, 17) ^ rotr32(y, 19) ^ (y >> 10));
        }
        uint32_t one = rotr32(s[4], 6) ^ rotr32(s[4], 11) ^ rotr32(s[4], 25);
        uint32_t choose = s[6] ^ (s[4] & (s[5] ^ s[6]));
        uint32_t first = s[7] + one + choose + sha256_k[t] + w[t & 15];
        uint32_t zero = rotr32(s[0], 2) ^ rotr32(s[0], 13) ^ rotr32(s[0], 22);
        uint32_t majority = (s[0] & s[1]) | (s[2] & (s[0] | s[1]));
        s[7] = s[6], s[6] = s[5], s[5] = s[4], s[4] = s[3] + first;
        s[3] = s[2], s[2] = s[1], s[1] = s[0], s[0] = first + zero + majority;
    }
    for (int i = 0; i < 8; i++)
        state[i] += s[i];
}

#define HASH_WORDS 8
#define HASH_INITIAL sha256_initial
#define hash_compress sha256_compress
#include "hmac_portable.h"

void tcpao_hmac_sha256_prepare_portable(const uint8_t *raw, size_t raw_length, size_t count,
                                        uint8_t *prepared)
{
    hmac_prepare(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha256_portable(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}
