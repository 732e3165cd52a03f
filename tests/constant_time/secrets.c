/* Every kernel over secrets that valgrind takes for undefined: it reports each branch and each
 * address that depends on one (as in A. Langley's ctgrind).  Prints the kernels that ran.
 *
 * With an argument, a control: "branch" and "address" do just that with a secret.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <valgrind/memcheck.h>

#include "equal.h"
#include "kernels.h"

enum { MESSAGES = 37, BLOCKS = 9, BLOCK = 64, KEY_ROOM = 256, RAW = 32, MAC_ROOM = 64 };

static uint8_t text[MESSAGES][BLOCKS * BLOCK], raw[MESSAGES * RAW], macs[MESSAGES][MAC_ROOM];
static uint8_t prepared[MESSAGES * KEY_ROOM];
static tcpao_message messages[MESSAGES];
static volatile int sink;

static void secret(void *memory, size_t length)
{
    (void)VALGRIND_MAKE_MEM_UNDEFINED(memory, length);
}

static void public(void *memory, size_t length)
{
    (void)VALGRIND_MAKE_MEM_DEFINED(memory, length);
}

static void run(int algorithm, const tcpao_kernel *kernel)
{
    const size_t size = tcpao_prepared_length(algorithm);
    const tcpao_message *chosen[MESSAGES];
    const size_t raw_length = algorithm == TCPAO_AES_CMAC ? 16 : algorithm == TCPAO_KMAC256 ? 32 : 20;

    for (size_t i = 0; i < sizeof raw; i++)
        raw[i] = (uint8_t)(i * 7 + 1);
    for (size_t i = 0; i < MESSAGES; i++)
        for (size_t j = 0; j < sizeof text[i]; j++)
            text[i][j] = (uint8_t)(i + j);
    secret(raw, sizeof raw);
    secret(text, sizeof text); /* a pipeline's payload may be secret too */
    kernel->prepare(raw, raw_length, MESSAGES, prepared);
    for (size_t i = 0; i < MESSAGES; i++) {
        const uint32_t blocks = (uint32_t)(1 + i % BLOCKS);
        messages[i] = (tcpao_message){{text[i], text[i], text[i]}, {0, 0, 0}, i % 2, NULL, macs[i]};
        messages[i].blocks[i % 3] = algorithm < TCPAO_BY_BYTES ? blocks : blocks * BLOCK - 5;
        messages[i].key = prepared + i * size;
        chosen[i] = &messages[i];
    }
    kernel->mac(chosen, MESSAGES);
    int equal = tcpao_equal(macs[0], macs[1], 12) + tcpao_equal(macs[2], macs[2], 16);
    public(&equal, sizeof equal); /* the verdict is no secret */
    sink = equal;
    public(macs, sizeof macs);
    public(prepared, sizeof prepared);
}

int main(int argc, char **argv)
{
    const tcpao_kernel *found[TCPAO_MAX_KERNELS];

    if (argc > 1) {
        secret(raw, sizeof raw);
        if (!strcmp(argv[1], "branch"))
            sink = raw[3] > 100 ? 1 : 2;
        if (!strcmp(argv[1], "branch") && raw[4] > 9)
            puts("more");
        if (!strcmp(argv[1], "address"))
            sink = text[0][raw[5]];
        return 0;
    }
    for (int algorithm = 0; algorithm < TCPAO_KERNEL_COUNT; algorithm++) {
        const size_t count = tcpao_kernels_available(algorithm, found);
        for (size_t i = 0; i < count; i++) {
            run(algorithm, found[i]);
            printf("%s %s\n", tcpao_algorithm_name(algorithm), found[i]->name);
            fflush(stdout);
        }
    }
    return 0;
}
