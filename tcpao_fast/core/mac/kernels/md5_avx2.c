/* MD5 with AVX2: two times 8 messages side by side. */
#if defined(__x86_64__)

#include "vec_avx2.h"

enum { SIDES = 2 };
#include "md5_lanes.h"

void tcpao_md5_avx2(const tcpao_message *const *messages, size_t count)
{
    md5_many(messages, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#endif

#else
typedef int tcpao_no_x86_64; /* ISO C wants something in every file */
#endif
