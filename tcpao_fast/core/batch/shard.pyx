# cython: nonecheck=False
"""The way of a batch through the stages, and the state that lives from batch to batch.

With several threads each has a shard of its own: connections, traffic keys and fragments of the
flows whose endpoints choose that shard.  Two flows share nothing, so shards need no locks, and what
becomes of a segment does not depend on how many there are.
"""

cimport cython
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from tcpao_fast.core.flow.connections cimport (
    NONE,
    Connection,
    Incarnation,
    out_of_memory,
)
from tcpao_fast.core.mac.attempt cimport CHECK_AO, CHECK_NOTHING
from tcpao_fast.core.mac.kernels cimport (
    TCPAO_AES_CMAC,
    TCPAO_KMAC256,
    tcpao_equal,
)
from tcpao_fast.core.flow.traffic_keys cimport key_data
from tcpao_fast.core.mac.mac cimport burn_stack, wipe
from tcpao_fast.core.mac.messages cimport DIGEST, PRIMITIVE_LIBRARY, SCRATCH, assemble
from tcpao_fast.core.wire.parse cimport parse_tagged
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO,
    FLAG_ACK,
    FLAG_RST,
    FLAG_SYN,
    KIND_FRAGMENT,
    KIND_SEGMENT,
    be16,
    be32,
)
from tcpao_fast.core.flow.sne cimport extend
from tcpao_fast.core.flow.verdict cimport (
    VERDICT_BAD_MAC,
    VERDICT_MD5_BAD,
    VERDICT_MD5_GOOD,
    commit_batch,
    expected,
    classify,
)

from tcpao_fast.core.flow.snapshot import restore
from tcpao_fast.errors import InvalidArgumentError

cdef uint64_t ODD = 0x9E3779B97F4A7C15ULL    # spreads what it multiplies over the high bits

cdef enum:
    ROWS = 256           # the memory of a batch stays in the second-level cache
    AHEAD = 8             # records between a prefetch and its use
    TRIES = 5             # further ones of a segment, at most


cdef inline uint16_t mix(uint64_t addresses, uint32_t ports, uint32_t vrf, uint32_t shards) noexcept nogil:
    """A shard from what both directions of a flow have in common; the same in every process.  It
    holds no secret: who fills one shard gains nothing but that shard's time."""
    cdef uint64_t mixed = (addresses * ODD + ports + (<uint64_t>vrf << 32)) * ODD
    return <uint16_t>((mixed >> 32) * shards >> 32)


cdef inline uint64_t both_addresses(const uint8_t *source, const uint8_t *destination,
                                    int size) noexcept nogil:
    """What the addresses of both directions have in common."""
    cdef uint64_t addresses = 0
    cdef int i
    for i in range(0, size, 4):
        addresses = addresses * ODD + (be32(source + i) ^ be32(destination + i))
    return addresses


cdef uint16_t choose_shard(const Segment *segment, uint32_t shards) noexcept nogil:
    """The shard of a parsed segment; 0 for what is none."""
    if segment.kind == KIND_FRAGMENT or not segment.has_ports:
        return 0
    return mix(both_addresses(segment.source, segment.destination, 16 if segment.version == 6 else 4),
               <uint32_t>segment.source_port + segment.destination_port, segment.vlan, shards)


cdef uint16_t owner(Records records, Py_ssize_t i, uint32_t shards) noexcept nogil:
    """The shard of a record."""
    cdef Segment segment
    parse_tagged(records.start(i), records.length(i), records.wire_length(i), records.linktype(i),
                 records.vlan(i), &segment, NULL)
    return choose_shard(&segment, shards)


cdef enum Whose:
    UNKNOWN = 0
    OURS = 1
    ANOTHERS = 2


