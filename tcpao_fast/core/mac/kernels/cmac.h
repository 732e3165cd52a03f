/* What every AES-128-CMAC kernel knows: the layout of a prepared key, and its subkeys. */
#ifndef TCPAO_CMAC_H
#define TCPAO_CMAC_H

#include "bytes.h"
#include "kernels.h"

/* A prepared key: the AES key and K1, half a line of the cache.  Round keys are made where they are
 * used, side by side in registers: to read eleven of them for every message is about as quick with few
 * connections, and costs more with many. */
enum { ROUNDS = 10, BLOCK = 16, SUBKEY1 = BLOCK };

/* A block as a number. */
typedef struct {
    uint64_t high, low;
} cmac_number;

static inline cmac_number number_of(const uint8_t block[BLOCK])
{
    return (cmac_number){load64_be(block), load64_be(block + 8)};
}

static inline void number_to(uint8_t block[BLOCK], cmac_number x)
{
    store64_be(block, x.high);
    store64_be(block + 8, x.low);
}

/* Multiply by x in GF(2^128) as RFC 4493 section 2.3 has it (big endian, polynomial 0x87). */
static inline cmac_number twice(cmac_number x)
{
    return (cmac_number){x.high << 1 | x.low >> 63, x.low << 1 ^ (0x87 & -(x.high >> 63))};
}

/* Add K1 to a message's last block, or K2 = 2 K1 to one that was padded (RFC 4493 section 2.4). */
static inline void add_subkey(uint8_t last[BLOCK], const uint8_t *prepared, uint32_t padded)
{
    const cmac_number k1 = number_of(prepared + SUBKEY1), subkey = padded ? twice(k1) : k1;
    const cmac_number block = number_of(last);

    number_to(last, (cmac_number){block.high ^ subkey.high, block.low ^ subkey.low});
}

#endif
