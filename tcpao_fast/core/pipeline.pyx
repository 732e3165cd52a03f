"""The way of a batch through the stages: parse, fragments, connections, keys, sne, messages, mac,
verdict.  `Pipeline` holds the state that lives from batch to batch, and the memory of one batch.
"""

from libc.stdlib cimport free, malloc
from libc.stdint cimport uint32_t
from libc.string cimport memset

import numpy as np

from tcpao_fast.core.connections cimport NONE, Connection, Incarnation
from tcpao_fast.core.hypothesis cimport CHECK_AO, CHECK_MD5
from tcpao_fast.core.keys cimport SLABS, Mkt, slot_data
from tcpao_fast.core.mac cimport wipe
from tcpao_fast.core.messages cimport KERNEL_LIBRARY, SCRATCH, ao_prefix, layout, md5_prefix
from tcpao_fast.core.parse cimport parse_frame
from tcpao_fast.core.segment cimport AUTH_AO, KIND_FRAGMENT, KIND_SEGMENT
from tcpao_fast.core.verdict cimport (
    VERDICT_COUNT,
    VERDICT_NOT_TCP,
    VERDICT_TRUNCATED,
    Attempts,
    commit,
    judge,
)

from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    # The memory of a batch stays in the second-level cache.  With threads a batch is larger, so
    # that its MACs outweigh handing them out.
    ROWS = 1024
    ROWS_THREADED = 8192
    FEWEST_A_THREAD = 64


