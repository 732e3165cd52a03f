/* AES-128 over registers of one, two or four blocks: x86-64.  See cmac_lanes.h.
 *
 * Included after the definitions of aes_reg, reg_xor, reg_aesenc, reg_aesenclast, and of
 *   reg_repeat     aes_reg (uint32_t), in every word
 *   reg_shuffle    aes_reg (aes_reg x, aes_reg which): bytes within each block
 *   reg_up         aes_reg (aes_reg x, constant): each block moved up by so many bytes
 *   reg_same       aes_reg (__m128i), in every block
 */

/* The last word of each block, rotated, as all four columns: ShiftRows does nothing then, and the
 * last round's instruction is the S-box alone.  Every word adds the ones before it. */
static inline aes_reg reg_next_key(aes_reg key, uint32_t constant)
{
    const aes_reg rotated = reg_shuffle(key, reg_repeat(0x0c0f0e0d));
    const aes_reg added = reg_aesenclast(rotated, reg_repeat(constant));

    key = reg_xor(key, reg_up(key, 4));
    key = reg_xor(key, reg_up(key, 8));
    return reg_xor(key, added);
}

/* A block is a number with its first byte highest: each byte's top bit goes into the one before it,
 * the first's comes back as 0x87 at the other end. */
static inline aes_reg reg_twice(aes_reg x)
{
    typedef int8_t reg_bytes __attribute__((vector_size(sizeof(aes_reg))));
    const __m128i before = _mm_setr_epi8(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0);
    const __m128i carry = _mm_setr_epi8(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, (char)0x87);
    const reg_bytes bytes = (reg_bytes)x, top = bytes < 0;
    const reg_bytes carried = (reg_bytes)reg_shuffle((aes_reg)top, reg_same(before)) & (reg_bytes)reg_same(carry);

    return (aes_reg)((bytes + bytes) ^ carried);
}

static inline void aes_encrypt(aes_reg x[REGISTERS], const lane_blocks round_keys[ROUNDS + 1])
{
#define EACH(step) _Pragma("GCC unroll 8") for (int i = 0; i < REGISTERS; i++) x[i] = step
#define KEY(round) reg_load(round_keys[round] + BLOCK * PER_REGISTER * i)
    EACH(reg_xor(x[i], KEY(0)));
#pragma GCC unroll 9
    for (int round = 1; round < ROUNDS; round++)
        EACH(reg_aesenc(x[i], KEY(round)));
    EACH(reg_aesenclast(x[i], KEY(ROUNDS)));
#undef EACH
#undef KEY
}
