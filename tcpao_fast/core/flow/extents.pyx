# cython: nonecheck=False
"""What headers alone say of a capture's connections: handshakes, and how far each side got.

Nothing is verified.  That is enough to guess the state in which a capture leaves each connection, and
so to begin with the next one without waiting; whoever uses a guess holds it against the truth later.
"""

cimport cython
from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.flow.connections cimport ConnectionTable, out_of_memory
from tcpao_fast.core.mac.attempt cimport Attempt
from tcpao_fast.core.wire.parse cimport parse_tagged
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO, FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, KIND_SEGMENT, Segment,
)

cdef enum:
    ROWS = 512
    MOST_CONNECTIONS = 1 << 27
    NEAR = 1 << 26            # a step of SEQ beyond this is believed when the next segment agrees

cdef packed struct Extent:               # `EXTENT`
    int64_t first_time, last_time
    int64_t reach[2]          # how far each direction got: from its ISN, or from `base`
    uint32_t isn[2]           # of the last handshake
    uint32_t base[2]          # the first SEQ behind it
    uint32_t jump[2]          # a far SEQ that waits for another
    uint32_t segments[2]
    uint32_t vrf
    uint16_t port[2]
    uint8_t address[2][16]
    uint8_t version
    uint8_t known             # bit d: `isn` of d is known
    int8_t initiator          # who sent the SYN, -1 unknown
    uint8_t begun             # bit d: `base` of d is there
    uint8_t handshakes        # how many began, up to 255
    uint8_t with_ao           # whether a segment with TCP-AO was among them
    uint8_t opening           # whether the first segment was a SYN

#: One connection of a capture, the lower endpoint first: see the fields' comments in extents.pyx.
EXTENT = np.dtype([
    ("first_time", "i8"), ("last_time", "i8"), ("reach", "i8", 2), ("isn", "u4", 2), ("base", "u4", 2),
    ("jump", "u4", 2), ("segments", "u4", 2), ("vrf", "u4"), ("port", "u2", 2),
    ("address", "u1", (2, 16)), ("version", "u1"), ("known", "u1"), ("initiator", "i1"),
    ("begun", "u1"), ("handshakes", "u1"), ("with_ao", "u1"), ("opening", "u1"),
])
assert EXTENT.itemsize == sizeof(Extent)


cdef void begin(Extent *it, const Segment *segment, int direction) noexcept nogil:
    cdef int size = 16 if segment.version == 6 else 4
    memset(it, 0, sizeof(Extent))
    it.first_time = it.last_time = -1
    it.initiator = -1
    it.version = segment.version
    it.vrf = segment.vlan
    memcpy(it.address[direction], segment.source, size)
    memcpy(it.address[1 - direction], segment.destination, size)
    it.port[direction] = segment.source_port
    it.port[1 - direction] = segment.destination_port
    it.opening = (segment.flags & (FLAG_SYN | FLAG_ACK)) == FLAG_SYN


cdef void restart(Extent *it) noexcept nogil:
    """Another handshake."""
    it.known = it.begun = 0
    it.reach[0] = it.reach[1] = 0
    if it.handshakes < 255:
        it.handshakes += 1


cdef void note(Extent *it, const Segment *segment, int direction) noexcept nogil:
    cdef int other = 1 - direction
    cdef uint32_t end, at
    cdef int64_t step
    if segment.flags & FLAG_SYN:
        if segment.flags & FLAG_ACK:
            if not (it.known >> other & 1 and it.isn[other] == segment.ack - 1):
                restart(it)
                it.isn[other] = segment.ack - 1
                it.known = <uint8_t>(1 << other)
            elif it.known >> direction & 1 and it.isn[direction] != segment.seq:
                it.reach[direction] = 0       # another answer to the same SYN
                it.begun = 0
            it.isn[direction] = segment.seq
            it.known |= <uint8_t>(1 << direction)
            it.initiator = <int8_t>other
        elif not (it.known >> direction & 1 and it.isn[direction] == segment.seq):
            restart(it)
            it.isn[direction] = segment.seq
            it.known = <uint8_t>(1 << direction)
            it.initiator = <int8_t>direction
    if segment.flags & FLAG_RST:
        return
    end = segment.seq + segment.length - segment.header_length
    end += (segment.flags & FLAG_SYN != 0) + (segment.flags & FLAG_FIN != 0)
    if not it.begun >> direction & 1:
        it.begun |= <uint8_t>(1 << direction)
        it.base[direction] = segment.seq
        it.reach[direction] = 0
    at = (it.isn[direction] if it.known >> direction & 1 else it.base[direction]) + <uint32_t>(
        it.reach[direction])
    step = <int32_t>(end - at)
    if step > NEAR:
        if not -NEAR < <int32_t>(segment.seq - it.jump[direction]) < NEAR:
            it.jump[direction] = segment.seq
            return
    if step > 0:
        it.reach[direction] += step


