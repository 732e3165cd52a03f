/* AES-128-CMAC with the AES instructions of x86-64, eight messages interleaved: an aesenc takes
 * four cycles, and the other seven messages' run meanwhile.  Every message has its own key. */
#if defined(__x86_64__)

#include <immintrin.h>

#include "cmac.h"
#include "lanes.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("aes,avx"))), apply_to = function)
#else
#pragma GCC target("aes,avx")
#endif

enum { LANES = 8 };

static inline __m128i load(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)p);
}

static inline void store(uint8_t *p, __m128i value)
{
    _mm_storeu_si128((__m128i *)p, value);
}

/* One step of FIPS 197's key expansion: `assist` has the rotated, substituted last word in its
 * highest word; every word of the round key adds the ones before it. */
static inline __m128i next_round_key(__m128i key, __m128i assist)
{
    key = _mm_xor_si128(key, _mm_slli_si128(key, 4));
    key = _mm_xor_si128(key, _mm_slli_si128(key, 8));
    return _mm_xor_si128(key, _mm_shuffle_epi32(assist, 0xff));
}

#define EXPAND(round, constant)                                                                    \
    key = next_round_key(key, _mm_aeskeygenassist_si128(key, constant));                           \
    store(prepared + BLOCK * (round), key);                                                        \
    zero = (round) < ROUNDS ? _mm_aesenc_si128(zero, key) : _mm_aesenclast_si128(zero, key)

void tcpao_aes_cmac_prepare_aesni(const uint8_t *raw, size_t raw_length, size_t count,
                                  uint8_t *prepared)
{
    (void)raw_length; /* AES-128: always 16 */
    for (size_t n = 0; n < count; n++, raw += BLOCK, prepared += TCPAO_AES_CMAC_PREPARED) {
        uint8_t encrypted[BLOCK];
        __m128i key = load(raw), zero = key; /* the block of zeros after the first key */
        store(prepared, key);
        EXPAND(1, 0x01);
        EXPAND(2, 0x02);
        EXPAND(3, 0x04);
        EXPAND(4, 0x08);
        EXPAND(5, 0x10);
        EXPAND(6, 0x20);
        EXPAND(7, 0x40);
        EXPAND(8, 0x80);
        EXPAND(9, 0x1b);
        EXPAND(10, 0x36);
        store(encrypted, zero);
        double_block(encrypted, prepared + SUBKEY1);
        double_block(prepared + SUBKEY1, prepared + SUBKEY2);
        tcpao_wipe(encrypted, sizeof encrypted);
    }
}

/* A message whose last block, which takes the subkey, stands apart. */
typedef struct {
    tcpao_message message;
    tcpao_lane lane;
    uint8_t last[BLOCK];
    int at_last;
    uint8_t *mac;
} cmac_lane;

static void cmac_start(cmac_lane *it, const tcpao_message *message)
{
    int final = message->blocks[2] ? 2 : message->blocks[1] ? 1 : 0;
    const uint8_t *end;

    it->message = *message;
    it->mac = message->mac;
    it->at_last = 0;
    end = message->piece[final] + (size_t)BLOCK * --it->message.blocks[final];
    store(it->last, _mm_xor_si128(load(end), load(message->key + (message->padded ? SUBKEY2 : SUBKEY1))));
    lane_start(&it->lane, &it->message);
}

/* Nothing is left in the current piece: go on to the next, then to the last block.  Returns 0 at
 * the end. */
static int cmac_goes_on(cmac_lane *it)
{
    if (it->at_last)
        return 0;
    if (it->lane.piece < 3 && lane_next_piece(&it->lane))
        return 1;
    it->lane.at = it->last;
    it->lane.left = 1;
    it->at_last = 1;
    return 1;
}

/* `count` blocks of every lane: x = AES(x ^ block). */
static void encrypt_lanes(__m128i state[LANES], const uint8_t *const keys[LANES],
                          const uint8_t *at[LANES], const size_t stride[LANES], uint32_t count)
{
    __m128i x[LANES];

    for (int i = 0; i < LANES; i++)
        x[i] = state[i];
    while (count--) {
        for (int i = 0; i < LANES; i++) {
            x[i] = _mm_xor_si128(_mm_xor_si128(x[i], load(at[i])), load(keys[i]));
            at[i] += stride[i];
        }
        for (int round = 1; round < ROUNDS; round++)
            for (int i = 0; i < LANES; i++)
                x[i] = _mm_aesenc_si128(x[i], load(keys[i] + BLOCK * round));
        for (int i = 0; i < LANES; i++)
            x[i] = _mm_aesenclast_si128(x[i], load(keys[i] + BLOCK * ROUNDS));
    }
    for (int i = 0; i < LANES; i++)
        state[i] = x[i];
}

void tcpao_aes_cmac_aesni(const tcpao_message *const *messages, size_t count)
{
    static const uint8_t nothing[BLOCK];
    cmac_lane lanes[LANES];
    const uint8_t *keys[LANES], *at[LANES];
    size_t stride[LANES], next = 0;
    __m128i state[LANES];
    int running = 0;

    for (int i = 0; i < LANES; i++) {
        const int busy = next < count;
        /* a lane without a message works on zeros under somebody's key, and nobody looks */
        keys[i] = messages[busy ? next : 0]->key;
        at[i] = nothing;
        stride[i] = busy ? BLOCK : 0;
        state[i] = _mm_setzero_si128();
        if (!busy)
            continue;
        cmac_start(&lanes[i], messages[next++]);
        if (!lanes[i].lane.left)
            cmac_goes_on(&lanes[i]);
        at[i] = lanes[i].lane.at;
        running++;
    }
    while (running) {
        uint32_t together = UINT32_MAX;
        for (int i = 0; i < LANES; i++)
            if (stride[i] && lanes[i].lane.left < together)
                together = lanes[i].lane.left;
        encrypt_lanes(state, keys, at, stride, together);
        for (int i = 0; i < LANES; i++) {
            if (!stride[i] || (lanes[i].lane.left -= together) != 0)
                continue;
            if (!cmac_goes_on(&lanes[i])) {
                store(lanes[i].mac, state[i]);
                if (next == count) {
                    running--;
                    stride[i] = 0;
                    at[i] = nothing;
                    continue;
                }
                keys[i] = messages[next]->key;
                state[i] = _mm_setzero_si128();
                cmac_start(&lanes[i], messages[next++]);
                if (!lanes[i].lane.left)
                    cmac_goes_on(&lanes[i]);
            }
            at[i] = lanes[i].lane.at;
        }
    }
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
