/* The rounds of AES-128 over registers of one, two or four blocks: x86-64.  See cmac_lanes.h.
 *
 * Included after the definitions of aes_reg, reg_aesenc and reg_aesenclast.
 */
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
