# cython: nonecheck=False
"""Stage `connections`: 4-tuple (and VLAN) -> connection, direction, and its incarnations' ISNs.

A connection keeps a few incarnations: pairs of ISNs that a SYN, a SYN-ACK or a first ACK stated.
One that a MAC has proved is live; the others are candidates.  What is not proved never pushes out
what is: so a forged SYN costs a live connection nothing.

The table is open addressing with a keyed hash (kernels/flow_hash.h), so that nobody who can choose
addresses and ports can choose collisions.

A connection is proved once any MAC on it was good.  The others stand in a queue and give way first,
the oldest before all; they have a share of the table that proved ones do not take, and get no more
than another share: so whoever can only forge pushes out nothing but what was forged, at a cost that
does not depend on how much there is.
"""

import os

cimport cython
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from tcpao_fast.core.mac.kernels cimport (
    tcpao_flow_begin,
    tcpao_flow_hash,
    tcpao_flow_hash_many,
    tcpao_free_table,
    tcpao_grow_table,
    tcpao_new_table,
    tcpao_prefetch,
)
from tcpao_fast.core.wire.segment cimport FLAG_RST, KIND_FRAGMENT, be32, is_syn, is_syn_ack
from tcpao_fast.core.flow.sne cimport extend

from tcpao_fast.errors import InvalidArgumentError

#: A connection keeps so many.
INCARNATIONS = MAX_INCARNATIONS

cdef enum:
    FIRST_CAPACITY = 256
    HASHED = 64               # hashes at a time
    FEWEST_UNPROVED = 4096    # connections without proof, where the limit is small
    MOST_ROWS = 512           # of a batch


cdef int out_of_memory() except -1 with gil:
    raise MemoryError()


cdef inline uint64_t endpoint_v4(const uint8_t *address, uint16_t port) noexcept nogil:
    return <uint64_t>be32(address) << 16 | port


cdef inline uint64_t be64(const uint8_t *p) noexcept nogil:
    return <uint64_t>be32(p) << 32 | be32(p + 4)


cdef inline void words_v4(uint64_t low, uint64_t high, uint64_t vrf, uint64_t *words) noexcept nogil:
    """What is hashed of two endpoints, each the address before the port in 48 bits, the lower one
    first."""
    words[0] = low | vrf << 48
    words[1] = high | vrf >> 16 << 48


cdef inline void words_v6(const uint8_t *low, const uint8_t *high, uint16_t low_port,
                          uint16_t high_port, uint64_t vrf, uint64_t *words) noexcept nogil:
    words[0] = vrf << 32 | <uint32_t>high_port << 16 | low_port
    words[1] = ~<uint64_t>0              # as no words of IPv4 end: a VRF has 24 bits at most
    memcpy(&words[2], low, 16)
    memcpy(&words[4], high, 16)


cdef inline bint order_v4(const Segment *segment, uint64_t *words) noexcept nogil:
    """What is hashed of a segment of IPv4: 2 words.  Returns its direction (0: from the lower
    endpoint)."""
    cdef uint64_t source = endpoint_v4(segment.source, segment.source_port)
    cdef uint64_t destination = endpoint_v4(segment.destination, segment.destination_port)
    cdef bint direction = source > destination
    words_v4(destination if direction else source, source if direction else destination,
             segment.vlan, words)
    return direction


cdef inline bint order_v6(const Segment *segment, uint64_t *words) noexcept nogil:
    """The same of IPv6: 6 words."""
    cdef uint64_t source = be64(segment.source), destination = be64(segment.destination)
    cdef bint direction
    if source == destination:
        source = be64(segment.source + 8)
        destination = be64(segment.destination + 8)
    direction = source > destination or (
        source == destination and segment.source_port > segment.destination_port)
    if direction:
        words_v6(segment.destination, segment.source, segment.destination_port,
                 segment.source_port, segment.vlan, words)
    else:
        words_v6(segment.source, segment.destination, segment.source_port,
                 segment.destination_port, segment.vlan, words)
    return direction


cdef uint32_t hash_of(const tcpao_flow_secret *secret, const Connection *key) noexcept nogil:
    cdef uint64_t words[6]
    if key.version == 6:
        words_v6(key.address[0], key.address[1], key.port[0], key.port[1], key.vrf, words)
        return tcpao_flow_hash(secret, words, 6)
    words_v4(endpoint_v4(key.address[0], key.port[0]), endpoint_v4(key.address[1], key.port[1]),
             key.vrf, words)
    return tcpao_flow_hash(secret, words, 2)


