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

    for (; length >= 8; a += 8, b += 8, length -= 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        difference |= x ^ y;
    }
    for (; length; a++, b++, length--)
        difference |= (uint64_t)(*a ^ *b);
    /* the compiler must not know what is in it, or it could leave the loops early */
    __asm__("" : "+r"(difference));
    return difference == 0;
}

#endif
