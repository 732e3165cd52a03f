"""The structs of Arrow's C data interface, and columns of packets that come by it."""

from libc.stdint cimport int32_t, int64_t, uint8_t

from tcpao_fast.core.wire.bounds cimport Bounds

cdef struct ArrowSchema:
    const char *format
    const char *name
    const char *metadata
    int64_t flags
    int64_t n_children
    ArrowSchema **children
    ArrowSchema *dictionary
    void (*release)(ArrowSchema *) noexcept
    void *private_data

cdef struct ArrowArray:
    int64_t length
    int64_t null_count
    int64_t offset
    int64_t n_buffers
    int64_t n_children
    const void **buffers
    ArrowArray **children
    ArrowArray *dictionary
    void (*release)(ArrowArray *) noexcept
    void *private_data

cdef struct ArrowArrayStream:
    int (*get_schema)(ArrowArrayStream *, ArrowSchema *) noexcept
    int (*get_next)(ArrowArrayStream *, ArrowArray *) noexcept
    const char *(*get_last_error)(ArrowArrayStream *) noexcept
    void (*release)(ArrowArrayStream *) noexcept
    void *private_data


cdef class PacketColumn:
    cdef ArrowArray *chunks
    cdef Py_ssize_t chunk_count
    cdef int layout               # how the format lays out its values
    cdef int64_t width            # of each value, where all are as wide
    cdef readonly Py_ssize_t count
    cdef int take(self, ArrowArray *chunk) except -1
    cdef int read_format(self, const ArrowSchema *schema) except -1
    cdef int read_array(self, column) except -1
    cdef int read_stream(self, column) except -1
    cdef void locate(self, Bounds *bounds) noexcept nogil
