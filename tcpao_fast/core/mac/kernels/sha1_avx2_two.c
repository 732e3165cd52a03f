/* HMAC-SHA-1 with AVX2: two times 8 messages side by side.  What a CPU gains from the second set,
 * whose words live in memory, is measured. */
#if defined(__x86_64__)

#include "vec_avx2.h"

enum { SIDES = 2 };
#include "sha1_lanes.h"

#include "hmac_lanes.h"

void tcpao_hmac_sha1_prepare_avx2_two(const uint8_t *raw, size_t raw_length, size_t count,
                                      uint8_t *prepared)
{
    hmac_prepare_lanes(raw, raw_length, count, prepared);
}

void tcpao_hmac_sha1_avx2_two(const tcpao_message *const *messages, size_t count)
{
    hmac_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
