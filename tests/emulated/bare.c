/* check_kernels without an operating system: Bochs prints what goes to port 0xe9 and ends when
 * "Shutdown" goes to port 0x8900. */
#include <string.h>

#include "check_kernels.h"

extern const uint8_t cases_blob[];

static void out(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void say(const char *text)
{
    while (*text)
        out(0xe9, (uint8_t)*text++);
}

void *memcpy(void *to, const void *from, size_t n)
{
    void *const start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
    return start;
}

void *memset(void *to, int value, size_t n)
{
    void *const start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
    return start;
}

int memcmp(const void *a, const void *b, size_t n)
{
    const uint8_t *x = a, *y = b;

    for (; n; n--, x++, y++)
        if (*x != *y)
            return *x < *y ? -1 : 1;
    return 0;
}

int strcmp(const char *a, const char *b)
{
    for (; *a && *a == *b; a++, b++) {
    }
    return (int)*(const unsigned char *)a - (int)*(const unsigned char *)b;
}

void bare_main(void)
{
    uint8_t *const end = (uint8_t *)(16 << 20); /* where the page tables end */

    check_kernels(cases_blob, (uint8_t *)(8 << 20), end, say);
    for (const char *word = "Shutdown"; *word; word++)
        out(0x8900, (uint8_t)*word);
}
