from libc.stdint cimport int32_t, int64_t, uint8_t

from tcpao_fast.core.flow.connections cimport NONE, Connection, ConnectionTable, Incarnation
from tcpao_fast.core.mac.attempt cimport Attempt, Tried
from tcpao_fast.core.flow.sne cimport extend
from tcpao_fast.core.flow.traffic_keys cimport (
    IN_USE,
    KeySlot,
    KeyTable,
    key_data,
    key_slot,
    slot_mkt,
)
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

cdef inline KeySlot *live_key(ConnectionTable connections, KeyTable keys, const Segment *segment,
                              Attempt *row) noexcept nogil:
    """What a short cut looks at: the traffic key that comes first for a segment of a connection that
    is proved, and in `row` the segment's position; or NULL."""
    cdef const Connection *connection = &connections.connections[row.connection]
    cdef const Incarnation *live
    cdef int32_t head
    if connection.live == NONE:
        return NULL
    live = &connections.incarnations[connection.live]
    head = live.keys[row.direction]
    if head == NONE:
        return NULL
    row.position = extend(live.anchor[row.direction], segment.seq)
    return NULL if row.position < 0 else key_slot(keys.slabs, head)


cdef inline void take_live_key(ConnectionTable connections, KeyTable keys, KeySlot *slot,
                               Attempt *row) noexcept nogil:
    """Have a row verified or signed under what `live_key` found."""
    cdef const Incarnation *live
    row.incarnation = connections.connections[row.connection].live
    live = &connections.incarnations[row.incarnation]
    slot.batch = connections.batch | IN_USE
    row.mkt = slot_mkt(slot)
    row.isn_source = live.isn[row.direction]
    row.isn_destination = live.isn[1 - row.direction]
    row.traffic_key = live.keys[row.direction]
    row.key = key_data(keys.slabs, row.traffic_key)


cdef void classify(ConnectionTable connections, KeyTable keys, bint ao_required,
                   const Segment *segment, int64_t timestamp, Attempt *row) noexcept nogil
cdef bint expected(ConnectionTable connections, KeyTable keys, const Segment *segment,
                   int64_t timestamp, Attempt *row) noexcept nogil
cdef Py_ssize_t commit_batch(ConnectionTable connections, KeyTable keys, const Segment *segments,
                             Attempt *rows, const uint8_t *macs, const Tried *tried,
                             const int64_t *timestamps, Py_ssize_t first, Py_ssize_t count,
                             bint stop, bint tracing) except -1 nogil
