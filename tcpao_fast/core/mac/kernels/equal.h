/* Comparing MACs, for every module: inline, as it is asked once a segment. */
#ifndef TCPAO_EQUAL_H
#define TCPAO_EQUAL_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* 1 when the first `length` bytes are equal, in time that depends on `length` only. */
static inline int tcpao_equal(const uint8_t *a, const uint8_t *b, size_t length)
{
    uint64_t difference = 0, x, y;
    size_t at = 0;

    for (; length - at >= 8; at += 8) {
        memcpy(&x, a + at, 8);
        memcpy(&y, b + at, 8);
        difference |= x ^ y;
    }
    if (at && at < length) { /* the last eight again, rather than what is left byte by byte */
        memcpy(&x, a + length - 8, 8);
        memcpy(&y, b + length - 8, 8);
        difference |= x ^ y;
        at = length;
    }
    for (; at < length; at++)
        difference |= (uint64_t)(a[at] ^ b[at]);
    /* the compiler must not know what is in it, or it could leave the loops early */
    __asm__("" : "+r"(difference));
    return difference == 0;
}

#endif
