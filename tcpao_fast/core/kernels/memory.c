/* Handling of secrets in memory: wiping and comparing. */
#include <string.h>

#include "kernels.h"

void tcpao_wipe(void *memory, size_t length)
{
    memset(memory, 0, length);
    /* somebody may look at the memory, as far as the compiler can tell */
    __asm__ volatile("" : : "r"(memory) : "memory");
}

int tcpao_equal(const uint8_t *a, const uint8_t *b, size_t length)
{
    uint64_t difference = 0;

    for (; length >= 8; a += 8, b += 8, length -= 8) {
        uint64_t x, y;
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
