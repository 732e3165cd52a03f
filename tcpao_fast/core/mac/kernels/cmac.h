/* What every AES-128-CMAC kernel knows: the layout of a prepared key, and how its subkeys are made. */
#ifndef TCPAO_CMAC_H
#define TCPAO_CMAC_H

#include "kernels.h"

/* A prepared key: round keys 0 to 10, K1, K2. */
enum {
    ROUNDS = 10,
    BLOCK = 16,
    SUBKEY1 = TCPAO_AES_CMAC_SUBKEYS,
    SUBKEY2 = TCPAO_AES_CMAC_SUBKEYS + BLOCK
};

/* Multiply by x in GF(2^128) as RFC 4493 section 2.3 has it (big endian, polynomial 0x87). */
static inline void double_block(const uint8_t in[BLOCK], uint8_t out[BLOCK])
{
    const uint8_t carry = (uint8_t)(0x87 & -(in[0] >> 7));
    for (int i = 0; i < BLOCK - 1; i++)
        out[i] = (uint8_t)(in[i] << 1 | in[i + 1] >> 7);
    out[BLOCK - 1] = (uint8_t)(in[BLOCK - 1] << 1) ^ carry;
}

#endif
