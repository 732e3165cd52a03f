/* CPU detection: the only file that asks the machine what it is. */
#include "cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Which register states the operating system saves (XCR0); 0 where it says nothing. */
static uint64_t saved_states(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

uint32_t tcpao_cpu_features(void)
{
    uint32_t a, b, c, d, features = 0;

    if (!__get_cpuid(1, &a, &b, &c, &d))
        return 0;
    const int sse41 = c >> 19 & 1, aes = c >> 25 & 1, osxsave = c >> 27 & 1, avx = c >> 28 & 1;
    const int ymm_saved = osxsave && (saved_states() & 6) == 6;
    if (aes && avx && ymm_saved)
        features |= TCPAO_CPU_AESNI;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && sse41 && b >> 29 & 1)
        features |= TCPAO_CPU_SHANI;
    return features;
}

#else

uint32_t tcpao_cpu_features(void)
{
    return TCPAO_CPU_ANY;
}

#endif
