"""Where a record is in memory."""

from libc.stdint cimport int64_t, uint8_t

# Side by side, as both are asked for together.
cdef struct Bounds:
    uint8_t *start
    int64_t length
