from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.flow.connections cimport ConnectionTable, Incarnation
from tcpao_fast.core.wire.fragments cimport Reassembler
from tcpao_fast.core.mac.attempt cimport Attempt, Tried
from tcpao_fast.core.mac.kernels cimport tcpao_message
from tcpao_fast.core.flow.traffic_keys cimport Derivation, KeyTable
from tcpao_fast.core.mac.mac cimport Scheduler
from tcpao_fast.core.wire.parse cimport Layers
from tcpao_fast.core.wire.segment cimport Segment
from tcpao_fast.core.flow.verdict cimport VERDICT_COUNT

cdef inline Py_ssize_t first_row(const int64_t *origin, Py_ssize_t count, int64_t record) noexcept nogil:
    """The first of a shard's rows that is this record or a later one."""
    cdef Py_ssize_t low = 0, high = count, middle
    while low < high:
        middle = (low + high) // 2
        if origin[middle] < record:
            low = middle + 1
        else:
            high = middle
    return low


cdef struct Columns:
    # results, one entry a row
    uint8_t *verdict
    int32_t *mkt
    int64_t *connection
    uint32_t *sne
    int64_t *origin           # the record that a row is; NULL: rows and records are the same
    uint8_t *effects         # NULL: nobody traces


cdef class Shard:
    cdef readonly int number              # of `shards`
    cdef readonly int shards
    cdef readonly ConnectionTable connections
    cdef readonly KeyTable keys
    cdef readonly Reassembler fragments
    cdef bint ao_required
    cdef bint follow_rnext                # signing heeds the other side's RNextKeyID
    cdef Py_ssize_t batch_rows            # the most rows that go through the stages together
    cdef Segment *segments                # the columns of a batch, `batch_rows` of each
    cdef Layers *layers                   # the headers around each, once somebody signs
    cdef Attempt *rows
    cdef int64_t *timestamps
    cdef int64_t *origins                 # the record that each row is
    cdef bint has_fragments               # in this batch, and they are joined
    cdef bint met_fragments               # in this call, or some wait for others
    cdef int32_t *speculated              # connections to clean up
    cdef Derivation *derivations
    cdef uint8_t *scratch
    cdef uint8_t *macs
    cdef tcpao_message *messages
    cdef Scheduler scheduler
    cdef Segment *further                 # rows of further tries, once there are any
    cdef Attempt *further_rows
    cdef uint8_t *further_macs
    cdef Tried *tried                     # what came of them
    cdef Py_ssize_t tried_count
    cdef Py_ssize_t tried_room
    cdef int64_t tally[VERDICT_COUNT + 1]  # verdicts, and how many segments have TCP-AO
    cdef int64_t *key_tally               # of each MKT, ever: good and bad
    cdef Py_ssize_t in_flight             # rows of the batch that runs
    cdef Py_ssize_t speculated_count
    cdef Py_ssize_t wanted                # how many derivations
    cdef int reserve_layers(self) except -1 nogil
    cdef int open_batch(self, Py_ssize_t count) except -1 nogil
    cdef Py_ssize_t fill(self, Records records, const uint16_t *owners, Py_ssize_t *at,
                         int64_t rows_seen, Layers *layers) except -1 nogil
    cdef int verify_batch(self, Py_ssize_t count, bint tracing) except -1 nogil
    cdef void classify_batch(self, Py_ssize_t count) noexcept nogil
    cdef void key_row(self, const Segment *segment, Attempt *row) noexcept nogil
    cdef int derive_wanted(self) except -1 nogil
    cdef int mac_batch(self, Py_ssize_t count) except -1 nogil
    cdef Py_ssize_t verify(self, Records records, int64_t rows_seen,
                           const Columns *out) except -1 nogil
    cdef void report(self, Py_ssize_t count, Py_ssize_t first, const Columns *out) noexcept nogil
    cdef void end_batch(self) noexcept nogil
    cdef int reserve_tries(self) except -1 nogil
    cdef int try_further(self, Py_ssize_t first, Py_ssize_t count) except -1 nogil
    cdef Py_ssize_t propose(self, Py_ssize_t i, Py_ssize_t n, int32_t incarnation, uint32_t isn_source,
                            uint32_t isn_destination, int64_t position) noexcept nogil
    cdef int compute_tries(self, Py_ssize_t n) except -1 nogil
    cdef void leave(self) noexcept nogil

cdef uint16_t owner(Records records, Py_ssize_t i, uint32_t shards) noexcept nogil
cdef uint16_t choose_shard(const Segment *segment, uint32_t shards) noexcept nogil
