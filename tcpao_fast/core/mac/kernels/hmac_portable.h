/* HMAC (RFC 2104) with cached midstates, one message after the other.
 *
 * Included once by each portable hash, after the definitions that hmac_keys.h asks for.
 */
#include "hmac_keys.h"

static void hmac_many(const tcpao_message *const *messages, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        const tcpao_message *message = messages[n];
        uint32_t inner[HASH_WORDS], outer[HASH_WORDS];
        uint8_t block[64];

        memcpy(inner, message->key, HASH_BYTES);
        memcpy(outer, message->key + HASH_BYTES, HASH_BYTES);
        for (int p = 0; p < 3; p++)
            for (uint32_t b = 0; b < message->blocks[p]; b++)
                hash_compress(inner, message->piece[p] + (size_t)64 * b);
        hash_outer_block(inner, block);
        hash_compress(outer, block);
        for (int i = 0; i < HASH_WORDS; i++)
            store32_be(message->mac + 4 * i, outer[i]);
    }
}
