from libc.stdint cimport int64_t

from tcpao_fast.core.wire.segment cimport Segment


cdef class Reassembler:
    cdef object pending          # OrderedDict: identification -> Datagram
    cdef int64_t held_bytes
    cdef list joined             # memory that rows of the current batch point into
    cdef readonly list given_up  # row numbers of datagrams that will never be whole
    cdef int add(self, Segment *segment, int64_t row, int64_t timestamp) except -1
    cdef int discard(self, object identification) except -1
