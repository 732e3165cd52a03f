/* The ones' complement sum of RFC 1071. */
#ifndef TCPAO_CHECKSUM_H
#define TCPAO_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* To 16 bits: the halves of a sum, added to its halves the other way round, leave in the upper half what
 * they add up to with the carry.  How often one would have to fold depends on the data, and a jump that
 * does is guessed wrong. */
static inline uint32_t tcpao_fold(uint64_t sum)
{
    sum += sum << 32 | sum >> 32;
    uint32_t half = (uint32_t)(sum >> 32);
    half += half << 16 | half >> 16;
    return half >> 16;
}

/* Of big-endian words, continued from `total` (below 2^48); an odd last byte counts as the higher
 * half.  Words are added as the CPU has them and many at a time; the bytes of `total` and of the sum
 * are swapped instead (RFC 1071 section 2).  What is added up is copied to `to`, which does not overlap
 * it, or is NULL. */
static inline uint32_t tcpao_copy_and_add_up(uint8_t *to, const uint8_t *data, size_t length, uint64_t total)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    enum { PAIRS = 4 };
    const uint16_t one = 1;
    uint8_t first;
    uint64_t low = 0, high = 0, rest = 0;
    uint32_t four;
    uint16_t two;

    memcpy(&first, &one, 1);
    if (length >= sizeof(pair[PAIRS])) {
        /* modulo 2^64 the sum of words and that of their high halves say what the low ones come to */
        pair sums[PAIRS] = {{0}}, highs[PAIRS] = {{0}};
        for (; length >= sizeof sums; data += sizeof sums, length -= sizeof sums) {
            for (size_t i = 0; i < PAIRS; i++) {
                pair words;
                memcpy(&words, data + sizeof words * i, sizeof words);
                if (to)
                    memcpy(to + sizeof words * i, &words, sizeof words);
                sums[i] += words;
                highs[i] += words >> 32;
            }
            if (to)
                to += sizeof sums;
        }
        for (int i = 0; i < PAIRS; i++) {
            low += sums[i][0] + sums[i][1];
            high += highs[i][0] + highs[i][1];
        }
        low -= high << 32;
    }
    if (to)
        memcpy(to, data, length);
    low += high;
    high = 0; /* from here on how often `low` overflowed: 2^64 is 1 modulo 65,535 */
    for (const uint8_t *end = data + (length & ~(size_t)7); data != end; data += 8) {
        uint64_t word;
        memcpy(&word, data, 8);
        high += (uint64_t)__builtin_add_overflow(low, word, &low);
    }
    if (length & 4) {
        memcpy(&four, data, 4);
        rest += four;
        data += 4;
    }
    if (length & 2) {
        memcpy(&two, data, 2);
        rest += two;
        data += 2;
    }
    if (length & 1)
        rest += first ? *data : (uint32_t)*data << 8;
    uint32_t sum = tcpao_fold(total);
    if (first) /* little endian */
        sum = (sum & 0xff) << 8 | sum >> 8;
    sum = tcpao_fold((low >> 32) + (uint32_t)low + high + rest + sum);
    if (first)
        sum = (sum & 0xff) << 8 | sum >> 8;
    return sum;
}

static inline uint32_t tcpao_add_up(const uint8_t *data, size_t length, uint64_t total)
{
    return tcpao_copy_and_add_up(NULL, data, length, total);
}

#endif
