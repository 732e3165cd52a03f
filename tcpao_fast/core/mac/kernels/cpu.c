/* CPU detection: the only file that asks the machine what it is. */
#include "cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Register states in XCR0, the ones that the operating system saves. */
enum { YMM_SAVED = 0x06, ZMM_SAVED = 0xe6 };

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
    const int sse41 = c >> 19 & 1, aes = c >> 25 & 1, osxsave = c >> 27 & 1;
    const uint64_t saved = osxsave ? saved_states() : 0;
    const int avx = (c >> 28 & 1) && (saved & YMM_SAVED) == YMM_SAVED;
    if (aes && avx)
        features |= TCPAO_CPU_AESNI;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return features;
    const int avx2 = avx && (b >> 5 & 1), vaes = c >> 9 & 1, sha = b >> 29 & 1;
    const int avx512f = avx2 && (b >> 16 & 1) && (saved & ZMM_SAVED) == ZMM_SAVED;
    const int avx512bw = b >> 30 & 1;
    if (sha && sse41)
        features |= TCPAO_CPU_SHANI;
    if (avx2)
        features |= TCPAO_CPU_AVX2;
    if (avx2 && vaes && aes)
        features |= TCPAO_CPU_VAES256;
    if (avx512f && avx512bw)
        features |= TCPAO_CPU_AVX512;
    if (avx512f && avx512bw && vaes && aes)
        features |= TCPAO_CPU_VAES512;
    return features;
}

#elif defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

/* asm/hwcap.h */
enum { HAS_AES = 1 << 3, HAS_SHA1 = 1 << 5, HAS_SHA2 = 1 << 6 };

uint32_t tcpao_cpu_features(void)
{
    const unsigned long has = getauxval(AT_HWCAP);

    return (has & HAS_AES ? TCPAO_CPU_ARM_AES : 0u) | (has & HAS_SHA1 ? TCPAO_CPU_ARM_SHA1 : 0u) |
           (has & HAS_SHA2 ? TCPAO_CPU_ARM_SHA2 : 0u);
}

#elif defined(__aarch64__) && defined(__APPLE__)

uint32_t tcpao_cpu_features(void)
{
    return TCPAO_CPU_ARM_AES | TCPAO_CPU_ARM_SHA1 | TCPAO_CPU_ARM_SHA2; /* every Apple CPU has them */
}

#else

uint32_t tcpao_cpu_features(void)
{
    return TCPAO_CPU_ANY;
}

#endif
