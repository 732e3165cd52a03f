/* SHA-1's initial state (FIPS 180-4 section 5.3.1). */
#ifndef TCPAO_SHA1_H
#define TCPAO_SHA1_H

#include <stdint.h>

static const uint32_t sha1_initial[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};

#endif