cdef inline bint has_endpoints(const Segment *segment) noexcept nogil:
    return segment.has_ports and segment.kind != KIND_FRAGMENT


cdef inline bint same_endpoints(const Connection *one, const Segment *segment,
                                int direction) noexcept nogil:
    if (one.port[direction] != segment.source_port
            or one.port[1 - direction] != segment.destination_port or one.vrf != segment.vlan
            or one.version != segment.version):
        return False
    if segment.version == 4:
        return (be32(one.address[direction]) == be32(segment.source)
                and be32(one.address[1 - direction]) == be32(segment.destination))
    return (memcmp(one.address[direction], segment.source, 16) == 0
            and memcmp(one.address[1 - direction], segment.destination, 16) == 0)


def flow_hash(bytes random not None, words not None, bint with_aes=True):
    """The keyed hash of 2 or 6 words of 64 bits, for tests: (alone, of many side by side, with AES?)."""
    cdef tcpao_flow_secret secret
    cdef uint64_t one[6]
    cdef uint64_t many[6 * HASHED]
    cdef uint32_t hashes[HASHED]
    cdef int i, count = len(words)
    if len(random) != 16 or count not in (2, 6):
        raise InvalidArgumentError("flow_hash takes 16 random bytes and 2 or 6 words")
    for i in range(count):
        one[i] = words[i]
    tcpao_flow_begin(&secret, <const uint8_t *>random, with_aes)
    alone = tcpao_flow_hash(&secret, one, count)
    memset(many, 0, sizeof(many))
    for i in range(HASHED):
        memcpy(many + count * i, one, count * sizeof(uint64_t))
        many[count * i] += i
    tcpao_flow_hash_many(&secret, many, count, hashes, HASHED - 3)
    return alone, [hashes[i] for i in range(HASHED - 3)], bool(secret.with_aes)


