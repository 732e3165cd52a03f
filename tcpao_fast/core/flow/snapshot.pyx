# cython: nonecheck=False
"""Connections as rows of a table, out of a `ConnectionTable` and into another one.

A connection's own numbers (its id, where its incarnations are) do not leave; ISNs, positions and keys
in use do, in the order of its endpoints: the lower one first.
"""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.flow.connections cimport (
    INITIATOR_UNKNOWN,
    MAX_INCARNATIONS,
    NONE,
    PROOF_BOTH,
    PROOF_NONE,
    Connection,
    ConnectionTable,
    Incarnation,
)
from tcpao_fast.core.mac.attempt cimport Attempt
from tcpao_fast.core.wire.segment cimport Segment, between

from tcpao_fast.errors import InvalidArgumentError

cdef packed struct IncarnationRow:       # `INCARNATION`
    int64_t position[2]
    uint32_t isn[2]
    int32_t key[2]
    uint8_t known, proof
    int8_t initiator
    uint8_t ours
    uint8_t rnext_key_id[2]
    uint8_t key_id[2]


cdef packed struct ConnectionRow:        # `CONNECTION`
    int64_t id
    uint32_t vrf
    uint16_t port[2]
    uint8_t version
    int8_t initiator, live
    uint8_t count
    uint8_t address[2][16]
    IncarnationRow incarnations[MAX_INCARNATIONS]


#: One incarnation of a connection. Of each direction (0: from the lower endpoint): ``position`` (64
#: bits: SNE and next SEQ), ``isn``, ``key`` (index of the MKT in use, -1 none), ``rnext_key_id`` and
#: ``key_id`` of the last good segment; ``known`` has bit d where the ISN of direction d is known;
#: ``proof`` is 0 none, 1 of the SYN's MAC, 2 of one over both ISNs; ``initiator`` is the direction of
#: the SYN, -1 unknown; ``ours`` whether its handshake passed through `sign`.
INCARNATION = np.dtype([
    ("position", "i8", 2), ("isn", "u4", 2), ("key", "i4", 2), ("known", "u1"), ("proof", "u1"),
    ("initiator", "i1"), ("ours", "u1"), ("rnext_key_id", "u1", 2), ("key_id", "u1", 2),
])

#: One connection: ``address`` in network order (IPv4 in the first 4 of 16 bytes) and ``port`` of its
#: endpoints, the lower first; ``live`` is which of its ``count`` ``incarnations`` (the oldest first) a
#: MAC proved last, -1 none.
CONNECTION = np.dtype([
    ("id", "i8"), ("vrf", "u4"), ("port", "u2", 2), ("version", "u1"), ("initiator", "i1"),
    ("live", "i1"), ("count", "u1"), ("address", "u1", (2, 16)),
    ("incarnations", INCARNATION, MAX_INCARNATIONS),
])
assert INCARNATION.itemsize == sizeof(IncarnationRow) and CONNECTION.itemsize == sizeof(ConnectionRow)


cdef void write_incarnation(const Incarnation *it, IncarnationRow *row) noexcept nogil:
    cdef int d
    row.known = it.known
    row.proof = it.proof
    row.initiator = -1 if it.initiator == INITIATOR_UNKNOWN else <int8_t>it.initiator
    row.ours = it.ours
    for d in range(2):
        row.position[d] = it.anchor[d]
        row.isn[d] = it.isn[d]
        row.key[d] = it.key_in_use[d]
        row.rnext_key_id[d] = it.rnext_key_id[d]
        row.key_id[d] = it.key_id[d]


cdef void write_connection(ConnectionTable table, const Connection *one, ConnectionRow *row) noexcept nogil:
    cdef int32_t at = one.newest
    cdef int i = 0
    memset(row, 0, sizeof(ConnectionRow))
    row.id = one.id
    row.vrf = one.vrf
    row.version = one.version
    row.initiator = -1 if one.initiator == INITIATOR_UNKNOWN else <int8_t>one.initiator
    row.live = -1
    memcpy(row.port, one.port, sizeof(row.port))
    memcpy(row.address, one.address, sizeof(row.address))
    while at != NONE:
        row.count += 1
        at = table.incarnations[at].next
    at = one.newest
    while at != NONE:
        i += 1
        write_incarnation(&table.incarnations[at], &row.incarnations[row.count - i])
        if at == one.live:
            row.live = <int8_t>(row.count - i)
        at = table.incarnations[at].next


def snapshot(ConnectionTable table not None, int64_t first_id=0, bint proved=False, int32_t start=0,
             int32_t stop=-1, only=None):
    """What is known of connections.

    Parameters
    ----------
    table : ConnectionTable
    first_id : int
        The lowest id.
    proved : bool
        Whether only those with a live incarnation.
    start, stop : int
        The places of the table that are looked at; to its end.
    only : set of int, optional
        Only those with these ids.

    Returns
    -------
    n rows of `CONNECTION`
        In the order of their places.
    """
    cdef int32_t i, n = 0
    cdef Connection *one
    cdef ConnectionRow *to
    cdef uint8_t[::1] memory
    cdef int32_t[::1] place
    if stop < 0 or stop > table.capacity:
        stop = table.capacity
    start = max(0, start)
    places = np.empty(max(0, stop - start), np.int32)
    place = places
    for i in range(start, stop):
        one = &table.connections[i]
        if not one.version or one.id < first_id or (proved and one.live == NONE):
            continue
        if only is not None and one.id not in only:
            continue
        place[n] = i
        n += 1
    rows = np.empty(n, CONNECTION)
    if n:
        memory = rows.view(np.uint8)
        to = <ConnectionRow *>&memory[0]
        with nogil:
            for i in range(n):
                write_connection(table, &table.connections[place[i]], &to[i])
    return rows


