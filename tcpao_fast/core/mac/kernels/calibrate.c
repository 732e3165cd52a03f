/* How quick the kernels of an algorithm are on this very machine.
 *
 * Which one is quickest does not follow from what a CPU can do: four streams of the SHA instructions
 * beat eight lanes of AVX2 on Zen 3 and lose to them on Intel's CPUs up to Ice Lake at least, and
 * what a CPU will do that nobody has seen yet cannot be written into a table.  So the kernels are
 * timed, on messages as short as a bare ACK's and as long as a full segment's; all of an algorithm
 * in turns, and the least of a few rounds counts, as whatever disturbs a round makes it longer.
 */
#include "calibrate.h"

#include <string.h>

enum {
    MESSAGES = 32,       /* the most lanes that a kernel has */
    ROUNDS = 4,          /* the first warms up */
    BRIEF_BYTES = 128,   /* with padding: 64 to 119 bytes of pseudo-header, header and options */
    FULL_BYTES = 1536,   /* 1,448 to 1,500 bytes of data and what is around them */
    STEP = 192,          /* from one message to the next: they share bytes, but no lane another's */
    TEXT_BYTES = FULL_BYTES + STEP * MESSAGES,
    KEY_BYTES = 256
};

_Static_assert((int)TCPAO_AES_CMAC_PREPARED <= (int)KEY_BYTES, "a prepared key of any algorithm has room");

/* Nanoseconds a message of MESSAGES, `together` at a time. */
static float time_run(const tcpao_kernel *kernel, const tcpao_message *const *messages, size_t together,
                      tcpao_clock *clock)
{
    const uint64_t before = clock();

    for (size_t i = 0; i < MESSAGES; i += together)
        kernel->mac(messages + i, together);
    return (float)(clock() - before) / MESSAGES;
}

static void keep_least(float *least, float found)
{
    if (found > 0 && (*least == 0 || found < *least))
        *least = found;
}

void tcpao_time_kernels(int algorithm, const tcpao_kernel *const *kernels, size_t count,
                        tcpao_clock *clock, tcpao_timing *timings)
{
    static const uint8_t text[TEXT_BYTES], raw[32];
    uint8_t key[KEY_BYTES], macs[MESSAGES][32];
    tcpao_message brief[MESSAGES], full[MESSAGES];
    const tcpao_message *briefs[MESSAGES], *fulls[MESSAGES];
    const uint32_t block = algorithm == TCPAO_AES_CMAC ? 16 : 64;

    memset(key, 0, sizeof key);
    memset(timings, 0, count * sizeof *timings);
    for (size_t i = 0; i < MESSAGES; i++) {
        const tcpao_message one = {{text + STEP * i, text, text}, {0, 0, 0}, 1, key, macs[i]};
        brief[i] = full[i] = one;
        brief[i].blocks[0] = BRIEF_BYTES / block;
        full[i].blocks[1] = FULL_BYTES / block;
        full[i].piece[1] = one.piece[0];
        briefs[i] = &brief[i];
        fulls[i] = &full[i];
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < count; i++) {
            kernels[i]->prepare(raw, algorithm == TCPAO_AES_CMAC ? 16 : sizeof raw, 1, key);
            const float of_brief = time_run(kernels[i], briefs, MESSAGES, clock);
            const float of_full = time_run(kernels[i], fulls, MESSAGES, clock);
            const float of_one = time_run(kernels[i], briefs, 1, clock);
            if (round == 0)
                continue;
            keep_least(&timings[i].brief, of_brief);
            keep_least(&timings[i].full, of_full);
            keep_least(&timings[i].alone, of_one);
        }
    }
}
