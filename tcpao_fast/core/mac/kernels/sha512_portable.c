/* HMAC-SHA-512 in plain C (FIPS 180-4, RFC 2104), with cached midstates. */
#include "bytes.h"
#include "kernels.h"

enum { BLOCK_BYTES = 128, WORDS = 8, DIGEST_BYTES = 64 };

typedef struct {
    uint64_t words[WORDS];
} block_state;

/* FIPS 180-4 section 5.3.5 */
static const block_state initial = {{
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179}};

/* FIPS 180-4 section 4.2.3 */
static const uint64_t constants[80] = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817};

/* Eight rounds at a time: what the words are called turns instead of the words. */
#define ROUND(t, a, b, c, d, e, f, g, h)                                                           \
    do {                                                                                           \
        const uint64_t one = rotr64(e, 14) ^ rotr64(e, 18) ^ rotr64(e, 41);                        \
        const uint64_t first = h + one + (g ^ (e & (f ^ g))) + constants[t] + w[(t) & 15];         \
        const uint64_t zero = rotr64(a, 28) ^ rotr64(a, 34) ^ rotr64(a, 39);                       \
        d += first;                                                                                \
        h = first + zero + ((a & b) | (c & (a | b)));                                              \
    } while (0)

static void block_take(block_state *state, const uint8_t block[BLOCK_BYTES])
{
    uint64_t w[16], s[WORDS];

    for (int i = 0; i < 16; i++)
        w[i] = load64_be(block + 8 * i);
    for (int i = 0; i < WORDS; i++)
        s[i] = state->words[i];
    for (int t = 0; t < 80; t += 16) {
        if (t) {
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) {
                const uint64_t x = w[(i + 1) & 15], y = w[(i + 14) & 15];
                w[i] += (rotr64(x, 1) ^ rotr64(x, 8) ^ (x >> 7)) + w[(i + 9) & 15] +
                        (rotr64(y, 19) ^ rotr64(y, 61) ^ (y >> 6));
            }
        }
#pragma GCC unroll 2
        for (int i = 0; i < 16; i += 8) {
            ROUND(t + i, s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
            ROUND(t + i + 1, s[7], s[0], s[1], s[2], s[3], s[4], s[5], s[6]);
            ROUND(t + i + 2, s[6], s[7], s[0], s[1], s[2], s[3], s[4], s[5]);
            ROUND(t + i + 3, s[5], s[6], s[7], s[0], s[1], s[2], s[3], s[4]);
            ROUND(t + i + 4, s[4], s[5], s[6], s[7], s[0], s[1], s[2], s[3]);
            ROUND(t + i + 5, s[3], s[4], s[5], s[6], s[7], s[0], s[1], s[2]);
            ROUND(t + i + 6, s[2], s[3], s[4], s[5], s[6], s[7], s[0], s[1]);
            ROUND(t + i + 7, s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[0]);
        }
    }
    for (int i = 0; i < WORDS; i++)
        state->words[i] += s[i];
}

#include "pieces.h"

/* The padding and the length of all that was hashed, in bytes; `digest` may be NULL. */
static void hash_end(block_state *state, block_rest *rest, uint64_t length, uint8_t digest[DIGEST_BYTES])
{
    uint8_t *const block = rest->block;

    block[rest->used++] = 0x80;
    if (rest->used > BLOCK_BYTES - 16) {
        memset(block + rest->used, 0, BLOCK_BYTES - rest->used);
        block_take(state, block);
        rest->used = 0;
    }
    memset(block + rest->used, 0, BLOCK_BYTES - rest->used);
    store64_be(block + BLOCK_BYTES - 16, length >> 61);
    store64_be(block + BLOCK_BYTES - 8, length << 3);
    block_take(state, block);
    for (int i = 0; i < WORDS; i++)
        store64_be(digest + 8 * i, state->words[i]);
}

void tcpao_hmac_sha512_prepare_portable(const uint8_t *raw, size_t raw_length, size_t count,
                                        uint8_t *prepared)
{
    block_rest rest;
    block_state state;
    uint8_t key[BLOCK_BYTES], pad[BLOCK_BYTES];

    for (; count--; raw += raw_length, prepared += TCPAO_HMAC_SHA512_PREPARED) {
        memset(key, 0, sizeof key);
        if (raw_length > BLOCK_BYTES) { /* RFC 2104 section 3 */
            state = initial;
            rest.used = 0;
            blocks_take(&state, &rest, raw, raw_length);
            hash_end(&state, &rest, raw_length, key);
        } else if (raw_length) {
            memcpy(key, raw, raw_length);
        }
        for (size_t outer = 0; outer < 2; outer++) {
            for (int i = 0; i < BLOCK_BYTES; i++)
                pad[i] = key[i] ^ (outer ? 0x5c : 0x36);
            state = initial;
            block_take(&state, pad);
            memcpy(prepared + outer * sizeof state, &state, sizeof state);
        }
    }
    tcpao_wipe(key, sizeof key);
    tcpao_wipe(pad, sizeof pad);
    tcpao_wipe(&state, sizeof state);
    tcpao_wipe(&rest, sizeof rest);
}

void tcpao_hmac_sha512_portable(const tcpao_message *const *messages, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        const tcpao_message *message = messages[n];
        block_state state;
        block_rest rest = {.used = 0};

        memcpy(&state, message->key, sizeof state);
        const size_t length = blocks_take_message(&state, &rest, message);
        hash_end(&state, &rest, BLOCK_BYTES + length, message->mac);
        memcpy(&state, message->key + sizeof state, sizeof state);
        memcpy(rest.block, message->mac, DIGEST_BYTES);
        rest.used = DIGEST_BYTES;
        hash_end(&state, &rest, BLOCK_BYTES + DIGEST_BYTES, message->mac);
    }
}
