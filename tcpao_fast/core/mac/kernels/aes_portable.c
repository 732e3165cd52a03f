/* AES-128-CMAC in plain C, without secret-dependent look-ups or branches: the definition of every
 * other AES kernel (FIPS 197, RFC 4493).
 *
 * Bitsliced: eight 64-bit words hold four blocks (lanes), word i holding bit i of all 64 bytes.
 * Byte p of lane l is bit 16 l + p of each word; p = 4 column + row, the order of the bytes in
 * memory.  So a row rotation is a rotation within nibbles, and every step of AES is a few logical
 * operations on whole words.  Every lane has its own key.
 */
#include <string.h>

#include "bytes.h"
#include "cmac.h"

enum { LANES = 4 };

typedef struct {
    uint64_t bit[8];
} planes;

static uint64_t transpose_8x8_bits(uint64_t x)
{
    uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aa;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000cccc;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0;
    return x ^ t ^ (t << 28);
}

static void swap_bits(uint64_t *a, uint64_t *b, int shift, uint64_t mask)
{
    uint64_t t = ((*a >> shift) ^ *b) & mask;
    *b ^= t;
    *a ^= t << shift;
}

static void transpose_8x8_bytes(uint64_t w[8])
{
    for (int i = 0; i < 8; i += 2)
        swap_bits(&w[i], &w[i + 1], 8, 0x00ff00ff00ff00ff);
    for (int i = 0; i < 8; i += i & 1 ? 3 : 1)
        swap_bits(&w[i], &w[i + 2], 16, 0x0000ffff0000ffff);
    for (int i = 0; i < 4; i++)
        swap_bits(&w[i], &w[i + 4], 32, 0x00000000ffffffff);
}

static planes slice(const uint8_t blocks[LANES * BLOCK])
{
    planes q;
    for (int i = 0; i < 8; i++)
        q.bit[i] = transpose_8x8_bits(load64_le(blocks + 8 * i));
    transpose_8x8_bytes(q.bit);
    return q;
}

static void unslice(planes q, uint8_t blocks[LANES * BLOCK])
{
    transpose_8x8_bytes(q.bit);
    for (int i = 0; i < 8; i++)
        store64_le(blocks + 8 * i, transpose_8x8_bits(q.bit[i]));
}

static planes add(planes a, planes b)
{
    for (int i = 0; i < 8; i++)
        a.bit[i] ^= b.bit[i];
    return a;
}

/* The S-box as 113 gates: J. Boyar, R. Peralta, "A small depth-16 circuit for the AES S-box" (2011),
 * in that paper's names: x0 and s0 are the most significant bits, y the top linear layer, t the
 * inversion, z its products, s the bottom linear layer. */
