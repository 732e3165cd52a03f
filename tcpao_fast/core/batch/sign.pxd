from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t

from tcpao_fast.core.batch.shard cimport Shard
from tcpao_fast.core.wire.records cimport Records

# Where signed records go.
cdef enum Target:
    IN_BUFFER = 0             # one behind the other
    IN_OPTION = 1             # into the options that they have
    IN_ROOM = 2               # where they are, with what is free around them

cdef struct Output:
    # a shard's records, an entry a row
    int target
    int checksums             # a number of `Checksums`
    bint make_room            # give up other options where there is no room
    const uint16_t *owners    # the shard of each record; NULL where no other thread moves records
    uint8_t *buffer
    int64_t used              # bytes of it
    Py_ssize_t rows
    int64_t *origin           # the record that each row is; NULL: rows and records are the same
    int64_t *offset
    int64_t *length
    uint8_t *outcome
    uint8_t *dropped          # bytes of options that were given up
    int32_t *mkt
    int64_t *connection

cdef int sign_shard(Shard shard, Records records, Output *out) except -1 nogil
