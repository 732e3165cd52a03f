/* What the CPU can do and the operating system saves: one bit a feature. */
#ifndef TCPAO_CPU_H
#define TCPAO_CPU_H

#include <stdint.h>

/* A kernel names the bits it needs; 0 is any CPU.  A kernel that arrives adds its bit here and its
 * detection to cpu.c. */
enum {
    TCPAO_CPU_ANY = 0,
    /* x86-64 */
    TCPAO_CPU_SHANI = 1,    /* SHA-NI, and SSE4.1 */
    TCPAO_CPU_AESNI = 2,    /* AES-NI, and AVX for its three-operand form */
    TCPAO_CPU_AVX2 = 4,
    TCPAO_CPU_VAES256 = 8,  /* VAES, AVX2 */
    TCPAO_CPU_AVX512 = 16,  /* F and BW */
    TCPAO_CPU_VAES512 = 32, /* VAES, AVX-512 F and BW */
    /* aarch64 */
    TCPAO_CPU_ARM_AES = 1,
    TCPAO_CPU_ARM_SHA1 = 2,
    TCPAO_CPU_ARM_SHA2 = 4
};

uint32_t tcpao_cpu_features(void);

#endif