static planes sub_bytes(planes q)
{
    const uint64_t x0 = q.bit[7], x1 = q.bit[6], x2 = q.bit[5], x3 = q.bit[4];
    const uint64_t x4 = q.bit[3], x5 = q.bit[2], x6 = q.bit[1], x7 = q.bit[0];

    const uint64_t y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5;
    const uint64_t t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3, y12 = y13 ^ y14;
    const uint64_t y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12;
    const uint64_t y15 = t1 ^ x5, y20 = t1 ^ x1, y6 = y15 ^ x7, y10 = y15 ^ t0;
    const uint64_t y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
    const uint64_t y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;

    const uint64_t t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2;
    const uint64_t t7 = y13 & y16, t9 = (y5 & y1) ^ t7, t11 = (y2 & y7) ^ t7;
    const uint64_t t12 = y9 & y11, t14 = (y14 & y17) ^ t12, t16 = (y8 & y10) ^ t12;
    const uint64_t t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19;
    const uint64_t t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18;
    const uint64_t t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26;
    const uint64_t t29 = (t25 & t27) ^ t22, t30 = t23 ^ t24, t31 = t22 ^ t26;
    const uint64_t t33 = (t31 & t30) ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33;
    const uint64_t t36 = t24 & t35, t37 = t36 ^ t34, t38 = t27 ^ t36;
    const uint64_t t40 = t25 ^ (t29 & t38), t41 = t40 ^ t37, t42 = t29 ^ t33;
    const uint64_t t43 = t29 ^ t40, t44 = t33 ^ t37, t45 = t42 ^ t41;

    const uint64_t z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1;
    const uint64_t z5 = t29 & y7, z6 = t42 & y11, z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12;
    const uint64_t z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13, z13 = t40 & y5;
    const uint64_t z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

    const uint64_t t46 = z15 ^ z16, t48 = z5 ^ z13, t53 = z0 ^ z3, t54 = z6 ^ z7;
    const uint64_t t57 = z2 ^ z12 ^ t53, t58 = z4 ^ t46, t59 = z3 ^ t54;
    const uint64_t t60 = t46 ^ t57, t62 = z7 ^ z8 ^ t58, t63 = z9 ^ z10 ^ t58;
    const uint64_t t64 = z4 ^ t59, t65 = z14 ^ t57 ^ t62, t66 = z1 ^ t63;
    const uint64_t s3 = t53 ^ t66;

    q.bit[7] = t59 ^ t63;
    q.bit[6] = ~(t64 ^ s3);
    q.bit[5] = ~(z16 ^ z17 ^ t64 ^ t65);
    q.bit[4] = s3;
    q.bit[3] = z2 ^ z5 ^ t66;
    q.bit[2] = z10 ^ z11 ^ t65;
    q.bit[1] = ~(z12 ^ t48 ^ t62);
    q.bit[0] = ~(t48 ^ t60);
    return q;
}

/* Rotate every 16-bit lane right. */
static uint64_t rotate_lanes(uint64_t x, int n)
{
    const uint64_t low = (uint64_t)(0xffff >> n) * 0x0001000100010001;
    return ((x >> n) & low) | ((x << (16 - n)) & ~low);
}

/* Row r takes its bytes from the r-th column to the right: a lane is 4 columns of 4 bits. */
static planes shift_rows(planes q)
{
    for (int i = 0; i < 8; i++) {
        const uint64_t x = q.bit[i], row = 0x1111111111111111;
        q.bit[i] = (x & row) | (rotate_lanes(x, 4) & (row << 1)) | (rotate_lanes(x, 8) & (row << 2)) |
                   (rotate_lanes(x, 12) & (row << 3));
    }
    return q;
}

/* Rotate every nibble (a column) right: each byte is replaced by the one n rows below. */
static uint64_t below(uint64_t x, int n)
{
    const uint64_t low = (uint64_t)(0xf >> n) * 0x1111111111111111;
    return ((x >> n) & low) | ((x << (4 - n)) & ~low);
}

/* b'[r] = 2 (b[r] + b[r+1]) + b[r+1] + b[r+2] + b[r+3], where doubling shifts the bit planes up and
 * feeds the top one back by the polynomial 0x1b. */
static planes mix_columns(planes q)
{
    planes out;
    uint64_t sum[8];

    for (int i = 0; i < 8; i++)
        sum[i] = q.bit[i] ^ below(q.bit[i], 1);
    for (int i = 0; i < 8; i++) {
        uint64_t doubled = i ? sum[i - 1] : sum[7];
        if (i == 1 || i == 3 || i == 4)
            doubled ^= sum[7];
        out.bit[i] = doubled ^ below(q.bit[i], 1) ^ below(sum[i], 2);
    }
    return out;
}

static planes encrypt(planes q, const planes round_keys[ROUNDS + 1])
{
    q = add(q, round_keys[0]);
    for (int round = 1; round < ROUNDS; round++)
        q = add(mix_columns(shift_rows(sub_bytes(q))), round_keys[round]);
    return add(shift_rows(sub_bytes(q)), round_keys[ROUNDS]);
}

