/* Wiping of secrets in memory. */
#include <string.h>

#include "kernels.h"

void tcpao_wipe(void *memory, size_t length)
{
    memset(memory, 0, length);
    /* somebody may look at the memory, as far as the compiler can tell */
    __asm__ volatile("" : : "r"(memory) : "memory");
}

/* What functions that have returned left below the caller's frame: round keys in registers that were
 * spilled are in no variable that could be overwritten. */
__attribute__((noinline)) void tcpao_burn_stack(void)
{
    uint8_t room[16384]; /* more than the deepest way from `shard` to a kernel takes */

    tcpao_wipe(room, sizeof room);
}
