"""The way of a batch through the stages: parse and fragments here, all others in the shards.

With one thread there is one shard, and records go through it a batch at a time.  With more, a
window of records is parsed by all threads, each taking a part; then each thread takes the segments
of its own flows through the other stages.  Which shard a flow belongs to depends on its endpoints
alone, and connections are numbered as they first appear, so results are the same for any number of
threads (until `max_connections` is reached, which each shard has its share of).
"""

from libc.stdlib cimport free, malloc
from libc.stdint cimport uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.parse cimport parse_batch
from tcpao_fast.core.segment cimport KIND_FRAGMENT, be32
from tcpao_fast.core.shard cimport Shard
from tcpao_fast.core.verdict cimport VERDICT_COUNT, VERDICT_NOT_TCP, VERDICT_TRUNCATED

cdef uint64_t ODD = 0x9E3779B97F4A7C15ULL    # spreads what it multiplies over the high bits

cdef enum:
    WINDOW = 32768        # for each thread, so that its work outweighs waking it


cdef uint16_t choose_shard(const Segment *segment, uint32_t shards) noexcept nogil:
    """The same for both directions, in every process; no secret: two flows share nothing but time."""
    cdef uint64_t mixed = 0
    cdef int i = 0, size = 16 if segment.version == 6 else 4
    if segment.kind == KIND_FRAGMENT or not segment.has_ports:
        return 0
    while i < size:
        mixed = mixed * ODD + (be32(segment.source + i) ^ be32(segment.destination + i))
        i += 4
    mixed = mixed * ODD + (<uint32_t>segment.source_port + segment.destination_port)
    mixed = (mixed + segment.vrf) * ODD
    return <uint16_t>((mixed >> 32) * shards >> 32)


