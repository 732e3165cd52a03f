#ifndef CHECK_KERNELS_H
#define CHECK_KERNELS_H

#include "kernels.h"

typedef void check_say(const char *text);

/* Check all kernels over the cases in `blob`.  Memory from `arena_end` on cannot be touched; 1 MiB
 * before it is free to use.  Returns how many checks failed. */
int check_kernels(const uint8_t *blob, uint8_t *arena, uint8_t *arena_end, check_say *say);

#endif