cdef inline Whose whose(Records records, Py_ssize_t i, uint16_t number, uint32_t shards) noexcept nogil:
    """Whether a record is surely this shard's or another's: told from the plainest of headers alone,
    TCP in IPv4 without options or in IPv6 without extension headers.  What `choose_shard` says of it,
    at a fraction of the cost."""
    cdef const uint8_t *ip = records.start(i)
    cdef size_t length = records.length(i)
    cdef uint64_t addresses
    cdef uint16_t ethertype
    cdef uint8_t first
    if records.linktype(i) == 1:
        if length < 14:
            return UNKNOWN
        ethertype = be16(ip + 12)
        if ethertype != 0x0800 and ethertype != 0x86DD:
            return UNKNOWN
        ip += 14
        length -= 14
    elif records.linktype(i) != 101:
        return UNKNOWN
    if length < 24:
        return UNKNOWN
    first = ip[0]
    if first == 0x45:
        if ip[9] != 6 or be16(ip + 6) & 0x3FFF or 0 < be16(ip + 2) < 24:
            return UNKNOWN
        addresses = both_addresses(ip + 12, ip + 16, 4)
        ip += 20
    elif first >> 4 == 6:
        if length < 44 or ip[6] != 6 or 0 < be16(ip + 4) < 4:
            return UNKNOWN
        addresses = both_addresses(ip + 8, ip + 24, 16)
        ip += 40
    else:
        return UNKNOWN
    if mix(addresses, <uint32_t>be16(ip) + be16(ip + 2), records.vlan(i), shards) == number:
        return OURS
    return ANOTHERS


