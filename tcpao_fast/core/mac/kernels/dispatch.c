/* Which kernel runs: a table an algorithm, the portable kernel last.  The order of a table is what
 * nobody measured yet; tcpao_kernels_rank puts the quickest of this machine first. */
#include <string.h>

#include "calibrate.h"
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

/* name, features, prepare, mac, lanes, least (until it is measured) */
static const tcpao_kernel hmac_sha1_kernels[] = {
    X86({"avx512", TCPAO_CPU_AVX512, tcpao_hmac_sha1_prepare_avx512, tcpao_hmac_sha1_avx512, 16, 5})
    X86({"shani", TCPAO_CPU_SHANI, tcpao_hmac_sha1_prepare_shani, tcpao_hmac_sha1_shani, 4, 0})
    X86({"avx2", TCPAO_CPU_AVX2, tcpao_hmac_sha1_prepare_avx2, tcpao_hmac_sha1_avx2, 8, 6})
    X86({"avx2-two", TCPAO_CPU_AVX2, tcpao_hmac_sha1_prepare_avx2_two, tcpao_hmac_sha1_avx2_two, 16, 11})
    ARM({"armv8", TCPAO_CPU_ARM_SHA1, tcpao_hmac_sha1_prepare_armv8, tcpao_hmac_sha1_armv8, 2, 0})
    {"portable", TCPAO_CPU_ANY, tcpao_hmac_sha1_prepare_portable, tcpao_hmac_sha1_portable, 1, 0},
};
static const tcpao_kernel aes_cmac_kernels[] = {
    X86({"vaes512", TCPAO_CPU_VAES512, tcpao_aes_cmac_prepare_vaes512, tcpao_aes_cmac_vaes512, 16, 9})
    X86({"vaes256", TCPAO_CPU_VAES256, tcpao_aes_cmac_prepare_vaes256, tcpao_aes_cmac_vaes256, 16, 9})
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
static const tcpao_kernel hmac_sha512_kernels[] = {
    {"portable", TCPAO_CPU_ANY, tcpao_hmac_sha512_prepare_portable, tcpao_hmac_sha512_portable, 1, 0},
};
static const tcpao_kernel kmac256_kernels[] = {
    {"portable", TCPAO_CPU_ANY, tcpao_kmac256_prepare_portable, tcpao_kmac256_portable, 1, 0},
};

#define TABLE(name, prepared, kernels) {name, prepared, kernels, sizeof kernels / sizeof kernels[0]}

/* Every algorithm, in the order of kernels.h. */
static const struct {
    const char *name;
    size_t prepared; /* bytes of a prepared key */
    const tcpao_kernel *kernels;
    size_t count;
} tables[TCPAO_KERNEL_COUNT] = {
    [TCPAO_HMAC_SHA1] = TABLE("hmac-sha1", TCPAO_HMAC_SHA1_PREPARED, hmac_sha1_kernels),
    [TCPAO_AES_CMAC] = TABLE("aes-128-cmac", TCPAO_AES_CMAC_PREPARED, aes_cmac_kernels),
    [TCPAO_HMAC_SHA256] = TABLE("hmac-sha256", TCPAO_HMAC_SHA256_PREPARED, hmac_sha256_kernels),
    [TCPAO_MD5] = TABLE("md5", TCPAO_MD5_PREPARED, md5_kernels),
    [TCPAO_HMAC_SHA512] = TABLE("hmac-sha512", TCPAO_HMAC_SHA512_PREPARED, hmac_sha512_kernels),
    [TCPAO_KMAC256] = TABLE("kmac256", TCPAO_KMAC256_PREPARED, kmac256_kernels),
};

const char *tcpao_algorithm_name(int algorithm)
{
    return tables[algorithm].name;
}

size_t tcpao_prepared_length(int algorithm)
{
    return tables[algorithm].prepared;
}

/* What is known of an algorithm's kernels on this CPU: those that run, best first, and their times. */
typedef struct {
    const tcpao_kernel *found[TCPAO_MAX_KERNELS];
    tcpao_timing timings[TCPAO_MAX_KERNELS];
    size_t count;
    /* in use: one, and another (NULL: the same) for fewer than `least` messages over */
    const tcpao_kernel *active, *few;
    uint32_t least;
} ranking;

static ranking rankings[TCPAO_KERNEL_COUNT];

static ranking *ranking_of(int algorithm)
{
    ranking *of = &rankings[algorithm];
    const uint32_t have = tcpao_cpu_features();

    if (of->count)
        return of;
    for (size_t i = 0; i < tables[algorithm].count; i++) {
        const tcpao_kernel *kernel = &tables[algorithm].kernels[i];
        if ((kernel->cpu_features & ~have) == 0)
            of->found[of->count++] = kernel;
    }
    return of;
}

size_t tcpao_kernels_available(int algorithm, const tcpao_kernel *found[TCPAO_MAX_KERNELS])
{
    const ranking *of = ranking_of(algorithm);

    memcpy(found, of->found, of->count * sizeof *found);
    return of->count;
}

const tcpao_timing *tcpao_kernels_timings(int algorithm)
{
    return ranking_of(algorithm)->timings;
}

/* Short and long messages count alike. */
static float cost(const tcpao_timing *timing)
{
    return timing->brief * timing->full;
}

/* Quickest first.  What is less than a twentieth quicker is not taken for quicker: the order of the
 * table stays, so that one machine chooses the same from run to run. */
static void sort_by_cost(ranking *of, size_t timed)
{
    for (size_t i = 1; i < timed; i++) {
        for (size_t at = i; at && cost(&of->timings[at]) < 0.95f * cost(&of->timings[at - 1]); at--) {
            const tcpao_kernel *kernel = of->found[at];
            const tcpao_timing timing = of->timings[at];
            of->found[at] = of->found[at - 1];
            of->timings[at] = of->timings[at - 1];
            of->found[at - 1] = kernel;
            of->timings[at - 1] = timing;
        }
    }
}

void tcpao_kernels_rank(tcpao_clock *clock)
{
    for (int algorithm = 0; algorithm < TCPAO_KERNEL_COUNT; algorithm++) {
        ranking *of = ranking_of(algorithm);
        /* the portable one is there for CPUs that have nothing else */
        const size_t timed = of->count - 1;
        if (timed < 2 || of->timings[0].brief > 0)
            continue;
        tcpao_time_kernels(algorithm, of->found, timed, clock, of->timings);
        sort_by_cost(of, timed);
        if (of->active)
            tcpao_kernels_force("");
    }
}

/* The best kernel, and the one that is best for a message alone, up to as many of them as take as
 * long as all lanes of the other. */
static void choose_best(int algorithm)
{
    ranking *of = ranking_of(algorithm);
    const tcpao_timing *best = &of->timings[0];
    size_t alone = 0;

    of->active = of->found[0];
    of->few = NULL;
    of->least = 0;
    if (best->brief > 0) {
        for (size_t i = 1; i + 1 < of->count; i++)
            if (of->timings[i].alone < 0.95f * of->timings[alone].alone)
                alone = i;
        if (alone) {
            const float group = best->alone, each = of->timings[alone].brief;
            of->few = of->found[alone];
            of->least = group < each * (float)of->active->lanes ? (uint32_t)(group / each) + 1
                                                                : of->active->lanes;
        }
        return;
    }
    while (of->found[alone]->least)
        alone++;
    if (alone && alone + 1 < of->count) { /* the portable one is no quicker even for one */
        of->few = of->found[alone];
        of->least = of->active->least;
    }
}

const tcpao_kernel *tcpao_kernel_active(int algorithm)
{
    if (!rankings[algorithm].active)
        choose_best(algorithm);
    return rankings[algorithm].active;
}

const tcpao_kernel *tcpao_kernel_for_few(int algorithm, uint32_t *least)
{
    *least = rankings[algorithm].least;
    return rankings[algorithm].few;
}

size_t tcpao_kernels_force(const char *name)
{
    size_t changed = 0;

    for (int algorithm = 0; algorithm < TCPAO_KERNEL_COUNT; algorithm++) {
        ranking *of = ranking_of(algorithm);
        if (!name || !*name) {
            choose_best(algorithm);
            changed++;
            continue;
        }
        for (size_t i = 0; i < of->count; i++) {
            if (!strcmp(name, of->found[i]->name)) {
                of->active = of->found[i];
                of->few = NULL;
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
    const ranking *of = &rankings[algorithm];
    const size_t rest = count % kernel->lanes;

    if (of->few && rest < of->least) {
        if (count > rest)
            kernel->mac(messages, count - rest);
        if (rest)
            of->few->mac(messages + (count - rest), rest);
    } else {
        kernel->mac(messages, count);
    }
}