cdef class Pipeline:
    """All stages over one set of connections and keys.  Not for two threads at a time.

    Parameters
    ----------
    keys : KeyTable
        Frozen.
    max_connections : int
        At least 2.
    ao_required : bool
        Whether an unsigned segment is `ao_required` even where no MKT matches.
    threads : int
    pool : concurrent.futures.Executor or None
        Where the MAC stage runs with more than one thread.
    """

    def __cinit__(self, KeyTable keys not None, int32_t max_connections, bint ao_required=False,
                  int threads=1, pool=None):
        if max_connections < 2:
            raise InvalidArgumentError(f"max_connections is {max_connections}; it must be 2 or more")
        self.keys = keys
        self.connections = ConnectionTable(max_connections)
        self.fragments = Reassembler()
        self.ao_required = ao_required
        self.threads = threads
        self.pool = pool
        # a batch touches at most half of the table, so that eviction always finds another
        self.batch_rows = min(<Py_ssize_t>(ROWS if threads == 1 else ROWS_THREADED),
                              max_connections // 2)
        self.schedulers = [Scheduler() for _ in range(threads)]
        for scheduler in self.schedulers:
            (<Scheduler>scheduler).reserve(self.batch_rows)
        self.segments = <Segment *>malloc(self.batch_rows * sizeof(Segment))
        self.rows = <Hypothesis *>malloc(self.batch_rows * sizeof(Hypothesis))
        self.speculated = <int32_t *>malloc(self.batch_rows * sizeof(int32_t))
        self.derivations = <Derivation *>malloc(self.batch_rows * sizeof(Derivation))
        self.scratch = <uint8_t *>malloc(self.batch_rows * SCRATCH)
        self.macs = <uint8_t *>malloc(self.batch_rows * DIGEST)
        self.messages = <tcpao_message *>malloc(self.batch_rows * sizeof(tcpao_message))
        if (self.segments == NULL or self.rows == NULL or self.speculated == NULL
                or self.derivations == NULL or self.scratch == NULL or self.macs == NULL
                or self.messages == NULL):
            raise MemoryError()
        memset(self.macs, 0, self.batch_rows * DIGEST)

    def __dealloc__(self):
        wipe(self.scratch, self.batch_rows * SCRATCH)   # TCP-MD5 keys and CMAC subkeys were here
        free(self.segments)
        free(self.rows)
        free(self.speculated)
        free(self.derivations)
        free(self.scratch)
        free(self.macs)
        free(self.messages)

    # -- the stages over a batch ------------------------------------------------------------------

    cdef int parse_batch(self, Records records, Py_ssize_t first, Py_ssize_t count) except -1:
        """Stages `parse` and `fragments`."""
        cdef Py_ssize_t i, fragments = 0
        with nogil:
            for i in range(count):
                parse_frame(records.start(first + i), records.length(first + i),
                            records.wire_length(first + i), records.linktype(first + i),
                            &self.segments[i], NULL)
                fragments += self.segments[i].kind == KIND_FRAGMENT
        if fragments:
            for i in range(count):
                if self.segments[i].kind == KIND_FRAGMENT:
                    self.fragments.add(&self.segments[i], self.rows_seen + first + i,
                                       records.timestamp(first + i))
        return 0

    cdef void locate_batch(self, Py_ssize_t count) noexcept nogil:
        """Stage `connections`, the look-up."""
        cdef Py_ssize_t i
        cdef int direction
        self.connections.batch += 1
        for i in range(count):
            memset(&self.rows[i], 0, sizeof(Hypothesis))
            self.rows[i].connection = NONE
            if self.segments[i].has_ports and self.segments[i].kind != KIND_FRAGMENT:
                self.rows[i].connection = self.connections.locate(&self.segments[i], True, &direction)
                self.rows[i].direction = <uint8_t>direction

    cdef void judge_batch(self, Records records, Py_ssize_t first, Py_ssize_t count) noexcept nogil:
        """What needs no MAC, and for the others their ISNs, SNE and traffic key."""
        cdef Py_ssize_t i
        for i in range(count):
            judge(self.connections, self.keys, self.ao_required, &self.segments[i],
                  records.timestamp(first + i), &self.rows[i])
            if self.rows[i].check == CHECK_AO:
                if self.connections.hypothesize(&self.segments[i], &self.rows[i]):
                    self.speculated[self.speculated_count] = self.rows[i].connection
                    self.speculated_count += 1
                self.key_row(i)

    cdef void key_row(self, Py_ssize_t i) noexcept nogil:
        """Stage `keys` for one row: find its traffic key, or note that it is wanted."""
        cdef Hypothesis *row = &self.rows[i]
        cdef int32_t *chain = NULL
        cdef Derivation *derivation
        if row.position < 0 or (
                self.segments[i].auth_length - 4 != self.keys.mkts[row.mkt].mac_length):
            return
        if row.incarnation != NONE:
            chain = &self.connections.incarnations[row.incarnation].keys[row.direction]
            row.traffic_key = self.keys.find_slot(chain[0], row.mkt)
        if row.traffic_key != NONE:
            return
        row.traffic_key = self.keys.take_slot(row.mkt)
        if chain != NULL:
            self.keys.slabs[row.traffic_key % SLABS].next[row.traffic_key // SLABS] = chain[0]
            chain[0] = row.traffic_key
        else:
            row.temporary = 1
        derivation = &self.derivations[self.wanted]
        derivation.segment = &self.segments[i]
        derivation.isn_source = row.isn_source
        derivation.isn_destination = row.isn_destination
        derivation.mkt = row.mkt
        derivation.slot = row.traffic_key
        self.wanted += 1

    cdef int derive_wanted(self) except -1 nogil:
        """Stage `keys` for the batch: derive the missing traffic keys together."""
        cdef Py_ssize_t wanted = self.wanted
        self.wanted = 0
        return self.keys.derive(self.derivations, wanted)

    cdef int mac_batch(self, Py_ssize_t count) except -1:
        """Stages `messages` and `mac`, one kernel after the other."""
        cdef int kernel
        cdef Py_ssize_t i, n
        for kernel in range(SLABS):
            n = 0
            with nogil:
                for i in range(count):
                    if self.rows[i].check != 0 and self.keys.mkts[self.rows[i].mkt].kernel == kernel:
                        n += assemble(self.keys, &self.segments[i], &self.rows[i],
                                      self.scratch + SCRATCH * i, self.macs + DIGEST * i,
                                      &self.messages[n])
            if kernel == KERNEL_LIBRARY and n:
                n = 0
                for i in range(count):      # the messages are in the order of their rows
                    if self.rows[i].traffic_key != NONE and (
                            self.keys.mkts[self.rows[i].mkt].kernel == kernel):
                        self.keys.library_mac(self.rows[i].mkt, &self.messages[n])
                        n += 1
            elif n:
                self.run_kernel(kernel, n)
        return 0

    cdef int run_kernel(self, int kernel, Py_ssize_t messages) except -1:
        cdef Scheduler scheduler = self.schedulers[0]
        cdef Py_ssize_t part, first
        if self.threads == 1 or messages < FEWEST_A_THREAD * self.threads:
            with nogil:
                scheduler.run(kernel, self.messages, messages)
            return 0
        part = (messages + self.threads - 1) // self.threads
        running = [
            self.pool.submit(self.run_part, kernel, first, min(part, messages - first), i)
            for i, first in enumerate(range(0, messages, part))
        ]
        for one in running:
            one.result()
        return 0

    def run_part(self, int kernel, Py_ssize_t first, Py_ssize_t count, Py_ssize_t thread):
        """One thread's share of the messages of a batch; called by `run_kernel` alone."""
        cdef Scheduler scheduler = self.schedulers[thread]
        if not 0 <= first <= first + count <= self.batch_rows:
            raise InvalidArgumentError("no such part of a batch")
        with nogil:
            scheduler.run(kernel, self.messages + first, count)

    cdef int commit_batch(self, Records records, Py_ssize_t first, Py_ssize_t count) except -1 nogil:
        """Stage `verdict`, in the order of the capture."""
        cdef Attempts one
        cdef uint8_t scratch[SCRATCH]
        cdef Py_ssize_t i
        one.scratch = scratch
        for i in range(count):
            one.segment = &self.segments[i]
            one.row = &self.rows[i]
            one.mac = self.macs + DIGEST * i
            one.timestamp = records.timestamp(first + i)
            commit(self.connections, self.keys, &one)
        return 0

    cdef void end_batch(self, Py_ssize_t count) noexcept nogil:
        """Give back what was only for this batch."""
        cdef Py_ssize_t i
        for i in range(count):
            if self.rows[i].temporary:
                self.keys.free_slot(self.rows[i].traffic_key)
        for i in range(self.speculated_count):
            self.connections.end_speculation(self.speculated[i])
        self.speculated_count = 0
        self.wanted = 0
        for i in range(self.connections.released_count):
            self.keys.free_list(self.connections.released[i])
        self.connections.released_count = 0

    # -- whole calls ------------------------------------------------------------------------------

    def verify(self, Records records not None, bint final=True):
        """Verify records; see `Engine.verify`.

        Returns
        -------
        tuple of (uint8[n], int32[n], int32[n], uint32[n], int64[VERDICT_COUNT + 1])
            Verdicts, MKT indices, connection ids, SNEs; how many of each verdict, and last how
            many segments have a TCP-AO option.
        """
        cdef Py_ssize_t n = records.count, first = 0, count, i
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
        cdef Hypothesis *row
        cdef int64_t given_up
        while first < n:
            count = min(self.batch_rows, n - first)
            self.parse_batch(records, first, count)
            self.connections.reserve(count)
            self.keys.reserve(count)
            try:
                with nogil:
                    self.locate_batch(count)
                    self.judge_batch(records, first, count)
                    self.derive_wanted()
                self.mac_batch(count)
                with nogil:
                    self.commit_batch(records, first, count)
            finally:
                self.end_batch(count)
                self.fragments.release()
            with nogil:
                for i in range(count):
                    row = &self.rows[i]
                    verdict[first + i] = row.verdict
                    mkt[first + i] = row.mkt
                    sne[first + i] = <uint32_t>(row.position >> 32) if row.mkt != NONE else 0
                    identity[first + i] = (self.connections.connections[row.connection].id
                                           if row.connection != NONE else -1)
                    tally[row.verdict] += 1
                    tally[<int>VERDICT_COUNT] += (self.segments[i].kind == KIND_SEGMENT
                                                  and self.segments[i].auth == AUTH_AO)
            first += count
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

    def connection_rows(self, int first_id=0):
        """What is known of each connection whose id is `first_id` or more.

        Returns
        -------
        list of dict
            ``id``, ``version``, ``address`` (two of bytes, the lower endpoint first), ``port``,
            ``vrf``, ``initiator`` (0, 1, or None), and of the incarnation proved last ``isn``,
            ``position``, ``key_in_use`` (MKT index or None) and ``rnext_key_id`` of each direction,
            or None without proof.
        """
        cdef int32_t i
        cdef Connection *one
        cdef Incarnation *live
        found = []
        for i in range(self.connections.capacity):
            one = &self.connections.connections[i]
            if not one.used or one.id < first_id:
                continue
            size = 4 if one.version == 4 else 16
            entry = {
                "id": one.id,
                "version": one.version,
                "address": (one.address[0][:size], one.address[1][:size]),
                "port": (one.port[0], one.port[1]),
                "vrf": one.vrf,
                "initiator": one.initiator if one.initiator < 2 else None,
                "live": None,
            }
            if one.live != NONE:
                live = &self.connections.incarnations[one.live]
                entry["live"] = {
                    "isn": (live.isn[0], live.isn[1]),
                    "position": (live.anchor[0], live.anchor[1]),
                    "key_in_use": tuple(
                        None if live.key_in_use[d] == NONE else live.key_in_use[d] for d in range(2)
                    ),
                    "rnext_key_id": (live.rnext_key_id[0], live.rnext_key_id[1]),
                }
            found.append(entry)
        found.sort(key=lambda entry: entry["id"])
        return found

    def restore(self, *, int version, address, port, uint32_t vrf, initiator, isn, position,
                key_in_use, rnext_key_id):
        """Take a connection as proved, in the form that `connection_rows` gives (keyword by keyword)."""
        cdef Segment segment
        cdef const uint8_t[::1] low = address[0], high = address[1]
        cdef int direction, d
        cdef int32_t index, incarnation
        cdef Incarnation *live
        memset(&segment, 0, sizeof(Segment))
        segment.version = version
        segment.source = &low[0]
        segment.destination = &high[0]
        segment.source_port = port[0]
        segment.destination_port = port[1]
        segment.vrf = vrf
        self.connections.batch += 1
        self.connections.reserve(1)
        index = self.connections.locate(&segment, True, &direction)
        incarnation = self.connections.note_pair(index, direction, isn[0], isn[1], True)
        if initiator is not None:
            self.connections.connections[index].initiator = (
                direction if initiator == 0 else 1 - direction)
        live = &self.connections.incarnations[incarnation]
        for d in range(2):
            live.anchor[direction if d == 0 else 1 - direction] = position[d]
            live.key_in_use[direction if d == 0 else 1 - direction] = (
                NONE if key_in_use[d] is None else key_in_use[d])
            live.rnext_key_id[direction if d == 0 else 1 - direction] = rnext_key_id[d]
        self.end_batch(0)


cdef int assemble(KeyTable keys, const Segment *segment, Hypothesis *row, uint8_t *scratch,
                  uint8_t *digest, tcpao_message *message) noexcept nogil:
    """Stage `messages` for one row; 0 if it needs no MAC."""
    cdef const Mkt *mkt = &keys.mkts[row.mkt]
    cdef size_t prefix
    cdef const uint8_t *body = segment.tcp + segment.header_length
    cdef size_t body_length = segment.length - segment.header_length
    if row.check == CHECK_MD5:
        prefix = md5_prefix(segment, scratch)
        layout(mkt.kernel, NULL, scratch, prefix, body, body_length, mkt.master, mkt.master_length,
               digest, message)
    elif row.traffic_key != NONE:
        prefix = ao_prefix(segment, <uint32_t>(row.position >> 32), mkt.exclude_options, scratch)
        layout(mkt.kernel, slot_data(&keys.slabs[mkt.kernel], row.traffic_key // SLABS), scratch,
               prefix, body, body_length, NULL, 0, digest, message)
    else:
        return 0
    return 1
