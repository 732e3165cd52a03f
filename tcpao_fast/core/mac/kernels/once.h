/* Bytes that another thread may change: read once, so that what was checked is what is used. */
#ifndef TCPAO_ONCE_H
#define TCPAO_ONCE_H

#include <stdint.h>
#include <string.h>

/* As far as the compiler can tell the value may have been changed since it was read: so it cannot be
 * read again in its place. */
#define TCPAO_KEEP(value) __asm__("" : "+r"(value))

static inline uint8_t tcpao_once8(const uint8_t *p)
{
    uint8_t value = *p;

    TCPAO_KEEP(value);
    return value;
}

/* In the byte order of the machine. */
static inline uint32_t tcpao_once32(const void *p)
{
    uint32_t value;

    memcpy(&value, p, 4);
    TCPAO_KEEP(value);
    return value;
}

/* Big endian. */
static inline uint16_t tcpao_once16(const uint8_t *p)
{
    uint16_t value;

    memcpy(&value, p, 2);
    TCPAO_KEEP(value);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    value = __builtin_bswap16(value);
#endif
    return value;
}

#endif
