/* How quick the kernels of an algorithm are on this very machine. */
#ifndef TCPAO_CALIBRATE_H
#define TCPAO_CALIBRATE_H

#include <stdint.h>

#include "kernels.h"

/* A clock that never goes back, in nanoseconds. */
typedef uint64_t tcpao_clock(void);

/* Nanoseconds a message: side by side with many others, as short as a bare ACK's and as long as a
 * full segment's, and short and alone.  All 0: it was not timed. */
typedef struct {
    float brief, full, alone;
} tcpao_timing;

/* Time `count` kernels of one algorithm side by side, the least of some rounds each. */
void tcpao_time_kernels(int algorithm, const tcpao_kernel *const *kernels, size_t count,
                        tcpao_clock *clock, tcpao_timing *timings);

/* Time the kernels of every algorithm that has a choice, once in a process, and put the quickest
 * first.  Those that are in use change with it; call it before any thread computes. */
void tcpao_kernels_rank(tcpao_clock *clock);
/* The times of what tcpao_kernels_available gives, in its order. */
const tcpao_timing *tcpao_kernels_timings(int algorithm);

#endif
