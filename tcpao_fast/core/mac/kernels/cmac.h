/* What every AES-128-CMAC kernel knows: the layout of a prepared key, and its subkeys. */
#ifndef TCPAO_CMAC_H
#define TCPAO_CMAC_H

#include <string.h>

#include "bytes.h"
#include "kernels.h"

/* A prepared key: the AES key and K1, half a line of the cache.  Round keys are made where they are
 * used, side by side in registers: with many connections to read eleven of them for every message
 * costs more, and with few it is a draw. */
enum { ROUNDS = 10, BLOCK = 16, SUBKEY1 = BLOCK };

/* Multiply by x in GF(2^128) as RFC 4493 section 2.3 has it (big endian, polynomial 0x87). */
static inline void double_block(const uint8_t in[BLOCK], uint8_t out[BLOCK])
{
    const uint64_t high = load64_be(in), low = load64_be(in + 8);
    store64_be(out, high << 1 | low >> 63);
    store64_be(out + 8, low << 1 ^ (0x87 & -(high >> 63)));
}

/* Add K1 to a message's last block, or K2 = 2 K1 to one that was padded (RFC 4493 section 2.4). */
static inline void tcpao_add_subkey(uint8_t last[BLOCK], const uint8_t *prepared, int padded)
{
    uint64_t block[2], subkey[2];

    memcpy(block, last, BLOCK);
    if (padded)
        double_block(prepared + SUBKEY1, (uint8_t *)subkey);
    else
        memcpy(subkey, prepared + SUBKEY1, BLOCK);
    block[0] ^= subkey[0];
    block[1] ^= subkey[1];
    memcpy(last, block, BLOCK);
}

#endif
