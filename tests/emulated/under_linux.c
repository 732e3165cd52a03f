/* check_kernels under Linux, for qemu-user: the argument is the file with the cases. */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check_kernels.h"
#include "flow_hash.h"

static void say(const char *text)
{
    fputs(text, stdout);
}

/* Hashes of known words under a known key, with AES where the CPU has it and without. */
static void show_flow_hash(void)
{
    enum { MANY = 2 * TCPAO_FLOW_SIDE_BY_SIDE };
    uint8_t random[16];
    uint64_t words[6], many[MANY][2];
    uint32_t hashes[MANY];
    tcpao_flow_secret secret;

    for (uint8_t i = 0; i < 16; i++)
        random[i] = (uint8_t)(17 * i);
    for (uint64_t i = 0; i < 6; i++)
        words[i] = 0x0123456789abcdef * (i + 1);
    for (uint64_t i = 0; i < MANY; i++)
        many[i][0] = words[0] + i, many[i][1] = words[1];
    for (int with_aes = 0; with_aes < 2; with_aes++) {
        tcpao_flow_begin(&secret, random, with_aes);
        tcpao_flow_hash_many(&secret, many[0], 2, hashes, MANY - 3);
        printf("flow-hash %s %u %u", secret.with_aes ? "aes" : "siphash",
               tcpao_flow_hash(&secret, words, 2), tcpao_flow_hash(&secret, words, 6));
        for (int i = 0; i < MANY - 3; i++)
            printf(" %u", hashes[i]);
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    const size_t room = 4 << 20, page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *blob = calloc(1, room);
    uint8_t *arena = mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;

    if (!blob || arena == MAP_FAILED || !file || !fread(blob, 1, room, file) ||
        mprotect(arena + room, page, PROT_NONE))
        return 2;
    show_flow_hash();
    return check_kernels(blob, arena, arena + room, say) ? 1 : 0;
}