@cython.final
cdef class Shard:
    """Connections, keys, and the memory of one batch.  Not for two threads at a time.

    Parameters
    ----------
    keys : KeyTable
        With all its MKTs: others come by `adopt`.
    ao_required : bool
        Whether an unsigned segment is `ao_required` even where no MKT matches.
    number, shards : int
        Which of how many shards this is.
    follow_rnext : bool
        Whether signing takes the key that the other side asks for by its RNextKeyID.
    """

    def __cinit__(self, KeyTable keys not None, bint ao_required=False, int number=0, int shards=1,
                  bint follow_rnext=False):
        if keys.owners.limit < 2:
            raise InvalidArgumentError(f"max_connections is {keys.owners.limit}; it must be 2 or more")
        self.keys = keys
        self.connections = keys.owners
        self.fragments = Reassembler()
        self.ao_required = ao_required
        self.follow_rnext = follow_rnext
        self.number = number
        self.shards = shards
        # a batch touches at most half of the table, so that eviction always finds another
        self.batch_rows = min(<Py_ssize_t>ROWS, <Py_ssize_t>self.connections.limit // 2)
        self.scheduler = Scheduler()
        self.scheduler.reserve(self.batch_rows)
        self.segments = <Segment *>malloc(self.batch_rows * sizeof(Segment))
        self.rows = <Attempt *>malloc(self.batch_rows * sizeof(Attempt))
        self.timestamps = <int64_t *>malloc(self.batch_rows * sizeof(int64_t))
        self.origins = <int64_t *>malloc(self.batch_rows * sizeof(int64_t))
        self.speculated = <int32_t *>malloc(self.batch_rows * sizeof(int32_t))
        self.derivations = <Derivation *>malloc(self.batch_rows * sizeof(Derivation))
        self.scratch = <uint8_t *>malloc(self.batch_rows * SCRATCH)
        self.macs = <uint8_t *>malloc(self.batch_rows * DIGEST)
        self.messages = <tcpao_message *>malloc(self.batch_rows * sizeof(tcpao_message))
        self.key_tally = <int64_t *>calloc(2 * max(1, keys.count), sizeof(int64_t))
        if (self.segments == NULL or self.rows == NULL or self.timestamps == NULL
                or self.origins == NULL or self.speculated == NULL or self.derivations == NULL
                or self.scratch == NULL or self.macs == NULL or self.messages == NULL
                or self.key_tally == NULL):
            raise MemoryError()
        memset(self.macs, 0, self.batch_rows * DIGEST)

    def __dealloc__(self):
        # TCP-MD5 keys were behind messages
        wipe(self.scratch, self.batch_rows * SCRATCH)
        free(self.segments)
        free(self.layers)
        free(self.rows)
        free(self.timestamps)
        free(self.origins)
        free(self.speculated)
        free(self.derivations)
        free(self.scratch)
        free(self.macs)
        free(self.messages)
        free(self.further)
        free(self.further_rows)
        free(self.further_macs)
        free(self.tried)
        free(self.key_tally)

    # -- the stages over a batch ------------------------------------------------------------------

    cdef Py_ssize_t fill(self, Records records, const uint16_t *owners, Py_ssize_t *at,
                         int64_t rows_seen, Layers *layers) except -1 nogil:
        """Stages `parse` and `fragments`: take this shard's records from `at` on into the batch,
        until it is full.  Returns how many; `at` is where to go on.  With `layers` the headers around
        each segment are noted there and fragments are not joined: for whoever signs.  `owners` says
        whose each record is, where another thread may be moving what is its own; else NULL."""
        cdef Py_ssize_t i = at[0], n = 0
        cdef Segment *segment
        cdef Whose is_whose = OURS
        while n < self.batch_rows and i < records.count:
            if i + AHEAD < records.count and (owners == NULL or owners[i + AHEAD] == self.number):
                records.ask_for(i + AHEAD)
            if owners != NULL:
                if owners[i] != self.number:
                    i += 1
                    continue
            elif self.shards > 1:
                is_whose = whose(records, i, self.number, self.shards)
                if is_whose == ANOTHERS:
                    i += 1
                    continue
            segment = &self.segments[n]
            parse_tagged(records.start(i), records.length(i), records.wire_length(i),
                         records.linktype(i), records.vlan(i), segment,
                         NULL if layers == NULL else &layers[n])
            if segment.kind == KIND_FRAGMENT and layers == NULL:
                self.has_fragments = self.met_fragments = True
                with gil:               # every shard joins all fragments: whose they are shows then
                    self.fragments.add(segment, rows_seen + i, records.timestamp(i))
            if is_whose == OURS or choose_shard(segment, self.shards) == self.number:
                self.origins[n] = i
                self.timestamps[n] = records.timestamp(i)
                n += 1
            i += 1
        at[0] = i
        return n

    cdef int reserve_layers(self) except -1 nogil:
        """Memory for `layers`: whoever verifies alone needs none."""
        if self.layers == NULL:
            self.layers = <Layers *>malloc(self.batch_rows * sizeof(Layers))
            if self.layers == NULL:
                out_of_memory()
        return 0

    cdef int open_batch(self, Py_ssize_t count) except -1 nogil:
        """Make room for what `count` segments may add, and find their connections."""
        self.connections.reserve(count)
        self.keys.reserve(count)
        self.in_flight = count
        self.connections.locate_batch(self.segments, self.rows, self.origins, count)
        return 0

    cdef int verify_batch(self, Py_ssize_t count, bint tracing) except -1 nogil:
        """The stages from `connections` on over the first `count` of `segments`."""
        cdef Py_ssize_t at
        self.open_batch(count)
        self.classify_batch(count)
        self.derive_wanted()
        self.mac_batch(count)
        at = commit_batch(self.connections, self.keys, self.segments, self.rows, self.macs, NULL,
                          self.timestamps, 0, count, True, tracing)
        if at < count:               # one whose first try failed, and probably it is not the only one
            self.try_further(at, count)
            commit_batch(self.connections, self.keys, self.segments, self.rows, self.macs,
                         self.tried, self.timestamps, at, count, False, tracing)
        return 0

    # -- what `commit` will ask of segments whose first try failed ----------------------------------

    cdef int reserve_tries(self) except -1 nogil:
        """Memory, as soon as a try fails."""
        if self.tried != NULL:
            return 0
        self.tried_room = TRIES * self.batch_rows
        self.further = <Segment *>malloc(self.batch_rows * sizeof(Segment))
        self.further_rows = <Attempt *>malloc(self.batch_rows * sizeof(Attempt))
        self.further_macs = <uint8_t *>malloc(self.batch_rows * DIGEST)
        self.tried = <Tried *>malloc(self.tried_room * sizeof(Tried))
        if (self.further == NULL or self.further_rows == NULL or self.further_macs == NULL
                or self.tried == NULL):
            out_of_memory()
        return 0

    cdef int try_further(self, Py_ssize_t first, Py_ssize_t count) except -1 nogil:
        """From row `first` on compute, many at a time, what `commit` would compute one by one for
        segments whose first try failed: under the other pairs of ISNs of their connections, and
        under what they state themselves.  It decides nothing: what it did not foresee `commit`
        computes."""
        cdef const Segment *segment
        cdef Attempt *row
        cdef const Connection *connection
        cdef const Incarnation *it
        cdef Py_ssize_t i, n = 0
        cdef int32_t at
        cdef int direction, length
        self.tried_count = 0
        for i in range(first, count):
            row = &self.rows[i]
            segment = &self.segments[i]
            if row.check != CHECK_AO:
                continue
            length = segment.auth_length - 4
            if row.traffic_key != NONE and tcpao_equal(
                    self.macs + DIGEST * i, segment.tcp + segment.auth_offset + 4, length):
                continue
            if segment.flags & FLAG_SYN or length != self.keys.mkts[row.mkt].mac_length or (
                    self.keys.mkts[row.mkt].primitive == PRIMITIVE_LIBRARY):
                continue
            self.reserve_tries()
            if n + TRIES > self.batch_rows:
                self.compute_tries(n)
                n = 0
            direction = row.direction
            connection = &self.connections.connections[row.connection]
            at = connection.newest
            while at != NONE:
                it = &self.connections.incarnations[at]
                if it.known == 3:
                    if at != row.incarnation:
                        n = self.propose(i, n, at, it.isn[direction], it.isn[1 - direction],
                                         extend(it.anchor[direction], segment.seq))
                elif it.known == 1 << direction:
                    if segment.flags & FLAG_ACK:
                        n = self.propose(i, n, NONE, it.isn[direction], segment.ack - 1,
                                         extend(it.isn[direction], segment.seq))
                else:
                    n = self.propose(
                        i, n, NONE, segment.seq if segment.flags & FLAG_RST else segment.seq - 1,
                        it.isn[1 - direction],
                        extend(segment.seq if segment.flags & FLAG_RST else segment.seq - 1,
                               segment.seq))
                at = it.next
            if segment.flags & FLAG_ACK:
                n = self.propose(i, n, NONE, segment.seq - 1, segment.ack - 1,
                                 extend(segment.seq - 1, segment.seq))
        if n:
            self.compute_tries(n)
        return 0

    cdef Py_ssize_t propose(self, Py_ssize_t i, Py_ssize_t n, int32_t incarnation, uint32_t isn_source,
                            uint32_t isn_destination, int64_t position) noexcept nogil:
        """Make the n-th of the tries to be computed one of row i; how many there are then."""
        cdef Attempt *row
        cdef Tried *noted
        if position < 0 or self.tried_count >= self.tried_room or n >= self.batch_rows:
            return n
        self.further[n] = self.segments[i]
        row = &self.further_rows[n]
        row[0] = self.rows[i]
        row.incarnation = incarnation
        row.isn_source = isn_source
        row.isn_destination = isn_destination
        row.position = position
        row.temporary = 0
        row.tried = <int32_t>self.tried_count          # which one it is
        noted = &self.tried[self.tried_count]
        noted.isn_source = isn_source
        noted.isn_destination = isn_destination
        noted.sne = <uint32_t>(position >> 32)
        noted.mkt = row.mkt
        noted.row = <int32_t>i
        noted.next = self.rows[i].tried
        noted.good = 0
        self.tried_count += 1
        self.rows[i].tried = <int32_t>self.tried_count
        return n + 1

    cdef int compute_tries(self, Py_ssize_t n) except -1 nogil:
        """Their traffic keys, MACs and comparison; in the memory of the batch, which is done with."""
        cdef Py_ssize_t t, found
        cdef Attempt *row
        cdef const Segment *segment
        cdef uint32_t used = 0
        cdef int primitive
        self.keys.reserve(n)
        for t in range(n):
            row = &self.further_rows[t]
            row.traffic_key = NONE
            self.key_row(&self.further[t], row)
            used |= <uint32_t>1 << self.keys.mkts[row.mkt].primitive
        self.derive_wanted()
        for primitive in range(PRIMITIVE_LIBRARY):
            if used >> primitive & 1:
                found = assemble(primitive, self.keys.mkts, self.further, self.further_rows, n,
                                 self.scratch, self.further_macs, self.messages)
                self.scheduler.run(primitive, self.messages, found)
        for t in range(n):
            row = &self.further_rows[t]
            segment = &self.further[t]
            self.tried[row.tried].good = tcpao_equal(
                self.further_macs + DIGEST * t, segment.tcp + segment.auth_offset + 4,
                segment.auth_length - 4)
            if row.temporary:
                self.keys.free_slot(row.traffic_key)
        return 0

    cdef Py_ssize_t verify(self, Records records, int64_t rows_seen,
                           const Columns *out) except -1 nogil:
        """Verify this shard's records of a call; returns how many, in that many rows of `out`."""
        cdef Py_ssize_t at = 0, done = 0, count
        memset(self.tally, 0, sizeof(self.tally))
        while at < records.count:
            count = self.fill(records, NULL, &at, rows_seen, NULL)
            if count:
                self.verify_batch(count, out.effects != NULL)
                self.report(count, done, out)
                done += count
            self.end_batch()
        self.leave()
        return done

    cdef void leave(self) noexcept nogil:
        """Last thing in a call: no traffic key stays on the stack."""
        if self.keys.in_use[<int>TCPAO_AES_CMAC] or self.keys.in_use[<int>TCPAO_KMAC256]:
            burn_stack(TCPAO_AES_CMAC)

    cdef void classify_batch(self, Py_ssize_t count) noexcept nogil:
        """What needs no MAC, and for the others their ISNs, SNE and traffic key."""
        cdef Py_ssize_t i
        cdef Attempt *row
        if self.connections.many():
            self.keys.prefetch(self.rows, count)
        for i in range(count):
            row = &self.rows[i]
            if expected(self.connections, self.keys, &self.segments[i], self.timestamps[i], row):
                continue
            classify(self.connections, self.keys, self.ao_required, &self.segments[i],
                     self.timestamps[i], row)
            if row.check == CHECK_AO:
                if self.connections.speculate(&self.segments[i], row):
                    self.speculated[self.speculated_count] = row.connection
                    self.speculated_count += 1
                self.key_row(&self.segments[i], row)
                self.keys.expect_again(row, self.segments[i].key_id)

    cdef void key_row(self, const Segment *segment, Attempt *row) noexcept nogil:
        """Stage `keys` for one row: find its traffic key, or note that it is wanted."""
        cdef Derivation *derivation
        if row.position < 0 or segment.auth_length - 4 != self.keys.mkts[row.mkt].mac_length:
            return
        if row.incarnation != NONE:
            row.traffic_key = self.keys.owned_slot(row.incarnation, row.direction, row.mkt)
        if row.traffic_key == NONE:
            if row.incarnation != NONE:
                row.traffic_key = self.keys.take_owned_slot(row.mkt, row.incarnation, row.direction)
            else:
                row.traffic_key = self.keys.take_slot(row.mkt)
                row.temporary = 1
            derivation = &self.derivations[self.wanted]
            derivation.segment = segment
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
        """Stages `messages` and `mac`, one primitive after the other."""
        cdef int primitive
        cdef uint32_t used = 0
        cdef Py_ssize_t i, n
        for i in range(count):
            if self.rows[i].check != CHECK_NOTHING:
                used |= <uint32_t>1 << self.keys.mkts[self.rows[i].mkt].primitive
        for primitive in range(PRIMITIVE_LIBRARY + 1):
            if not used >> primitive & 1:
                continue
            n = assemble(primitive, self.keys.mkts, self.segments, self.rows, count, self.scratch,
                         self.macs, self.messages)
            if primitive != PRIMITIVE_LIBRARY:
                self.scheduler.run(primitive, self.messages, n)
                continue
            n = 0
            for i in range(count):      # the messages are in the order of their rows
                if self.rows[i].check == CHECK_AO and self.rows[i].traffic_key != NONE and (
                        self.keys.mkts[self.rows[i].mkt].primitive == primitive):
                    self.keys.library_mac(self.rows[i].mkt, &self.messages[n])
                    n += 1
        return 0

    cdef void report(self, Py_ssize_t count, Py_ssize_t first, const Columns *out) noexcept nogil:
        """Write the batch's results to the rows of `out` from `first` on."""
        cdef Py_ssize_t i
        cdef const Attempt *row
        for i in range(count):
            row = &self.rows[i]
            out.verdict[first + i] = row.verdict
            out.mkt[first + i] = row.mkt
            out.sne[first + i] = <uint32_t>(row.position >> 32) if row.mkt != NONE else 0
            out.connection[first + i] = row.id
            self.tally[row.verdict] += 1
            if row.mkt != NONE and row.verdict <= VERDICT_BAD_MAC:
                self.key_tally[2 * row.mkt + row.verdict] += 1
            elif row.mkt != NONE and VERDICT_MD5_GOOD <= row.verdict <= VERDICT_MD5_BAD:
                self.key_tally[2 * row.mkt + row.verdict - VERDICT_MD5_GOOD] += 1
            self.tally[<int>VERDICT_COUNT] += (self.segments[i].kind == KIND_SEGMENT
                                               and self.segments[i].auth == AUTH_AO)
            if out.effects != NULL:
                out.effects[first + i] = row.effects
        if out.origin != NULL:
            memcpy(out.origin + first, self.origins, count * sizeof(int64_t))

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
        if self.has_fragments:
            self.has_fragments = False
            with gil:
                self.fragments.release()

    def add_key_tally(self, int64_t[:, ::1] total):
        """Add how many segments each MKT was good and bad for to int64[MKTs, 2]."""
        cdef Py_ssize_t i
        for i in range(2 * self.keys.count):
            total[i // 2, i % 2] += self.key_tally[i]

    def adopt(self, KeyTable keys not None, same, kin):
        """Take other MKTs; see `KeyTable.adopt`.  What was counted for an MKT goes to its kin."""
        cdef const int32_t[::1] to = kin
        cdef Py_ssize_t i
        cdef Py_ssize_t before = self.keys.count
        cdef int64_t *tally = <int64_t *>calloc(2 * max(1, keys.count), sizeof(int64_t))
        if tally == NULL:
            raise MemoryError()
        try:
            self.keys.adopt(keys, same, kin)
        except BaseException:
            free(tally)
            raise
        for i in range(before):
            if to[i] != NONE:
                tally[2 * to[i]] += self.key_tally[2 * i]
                tally[2 * to[i] + 1] += self.key_tally[2 * i + 1]
        free(self.key_tally)
        self.key_tally = tally

    def forget(self, only, int64_t since=-1):
        """Forget connections; see `ConnectionTable.chosen`.  How many."""
        places = self.connections.chosen(only, since)
        try:
            for place in places:
                self.connections.reserve(1)        # for the keys that it lets go of
                self.connections.remove(place)
                self.end_batch()
        finally:
            self.end_batch()
        return len(places)

    def restore(self, rows, origins=None):
        """Take over connections; see `tcpao_fast.core.flow.snapshot.restore`."""
        try:
            restore(self.connections, rows, self.keys.count, origins)
        finally:
            self.end_batch()