def restore(ConnectionTable table not None, rows, int32_t keys, origins=None):
    """Take over connections; what the table has of them already stays, behind what comes.

    Parameters
    ----------
    table : ConnectionTable
    rows : n rows of `CONNECTION`
        Their ids do not count.
    keys : int
        How many MKTs there are.
    origins : int64[n], optional
        By what connections are numbered that several tables take over; the rows' places.

    Raises
    ------
    InvalidArgumentError
        Rows that are none; nothing was taken over.
    """
    cdef const uint8_t[::1] memory
    cdef const ConnectionRow *row
    cdef Py_ssize_t i
    array = np.ascontiguousarray(rows)
    if array.dtype != CONNECTION or array.ndim != 1:
        raise InvalidArgumentError("rows must be an array of CONNECTION")
    if not len(array):
        return
    memory = array.view(np.uint8)
    row = <const ConnectionRow *>&memory[0]
    for i in range(len(array)):
        check(&row[i], keys)
    for i in range(len(array)):
        table.begin_batch()
        table.reserve(row[i].count + 1)
        restore_one(table, &row[i], i if origins is None else origins[i])


cdef int check(const ConnectionRow *row, int32_t keys) except -1:
    cdef int i, d
    cdef const IncarnationRow *one
    cdef bint fine = row.version in (4, 6) and row.count <= MAX_INCARNATIONS and (
        -1 <= row.live < <int>row.count and -1 <= row.initiator < 2)
    if fine:
        for i in range(row.count):
            one = &row.incarnations[i]
            fine &= one.proof <= PROOF_BOTH and 0 < one.known < 4 and -1 <= one.initiator < 2
            for d in range(2):
                fine &= NONE <= one.key[d] < keys and one.position[d] >= 0
    if not fine:
        raise InvalidArgumentError("a row of CONNECTION has numbers that mean nothing")
    return 0


cdef void restore_one(ConnectionTable table, const ConnectionRow *source,
                      int64_t origin) noexcept nogil:
    cdef ConnectionRow row = source[0]
    cdef Segment segment
    cdef Attempt found
    cdef int32_t at, live = NONE
    cdef int i
    between(&segment, row.version, row.address[0], row.address[1], row.port[0], row.port[1], row.vrf)
    memset(&found, 0, sizeof(Attempt))
    table.identify(&segment, &found)
    found.connection = NONE
    found.connection = table.locate(&segment, &found, origin)
    if row.initiator >= 0:
        table.connections[found.connection].initiator = <uint8_t>(
            found.direction if row.initiator == 0 else 1 - found.direction)
    for i in range(row.count):
        at = restore_incarnation(table, found.connection, found.direction, &row.incarnations[i])
        if at == NONE:
            continue
        if table.incarnations[at].proof != PROOF_NONE:
            table.prove(found.connection)
        table.serial += 1
        table.incarnations[at].serial = table.serial
        if i == row.live:
            live = at
    if live != NONE:
        table.serial += 1
        table.incarnations[live].serial = table.serial
        table.connections[found.connection].live = live


cdef int32_t restore_incarnation(ConnectionTable table, int32_t connection, int direction,
                                 const IncarnationRow *row) noexcept nogil:
    """Take over an incarnation, whose direction 0 is the connection's `direction`; NONE if it was not
    kept."""
    cdef Incarnation *it
    cdef int32_t at = table.connections[connection].newest
    cdef uint8_t known = row.known
    cdef uint32_t isn[2]
    cdef int d, side
    if direction:
        known = <uint8_t>(row.known >> 1 | (row.known & 1) << 1)
    isn[direction], isn[1 - direction] = row.isn[0], row.isn[1]
    while at != NONE:                       # the same one already: it gets what comes
        it = &table.incarnations[at]
        if it.known == known and it.isn[0] == isn[0] and it.isn[1] == isn[1]:
            break
        at = it.next
    if at == NONE:
        at = table.new_incarnation()
        it = &table.incarnations[at]
        it.known = known
        it.isn[0], it.isn[1] = isn[0], isn[1]
        it.proof = row.proof
        if not table.enlist(connection, at):
            table.drop_incarnation(at)
            return NONE
    it = &table.incarnations[at]
    it.proof = max(it.proof, row.proof)
    it.ours |= row.ours
    if row.initiator >= 0:
        it.initiator = <uint8_t>(direction if row.initiator == 0 else 1 - direction)
    for d in range(2):
        side = direction if d == 0 else 1 - direction
        it.anchor[side] = row.position[d]
        it.key_in_use[side] = row.key[d]
        it.rnext_key_id[side] = row.rnext_key_id[d]
        it.key_id[side] = row.key_id[d]
    return at
