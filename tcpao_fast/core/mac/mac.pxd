from libc.stdint cimport uint8_t

from tcpao_fast.core.mac.kernels cimport tcpao_message

cdef class Scheduler:
    cdef const tcpao_message **order
    cdef Py_ssize_t capacity
    cdef int reserve(self, Py_ssize_t count) except -1
    cdef void run(self, int primitive, const tcpao_message *messages, Py_ssize_t count) noexcept nogil

cdef class TrafficKeys:
    cdef readonly object algorithm
    cdef readonly Py_ssize_t count
    cdef uint8_t *prepared
    cdef size_t stride
    cdef size_t raw_length
    cdef int primitive
    cdef int mac_into(self, Py_ssize_t index, uint8_t *scratch, size_t prefix_length,
                      const uint8_t *body, size_t body_length, uint8_t *out) except -1

cdef size_t prepared_length(int primitive) noexcept nogil
cdef void prepare(int primitive, const uint8_t *raw, size_t raw_length, size_t count,
                  uint8_t *prepared) noexcept nogil
cdef void mac_one(int primitive, const tcpao_message *message) noexcept nogil
cdef void wipe(void *memory, size_t length) noexcept nogil
cdef void burn_stack(int primitive) noexcept nogil
