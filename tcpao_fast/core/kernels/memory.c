/* Wiping of secrets in memory. */
#include <string.h>

#include "kernels.h"

void tcpao_wipe(void *memory, size_t length)
{
    memset(memory, 0, length);
    /* somebody may look at the memory, as far as the compiler can tell */
    __asm__ volatile("" : : "r"(memory) : "memory");
}
