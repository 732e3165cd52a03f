/* Ask for a cache line before it is needed. */
#ifndef TCPAO_PREFETCH_H
#define TCPAO_PREFETCH_H

static inline void tcpao_prefetch(const void *line)
{
    __builtin_prefetch(line);
}

#endif