@cython.final
cdef class Extents:
    """Gathers what headers say, record by record."""

    cdef ConnectionTable table
    cdef Extent *extents                  # by the connection's id
    cdef int64_t room
    cdef readonly int64_t count

    def __cinit__(self):
        self.table = ConnectionTable(MOST_CONNECTIONS)

    def __dealloc__(self):
        free(self.extents)

    def add(self, Records records not None):
        """Look at some records.

        Parameters
        ----------
        records : Records

        Returns
        -------
        int64[n]
            Which connection each is of: its row in `rows`; -1 of none.
        """
        cdef Py_ssize_t start, i, n
        cdef Segment *segments = <Segment *>calloc(ROWS, sizeof(Segment))
        cdef Attempt *rows = <Attempt *>calloc(ROWS, sizeof(Attempt))
        cdef int64_t origins[ROWS]
        found = np.full(records.count, -1, np.int64)
        cdef int64_t[::1] numbers = found
        if segments == NULL or rows == NULL:
            free(segments)
            free(rows)
            raise MemoryError()
        try:
            for start in range(0, records.count, ROWS):
                n = min(<Py_ssize_t>ROWS, records.count - start)
                self.table.begin_batch()
                self.table.reserve(n)
                self.grow(self.table.next_id + n)
                with nogil:
                    for i in range(n):
                        origins[i] = start + i
                        parse_tagged(records.start(start + i), records.length(start + i),
                                     records.wire_length(start + i), records.linktype(start + i),
                                     records.vlan(start + i), &segments[i], NULL)
                    self.table.locate_batch(segments, rows, origins, n)
                    for i in range(n):
                        if rows[i].id >= 0:
                            numbers[start + i] = rows[i].id
                            self.see(&segments[i], &rows[i], records.timestamp(start + i))
                self.count = self.table.next_id
        finally:
            free(segments)
            free(rows)
        return found

    cdef void see(self, const Segment *segment, const Attempt *row, int64_t moment) noexcept nogil:
        cdef Extent *it = &self.extents[row.id]
        if not it.version:
            begin(it, segment, row.direction)
        it.segments[row.direction] += 1
        if moment >= 0:
            it.last_time = max(it.last_time, moment)
            if it.first_time < 0 or moment < it.first_time:
                it.first_time = moment
        if segment.kind == KIND_SEGMENT:
            it.with_ao |= segment.auth == AUTH_AO
            note(it, segment, row.direction)

    cdef int grow(self, int64_t wanted) except -1:
        cdef Extent *grown
        cdef int64_t room
        if wanted <= self.room:
            return 0
        room = max(wanted, 2 * self.room)
        grown = <Extent *>realloc(self.extents, room * sizeof(Extent))
        if grown == NULL:
            out_of_memory()
        memset(grown + self.room, 0, (room - self.room) * sizeof(Extent))
        self.extents = grown
        self.room = room
        return 0

    def rows(self):
        """The connections, in the order in which they first appeared.

        Returns
        -------
        n rows of `EXTENT`
        """
        cdef uint8_t[::1] memory
        found = np.empty(self.count, EXTENT)
        if self.count:
            memory = found.view(np.uint8)
            memcpy(&memory[0], self.extents, self.count * sizeof(Extent))
        return found
