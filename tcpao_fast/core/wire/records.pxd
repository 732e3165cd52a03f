from libc.stdint cimport int32_t, int64_t, uint8_t

# Where a record is; side by side, as both are asked for together.
cdef struct Bounds:
    int64_t offset
    int64_t length


cdef class Records:
    cdef Py_buffer view
    cdef bint held
    cdef object buffer           # as the caller gave it
    cdef object arrays           # keeps the converted arrays alive
    cdef uint8_t *base
    cdef Bounds *bounds
    cdef const int64_t *wire_lengths     # NULL: the same as lengths
    cdef const int32_t *linktypes        # NULL: all `one_linktype`
    cdef const int64_t *timestamps       # NULL: none
    cdef int one_linktype
    cdef readonly Py_ssize_t count

    cdef inline uint8_t *start(self, Py_ssize_t i) noexcept nogil:
        return self.base + self.bounds[i].offset

    cdef inline size_t length(self, Py_ssize_t i) noexcept nogil:
        return <size_t>self.bounds[i].length

    cdef inline size_t wire_length(self, Py_ssize_t i) noexcept nogil:
        return <size_t>(self.bounds[i].length if self.wire_lengths == NULL else self.wire_lengths[i])

    cdef inline int linktype(self, Py_ssize_t i) noexcept nogil:
        return self.one_linktype if self.linktypes == NULL else self.linktypes[i]

    cdef inline int64_t timestamp(self, Py_ssize_t i) noexcept nogil:
        return -1 if self.timestamps == NULL else self.timestamps[i]
