from libc.stdint cimport int32_t, int64_t, uint32_t

cdef inline int64_t extend(int64_t anchor, uint32_t seq) noexcept nogil:
    """The 64-bit position of `seq`: the one less than 2^31 ahead of, or at most 2^31 behind, the
    anchor.  Its high 32 bits are the SNE (RFC 5925 section 6.2); negative: it cannot exist."""
    return anchor + <int32_t>(seq - <uint32_t>anchor)
