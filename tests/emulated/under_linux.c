/* check_kernels under Linux, for qemu-user: the argument is the file with the cases. */
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check_kernels.h"

static void say(const char *text)
{
    fputs(text, stdout);
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
    return check_kernels(blob, arena, arena + room, say) ? 1 : 0;
}