/* The sliced round keys of a key a lane (FIPS 197 section 5.2). */
static void expand_keys(const uint8_t *const keys[LANES], planes round_keys[ROUNDS + 1])
{
    uint8_t key[LANES * BLOCK], words[LANES * BLOCK];
    uint8_t constant = 1;

    for (int lane = 0; lane < LANES; lane++)
        memcpy(key + BLOCK * lane, keys[lane], BLOCK);
    round_keys[0] = slice(key);
    for (int round = 1; round <= ROUNDS; round++) {
        unslice(sub_bytes(round_keys[round - 1]), words);
        for (int lane = 0; lane < LANES; lane++) {
            const uint8_t *last = words + BLOCK * lane + BLOCK - 4;
            uint8_t *to = key + BLOCK * lane;
            for (int i = 0; i < 4; i++)
                to[i] ^= last[(i + 1) & 3];
            to[0] ^= constant;
            for (int i = 4; i < BLOCK; i++)
                to[i] ^= to[i - 4];
        }
        round_keys[round] = slice(key);
        constant = (uint8_t)(constant << 1 ^ (0x1b & -(constant >> 7)));
    }
    tcpao_wipe(key, sizeof key);
    tcpao_wipe(words, sizeof words);
}

void tcpao_aes_cmac_prepare_portable(const uint8_t *raw, size_t raw_length, size_t count,
                                     uint8_t *prepared)
{
    const uint8_t *keys[LANES];
    planes round_keys[ROUNDS + 1];
    uint8_t blocks[LANES * BLOCK];

    (void)raw_length; /* AES-128: always 16 */
    for (size_t n = 0; n < count; n += LANES) {
        for (size_t lane = 0; lane < LANES; lane++)
            keys[lane] = raw + BLOCK * (n + lane < count ? n + lane : n);
        expand_keys(keys, round_keys);
        memset(blocks, 0, sizeof blocks);
        unslice(encrypt(slice(blocks), round_keys), blocks);
        for (size_t lane = 0; lane < LANES && n + lane < count; lane++) {
            uint8_t *key = prepared + (n + lane) * TCPAO_AES_CMAC_PREPARED;
            memcpy(key, keys[lane], BLOCK);
            number_to(key + SUBKEY1, twice(number_of(blocks + BLOCK * lane)));
        }
    }
    tcpao_wipe(blocks, sizeof blocks);
    tcpao_wipe(round_keys, sizeof round_keys);
}

static uint32_t block_count(const tcpao_message *message)
{
    return message->blocks[0] + message->blocks[1] + message->blocks[2];
}

static const uint8_t *block_at(const tcpao_message *message, uint32_t index)
{
    int piece = 0;
    while (index >= message->blocks[piece])
        index -= message->blocks[piece++];
    return message->piece[piece] + (size_t)BLOCK * index;
}

/* Four messages at a time; a lane whose message has ended is fed zeros and no longer read. */
static void cmac_four(const tcpao_message *const *messages, size_t count)
{
    const uint8_t *keys[LANES];
    planes round_keys[ROUNDS + 1], state = {{0}};
    uint8_t blocks[LANES * BLOCK];
    uint32_t longest = 0;

    for (size_t lane = 0; lane < LANES; lane++) {
        keys[lane] = messages[lane < count ? lane : 0]->key;
        if (lane < count && block_count(messages[lane]) > longest)
            longest = block_count(messages[lane]);
    }
    expand_keys(keys, round_keys);
    for (uint32_t index = 0; index < longest; index++) {
        memset(blocks, 0, sizeof blocks);
        for (size_t lane = 0; lane < count; lane++)
            if (index < block_count(messages[lane]))
                memcpy(blocks + BLOCK * lane, block_at(messages[lane], index), BLOCK);
        for (size_t lane = 0; lane < count; lane++)
            if (index + 1 == block_count(messages[lane]))
                add_subkey(blocks + BLOCK * lane, keys[lane], messages[lane]->padded);
        state = encrypt(add(state, slice(blocks)), round_keys);
        unslice(state, blocks);
        for (size_t lane = 0; lane < count; lane++)
            if (index + 1 == block_count(messages[lane]))
                memcpy(messages[lane]->mac, blocks + BLOCK * lane, BLOCK);
    }
    tcpao_wipe(round_keys, sizeof round_keys);
}

void tcpao_aes_cmac_portable(const tcpao_message *const *messages, size_t count)
{
    for (size_t n = 0; n < count; n += LANES)
        cmac_four(messages + n, count - n < LANES ? count - n : LANES);
}
