/* HMAC's keys (RFC 2104) for any hash with 64-byte blocks and big-endian words: midstates, and the
 * block of the outer hash.
 *
 * Included once by each kernel of such a hash, after it has defined
 *   HASH_WORDS      words of the state (5, 8)
 *   HASH_INITIAL    the initial state
 *   hash_compress   void (uint32_t state[HASH_WORDS], const uint8_t block[64]) (or declared it)
 */
#include <string.h>

#include "bytes.h"
#include "kernels.h"

#define HASH_BYTES (4 * HASH_WORDS)

/* The last block of a hash whose unfinished part is `digest` and whose whole length is
 * 64 + HASH_BYTES: what the outer hash of every HMAC compresses. */
static inline void hash_outer_block(const uint32_t digest[HASH_WORDS], uint8_t block[64])
{
    memset(block, 0, 64);
    for (int i = 0; i < HASH_WORDS; i++)
        store32_be(block + 4 * i, digest[i]);
    block[HASH_BYTES] = 0x80;
    store32_be(block + 60, 8 * (64 + HASH_BYTES));
}

/* A key longer than a block is replaced by its hash (RFC 2104 section 3). */
static void hash_long_key(const uint8_t *key, size_t length, uint8_t block[64])
{
    uint32_t state[HASH_WORDS];
    uint8_t last[128];
    size_t whole = length / 64 * 64, rest = length - whole;
    size_t padded = rest < 56 ? 64 : 128;

    memcpy(state, HASH_INITIAL, sizeof state);
    for (size_t at = 0; at < whole; at += 64)
        hash_compress(state, key + at);
    memset(last, 0, sizeof last);
    memcpy(last, key + whole, rest);
    last[rest] = 0x80;
    store32_be(last + padded - 8, (uint32_t)((uint64_t)length >> 29));
    store32_be(last + padded - 4, (uint32_t)(length << 3));
    for (size_t at = 0; at < padded; at += 64)
        hash_compress(state, last + at);
    for (int i = 0; i < HASH_WORDS; i++)
        store32_be(block + 4 * i, state[i]);
    tcpao_wipe(last, sizeof last);
    tcpao_wipe(state, sizeof state);
}

/* The block that a key fills: itself or its hash, and zeros. */
static inline void hmac_key_block(const uint8_t *raw, size_t raw_length, uint8_t block[64])
{
    memset(block, 0, 64);
    if (raw_length > 64)
        hash_long_key(raw, raw_length, block);
    else if (raw_length)
        memcpy(block, raw, raw_length);
}

static inline void hmac_pad(const uint8_t key[64], int outer, uint8_t pad[64])
{
    for (int i = 0; i < 64; i++)
        pad[i] = key[i] ^ (outer ? 0x5c : 0x36);
}

/* Prepare keys one after the other. */
static inline void hmac_prepare(const uint8_t *raw, size_t raw_length, size_t count, uint8_t *prepared)
{
    uint8_t key[64], pad[64];
    uint32_t state[2][HASH_WORDS];

    for (size_t n = 0; n < count; n++, raw += raw_length, prepared += 2 * HASH_BYTES) {
        hmac_key_block(raw, raw_length, key);
        for (int outer = 0; outer < 2; outer++) {
            hmac_pad(key, outer, pad);
            memcpy(state[outer], HASH_INITIAL, HASH_BYTES);
            hash_compress(state[outer], pad);
        }
        memcpy(prepared, state, sizeof state);
    }
    tcpao_wipe(key, sizeof key);
    tcpao_wipe(pad, sizeof pad);
    tcpao_wipe(state, sizeof state);
}
