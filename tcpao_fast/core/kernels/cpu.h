/* What the CPU can do and the operating system saves: one bit a feature. */
#ifndef TCPAO_CPU_H
#define TCPAO_CPU_H

#include <stdint.h>

/* A kernel names the bits it needs; 0 is any CPU.  A kernel that arrives adds its bit here and its
 * detection to cpu.c. */
enum {
    TCPAO_CPU_ANY = 0,
    TCPAO_CPU_SHANI = 1, /* SHA-NI, and SSE4.1 */
    TCPAO_CPU_AESNI = 2  /* AES-NI, and AVX for its three-operand form */
};

uint32_t tcpao_cpu_features(void);

#endif
