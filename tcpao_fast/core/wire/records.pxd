from libc.stdint cimport int32_t, int64_t, uint8_t

# Where a record is; side by side, as both are asked for together.
cdef struct Bounds:
    int64_t offset
    int64_t length


cdef class Records:
    cdef Py_buffer view
    cdef bint held, is_writable
    cdef readonly object buffer  # as the caller gave it
    cdef object arrays           # keeps the converted arrays alive
    cdef uint8_t *base
    cdef Bounds *bounds
    cdef object given_numbers            # None: 1 to n
    cdef readonly str source             # the file, or empty
    cdef readonly int64_t preceding      # records of the stream before that file
    cdef const int64_t *wire             # bytes on the wire; NULL: as many as were captured
    cdef const int32_t *types            # link types; NULL: all `one_linktype`
    cdef const int64_t *times            # NULL: none
    cdef int one_linktype
    cdef readonly Py_ssize_t count

    cdef inline uint8_t *start(self, Py_ssize_t i) noexcept nogil:
        return self.base + self.bounds[i].offset

    cdef inline size_t length(self, Py_ssize_t i) noexcept nogil:
        return <size_t>self.bounds[i].length

    cdef inline size_t wire_length(self, Py_ssize_t i) noexcept nogil:
        return <size_t>(self.bounds[i].length if self.wire == NULL else self.wire[i])

    cdef inline int linktype(self, Py_ssize_t i) noexcept nogil:
        return self.one_linktype if self.types == NULL else self.types[i]

    cdef inline int64_t timestamp(self, Py_ssize_t i) noexcept nogil:
        return -1 if self.times == NULL else self.times[i]