cdef class Pipeline:
    """All stages over one set of connections and keys.  Not for two threads at a time.

    Parameters
    ----------
    shards : list of Shard
        One, or with ``provisional`` connection tables one a thread.
    pool : concurrent.futures.Executor or None
        Where the shards but the first run.
    """

    def __cinit__(self, list shards not None, pool=None):
        self.shards = shards
        self.threads = len(shards)
        self.pool = pool
        self.fragments = Reassembler()
        if self.threads == 1:
            self.window = (<Shard>shards[0]).batch_rows
            return
        self.window = WINDOW * self.threads
        self.segments = <Segment *>malloc(self.window * sizeof(Segment))
        self.shard_of = <uint16_t *>malloc(self.window * sizeof(uint16_t))
        if self.segments == NULL or self.shard_of == NULL:
            raise MemoryError()

    def __dealloc__(self):
        free(self.segments)
        free(self.shard_of)

    # -- the window ------------------------------------------------------------------------------

    cdef int join_fragments(self, Segment *segments, Py_ssize_t count) except -1:
        """Stage `fragments`."""
        cdef Py_ssize_t i
        for i in range(count):
            if segments[i].kind == KIND_FRAGMENT:
                self.fragments.add(&segments[i], self.rows_seen + self.first + i,
                                   self.records.timestamp(self.first + i))
        return 0

    cdef int verify_window(self) except -1:
        cdef Shard shard = self.shards[0]
        cdef Py_ssize_t i, fragments
        cdef int status
        if self.threads > 1:
            fragments = sum(self.all_threads(self.parse_part))
            if fragments:
                self.join_fragments(self.segments, self.count)
                for i in range(self.count):
                    self.shard_of[i] = choose_shard(&self.segments[i], self.threads)
            self.all_threads(self.verify_part)
            return self.settle(self.columns.connection + self.first, self.shard_of, self.count)
        with nogil:
            fragments = parse_batch(self.records, self.first, self.count, shard.segments)
            for i in range(self.count):
                shard.origins[i] = self.first + i
                shard.timestamps[i] = self.records.timestamp(self.first + i)
        if fragments:
            self.join_fragments(shard.segments, self.count)
        try:
            with nogil:
                shard.verify_batch(self.count, &self.columns)
        finally:
            shard.end_batch()
        return 0

    def all_threads(self, part):
        """``part(thread)`` of every thread, here and in the pool; their results."""
        running = [self.pool.submit(part, thread) for thread in range(1, self.threads)]
        try:
            results = [part(0)]
        finally:
            results_elsewhere = [one.exception() or one.result() for one in running]
        for one in results_elsewhere:
            if isinstance(one, BaseException):
                raise one
        return results + results_elsewhere

    def parse_part(self, Py_ssize_t thread):
        """Parse a thread's part of the window; how many fragments are there."""
        cdef Py_ssize_t start = self.count * thread // self.threads
        cdef Py_ssize_t end = self.count * (thread + 1) // self.threads
        cdef Py_ssize_t i, fragments
        with nogil:
            fragments = parse_batch(self.records, self.first + start, end - start,
                                    self.segments + start)
            for i in range(start, end):
                self.shard_of[i] = choose_shard(&self.segments[i], self.threads)
        return fragments

    def verify_part(self, Py_ssize_t thread):
        """Take the segments of a shard through the stages."""
        cdef Shard shard = self.shards[thread]
        cdef Py_ssize_t i, n = 0
        try:
            with nogil:
                for i in range(self.count):
                    if self.shard_of[i] != thread:
                        continue
                    shard.segments[n] = self.segments[i]
                    shard.origins[n] = self.first + i
                    shard.timestamps[n] = self.records.timestamp(self.first + i)
                    n += 1
                    if n == shard.batch_rows:
                        shard.verify_batch(n, &self.columns)
                        n = 0
                if n:
                    shard.verify_batch(n, &self.columns)
        finally:
            shard.end_batch()

    cdef int settle(self, int32_t *ids, const uint16_t *shard_of, Py_ssize_t count) except -1:
        """Number the connections that are new, in the order in which they appear."""
        cdef Shard shard
        cdef Py_ssize_t i
        cdef int32_t number
        if any((<Shard>one).connections.fresh_count for one in self.shards):
            for i in range(count):
                if ids[i] < -1:
                    shard = self.shards[shard_of[i]]
                    ids[i] = shard.connections.settle(ids[i], self.next_id)
                    self.next_id += ids[i] == self.next_id
            for shard in self.shards:
                shard.connections.fresh_count = 0
        return 0

    # -- whole calls ------------------------------------------------------------------------------

    def verify(self, Records records not None, bint final=True):
        """Verify records; see `Engine.verify`.

        Returns
        -------
        tuple of (uint8[n], int32[n], int32[n], uint32[n], int64[VERDICT_COUNT + 1])
            Verdicts, MKT indices, connection ids, SNEs; how many of each verdict, and last how
            many segments have a TCP-AO option.
        """
        cdef Py_ssize_t n = records.count, i
        cdef Shard shard
        verdicts = np.empty(n, np.uint8)
        mkts = np.empty(n, np.int32)
        ids = np.empty(n, np.int32)
        snes = np.empty(n, np.uint32)
        counts = np.zeros(VERDICT_COUNT + 1, np.int64)
        cdef uint8_t[::1] verdict = verdicts
        cdef int32_t[::1] mkt = mkts
        cdef int32_t[::1] identity = ids
        cdef uint32_t[::1] sne = snes
        cdef int64_t[::1] tally = counts
        cdef int64_t given_up
        self.records = records
        if n:
            self.columns.verdict = &verdict[0]
            self.columns.mkt = &mkt[0]
            self.columns.connection = &identity[0]
            self.columns.sne = &sne[0]
        for shard in self.shards:
            memset(shard.tally, 0, sizeof(shard.tally))
        self.first = 0
        try:
            while self.first < n:
                self.count = min(self.window, n - self.first)
                self.verify_window()
                self.fragments.release()
                self.first += self.count
        finally:
            self.fragments.release()
            self.records = None      # lets go of the caller's buffer
        for shard in self.shards:
            for i in range(VERDICT_COUNT + 1):
                tally[i] += shard.tally[i]
        if final:
            self.fragments.give_up_all()
        for given_up in self.fragments.given_up:
            tally[<int>VERDICT_TRUNCATED] += 1
            given_up -= self.rows_seen
            if given_up >= 0:            # else an earlier call reported that row already
                tally[<int>VERDICT_NOT_TCP] -= 1
                verdict[given_up] = VERDICT_TRUNCATED
        self.fragments.given_up.clear()
        self.rows_seen += n
        return verdicts, mkts, ids, snes, counts

    def shards_of(self, Records records not None):
        """The shard of each record: uint16[n]."""
        cdef Py_ssize_t i, first = 0, count
        shards = np.empty(records.count, np.uint16)
        cdef uint16_t[::1] out = shards
        while first < records.count:
            count = min(self.window, records.count - first)
            with nogil:
                parse_batch(records, first, count, self.segments)
                for i in range(count):
                    out[first + i] = choose_shard(&self.segments[i], self.threads)
            first += count
        return shards

    def settle_ids(self, ids, shards):
        """Number new connections in `ids` (int32[n], changed) of records of these shards."""
        cdef int32_t[::1] identity = ids
        cdef const uint16_t[::1] shard_of = shards
        if len(ids):
            self.settle(&identity[0], &shard_of[0], len(ids))

    def connection_rows(self, int first_id=0):
        """As `Shard.connection_rows`, of all shards."""
        found = [row for shard in self.shards for row in shard.connection_rows(first_id)]
        found.sort(key=lambda row: row["id"])
        return found

    def restore(self, *, int version, address, port, uint32_t vrf, **state):
        """As `Shard.restore`, of the shard that the connection belongs to."""
        cdef Segment segment
        cdef const uint8_t[::1] low = address[0], high = address[1]
        cdef int32_t[::1] ids
        memset(&segment, 0, sizeof(Segment))
        segment.has_ports = True
        segment.version = version
        segment.source = &low[0]
        segment.destination = &high[0]
        segment.source_port = port[0]
        segment.destination_port = port[1]
        segment.vrf = vrf
        cdef uint16_t shard = choose_shard(&segment, self.threads)
        ids = np.array(
            [self.shards[shard].restore(version=version, address=address, port=port, vrf=vrf, **state)],
            np.int32,
        )
        if self.threads > 1:
            self.settle(&ids[0], &shard, 1)
