/* A clock that never goes back, in nanoseconds. */
#ifndef TCPAO_CLOCK_H
#define TCPAO_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t tcpao_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#endif
