from libc.stdint cimport int32_t, int64_t, uint16_t

from tcpao_fast.core.buffers cimport Records
from tcpao_fast.core.fragments cimport Reassembler
from tcpao_fast.core.segment cimport Segment
from tcpao_fast.core.shard cimport Columns


cdef class Pipeline:
    cdef readonly list shards             # one a thread
    cdef readonly int threads
    cdef object pool                      # None with one thread
    cdef Reassembler fragments
    cdef readonly int64_t rows_seen
    cdef Py_ssize_t window                # records that all threads take together
    cdef Segment *segments                # of a window; NULL with one thread: the shard's own
    cdef uint16_t *shard_of               # the shard of each segment in the window
    cdef int32_t next_id                  # of connections
    # what the threads work on
    cdef Records records
    cdef Py_ssize_t first
    cdef Py_ssize_t count
    cdef Columns columns
    cdef int verify_window(self) except -1
    cdef int join_fragments(self, Segment *segments, Py_ssize_t count) except -1
    cdef int settle(self, int32_t *ids, const uint16_t *shard_of, Py_ssize_t count) except -1
