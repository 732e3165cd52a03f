/* Big pages for big tables that are read all over the place: each page of 4 KiB is a miss of its
 * own, and a million connections are a hundred thousand of them. */
#ifndef TCPAO_PAGES_H
#define TCPAO_PAGES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

static inline void tcpao_big_pages(void *memory, size_t length)
{
#if defined(MADV_HUGEPAGE)
    const uintptr_t page = (uintptr_t)2 << 20;
    const uintptr_t start = ((uintptr_t)memory + page - 1) & ~(page - 1);
    const uintptr_t end = ((uintptr_t)memory + length) & ~(page - 1);

    if (start < end)
        (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
#else
    (void)memory, (void)length;
#endif
}

/* As realloc, for a table of `used` bytes that grows to `length` and begins with a cache line: it is
 * copied, as what a realloc moves keeps its small pages.  NULL: no memory, and `memory` is as it was. */
static inline void *tcpao_grow_table(void *memory, size_t used, size_t length)
{
    void *grown = aligned_alloc(64, (length + 63) / 64 * 64);

    if (!grown)
        return NULL;
    tcpao_big_pages(grown, length);
    if (used)
        memcpy(grown, memory, used);
    free(memory);
    return grown;
}

#endif
