from libc.stdint cimport uint8_t

from tcpao_fast.core.mac.kernels cimport tcpao_message

cdef class Scheduler:
    cdef const tcpao_message **order
    cdef Py_ssize_t capacity
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef void run(self, int kernel, const tcpao_message *messages, Py_ssize_t count) noexcept nogil

cdef size_t prepared_length(int kernel) noexcept nogil
cdef void prepare(int kernel, const uint8_t *raw, size_t raw_length, size_t count,
                  uint8_t *prepared) noexcept nogil
cdef void mac_one(int kernel, const tcpao_message *message) noexcept nogil
cdef void wipe(void *memory, size_t length) noexcept nogil
cdef void burn_stack(int kernel) noexcept nogil
