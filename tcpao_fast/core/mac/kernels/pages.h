/* Memory for tables.  Big ones get big pages, as they are read all over the place: each page of 4 KiB
 * is a miss of its own, and a million connections are a hundred thousand of them. */
#ifndef TCPAO_PAGES_H
#define TCPAO_PAGES_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

enum { TCPAO_LINE = 64, TCPAO_BIG_PAGE = 2 << 20 };

static inline int tcpao_has_big_pages(size_t length, int big)
{
#if defined(MADV_HUGEPAGE)
    return big && length >= TCPAO_BIG_PAGE;
#else
    return (void)length, (void)big, 0;
#endif
}

/* Memory that begins with a cache line; with `big` and as much as a big page, with one of those.
 * What is in it is not defined.  NULL: there is none. */
static inline void *tcpao_new_table(size_t length, int big)
{
#if defined(MADV_HUGEPAGE)
    if (tcpao_has_big_pages(length, big)) {
        /* not from malloc, which leaves a hole before what is aligned so far and fills it */
        const size_t whole = (length + TCPAO_BIG_PAGE - 1) / TCPAO_BIG_PAGE * TCPAO_BIG_PAGE;
        uint8_t *const memory = (uint8_t *)mmap(NULL, whole + TCPAO_BIG_PAGE, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == (uint8_t *)MAP_FAILED)
            return NULL;
        const size_t before = -(uintptr_t)memory % TCPAO_BIG_PAGE;
        if (before)
            (void)munmap(memory, before);
        (void)munmap(memory + before + whole, TCPAO_BIG_PAGE - before);
        (void)madvise(memory + before, whole, MADV_HUGEPAGE);
        return memory + before;
    }
#endif
    (void)big;
    return aligned_alloc(TCPAO_LINE, (length + TCPAO_LINE - 1) / TCPAO_LINE * TCPAO_LINE);
}

/* Give back what `tcpao_new_table` gave for the same length and `big`. */
static inline void tcpao_free_table(void *memory, size_t length, int big)
{
#if defined(MADV_HUGEPAGE)
    if (memory && tcpao_has_big_pages(length, big)) {
        (void)munmap(memory, (length + TCPAO_BIG_PAGE - 1) / TCPAO_BIG_PAGE * TCPAO_BIG_PAGE);
        return;
    }
#endif
    (void)length, (void)big;
    free(memory);
}

/* A table of `length` bytes, big where it can be, in place of one of `before` that it begins with: it
 * is copied, as what is moved page by page keeps its small ones.  NULL: no memory, and `memory` is as
 * it was. */
static inline void *tcpao_grow_table(void *memory, size_t before, size_t length)
{
    void *grown = tcpao_new_table(length, 1);

    if (!grown)
        return NULL;
    if (before)
        memcpy(grown, memory, before);
    tcpao_free_table(memory, before, 1);
    return grown;
}

#endif
