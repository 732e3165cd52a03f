from libc.stdint cimport int32_t, int64_t

from tcpao_fast.core.wire.records cimport Records


cdef class Pipeline:
    cdef readonly list shards             # one a thread
    cdef readonly int threads
    cdef object workers                   # asked with several threads
    cdef readonly int64_t rows_seen
    cdef int64_t next_id                  # of connections, with several shards
    cdef list parts                       # the shards' results of a call
    cdef list parts_for(self, Py_ssize_t rows, bint tracing)
    cdef int number_connections(self) except -1
