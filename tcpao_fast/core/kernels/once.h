/* Bytes that another thread may change: read once, so that what was checked is what is used. */
#ifndef TCPAO_ONCE_H
#define TCPAO_ONCE_H

#include <stdint.h>

static inline uint8_t tcpao_once8(const uint8_t *p)
{
    return *(const volatile uint8_t *)p;
}

/* Big endian. */
static inline uint16_t tcpao_once16(const uint8_t *p)
{
    const uint8_t high = tcpao_once8(p), low = tcpao_once8(p + 1);

    return (uint16_t)(high << 8 | low);
}

#endif
