/* Ask for a cache line before it is needed. */
#ifndef TCPAO_PREFETCH_H
#define TCPAO_PREFETCH_H

/* Into the second-level cache: the first has few places for what it waits for and drops the rest, and
 * what lies multiples of 4,096 bytes apart would push out of it what is worked on. */
static inline void tcpao_prefetch(const void *line)
{
    __builtin_prefetch(line, 0, 2);
}

#endif
