/* Handling of secrets in memory: wiping and comparing. */
#include "kernels.h"

void tcpao_wipe(void *memory, size_t length)
{
    volatile uint8_t *byte = memory;

    while (length--)
        *byte++ = 0;
}

int tcpao_equal(const uint8_t *a, const uint8_t *b, size_t length)
{
    const volatile uint8_t *x = a, *y = b;
    uint32_t difference = 0;

    for (size_t i = 0; i < length; i++)
        difference |= (uint32_t)(x[i] ^ y[i]);
    return (int)(1 & ((difference - 1) >> 8));
}
