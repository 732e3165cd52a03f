/* Ask for a cache line before it is needed. */
#ifndef TCPAO_PREFETCH_H
#define TCPAO_PREFETCH_H

static inline void tcpao_prefetch(const void *line)
{
    __builtin_prefetch(line, 0, 2);
}

/* The same, into the second-level cache: what lies multiples of 4,096 bytes apart would push out of
 * the first what is worked on. */
static inline void tcpao_prefetch_far(const void *line)
{
    __builtin_prefetch(line, 0, 2);
}

#endif
