/* HMAC-SHA-256 with AVX2: 8 messages side by side. */
#if defined(__x86_64__)

#include "vec_avx2.h"

enum { SIDES = 1 };
#include "sha256_lanes.h"

#include "hmac_lanes.h"

void tcpao_hmac_sha256_prepare_avx2(const uint8_t *raw, size_t raw_length, size_t count,
                                uint8_t *prepared)
{
    hmac_prepare_lanes(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha256_avx2(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
