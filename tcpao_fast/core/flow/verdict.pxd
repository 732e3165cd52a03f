from libc.stdint cimport int64_t, uint8_t

from tcpao_fast.core.flow.connections cimport ConnectionTable
from tcpao_fast.core.mac.attempt cimport Attempt, Tried
from tcpao_fast.core.flow.traffic_keys cimport KeyTable
from tcpao_fast.core.wire.segment cimport Segment

cdef enum VerdictCode:
    VERDICT_GOOD = 0
    VERDICT_BAD_MAC = 1
    VERDICT_KEY_NOT_FOUND = 2
    VERDICT_AO_REQUIRED = 3
    VERDICT_UNSIGNED = 4
    VERDICT_MISSING_ISN = 5
    VERDICT_TRUNCATED = 6
    VERDICT_MALFORMED = 7
    VERDICT_MD5_GOOD = 8
    VERDICT_MD5_BAD = 9
    VERDICT_MD5_UNCHECKED = 10
    VERDICT_NOT_TCP = 11
    VERDICT_MD5_REQUIRED = 12
    VERDICT_COUNT = 13

cdef void classify(ConnectionTable connections, KeyTable keys, bint ao_required,
                   const Segment *segment, int64_t timestamp, Attempt *row) noexcept nogil
cdef bint expected(ConnectionTable connections, KeyTable keys, const Segment *segment,
                   int64_t timestamp, Attempt *row) noexcept nogil
cdef Py_ssize_t commit_batch(ConnectionTable connections, KeyTable keys, const Segment *segments,
                             Attempt *rows, const uint8_t *macs, const Tried *tried,
                             const int64_t *timestamps, Py_ssize_t first, Py_ssize_t count,
                             bint stop, bint tracing) except -1 nogil
