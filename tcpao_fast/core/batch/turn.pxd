from cpython.pythread cimport PyThread_type_lock


cdef class Turn:
    cdef PyThread_type_lock lock
    cdef bint taken                # by a call
    cdef unsigned long owner       # the thread that has it
    cdef bint shut
    cdef readonly str why_shut
    cdef int enter(self) except -1
    cdef int begin(self) except -1
    cdef int enter_without_gil(self) except -1 nogil
    cdef void leave(self) noexcept nogil
