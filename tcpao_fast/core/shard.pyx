"""The stages from `connections` to `verdict` over a batch of parsed segments, and the state that
lives from batch to batch: connections and traffic keys of all flows, or with several threads of
those that are this shard's.  Two flows share nothing, so shards need no locks.
"""

cimport cython
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from tcpao_fast.core.connections cimport NONE, Connection, Incarnation
from tcpao_fast.core.hypothesis cimport CHECK_AO, CHECK_NOTHING
from tcpao_fast.core.keys cimport key_data
from tcpao_fast.core.mac cimport wipe
from tcpao_fast.core.messages cimport DIGEST, KERNEL_LIBRARY, SCRATCH, assemble
from tcpao_fast.core.segment cimport AUTH_AO, KIND_SEGMENT
from tcpao_fast.core.verdict cimport commit_batch, expected, judge

from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    ROWS = 1024           # the memory of a batch stays in the second-level cache


@cython.final
cdef class Shard:
    """Connections, keys, and the memory of one batch.  Not for two threads at a time.

    Parameters
    ----------
    keys : KeyTable
        Frozen.
    ao_required : bool
        Whether an unsigned segment is `ao_required` even where no MKT matches.
    """

    def __cinit__(self, KeyTable keys not None, bint ao_required=False):
        if keys.owners.limit < 2:
            raise InvalidArgumentError(f"max_connections is {keys.owners.limit}; it must be 2 or more")
        self.keys = keys
        self.connections = keys.owners
        self.ao_required = ao_required
        # a batch touches at most half of the table, so that eviction always finds another
        self.batch_rows = min(<Py_ssize_t>ROWS, <Py_ssize_t>self.connections.limit // 2)
        self.scheduler = Scheduler()
        self.scheduler.reserve(self.batch_rows)
        self.segments = <Segment *>malloc(self.batch_rows * sizeof(Segment))
        self.rows = <Hypothesis *>malloc(self.batch_rows * sizeof(Hypothesis))
        self.timestamps = <int64_t *>malloc(self.batch_rows * sizeof(int64_t))
        self.origins = <int64_t *>malloc(self.batch_rows * sizeof(int64_t))
        self.speculated = <int32_t *>malloc(self.batch_rows * sizeof(int32_t))
        self.derivations = <Derivation *>malloc(self.batch_rows * sizeof(Derivation))
        self.scratch = <uint8_t *>malloc(self.batch_rows * SCRATCH)
        self.macs = <uint8_t *>malloc(self.batch_rows * DIGEST)
        self.messages = <tcpao_message *>malloc(self.batch_rows * sizeof(tcpao_message))
        if (self.segments == NULL or self.rows == NULL or self.timestamps == NULL
                or self.origins == NULL or self.speculated == NULL or self.derivations == NULL
                or self.scratch == NULL or self.macs == NULL or self.messages == NULL):
            raise MemoryError()
        memset(self.macs, 0, self.batch_rows * DIGEST)

    def __dealloc__(self):
        # TCP-MD5 keys were behind messages, CMAC subkeys in them
        wipe(self.scratch, self.batch_rows * SCRATCH)
        free(self.segments)
        free(self.rows)
        free(self.timestamps)
        free(self.origins)
        free(self.speculated)
        free(self.derivations)
        free(self.scratch)
        free(self.macs)
        free(self.messages)

    # -- the stages over a batch ------------------------------------------------------------------

    cdef int open_batch(self, Py_ssize_t count) except -1 nogil:
        """Make room for what `count` segments may add, and find their connections."""
        self.connections.reserve(count)
        self.keys.reserve(count)
        self.in_flight = count
        self.connections.locate_batch(self.segments, self.rows, count)
        return 0

    cdef int verify_batch(self, Py_ssize_t count, const Columns *out) except -1 nogil:
        """All stages over the first `count` of `segments`; results to their `origins` in `out`."""
        self.open_batch(count)
        self.judge_batch(count)
        self.derive_wanted()
        self.mac_batch(count)
        commit_batch(self.connections, self.keys, self.segments, self.rows, self.macs,
                     self.timestamps, count)
        self.report(count, out)
        self.end_batch()
        return 0

    cdef void judge_batch(self, Py_ssize_t count) noexcept nogil:
        """What needs no MAC, and for the others their ISNs, SNE and traffic key."""
        cdef Py_ssize_t i
        cdef Hypothesis *row
        for i in range(count):
            row = &self.rows[i]
            if expected(self.connections, self.keys, &self.segments[i], self.timestamps[i], row):
                continue
            judge(self.connections, self.keys, self.ao_required, &self.segments[i],
                  self.timestamps[i], row)
            if row.check == CHECK_AO:
                if self.connections.hypothesize(&self.segments[i], row):
                    self.speculated[self.speculated_count] = row.connection
                    self.speculated_count += 1
                self.key_row(i)

    cdef void key_row(self, Py_ssize_t i) noexcept nogil:
        """Stage `keys` for one row: find its traffic key, or note that it is wanted."""
        cdef Hypothesis *row = &self.rows[i]
        cdef Derivation *derivation
        if row.position < 0 or (
                self.segments[i].auth_length - 4 != self.keys.mkts[row.mkt].mac_length):
            return
        if row.incarnation != NONE:
            row.traffic_key = self.keys.find_slot(
                self.connections.incarnations[row.incarnation].keys[row.direction], row.mkt)
        if row.traffic_key == NONE:
            if row.incarnation != NONE:
                row.traffic_key = self.keys.take_owned_slot(row.mkt, row.incarnation, row.direction)
            else:
                row.traffic_key = self.keys.take_slot(row.mkt)
                row.temporary = 1
            derivation = &self.derivations[self.wanted]
            derivation.segment = &self.segments[i]
            derivation.isn_source = row.isn_source
            derivation.isn_destination = row.isn_destination
            derivation.mkt = row.mkt
            derivation.slot = row.traffic_key
            self.wanted += 1
        row.key = key_data(self.keys.slabs, row.traffic_key)

    cdef int derive_wanted(self) except -1 nogil:
        """Stage `keys` for the batch: derive the missing traffic keys together."""
        cdef Py_ssize_t wanted = self.wanted
        self.wanted = 0
        return self.keys.derive(self.derivations, wanted)

    cdef int mac_batch(self, Py_ssize_t count) except -1 nogil:
        """Stages `messages` and `mac`, one kernel after the other."""
        cdef int kernel
        cdef uint32_t used = 0
        cdef Py_ssize_t i, n
        for i in range(count):
            if self.rows[i].check != CHECK_NOTHING:
                used |= <uint32_t>1 << self.keys.mkts[self.rows[i].mkt].kernel
        for kernel in range(KERNEL_LIBRARY + 1):
            if not used >> kernel & 1:
                continue
            n = assemble(kernel, self.keys.mkts, self.segments, self.rows, count, self.scratch,
                         self.macs, self.messages)
            if kernel != KERNEL_LIBRARY:
                self.scheduler.run(kernel, self.messages, n)
                continue
            n = 0
            for i in range(count):      # the messages are in the order of their rows
                if self.rows[i].check == CHECK_AO and self.rows[i].traffic_key != NONE and (
                        self.keys.mkts[self.rows[i].mkt].kernel == kernel):
                    self.keys.library_mac(self.rows[i].mkt, &self.messages[n])
                    n += 1
        return 0

    cdef void report(self, Py_ssize_t count, const Columns *out) noexcept nogil:
        """Write the rows' results where their records' are."""
        cdef Py_ssize_t i
        cdef int64_t at
        cdef const Hypothesis *row
        for i in range(count):
            row = &self.rows[i]
            at = self.origins[i]
            out.verdict[at] = row.verdict
            out.mkt[at] = row.mkt
            out.sne[at] = <uint32_t>(row.position >> 32) if row.mkt != NONE else 0
            out.connection[at] = (self.connections.connections[row.connection].id
                                  if row.connection != NONE else -1)
            self.tally[row.verdict] += 1
            self.tally[<int>VERDICT_COUNT] += (self.segments[i].kind == KIND_SEGMENT
                                               and self.segments[i].auth == AUTH_AO)

    cdef void end_batch(self) noexcept nogil:
        """Give back what was only for this batch; again, also after an error."""
        cdef Py_ssize_t i
        for i in range(self.in_flight):
            if self.rows[i].temporary:
                self.keys.free_slot(self.rows[i].traffic_key)
        self.in_flight = 0
        for i in range(self.speculated_count):
            self.connections.end_speculation(self.speculated[i])
        self.speculated_count = 0
        self.wanted = 0
        for i in range(self.connections.released_count):
            self.keys.free_list(self.connections.released[i])
        self.connections.released_count = 0

    # -- the state, to look at and to restore -----------------------------------------------------

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
        """Take a connection as proved, in the form that `connection_rows` gives (keyword by keyword).

        Returns
        -------
        int
            Its id.
        """
        cdef Segment segment
        cdef Hypothesis row
        cdef const uint8_t[::1] low = address[0], high = address[1]
        cdef int direction, d, side
        cdef int32_t incarnation
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
        self.connections.identify(&segment, &row)
        row.connection = self.connections.locate(&segment, &row)
        direction = row.direction
        incarnation = self.connections.note_pair(row.connection, direction, isn[0], isn[1], True)
        if initiator is not None:
            self.connections.connections[row.connection].initiator = (
                direction if initiator == 0 else 1 - direction)
        live = &self.connections.incarnations[incarnation]
        for d in range(2):
            side = direction if d == 0 else 1 - direction
            live.anchor[side] = position[d]
            live.key_in_use[side] = NONE if key_in_use[d] is None else key_in_use[d]
            live.rnext_key_id[side] = rnext_key_id[d]
        self.end_batch()
        return self.connections.connections[row.connection].id
