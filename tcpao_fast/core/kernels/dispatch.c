/* Which kernel runs: a table an algorithm, best first, the portable kernel last. */
#include <string.h>

#include "cpu.h"
#include "kernels.h"

#if defined(__x86_64__)
#define X86(...) __VA_ARGS__
#else
#define X86(...)
#endif

static const tcpao_kernel hmac_sha1_kernels[] = {
    X86({"shani", TCPAO_CPU_SHANI, tcpao_hmac_sha1_prepare_shani, tcpao_hmac_sha1_shani}, )
    {"portable", TCPAO_CPU_ANY, tcpao_hmac_sha1_prepare_portable, tcpao_hmac_sha1_portable},
};
static const tcpao_kernel aes_cmac_kernels[] = {
    X86({"aesni", TCPAO_CPU_AESNI, tcpao_aes_cmac_prepare_aesni, tcpao_aes_cmac_aesni}, )
    {"portable", TCPAO_CPU_ANY, tcpao_aes_cmac_prepare_portable, tcpao_aes_cmac_portable},
};
static const tcpao_kernel hmac_sha256_kernels[] = {
    X86({"shani", TCPAO_CPU_SHANI, tcpao_hmac_sha256_prepare_shani, tcpao_hmac_sha256_shani}, )
    {"portable", TCPAO_CPU_ANY, tcpao_hmac_sha256_prepare_portable, tcpao_hmac_sha256_portable},
};
static const tcpao_kernel md5_kernels[] = {
    {"portable", TCPAO_CPU_ANY, tcpao_md5_prepare_portable, tcpao_md5_portable},
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

static const tcpao_kernel *active[TCPAO_KERNEL_COUNT];

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

const tcpao_kernel *tcpao_kernel_active(int algorithm)
{
    const tcpao_kernel *found[TCPAO_MAX_KERNELS];

    if (!active[algorithm]) {
        tcpao_kernels_available(algorithm, found);
        active[algorithm] = found[0];
    }
    return active[algorithm];
}

size_t tcpao_kernels_force(const char *name)
{
    const tcpao_kernel *found[TCPAO_MAX_KERNELS];
    size_t changed = 0;

    for (int algorithm = 0; algorithm < TCPAO_KERNEL_COUNT; algorithm++) {
        size_t count = tcpao_kernels_available(algorithm, found);
        for (size_t i = 0; i < count; i++) {
            if (!name || !*name || !strcmp(name, found[i]->name)) {
                active[algorithm] = found[i];
                changed++;
                break;
            }
        }
    }
    return changed;
}