@cython.final
cdef class ConnectionTable:
    """All connections of one engine, or of one of its shards.

    Parameters
    ----------
    limit : int
        The most proved connections kept at a time; beyond it the least useful is forgotten.
    provisional : bool
        Whether new connections get ids below -1, for somebody to `assign_number`.
    """

    def __cinit__(self, int32_t limit, bint provisional=False):
        cdef bytes random = os.urandom(16)
        tcpao_flow_begin(&self.secret, <const uint8_t *>random,
                         os.environ.get("TCPAO_FAST_KERNELS") != "portable")
        self.limit = limit
        self.provisional = provisional
        self.free_connection = NONE
        self.free_incarnation = NONE
        self.unproved_first = self.unproved_last = NONE
        self.most_unproved = max(limit // 4, min(limit, FEWEST_UNPROVED))
        # proved ones may fill the limit; beyond it there is room for as many others as a batch can
        # touch, so that among them one is found that it does not
        self.room = limit + max(1, min(limit // 2, MOST_ROWS))
        self.rehash(2 * FIRST_CAPACITY)

    def __dealloc__(self):
        tcpao_free_table(self.connections, self.capacity * sizeof(Connection), True)
        tcpao_free_table(self.details, self.capacity * sizeof(Details), True)
        tcpao_free_table(self.incarnations, self.incarnation_capacity * sizeof(Incarnation), True)
        self.free_slots()
        free(self.released)
        free(self.unnumbered)

    cdef void free_slots(self) noexcept nogil:
        if self.slots != NULL:
            tcpao_free_table(self.slots, (<size_t>self.mask + 1) * sizeof(Slot), True)

    cdef int rehash(self, uint32_t size) except -1 nogil:
        cdef Slot *slots = <Slot *>tcpao_new_table(size * sizeof(Slot), True)
        cdef uint32_t at
        cdef int32_t i
        if slots == NULL:
            out_of_memory()
        memset(slots, 0xFF, size * sizeof(Slot))
        self.free_slots()
        self.slots = slots
        self.mask = size - 1
        for i in range(self.capacity):
            if self.connections[i].version:
                at = hash_of(&self.secret, &self.connections[i])
                slots_put(slots, self.mask, at, i)
        return 0

    cdef int reserve(self, Py_ssize_t more) except -1 nogil:
        """Make room for `more` connections and what a batch of so many segments may add."""
        cdef Py_ssize_t wanted, capacity, i
        cdef uint32_t size
        cdef void *grown
        cdef void *details
        wanted = min(<Py_ssize_t>self.count + more, <Py_ssize_t>self.room)
        capacity = max(<Py_ssize_t>self.capacity, min(<Py_ssize_t>FIRST_CAPACITY, <Py_ssize_t>self.room))
        while capacity < wanted:
            capacity = min(2 * capacity, <Py_ssize_t>self.room)
        if capacity > self.capacity:
            details = tcpao_new_table(capacity * sizeof(Details), True)
            if details == NULL:
                out_of_memory()
            grown = tcpao_grow_table(self.connections, self.capacity * sizeof(Connection),
                                     capacity * sizeof(Connection))
            if grown == NULL:
                tcpao_free_table(details, capacity * sizeof(Details), True)
                out_of_memory()
            self.connections = <Connection *>grown
            if self.capacity:
                memcpy(details, self.details, self.capacity * sizeof(Details))
            tcpao_free_table(self.details, self.capacity * sizeof(Details), True)
            self.details = <Details *>details
            memset(self.connections + self.capacity, 0,
                   (capacity - self.capacity) * sizeof(Connection))
            for i in range(capacity - 1, self.capacity - 1, -1):
                self.connections[i].newest = self.free_connection
                self.free_connection = <int32_t>i
            self.capacity = <int32_t>capacity
            if 2 * capacity > self.mask + 1:
                size = 2 * FIRST_CAPACITY
                while size < 2 * capacity:
                    size *= 2
                self.rehash(size)
        # each segment adds at most two incarnations (one speculated, one noted)
        if self.free_incarnations < 2 * more:
            wanted = max(self.incarnation_capacity + 2 * more, self.incarnation_capacity * 3 // 2)
            grown = tcpao_grow_table(self.incarnations,
                                     self.incarnation_capacity * sizeof(Incarnation),
                                     wanted * sizeof(Incarnation))
            if grown == NULL:
                out_of_memory()
            self.incarnations = <Incarnation *>grown
            self.free_incarnations += <int32_t>(wanted - self.incarnation_capacity)
            self.incarnation_capacity = <int32_t>wanted
        # an eviction lets go of the keys of each incarnation, in both directions
        # (one for a new connection, one for one that is proved)
        wanted = self.released_count + 4 * (MAX_INCARNATIONS + 2) * more
        if wanted > self.released_capacity:
            grown = realloc(self.released, wanted * sizeof(int32_t))
            if grown == NULL:
                out_of_memory()
            self.released = <int32_t *>grown
            self.released_capacity = <int32_t>wanted
        wanted = self.unnumbered_count + more
        if self.provisional and wanted > self.unnumbered_capacity:
            grown = realloc(self.unnumbered, wanted * sizeof(Unnumbered))
            if grown == NULL:
                out_of_memory()
            self.unnumbered = <Unnumbered *>grown
            self.unnumbered_capacity = <int32_t>wanted
        return 0

    cdef void begin_batch(self) noexcept nogil:
        self.batch = self.batch + 1 & 0x7FFFFFFF
        self.batches += 1

    def chosen(self, only, int64_t since=-1):
        """The places of connections that are to be forgotten.

        Parameters
        ----------
        only : set of int, optional
            Their ids.
        since : int
            Without `only`: what `batches` was, after which no segment was seen of them.

        Returns
        -------
        list of int
        """
        cdef int32_t i
        cdef const Connection *one
        cdef int64_t old = self.batches - since
        places = []
        for i in range(self.capacity):
            one = &self.connections[i]
            if not one.version:
                continue
            # modulo 2^31: one that was idle for longer can look younger, never the other way round
            if one.id in only if only is not None else (
                    <int64_t>(self.batch - one.batch & 0x7FFFFFFF) >= old):
                places.append(i)
        return places

    cdef void locate_batch(self, const Segment *segments, Attempt *rows, const int64_t *origins,
                           Py_ssize_t count) noexcept nogil:
        """The connection of each segment that states ports, made when it is new.

        The table, the connections and their incarnations are where a batch misses the cache, if there
        are many.  So each of them is asked for, for all rows, before it is read: in loops of their
        own, as what is asked for waits for the page table, and the fewer instructions there are
        between one and the next the more of them wait at the same time.
        """
        cdef Py_ssize_t i
        cdef Attempt *row
        cdef uint64_t words_v4[HASHED][2]
        cdef uint64_t words_v6[HASHED][6]
        cdef Py_ssize_t which_v4[HASHED]
        cdef Py_ssize_t which_v6[HASHED]
        cdef Py_ssize_t at = 0, v4, v6, end
        self.begin_batch()
        memset(rows, 0, count * sizeof(Attempt))
        while at < count:
            end = min(at + HASHED, count)
            v4 = v6 = 0
            for i in range(at, end):
                rows[i].connection = rows[i].id = NONE
                if not has_endpoints(&segments[i]):
                    continue
                if segments[i].version == 4:
                    rows[i].direction = order_v4(&segments[i], words_v4[v4])
                    which_v4[v4] = i
                    v4 += 1
                else:
                    rows[i].direction = order_v6(&segments[i], words_v6[v6])
                    which_v6[v6] = i
                    v6 += 1
            self.hash_rows(words_v4[0], 2, which_v4, v4, rows)
            self.hash_rows(words_v6[0], 6, which_v6, v6, rows)
            at = end
        if self.many():
            self.guess(segments, rows, count)
        for i in range(count):
            if has_endpoints(&segments[i]):
                row = &rows[i]
                at = self.known(&segments[i], row)
                if at == NONE:
                    at = self.locate(&segments[i], row, origins[i])
                row.connection = <int32_t>at
                self.connections[at].batch = self.batch
                row.id = self.connections[at].id

    cdef void guess(self, const Segment *segments, Attempt *rows, Py_ssize_t count) noexcept nogil:
        """The connection of each row, by its hash alone, and ask for it and its incarnation."""
        cdef Py_ssize_t i
        cdef uint32_t at
        cdef int32_t live
        for i in range(count):
            if not has_endpoints(&segments[i]):
                continue
            at = rows[i].hash & self.mask
            while self.slots[at].connection != NONE and self.slots[at].hash != rows[i].hash:
                at = (at + 1) & self.mask
            rows[i].connection = self.slots[at].connection
            if rows[i].connection != NONE:
                tcpao_prefetch(&self.connections[rows[i].connection])
        for i in range(count):
            if rows[i].connection != NONE:
                live = self.connections[rows[i].connection].live
                if live != NONE:
                    tcpao_prefetch(&self.incarnations[live])

    cdef void hash_rows(self, const uint64_t *words, int each, const Py_ssize_t *which,
                        Py_ssize_t count, Attempt *rows) noexcept nogil:
        """The hashes of some rows of a batch."""
        cdef uint32_t hashes[HASHED]
        cdef Py_ssize_t i
        tcpao_flow_hash_many(&self.secret, words, each, hashes, count)
        for i in range(count):
            rows[which[i]].hash = hashes[i]
            tcpao_prefetch(&self.slots[hashes[i] & self.mask])

    cdef void identify(self, const Segment *segment, Attempt *row) noexcept nogil:
        """Direction (0: from the lower endpoint) and hash of a segment."""
        cdef uint64_t words[6]
        if segment.version == 4:
            row.direction = order_v4(segment, words)
            row.hash = tcpao_flow_hash(&self.secret, words, 2)
        else:
            row.direction = order_v6(segment, words)
            row.hash = tcpao_flow_hash(&self.secret, words, 6)

    cdef inline int32_t known(self, const Segment *segment, const Attempt *row) noexcept nogil:
        """The connection of a segment, of which the row has hash and direction, and perhaps a guess: a
        connection; or NONE."""
        cdef uint32_t at = row.hash & self.mask
        cdef int32_t index = row.connection
        if index != NONE and same_endpoints(&self.connections[index], segment, row.direction):
            return index
        while True:
            index = self.slots[at].connection
            if index == NONE or (self.slots[at].hash == row.hash and same_endpoints(
                    &self.connections[index], segment, row.direction)):
                return index
            at = (at + 1) & self.mask

    cdef int32_t locate(self, const Segment *segment, Attempt *row, int64_t origin) noexcept nogil:
        """The same, made when it is new."""
        cdef Connection *found
        cdef int size, direction = row.direction
        cdef int32_t index = self.known(segment, row)
        if index != NONE:
            self.connections[index].batch = self.batch
            return index
        if self.unproved >= self.share():
            # when the table is full there is one without proof that is not in use: see `room`
            if not self.evict_unproved() and self.free_connection == NONE:
                self.evict_proved()
        index = self.free_connection
        found = &self.connections[index]
        self.free_connection = found.newest
        memset(found, 0, sizeof(Connection))
        size = 16 if segment.version == 6 else 4
        memcpy(found.address[direction], segment.source, size)
        memcpy(found.address[1 - direction], segment.destination, size)
        found.port[direction] = segment.source_port
        found.port[1 - direction] = segment.destination_port
        found.vrf = segment.vlan
        found.version = segment.version
        found.batch = self.batch
        if self.provisional:
            found.id = -2 - self.unnumbered_count
            self.unnumbered[self.unnumbered_count].connection = index
            self.unnumbered[self.unnumbered_count].origin = origin
            self.unnumbered_count += 1
        else:
            found.id = self.next_id
            self.next_id += 1
        found.live = found.newest = NONE
        self.details[index].speculated = self.details[index].md5_key = NONE
        found.initiator = INITIATOR_UNKNOWN
        self.enqueue(index)
        slots_put(self.slots, self.mask, row.hash, index)
        self.count += 1
        return index

    cdef int32_t share(self) noexcept nogil:
        """How many connections without proof there may be."""
        cdef int32_t left = self.limit - (self.count - self.unproved)
        return max(self.room - self.limit, min(left, self.most_unproved))

    cdef void enqueue(self, int32_t connection) noexcept nogil:
        """The last of those without proof."""
        cdef Details *it = &self.details[connection]
        it.behind = NONE
        it.before = self.unproved_last
        if self.unproved_last != NONE:
            self.details[self.unproved_last].behind = connection
        else:
            self.unproved_first = connection
        self.unproved_last = connection
        self.unproved += 1

    cdef void dequeue(self, int32_t connection) noexcept nogil:
        cdef Details *it = &self.details[connection]
        if it.before != NONE:
            self.details[it.before].behind = it.behind
        else:
            self.unproved_first = it.behind
        if it.behind != NONE:
            self.details[it.behind].before = it.before
        else:
            self.unproved_last = it.before
        self.unproved -= 1

    cdef void prove_first(self, int32_t connection) noexcept nogil:
        """The first MAC was good on it."""
        self.connections[connection].looked_up |= IS_PROVED
        self.dequeue(connection)
        if self.count - self.unproved > self.limit:
            self.evict_proved()

    cdef void assign_number(self, int32_t which, int64_t number) noexcept nogil:
        """Give the connection with the provisional id -2 - `which` its number."""
        cdef Unnumbered *it = &self.unnumbered[which]
        cdef Connection *one = &self.connections[it.connection]
        it.number = number
        if one.version and one.id == -2 - which:      # else it was evicted meanwhile
            one.id = number

    cdef void release_keys(self, int32_t incarnation) noexcept nogil:
        cdef Incarnation *old = &self.incarnations[incarnation]
        cdef int direction
        for direction in range(2):
            if old.keys[direction] != NONE:
                self.released[self.released_count] = old.keys[direction]
                self.released_count += 1
                old.keys[direction] = NONE

    cdef int32_t new_incarnation(self) noexcept nogil:
        cdef int32_t index = self.free_incarnation
        cdef Incarnation *new
        if index == NONE:                # none was given back: one that never was, of untouched memory
            index = self.used_incarnations
            self.used_incarnations += 1
            new = &self.incarnations[index]
        else:
            new = &self.incarnations[index]
            self.free_incarnation = new.next
        self.free_incarnations -= 1
        memset(new, 0, sizeof(Incarnation))
        new.keys[0] = new.keys[1] = new.key_in_use[0] = new.key_in_use[1] = new.next = NONE
        new.initiator = INITIATOR_UNKNOWN
        return index

    cdef void drop_incarnation(self, int32_t incarnation) noexcept nogil:
        """Give an incarnation and its traffic keys back; it must not be listed any more."""
        self.release_keys(incarnation)
        self.incarnations[incarnation].next = self.free_incarnation
        self.free_incarnation = incarnation
        self.free_incarnations += 1

    cdef void unlist(self, int32_t connection, int32_t incarnation) noexcept nogil:
        cdef int32_t *link = &self.connections[connection].newest
        while link[0] != NONE:
            if link[0] == incarnation:
                link[0] = self.incarnations[incarnation].next
                self.incarnations[incarnation].next = NONE
                self.incarnations[incarnation].listed = 0
                return
            link = &self.incarnations[link[0]].next

    cdef void forget(self, int32_t incarnation) noexcept nogil:
        """Everything but its ISNs and keys: as if it had just been stated."""
        cdef Incarnation *it = &self.incarnations[incarnation]
        cdef int direction
        for direction in range(2):
            it.anchor[direction] = it.isn[direction]
            it.key_in_use[direction] = NONE
            it.rnext_key_id[direction] = it.key_id[direction] = 0
        it.proof = PROOF_NONE
        it.ours = 0
        it.initiator = INITIATOR_UNKNOWN

    cdef bint enlist(self, int32_t connection, int32_t incarnation) noexcept nogil:
        """Put an incarnation first in its connection's list.  A full list loses its oldest
        candidate without proof; where all are proved, only a proved one may come in.  Beside a live
        one there is one candidate without proof: each costs every forged segment a MAC.  At an
        endpoint the one that is signed under stays, whatever is replayed."""
        cdef Connection *owner = &self.connections[connection]
        cdef int32_t at = owner.newest, unproved = NONE, proved = NONE
        cdef int32_t kept = self.to_sign(connection) if self.as_endpoint else NONE
        cdef int count = 0, without_proof = 0
        while at != NONE:
            count += 1
            if self.incarnations[at].proof == PROOF_NONE:
                without_proof += 1
                unproved = at
            elif at != owner.live and at != kept:
                proved = at
            at = self.incarnations[at].next
        if count >= MAX_INCARNATIONS or (without_proof and owner.live != NONE and (
                self.incarnations[incarnation].proof == PROOF_NONE)):
            if unproved == NONE and self.incarnations[incarnation].proof == PROOF_NONE:
                return False
            at = unproved if unproved != NONE else proved
            self.unlist(connection, at)
            if self.details[connection].speculated != at:
                self.drop_incarnation(at)
            else:                    # the batch in flight still points at that one: it keeps its keys
                self.forget(at)
        self.incarnations[incarnation].next = owner.newest
        self.incarnations[incarnation].listed = 1
        owner.newest = incarnation
        return True

    cdef int32_t find_listed(self, int32_t connection, int direction, uint32_t isn_source,
                             uint32_t isn_destination) noexcept nogil:
        """The incarnation with both ISNs that the connection keeps, or NONE."""
        cdef Incarnation *one
        cdef int32_t at = self.connections[connection].newest
        while at != NONE:
            one = &self.incarnations[at]
            if one.known == 3 and one.isn[direction] == isn_source and (
                    one.isn[1 - direction] == isn_destination):
                return at
            at = one.next
        return NONE

    cdef int32_t find_pair(self, int32_t connection, int direction, uint32_t isn_source,
                           uint32_t isn_destination) noexcept nogil:
        """The same, or the one that this batch speculates on."""
        cdef Incarnation *one
        cdef int32_t at = self.find_listed(connection, direction, isn_source, isn_destination)
        if at != NONE:
            return at
        at = self.details[connection].speculated
        if at != NONE:
            one = &self.incarnations[at]
            if one.isn[direction] == isn_source and one.isn[1 - direction] == isn_destination:
                return at
        return NONE

    cdef int32_t to_sign(self, int32_t connection) noexcept nogil:
        """The incarnation that segments are signed under: of those whose handshake passed through
        `sign` the one proved last; where there is none, the live one.  What others replay moves
        neither."""
        cdef Incarnation *one
        cdef int32_t at = self.connections[connection].newest
        cdef int32_t found = NONE
        while at != NONE:
            one = &self.incarnations[at]
            if one.ours and one.proof == PROOF_BOTH and (found == NONE or <int32_t>(
                    one.serial - self.incarnations[found].serial) > 0):
                found = at
            at = one.next
        return found if found != NONE else self.connections[connection].live

    cdef int32_t make_pair(self, int32_t connection, int direction, uint32_t isn_source,
                           uint32_t isn_destination) noexcept nogil:
        """A new incarnation with both ISNs, not listed."""
        cdef int32_t index = self.new_incarnation()
        cdef Incarnation *new = &self.incarnations[index]
        new.known = 3
        new.isn[direction] = new.anchor[direction] = isn_source
        new.isn[1 - direction] = new.anchor[1 - direction] = isn_destination
        return index

    cdef int32_t note_syn(self, int32_t connection, int direction, uint32_t isn,
                          bint proved) noexcept nogil:
        """A SYN said `isn`.  Returns the incarnation it belongs to, or NONE if it was not kept."""
        cdef Connection *owner = &self.connections[connection]
        cdef Incarnation *one
        cdef int32_t at = owner.newest
        while at != NONE:
            one = &self.incarnations[at]
            if one.known >> direction & 1 and one.isn[direction] == isn:
                one.supposed = 0
                if proved and one.proof == PROOF_NONE and one.known != 3:
                    one.proof = PROOF_SYN
                if proved or one.initiator == INITIATOR_UNKNOWN:
                    one.initiator = <uint8_t>direction
                if proved:
                    self.prove(connection)
                return at
            at = one.next
        at = self.new_incarnation()
        one = &self.incarnations[at]
        one.initiator = <uint8_t>direction
        one.known = <uint8_t>(1 << direction)
        one.isn[direction] = one.anchor[direction] = isn
        if memcmp(owner.address[0], owner.address[1], 16) == 0 and owner.port[0] == owner.port[1]:
            one.known = 3                    # connected to itself: one end, one ISN
            one.isn[1 - direction] = one.anchor[1 - direction] = isn
        one.proof = PROOF_SYN if proved else PROOF_NONE
        if proved:
            self.prove(connection)
        if not self.enlist(connection, at):
            self.drop_incarnation(at)
            return NONE
        return at

    cdef int32_t note_pair(self, int32_t connection, int direction, uint32_t isn_source,
                           uint32_t isn_destination, bint proved, int initiator) noexcept nogil:
        """A segment named both ISNs, and, unless it is INITIATOR_UNKNOWN, who began.  When it is the
        first to prove them, their incarnation becomes the live one.  Returns the incarnation, or
        NONE if it was not kept."""
        cdef Connection *owner = &self.connections[connection]
        cdef Incarnation *one
        cdef Incarnation *it
        cdef int32_t found = self.find_pair(connection, direction, isn_source, isn_destination)
        cdef int32_t at, following
        cdef bint first
        if found == NONE:
            found = self.make_pair(connection, direction, isn_source, isn_destination)
        it = &self.incarnations[found]
        first = proved and it.proof != PROOF_BOTH
        if initiator != INITIATOR_UNKNOWN and (proved or it.initiator == INITIATOR_UNKNOWN):
            it.initiator = <uint8_t>initiator
        if proved:
            it.proof = PROOF_BOTH
            self.prove(connection)
        if not it.listed:
            if proved:                       # it replaces the halves it grew from
                at = owner.newest
                while at != NONE:
                    one = &self.incarnations[at]
                    following = one.next
                    if (one.known == 1 << direction and one.isn[direction] == isn_source) or (
                            one.known == 2 >> direction
                            and one.isn[1 - direction] == isn_destination):
                        it.ours |= one.ours
                        if it.initiator == INITIATOR_UNKNOWN or one.proof == PROOF_SYN:
                            it.initiator = one.initiator
                        self.unlist(connection, at)
                        self.drop_incarnation(at)
                    at = following
            if not self.enlist(connection, found):
                if self.details[connection].speculated != found:
                    self.drop_incarnation(found)
                return NONE
        if first:
            self.serial += 1
            it.serial = self.serial
        if first or (proved and owner.live == NONE):
            owner.live = found
            if it.initiator != INITIATOR_UNKNOWN:
                owner.initiator = it.initiator
        return found

    cdef bint speculate(self, const Segment *segment, Attempt *row) noexcept nogil:
        """The ISNs and the position that a segment most likely has.  Returns whether a new
        incarnation was made to speculate on (`end_speculation` when the batch is done)."""
        cdef Connection *owner = &self.connections[row.connection]
        cdef Incarnation *one
        cdef int direction = row.direction
        cdef int32_t at
        row.incarnation = NONE
        row.isn_source = row.isn_destination = 0
        if is_syn(segment):
            row.isn_source = segment.seq
            row.position = segment.seq
            return False
        if is_syn_ack(segment):
            row.isn_source = segment.seq
            row.isn_destination = segment.ack - 1
            row.position = segment.seq
            row.incarnation = self.find_pair(row.connection, direction, segment.seq, segment.ack - 1)
            if row.incarnation != NONE or owner.looked_up & IS_SPECULATED:
                return False
            row.incarnation = self.make_pair(row.connection, direction, segment.seq,
                                             segment.ack - 1)
            self.details[row.connection].speculated = row.incarnation
            owner.looked_up |= IS_SPECULATED
            return True
        at = (self.details[row.connection].speculated if owner.looked_up & IS_SPECULATED
              else owner.live)
        if at == NONE:
            at = owner.newest
            while at != NONE and self.incarnations[at].known != 3:
                at = self.incarnations[at].next
        if at != NONE:
            one = &self.incarnations[at]
            row.incarnation = at
            row.isn_source = one.isn[direction]
            row.isn_destination = one.isn[1 - direction]
            row.position = extend(one.anchor[direction], segment.seq)
            return False
        row.isn_source = segment.seq - 1
        row.isn_destination = segment.ack - 1
        if owner.newest != NONE:
            one = &self.incarnations[owner.newest]
            if one.known == 1 << direction:
                row.isn_source = one.isn[direction]
            else:
                row.isn_source = segment.seq if segment.flags & FLAG_RST else segment.seq - 1
                row.isn_destination = one.isn[1 - direction]
        row.position = extend(row.isn_source, segment.seq)
        return False

    cdef void end_speculation(self, int32_t connection) noexcept nogil:
        """Give back the incarnation that was speculated on, unless it was kept."""
        cdef int32_t at = self.details[connection].speculated
        self.details[connection].speculated = NONE
        self.connections[connection].looked_up &= ~IS_SPECULATED
        if at != NONE and not self.incarnations[at].listed:
            self.drop_incarnation(at)

    cdef void remove(self, int32_t connection) noexcept nogil:
        """Forget a connection; its traffic keys go to `released`."""
        cdef Connection *old = &self.connections[connection]
        cdef int32_t at = old.newest, following
        cdef uint32_t hole, probe, home
        if old.looked_up & IS_SPECULATED and (
                not self.incarnations[self.details[connection].speculated].listed):
            self.drop_incarnation(self.details[connection].speculated)
        while at != NONE:
            following = self.incarnations[at].next
            self.drop_incarnation(at)
            at = following
        hole = hash_of(&self.secret, old) & self.mask
        while self.slots[hole].connection != connection:
            hole = (hole + 1) & self.mask
        probe = hole                         # close the gap: move up what may stand there
        while True:
            probe = (probe + 1) & self.mask
            if self.slots[probe].connection == NONE:
                break
            home = self.slots[probe].hash & self.mask
            if ((probe - home) & self.mask) >= ((probe - hole) & self.mask):
                self.slots[hole] = self.slots[probe]
                hole = probe
        self.slots[hole].connection = NONE
        if not old.looked_up & IS_PROVED:
            self.dequeue(connection)
        old.version = old.looked_up = 0
        old.newest = self.free_connection
        self.free_connection = connection
        self.count -= 1

    cdef bint evict_unproved(self) noexcept nogil:
        """Forget the oldest connection without proof; False where the batch touches them all."""
        cdef int32_t at, last = self.unproved_last
        while self.unproved_first != NONE:
            at = self.unproved_first
            if self.connections[at].batch != self.batch:
                self.remove(at)
                self.evicted += 1
                return True
            if at == last:
                return False
            self.dequeue(at)                 # in use: its turn comes once more, and once a batch
            self.enqueue(at)
        return False

    cdef void evict_proved(self) noexcept nogil:
        """Forget a proved connection that was not verified lately (a clock with a second chance)."""
        cdef Connection *one
        while True:
            self.hand = self.hand + 1 if self.hand + 1 < self.capacity else 0
            one = &self.connections[self.hand]
            # in use: a batch touches at most half of the table, and fewer than are proved
            if not one.looked_up & IS_PROVED or one.batch == self.batch:
                continue
            if not one.referenced:
                break
            one.referenced = 0
        self.remove(self.hand)
        self.evicted += 1


cdef void slots_put(Slot *slots, uint32_t mask, uint32_t hash, int32_t connection) noexcept nogil:
    cdef uint32_t at = hash & mask
    while slots[at].connection != NONE:
        at = (at + 1) & mask
    slots[at].hash = hash
    slots[at].connection = connection
