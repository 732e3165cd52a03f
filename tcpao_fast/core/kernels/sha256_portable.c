/* HMAC-SHA-256 in plain C: the definition of every other SHA-256 kernel (FIPS 180-4, RFC 2104). */
#include "bytes.h"
#include "kernels.h"

static const uint32_t sha256_initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint32_t sha256_k[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

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
