# cython: nonecheck=False
"""A call's records through the shards: each thread takes those of its own flows.

Connections are numbered as they first appear in the records, so results are the same for any number
of threads (until `max_connections` is reached, of which each shard has its share).
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

import numpy as np

from tcpao_fast.core.mac.attempt cimport ASKED_FOR_KEY as _ASKED_FOR_KEY
from tcpao_fast.core.mac.attempt cimport STEPPED_SNE as _STEPPED_SNE
from tcpao_fast.core.wire.memory cimport memory_of
from tcpao_fast.core.wire.segment cimport Segment, between
from tcpao_fast.core.batch.shard cimport choose_shard, first_row
from tcpao_fast.core.flow.verdict cimport VERDICT_NOT_TCP, VERDICT_TRUNCATED

from tcpao_fast.core.flow.snapshot import snapshot
from tcpao_fast.errors import InvalidArgumentError

# looked up once: a small call is mostly objects
cdef object empty = np.empty
cdef object UINT8 = np.dtype(np.uint8)
cdef object INT32 = np.dtype(np.int32)
cdef object UINT32 = np.dtype(np.uint32)
cdef object INT64 = np.dtype(np.int64)

ASKED_FOR_KEY = _ASKED_FOR_KEY      # bits of `Results.effects`
STEPPED_SNE = _STEPPED_SNE


cdef class Results:
    """Columns of results with their memory.

    Parameters
    ----------
    rows : int
    own_order : bool
        Whether rows are not records, so that each says which record it is.
    tracing : bool
        Whether to note what good segments did.
    """

    def __cinit__(self, Py_ssize_t rows, bint own_order, bint tracing=False):
        self.verdict = empty(rows, UINT8)
        self.mkt = empty(rows, INT32)
        self.connection = empty(rows, INT64)
        self.sne = empty(rows, UINT32)
        self.columns.verdict = <uint8_t *>memory_of(self.verdict)
        self.columns.mkt = <int32_t *>memory_of(self.mkt)
        self.columns.connection = <int64_t *>memory_of(self.connection)
        self.columns.sne = <uint32_t *>memory_of(self.sne)
        if own_order:
            self.origin = empty(rows, INT64)
            self.columns.origin = <int64_t *>memory_of(self.origin)
        if tracing:
            self.trace()

    cdef int trace(self) except -1:
        """Note from here on what good segments do."""
        self.effects = np.zeros(len(self.verdict), UINT8)
        self.columns.effects = <uint8_t *>memory_of(self.effects)
        return 0


cdef void scatter(const Columns *rows, Py_ssize_t count, int64_t start, int64_t end,
                  Shard shard, const Columns *out) noexcept nogil:
    """Put the rows of records from `start` to before `end` where their records are."""
    cdef Py_ssize_t row = first_row(rows.origin, count, start)
    cdef int64_t at
    while row < count and rows.origin[row] < end:
        at = rows.origin[row]
        out.verdict[at] = rows.verdict[row]
        out.mkt[at] = rows.mkt[row]
        out.sne[at] = rows.sne[row]
        if out.effects != NULL:
            out.effects[at] = rows.effects[row]
        out.connection[at] = shard.connections.numbered(rows.connection[row])
        row += 1


cdef void blank(int64_t start, int64_t end, const Columns *out) noexcept nogil:
    """Results of nobody: each thread takes what it reads to be its own, so where bytes change meanwhile
    a record can be left."""
    cdef int64_t i
    for i in range(start, end):
        out.verdict[i] = VERDICT_NOT_TCP
        out.mkt[i] = -1
        out.connection[i] = -1
        out.sne[i] = 0


cdef enum:
    FEW_ROWS = 256        # are not worth waking other threads for


@cython.final
cdef class Pipeline:
    """All stages over one set of connections and keys.  Not for two threads at a time: `turn` says
    whose turn it is.

    Parameters
    ----------
    shards : list of Shard
        One, or with ``provisional`` connection tables one a thread, in the order of their numbers.
    workers
        ``workers.run(part)`` is a list of ``part(thread)`` for each shard, at the same time.

    Attributes
    ----------
    turn : Turn
    """

    def __cinit__(self, list shards not None, workers=None):
        self.shards = shards
        self.first = shards[0]
        self.threads = len(shards)
        self.workers = workers
        self.turn = Turn()

    def all_threads(self, part, Py_ssize_t rows):
        """``part(thread)`` of every thread, a list: each in its own, or one after the other in this one
        where there are few rows to do."""
        if rows <= FEW_ROWS:
            return [part(thread) for thread in range(self.threads)]
        return self.workers.run(part)

    cdef int64_t share(self, Py_ssize_t rows, Py_ssize_t thread) noexcept nogil:
        """The first row that is a thread's where each has as many; of `threads` the end."""
        return rows * thread // self.threads

    cdef int number_connections(self) except -1:
        """Number the connections that are new in this call, in the order in which they appear."""
        cdef Shard shard
        cdef int32_t i
        fresh = []
        for shard in self.shards:
            for i in range(shard.connections.unnumbered_count):
                fresh.append((shard.connections.unnumbered[i].origin, shard.number, i))
        fresh.sort()
        for _, number, which in fresh:
            shard = self.shards[number]
            shard.connections.assign_number(which, self.next_id)
            self.next_id += 1
        return 0

    cdef list parts_for(self, Py_ssize_t rows, bint tracing):
        """Memory for each shard's results, kept from call to call: new memory is paged in slowly."""
        if tracing:
            return [Results(rows, True, True) for _ in self.shards]
        if self.parts is None or rows > len(self.parts[0].verdict):
            self.parts = [Results(rows, True) for _ in self.shards]
        return self.parts

    def verify_part(self, Shard shard, Records records, Results out):
        """Verify a shard's records; how many they are."""
        cdef Py_ssize_t count
        try:
            with nogil:
                count = shard.verify(records, self.rows_seen, &out.columns)
        finally:
            with nogil:
                shard.end_batch()
        return count

    def scatter_part(self, Py_ssize_t n, Py_ssize_t thread, list parts, list counts):
        """Gather the results of a thread's share of the records from all shards."""
        cdef int64_t start = self.share(n, thread), end = self.share(n, thread + 1)
        cdef Results rows
        cdef Shard shard
        cdef Py_ssize_t count
        with nogil:
            blank(start, end, self.whole)
        for shard, rows, count in zip(self.shards, parts, counts):
            with nogil:
                scatter(&rows.columns, count, start, end, shard, self.whole)

    cdef bint unnumbered(self) noexcept:
        """Whether a call has met connections that have no number yet."""
        cdef Shard shard
        for shard in self.shards:
            if shard.connections.unnumbered_count:
                return True
        return False

    cdef int verify_shards(self, Records records, bint tracing, const Columns *out) except -1:
        """`verify_rows` with several shards."""
        cdef Py_ssize_t n = records.count
        cdef Shard shard
        parts = self.parts_for(n, tracing)
        counts = self.all_threads(
            lambda thread: self.verify_part(self.shards[thread], records, parts[thread]), n)
        if self.unnumbered():
            self.number_connections()
        self.whole = out
        self.all_threads(lambda thread: self.scatter_part(n, thread, parts, counts), n)
        for shard in self.shards:
            shard.connections.unnumbered_count = 0
        return 0

    cdef int settle_fragments(self, bint final, const Columns *out) except -1:
        """What became of datagrams that will never be whole."""
        cdef Shard shard
        cdef int64_t given_up
        if final:
            for shard in self.shards:
                shard.fragments.give_up_all()
        shard = self.first               # all have seen all fragments
        for given_up in shard.fragments.given_up:
            self.tally[<int>VERDICT_TRUNCATED] += 1
            given_up -= self.rows_seen
            if given_up >= 0:            # else an earlier call reported that row already
                self.tally[<int>VERDICT_NOT_TCP] -= 1
                out.verdict[given_up] = VERDICT_TRUNCATED
        for shard in self.shards:
            shard.fragments.given_up.clear()
            shard.met_fragments = shard.fragments.waiting()
        return 0

    cdef int verify_rows(self, Records records, bint final, const Columns *out) except -1 nogil:
        """Verify records into `out`, a row a record, and count them; with the turn."""
        cdef Py_ssize_t i
        cdef int verdict
        if self.threads == 1:
            try:
                self.first.verify(records, self.rows_seen, out)
            finally:
                self.first.end_batch()
            for verdict in range(<int>VERDICT_COUNT + 1):
                self.tally[verdict] = self.first.tally[verdict]
        else:
            with gil:
                self.verify_shards(records, out.effects != NULL, out)
                for verdict in range(<int>VERDICT_COUNT + 1):
                    self.tally[verdict] = 0
                    for i in range(self.threads):
                        self.tally[verdict] += (<Shard>self.shards[i]).tally[verdict]
        if self.first.met_fragments:
            with gil:
                self.settle_fragments(final, out)
        self.rows_seen += records.count
        for verdict in range(<int>VERDICT_COUNT):
            self.totals[verdict] += self.tally[verdict]
        return 0

    def verify(self, Records records not None, bint final=True, bint tracing=False, room=None):
        """Verify records; see `Engine.verify`.

        Parameters
        ----------
        records : Records
        final, tracing : bool
        room : Results, optional
            Where to put what is found, of as many rows or more.

        Returns
        -------
        tuple of (Results, int64[VERDICT_COUNT + 1])
            How many of each verdict, and last how many segments have a TCP-AO option. MKT indices
            and connection ids are -1 without; `effects` are there with `tracing`.
        """
        cdef Results out = Results(records.count, False) if room is None else room
        if len(out.verdict) < records.count:
            raise InvalidArgumentError(
                f"out has room for {len(out.verdict)} records; there are {records.count}")
        if tracing:
            out.trace()
        else:
            out.columns.effects = NULL
        with nogil:
            self.verify_rows(records, final, &out.columns)
        counts = empty(VERDICT_COUNT + 1, INT64)
        memcpy(memory_of(counts), self.tally, sizeof(self.tally))
        return out, counts

    def counts(self):
        """How many segments got each verdict, ever: a list of `VERDICT_COUNT` numbers, whenever it is
        asked for, also while a call runs."""
        return [self.totals[verdict] for verdict in range(<int>VERDICT_COUNT)]

    def key_tally(self):
        """How many segments each MKT was good and bad for, ever: int64[MKTs, 2]."""
        cdef Shard first = self.shards[0]
        total = np.zeros((first.keys.count, 2), np.int64)
        for shard in self.shards:
            shard.add_key_tally(total)
        return total

    def snapshot(self, int64_t first_id=0, bint proved=False, only=None):
        """As `tcpao_fast.core.flow.snapshot.snapshot`, of all shards, in the order of the ids."""
        rows = np.concatenate([
            snapshot(shard.connections, first_id, proved, 0, -1, only) for shard in self.shards])
        return rows[np.argsort(rows["id"], kind="stable")]

    def restore(self, rows):
        """Take over connections (rows of `CONNECTION`), each in the shard that it belongs to."""
        cdef Py_ssize_t i, n = len(rows)
        cdef Segment segment
        cdef const uint8_t[:, :, ::1] address = np.ascontiguousarray(rows["address"])
        cdef const uint16_t[:, ::1] port = np.ascontiguousarray(rows["port"])
        cdef const uint8_t[::1] version = np.ascontiguousarray(rows["version"])
        cdef const uint32_t[::1] vrf = np.ascontiguousarray(rows["vrf"])
        shards = np.empty(n, np.uint16)
        cdef uint16_t[::1] out = shards
        for i in range(n):
            between(&segment, version[i], &address[i, 0, 0], &address[i, 1, 0], port[i, 0], port[i, 1],
                    vrf[i])
            out[i] = choose_shard(&segment, self.threads)
        for shard in self.shards:
            index = np.flatnonzero(shards == shard.number)
            shard.restore(rows[index], index)
        if self.threads > 1:
            self.number_connections()
            for shard in self.shards:
                (<Shard>shard).connections.unnumbered_count = 0
