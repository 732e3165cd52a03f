/* Which kernel runs: a table an algorithm, best first, the portable kernel last. */
#include <string.h>

#include "cpu.h"
#include "kernels.h"

#if defined(__x86_64__)
#define X86(...) __VA_ARGS__,
#else
#define X86(...)
#endif
#if defined(__aarch64__)
#define ARM(...) __VA_ARGS__,
#else
#define ARM(...)
#endif

/* name, features, prepare, mac, lanes, least */
static const tcpao_kernel hmac_sha1_kernels[] = {
    X86({"avx512", TCPAO_CPU_AVX512, tcpao_hmac_sha1_prepare_avx512, tcpao_hmac_sha1_avx512, 16, 5})
    X86({"avx2", TCPAO_CPU_AVX2, tcpao_hmac_sha1_prepare_avx2, tcpao_hmac_sha1_avx2, 16, 11})
    X86({"shani", TCPAO_CPU_SHANI, tcpao_hmac_sha1_prepare_shani, tcpao_hmac_sha1_shani, 2, 0})
    ARM({"armv8", TCPAO_CPU_ARM_SHA1, tcpao_hmac_sha1_prepare_armv8, tcpao_hmac_sha1_armv8, 2, 0})
    {"portable", TCPAO_CPU_ANY, tcpao_hmac_sha1_prepare_portable, tcpao_hmac_sha1_portable, 1, 0},
};
static const tcpao_kernel aes_cmac_kernels[] = {
    X86({"vaes512", TCPAO_CPU_VAES512, tcpao_aes_cmac_prepare_aesni, tcpao_aes_cmac_vaes512, 16, 9})
    X86({"vaes256", TCPAO_CPU_VAES256, tcpao_aes_cmac_prepare_aesni, tcpao_aes_cmac_vaes256, 16, 9})
    X86({"aesni", TCPAO_CPU_AESNI, tcpao_aes_cmac_prepare_aesni, tcpao_aes_cmac_aesni, 8, 0})
    ARM({"armv8", TCPAO_CPU_ARM_AES, tcpao_aes_cmac_prepare_armv8, tcpao_aes_cmac_armv8, 8, 0})
    {"portable", TCPAO_CPU_ANY, tcpao_aes_cmac_prepare_portable, tcpao_aes_cmac_portable, 4, 0},
};
static const tcpao_kernel hmac_sha256_kernels[] = {
    X86({"avx512", TCPAO_CPU_AVX512, tcpao_hmac_sha256_prepare_avx512, tcpao_hmac_sha256_avx512, 16, 9})
    X86({"shani", TCPAO_CPU_SHANI, tcpao_hmac_sha256_prepare_shani, tcpao_hmac_sha256_shani, 2, 0})
    X86({"avx2", TCPAO_CPU_AVX2, tcpao_hmac_sha256_prepare_avx2, tcpao_hmac_sha256_avx2, 8, 0})
    ARM({"armv8", TCPAO_CPU_ARM_SHA2, tcpao_hmac_sha256_prepare_armv8, tcpao_hmac_sha256_armv8, 2, 0})
    {"portable", TCPAO_CPU_ANY, tcpao_hmac_sha256_prepare_portable, tcpao_hmac_sha256_portable, 1, 0},
};
static const tcpao_kernel md5_kernels[] = {
    X86({"avx512", TCPAO_CPU_AVX512, tcpao_md5_prepare_portable, tcpao_md5_avx512, 32, 0})
    X86({"avx2", TCPAO_CPU_AVX2, tcpao_md5_prepare_portable, tcpao_md5_avx2, 16, 0})
    {"portable", TCPAO_CPU_ANY, tcpao_md5_prepare_portable, tcpao_md5_portable, 1, 0},
};

#define TABLE(kernels) {kernels, sizeof kernels / sizeof kernels[0]}

static const struct {
    const tcpao_kernel *kernels;
    size_t count;
} tables[TCPAO_KERNEL_COUNT] = {
    [TCPAO_HMAC_SHA1] = TABLE(hmac_sha1_kernels),
    [TCPAO_AES_CMAC] = TABLE(aes_cmac_kernels),
    [TCPAO_HMAC_SHA256] = TABLE(hmac_sha256_kernels),
    [TCPAO_MD5] = TABLE(md5_kernels),
};

/* The kernel in use, and the one for what does not fill its lanes (NULL: itself). */
static const tcpao_kernel *active[TCPAO_KERNEL_COUNT], *few[TCPAO_KERNEL_COUNT];

size_t tcpao_kernels_available(int algorithm, const tcpao_kernel *found[TCPAO_MAX_KERNELS])
{
    const uint32_t have = tcpao_cpu_features();
    size_t count = 0;

    for (size_t i = 0; i < tables[algorithm].count && count < TCPAO_MAX_KERNELS; i++) {
        const tcpao_kernel *kernel = &tables[algorithm].kernels[i];
        if ((kernel->cpu_features & ~have) == 0)
            found[count++] = kernel;
    }
    return count;
}

/* The best kernel, and the best one that suits any number of messages; the portable one is no
 * quicker even for one. */
static void choose_best(int algorithm)
{
    const tcpao_kernel *found[TCPAO_MAX_KERNELS];
    size_t suits = 0;

    const size_t count = tcpao_kernels_available(algorithm, found);
    while (found[suits]->least)
        suits++;
    active[algorithm] = found[0];
    few[algorithm] = suits && suits + 1 < count ? found[suits] : NULL;
}

const tcpao_kernel *tcpao_kernel_active(int algorithm)
{
    if (!active[algorithm])
        choose_best(algorithm);
    return active[algorithm];
}

size_t tcpao_kernels_force(const char *name)
{
    const tcpao_kernel *found[TCPAO_MAX_KERNELS];
    size_t changed = 0;

    for (int algorithm = 0; algorithm < TCPAO_KERNEL_COUNT; algorithm++) {
        const size_t count = tcpao_kernels_available(algorithm, found);
        if (!name || !*name) {
            choose_best(algorithm);
            changed++;
            continue;
        }
        for (size_t i = 0; i < count; i++) {
            if (!strcmp(name, found[i]->name)) {
                active[algorithm] = found[i];
                few[algorithm] = NULL;
                changed++;
                break;
            }
        }
    }
    return changed;
}

void tcpao_mac(int algorithm, const tcpao_message *const *messages, size_t count)
{
    const tcpao_kernel *kernel = tcpao_kernel_active(algorithm);
    const size_t rest = count % kernel->lanes;

    if (few[algorithm] && rest < kernel->least) {
        kernel->mac(messages, count - rest);
        few[algorithm]->mac(messages + (count - rest), rest);
    } else {
        kernel->mac(messages, count);
    }
}
