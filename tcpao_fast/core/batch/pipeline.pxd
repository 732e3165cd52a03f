from libc.stdint cimport int64_t

from tcpao_fast.core.batch.shard cimport Columns, Shard
from tcpao_fast.core.batch.turn cimport Turn
from tcpao_fast.core.flow.verdict cimport VERDICT_COUNT
from tcpao_fast.core.wire.records cimport Records


cdef class Results:
    cdef readonly object verdict          # uint8[rows]
    cdef readonly object mkt              # int32[rows]
    cdef readonly object connection       # int64[rows]
    cdef readonly object sne              # uint32[rows]
    cdef readonly object origin           # int64[rows], or None
    cdef readonly object effects          # uint8[rows] of Effect, or None
    cdef Columns columns
    cdef int trace(self) except -1


cdef class Pipeline:
    cdef readonly list shards             # one a thread
    cdef Shard first                      # of them
    cdef readonly int threads
    cdef readonly Turn turn               # to be had by whoever calls what follows
    cdef object workers                   # asked with several threads
    cdef readonly int64_t rows_seen
    cdef int64_t next_id                  # of connections, with several shards
    cdef list parts                       # the shards' results of a call
    cdef const Columns *whole             # where they are put together
    cdef list signed                      # the shards' signed records of a call, or None
    cdef int64_t tally[VERDICT_COUNT + 1]  # of the last call: verdicts, and segments with TCP-AO
    cdef int64_t totals[VERDICT_COUNT]    # of all calls
    cdef int64_t share(self, Py_ssize_t rows, Py_ssize_t thread) noexcept nogil
    cdef list parts_for(self, Py_ssize_t rows, bint tracing)
    cdef bint unnumbered(self) noexcept
    cdef int number_connections(self) except -1
    cdef int verify_shards(self, Records records, bint tracing, const Columns *out) except -1
    cdef int settle_fragments(self, bint final, const Columns *out) except -1
    cdef int verify_rows(self, Records records, bint final, const Columns *out) except -1 nogil
