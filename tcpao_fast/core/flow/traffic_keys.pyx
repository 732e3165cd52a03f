# cython: nonecheck=False
"""Stage `keys`: KeyID and matching MKTs -> MKT and traffic key; missing keys are derived in batches.

A traffic key is derived once for a connection, MKT and direction, and kept as its MAC wants it, in
slabs of one size a primitive.  The slots of one incarnation and direction are chained; the first is
where `connections` keeps it.

A slab does not grow for ever: beyond its limit a key that was not used lately gives way (a clock
with a second chance), and is derived again when it is needed.

A slot number alone does not say in which slab it lies, so the number of a key carries both:
``slot << SLAB_BITS | primitive``.
"""

cimport cython
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

import numpy as np

from tcpao_fast.core.flow.connections cimport (
    HAS_CANDIDATES,
    HAS_DETAILS,
    HAS_MKT,
    NONE,
    Connection,
    Details,
    Incarnation,
    out_of_memory,
)
from tcpao_fast.core.mac.kernels cimport (
    TCPAO_LINE,
    TCPAO_MD5,
    tcpao_equal,
    tcpao_free_table,
    tcpao_message,
    tcpao_new_table,
    tcpao_prefetch,
)
from tcpao_fast.core.mac.mac cimport Scheduler, burn_stack, mac_one, prepare, prepared_length, wipe
from tcpao_fast.core.keys.mkt cimport (
    BY_ANY_ID,
    BY_RECV_ID,
    BY_SEND_ID,
    BY_TCP_MD5,
    Purpose,
    Search,
    matches,
    nat_of,
    within,
)
from tcpao_fast.core.mac.messages cimport (
    DIGEST,
    MAX_SUFFIX,
    PRIMITIVE_LIBRARY,
    SCRATCH,
    context,
    layout,
    md5_prefix,
)

from tcpao_fast.core.mac.mac import TrafficKeys, mac_batch, require_kernels
from tcpao_fast.core.mac.algorithms import find
from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    RAW = 64              # bytes kept for a derived key before it is prepared
    PREPARED = 256        # and for a prepared one
    DERIVE_CHUNK = 256    # derived side by side
    UNIT = 16             # that keys are whole numbers of
    KEY_BYTES = 192       # kept for the traffic keys of a connection, if all are there
    FEWEST_SLOTS = 16384  # and at least so many keys: more than a batch can use
    MOST_SLOTS = 0x7fffffff >> 3
    MOST_MD5_KEYS = 16    # of one peer, that a segment is tried under


def condition(algorithm, secret):
    """The key of the KDF's PRF: the master key, condensed where the algorithm wants that."""
    if not algorithm.extract or len(secret) == algorithm.exact_secret_length:
        return secret
    zeros = np.zeros((1, algorithm.traffic_key_length), np.uint8)
    return bytes(mac_batch(TrafficKeys(algorithm.name, zeros), [0], secret, [0], [len(secret)])[0])


cdef inline int specificity(const Mkt *mkt) noexcept nogil:
    """The bits of its prefixes."""
    return (0 if mkt.local.any else mkt.local.prefix) + (0 if mkt.remote.any else mkt.remote.prefix)


@cython.final
cdef class KeyTable:
    """The MKTs of an engine and every traffic key derived from them.

    `add` every MKT before anything is asked; they are numbered from 0 in the order of `add`.

    Parameters
    ----------
    owners : ConnectionTable
        Whose incarnations the traffic keys belong to; its limit also limits them.
    """

    def __cinit__(self, ConnectionTable owners not None):
        cdef int i
        cdef int64_t bytes_
        require_kernels()
        self.owners = owners
        self.set = MktSet()
        self.algorithms = []
        self.library_secrets = []
        self.scheduler = Scheduler()
        self.scheduler.reserve(DERIVE_CHUNK)
        self.scratch = <uint8_t *>malloc(DERIVE_CHUNK * (SCRATCH + RAW + PREPARED))
        self.messages = <tcpao_message *>malloc(DERIVE_CHUNK * sizeof(tcpao_message))
        if self.scratch == NULL or self.messages == NULL:
            raise MemoryError()
        for i in range(SLABS):
            self.slabs[i].free = NONE
            self.slabs[i].prepared = prepared_length(i)
            if self.slabs[i].prepared:
                self.slabs[i].stride = (
                    sizeof(KeySlot) + (self.slabs[i].prepared + UNIT - 1) // UNIT * UNIT)
                bytes_ = <int64_t>KEY_BYTES * owners.limit
                self.slabs[i].limit = <int32_t>min(
                    max(bytes_ // <int64_t>self.slabs[i].stride, <int64_t>FEWEST_SLOTS),
                    <int64_t>MOST_SLOTS)

    def __dealloc__(self):
        cdef int i, chunk
        for i in range(self.count):
            wipe(self.mkts[i].master, self.mkts[i].master_length)
            free(self.mkts[i].master)
        wipe(self.scratch, DERIVE_CHUNK * (SCRATCH + RAW + PREPARED))
        free(self.scratch)
        free(self.messages)
        for i in range(SLABS):
            for chunk in range((self.slabs[i].capacity + CHUNK - 1) // CHUNK):
                if self.slabs[i].used > chunk * CHUNK:
                    wipe(self.slabs[i].chunks[chunk], self.slabs[i].stride
                         * min(self.slabs[i].used - chunk * CHUNK, <int32_t>CHUNK))
                tcpao_free_table(
                    self.slabs[i].chunks[chunk], CHUNK * self.slabs[i].stride, chunk > 0)
            free(self.slabs[i].chunks)

    def add(self, *, algorithm, secret, mac_length, exclude_options, **identity):
        """Append an MKT.

        Parameters
        ----------
        algorithm : Algorithm
        secret : bytes
        mac_length : int
        exclude_options : bool
        **identity
            As for `MktSet.add`.
        """
        cdef Mkt *mkt
        cdef const uint8_t[::1] key
        if (not 0 < mac_length <= 36
                or len(algorithm.kdf_prefix) > <Py_ssize_t>sizeof(mkt.kdf_prefix)
                or len(algorithm.kdf_suffix) > <Py_ssize_t>sizeof(mkt.kdf_suffix)):
            raise InvalidArgumentError(f"no MKT has MACs of {mac_length} bytes, or such a KDF")
        self.set.add(**identity)
        self.mkts = self.set.mkts
        mkt = &self.mkts[self.count]
        mkt.mac_length = mac_length
        mkt.exclude_options = exclude_options
        mkt.primitive = algorithm.primitive
        mkt.traffic_key_length = algorithm.traffic_key_length
        mkt.kdf_prefix_length = len(algorithm.kdf_prefix)
        mkt.kdf_suffix_length = len(algorithm.kdf_suffix)
        memcpy(mkt.kdf_prefix, <const uint8_t *><bytes>algorithm.kdf_prefix, mkt.kdf_prefix_length)
        memcpy(mkt.kdf_suffix, <const uint8_t *><bytes>algorithm.kdf_suffix, mkt.kdf_suffix_length)
        if mkt.primitive == TCPAO_MD5:
            if not 0 < len(secret) <= MAX_SUFFIX:
                raise InvalidArgumentError(f"a TCP-MD5 key has 1 to {MAX_SUFFIX} bytes")
            mkt.master_length = len(secret)
        else:
            # where the KDF is not the MAC, a library derives from the secret
            mkt.master_length = 0 if algorithm.derive else prepared_length(mkt.primitive)
        if mkt.master_length:
            mkt.master = <uint8_t *>malloc(mkt.master_length)
            if mkt.master == NULL:
                raise MemoryError()
            key = secret if mkt.primitive == TCPAO_MD5 else condition(algorithm, secret)
            if mkt.primitive == TCPAO_MD5:
                memcpy(mkt.master, &key[0], mkt.master_length)
            else:
                prepare(mkt.primitive, &key[0], key.shape[0], 1, mkt.master)
                burn_stack(mkt.primitive)
        self.in_use[mkt.primitive] = mkt.primitive != TCPAO_MD5
        self.algorithms.append(algorithm)
        self.library_secrets.append(secret if algorithm.derive else None)
        self.count += 1

    def adopt(self, KeyTable other not None, const int32_t[::1] same not None,
              const int32_t[::1] kin not None):
        """Take the MKTs of another table in place of the own ones, while connections stay.  Between
        batches; it cannot fail half way.

        Parameters
        ----------
        other : KeyTable
            Of no more use then.
        same : int32[count]
            For each own MKT the number of the one in `other` with the same traffic keys, -1: there
            is none.
        kin : int32[count]
            Likewise of the one that takes its place where it is a connection's key in use.
        """
        cdef int32_t i, at
        cdef int direction
        cdef ConnectionTable owners = self.owners
        cdef Connection *connection
        cdef Incarnation *it
        if len(same) != self.count or len(kin) != self.count:
            raise InvalidArgumentError("same and kin have an entry for each MKT")
        for i in range(self.count):
            if not (-1 <= same[i] < other.count and -1 <= kin[i] < other.count):
                raise InvalidArgumentError("same and kin are numbers of the other table's MKTs")
        for i in range(owners.capacity):
            connection = &owners.connections[i]
            if not connection.version:
                continue
            connection.looked_up &= <uint8_t>~(HAS_CANDIDATES | HAS_CANDIDATES << 1 | HAS_DETAILS
                                               | HAS_MKT)
            owners.details[i].md5_key = NONE
            at = connection.newest
            while at != NONE:
                it = &owners.incarnations[at]
                for direction in range(2):
                    if it.key_in_use[direction] != NONE:
                        it.key_in_use[direction] = kin[it.key_in_use[direction]]
                    self.rename(&it.keys[direction], same)
                at = it.next
        self.set, other.set = other.set, self.set
        self.mkts, other.mkts = other.mkts, self.mkts
        self.count, other.count = other.count, self.count
        self.algorithms, other.algorithms = other.algorithms, self.algorithms
        self.library_secrets, other.library_secrets = other.library_secrets, self.library_secrets
        for i in range(SLABS):
            self.in_use[i] = other.in_use[i]

    cdef void rename(self, int32_t *link, const int32_t[::1] same) noexcept nogil:
        """The traffic keys of a chain get their MKTs' new numbers, or are freed."""
        cdef KeySlot *slot
        cdef int32_t key, mkt
        while link[0] != NONE:
            key = link[0]
            slot = key_slot(self.slabs, key)
            mkt = same[slot_mkt(slot)]
            if mkt == NONE:
                link[0] = slot.next
                self.free_slot(key)
            else:                        # which KeyID means it first is to be asked again
                slot.tagged = <uint32_t>mkt << TAG_BITS
                link = &slot.next

    cdef void match(self, const Segment *segment, uint8_t key_id, int32_t *found) noexcept nogil:
        """The MKTs that the KeyID of a segment may mean: as SendID of one whose local side sent
        it, as RecvID of one whose remote side sent it.  At most one each, as MKTs that overlap
        share no IDs."""
        found[0] = self.set.first_match(BY_SEND_ID, key_id, segment, True)
        found[1] = self.set.first_match(BY_RECV_ID, key_id, segment, False)
        if found[0] == NONE or found[0] == found[1]:
            found[0] = found[1]
            found[1] = NONE

    cdef void look_up(self, const Segment *segment, int32_t connection) noexcept nogil:
        """Note on the connection, once, whether it has an MKT and which TCP-MD5 key."""
        cdef Connection *it = &self.owners.connections[connection]
        cdef Details *details = &self.owners.details[connection]
        cdef Search search
        cdef bint forward
        if it.looked_up & HAS_DETAILS:
            return
        it.looked_up |= HAS_DETAILS
        details.md5_key = self.best_md5(segment, -1, False)
        for forward in range(2):
            self.set.start(&search)
            if self.set.next_match(&search, BY_ANY_ID, 0, segment, forward) != NONE:
                it.looked_up |= HAS_MKT

    cdef int32_t best_md5(self, const Segment *segment, int64_t timestamp, bint to_send) noexcept nogil:
        """Of the TCP-MD5 keys that match and are valid at that time the one with the longest prefixes,
        as in Linux, then the first; or NONE."""
        cdef Search search
        cdef const Mkt *mkt
        cdef int32_t number, best = NONE
        cdef bint forward, valid
        for forward in range(2):
            self.set.start(&search)
            number = self.set.next_match(&search, BY_TCP_MD5, 0, segment, forward)
            while number != NONE:
                mkt = &self.mkts[number]
                valid = within(mkt.send, timestamp) if to_send else within(mkt.accept, timestamp)
                if valid and (
                        best == NONE or self.better_md5(number, best, timestamp, to_send)):
                    best = number
                number = self.set.next_match(&search, BY_TCP_MD5, 0, segment, forward)
        return best

    cdef bint better_md5(self, int32_t one, int32_t other, int64_t timestamp,
                         bint to_send) noexcept nogil:
        """Whether the first of two TCP-MD5 keys comes first."""
        cdef int length = specificity(&self.mkts[one]), of_other = specificity(&self.mkts[other])
        if length != of_other:
            return length > of_other
        return self.preferred(one, other, timestamp) if to_send else one < other

    cdef int32_t find_md5(self, const Segment *segment, int32_t connection, int64_t timestamp,
                          int32_t tried, uint8_t *scratch) noexcept nogil:
        """The TCP-MD5 key other than `tried` that gives a segment's digest, of those that match and are
        valid at that time; or NONE.  The connection keeps it as its first choice."""
        cdef Search search
        cdef tcpao_message message
        cdef uint8_t digest[DIGEST]
        cdef const Mkt *mkt
        cdef int32_t number, left = MOST_MD5_KEYS
        cdef size_t prefix
        cdef bint forward
        for forward in range(2):
            self.set.start(&search)
            number = self.set.next_match(&search, BY_TCP_MD5, 0, segment, forward)
            while number != NONE and left:
                mkt = &self.mkts[number]
                if number != tried and within(mkt.accept, timestamp):
                    left -= 1
                    prefix = md5_prefix(segment, scratch)
                    layout(TCPAO_MD5, NULL, scratch, prefix, segment.tcp + segment.header_length,
                           segment.length - segment.header_length, mkt.master, mkt.master_length,
                           digest, &message)
                    mac_one(TCPAO_MD5, &message)
                    if tcpao_equal(digest, segment.tcp + segment.auth_offset + 2, 16):
                        self.owners.details[connection].md5_key = number
                        return number
                number = self.set.next_match(&search, BY_TCP_MD5, 0, segment, forward)
        return NONE

    cdef int candidates(self, const Segment *segment, int32_t connection, int direction,
                        int64_t timestamp, int32_t *found) noexcept nogil:
        """How many MKTs a signed segment's KeyID may mean (0 to 2), and which."""
        cdef Connection *it = &self.owners.connections[connection]
        cdef Details *details = &self.owners.details[connection]
        cdef int32_t *cached = details.candidates[direction]
        cdef int i, count = 0
        if not it.looked_up & HAS_CANDIDATES << direction or (
                details.candidate_id[direction] != segment.key_id):
            self.match(segment, segment.key_id, cached)
            details.candidate_id[direction] = segment.key_id
            it.looked_up |= HAS_CANDIDATES << direction
        for i in range(2):
            if cached[i] != NONE and within(self.mkts[cached[i]].accept, timestamp):
                found[count] = cached[i]
                count += 1
        return count

    cdef int every_candidate(self, const Segment *segment, int32_t connection, int direction,
                             int64_t timestamp, int32_t *found) noexcept nogil:
        """As `candidates`, and behind those the MKTs that share their IDs, where there may be such:
        at most `MOST_CANDIDATES`."""
        cdef int count = self.candidates(segment, connection, direction, timestamp, found), i
        cdef Search search
        cdef int32_t number
        cdef bint forward
        if not self.set.has_alternatives:
            return count
        for forward in range(2):
            self.set.start(&search)
            number = self.set.next_match(&search, BY_SEND_ID if forward else BY_RECV_ID,
                                         segment.key_id, segment, forward)
            while number != NONE and count < MOST_CANDIDATES:
                for i in range(count):
                    if found[i] == number:
                        break
                else:
                    if within(self.mkts[number].accept, timestamp):
                        found[count] = number
                        count += 1
                number = self.set.next_match(&search, BY_SEND_ID if forward else BY_RECV_ID,
                                             segment.key_id, segment, forward)
        return count

    cdef void prefer(self, int32_t connection, int direction, int32_t mkt) noexcept nogil:
        """A MAC was good under an MKT: of those that share its IDs it is tried first from here on."""
        cdef int32_t *cached = self.owners.details[connection].candidates[direction]
        if self.set.has_alternatives and cached[0] != mkt:
            cached[1] = cached[0]
            cached[0] = mkt

    cdef int32_t to_send(self, const Segment *segment, const Connection *connection, int direction,
                         int64_t timestamp, bint *forward) noexcept nogil:
        """The MKT that should sign a segment, TCP-AO before TCP-MD5, or NONE: of those that may send
        at that time the one whose send lifetime began last, then the first.  `forward`: its local
        side is the sender; where both would do, the side that opened the connection is local."""
        cdef Search search
        cdef int32_t found = NONE, number
        cdef Purpose purpose = BY_ANY_ID
        cdef bint ahead
        for _ in range(2):
            for ahead in range(2):
                self.set.start(&search)
                number = self.set.next_match(&search, purpose, 0, segment, ahead)
                while number != NONE:
                    if within(self.mkts[number].send, timestamp) and (
                            found == NONE or self.preferred(number, found, timestamp)):
                        found = number
                    number = self.set.next_match(&search, purpose, 0, segment, ahead)
            if found != NONE:
                break
            purpose = BY_TCP_MD5
        forward[0] = True
        if found == NONE:
            return NONE
        if purpose == BY_TCP_MD5:
            return self.best_md5(segment, timestamp, True)
        if not matches(&self.mkts[found], segment, True):
            forward[0] = False
        elif matches(&self.mkts[found], segment, False):
            forward[0] = connection.initiator != 1 - direction
        return found

    cdef bint preferred(self, int32_t one, int32_t other, int64_t timestamp) noexcept nogil:
        """Whether the first of two MKTs that may send is the better one."""
        cdef int64_t began = self.mkts[one].send[0], other_began = self.mkts[other].send[0]
        if timestamp < 0 or began == other_began:
            return one < other
        return began > other_began

    cdef int reserve(self, Py_ssize_t more) except -1 nogil:
        """Make room for `more` traffic keys of each primitive in use."""
        cdef int primitive
        cdef Slab *slab
        for primitive in range(SLABS):
            slab = &self.slabs[primitive]
            while self.in_use[primitive] and slab.available < more:
                if slab.capacity < slab.limit or not self.evict(slab):
                    grow(slab)
        return 0

    cdef bint evict(self, Slab *slab) noexcept nogil:
        """Free the slot of a key that was not used lately, and not in this batch."""
        cdef int primitive = <int>(slab - self.slabs)
        cdef KeySlot *slot
        for _ in range(2 * slab.used):
            slab.hand = slab.hand + 1 if slab.hand + 1 < slab.used else 0
            slot = slot_at(slab, slab.hand)
            if slot.owner == NONE or slot.batch & ~<uint32_t>IN_USE == self.owners.batch:
                continue
            if slot.batch & IN_USE:
                slot.batch &= ~<uint32_t>IN_USE
            elif self.disown(slab, primitive, slab.hand):
                self.free_slot(slab.hand << SLAB_BITS | primitive)
                self.evicted += 1
                return True
        return False

    cdef bint disown(self, Slab *slab, int primitive, int32_t slot) noexcept nogil:
        """Take a slot out of its owner's chain; False where the owner has let it go already."""
        cdef int32_t owner = slot_at(slab, slot).owner
        cdef int32_t *link = &self.owners.incarnations[owner >> 1].keys[owner & 1]
        while link[0] != NONE:
            if link[0] == (slot << SLAB_BITS | primitive):
                link[0] = slot_at(slab, slot).next
                return True
            link = &key_slot(self.slabs, link[0]).next
        return False

    cdef void prefetch(self, const Attempt *rows, Py_ssize_t count) noexcept nogil:
        """Ask for the traffic keys that rows of proved connections will probably use."""
        cdef Py_ssize_t i
        cdef int32_t live, key
        cdef const uint8_t *at
        cdef const uint8_t *last
        for i in range(count):
            if rows[i].connection == NONE:
                continue
            live = self.owners.connections[rows[i].connection].live
            if live == NONE:
                continue
            key = self.owners.incarnations[live].keys[rows[i].direction]
            if key == NONE:
                continue
            at = <const uint8_t *>key_slot(self.slabs, key)
            last = at + self.slabs[slab_of(key)].stride - 1
            while at < last:
                tcpao_prefetch(at)
                at += TCPAO_LINE
            tcpao_prefetch(last)

    cdef int32_t take_slot(self, int32_t mkt) noexcept nogil:
        """A free slot for a traffic key of the MKT (`reserve` has made room)."""
        cdef int primitive = self.mkts[mkt].primitive
        cdef Slab *slab = &self.slabs[primitive]
        cdef int32_t slot = slab.free
        cdef KeySlot *it
        if slot == NONE:
            slot = slab.used
            slab.used += 1
            it = slot_at(slab, slot)
        else:
            it = slot_at(slab, slot)
            slab.free = it.next
        slab.available -= 1
        it.tagged = <uint32_t>mkt << TAG_BITS
        it.next = it.owner = NONE
        it.batch = self.owners.batch | IN_USE
        return slot << SLAB_BITS | primitive

    cdef int32_t take_owned_slot(self, int32_t mkt, int32_t incarnation, int direction) noexcept nogil:
        """The same, first in the chain of an incarnation and direction."""
        cdef int32_t slot = self.take_slot(mkt)
        cdef int32_t *chain = &self.owners.incarnations[incarnation].keys[direction]
        cdef KeySlot *it = key_slot(self.slabs, slot)
        it.owner = 2 * incarnation + direction
        it.next = chain[0]
        chain[0] = slot
        return slot

    cdef void free_slot(self, int32_t slot) noexcept nogil:
        cdef Slab *slab = &self.slabs[slab_of(slot)]
        cdef KeySlot *it = key_slot(self.slabs, slot)
        it.owner = NONE
        it.next = slab.free
        slab.free = slot_of(slot)
        slab.available += 1

    cdef void free_list(self, int32_t head) noexcept nogil:
        cdef int32_t following
        while head != NONE:
            following = key_slot(self.slabs, head).next
            self.free_slot(head)
            head = following

    cdef int32_t owned_slot(self, int32_t incarnation, int direction, int32_t mkt) noexcept nogil:
        """The traffic key of an incarnation's direction for an MKT, or NONE."""
        return self.find_slot(self.owners.incarnations[incarnation].keys[direction], mkt)

    cdef int32_t md5_key(self, const Segment *segment, int32_t connection,
                         int64_t timestamp) noexcept nogil:
        """The TCP-MD5 key of a connection at that time, or NONE."""
        cdef int32_t known
        self.look_up(segment, connection)
        known = self.owners.details[connection].md5_key
        if known == NONE or within(self.mkts[known].accept, timestamp):
            return known
        return self.best_md5(segment, timestamp, False)

    cdef void expect_again(self, const Attempt *row, uint8_t key_id) noexcept nogil:
        """If a row's key is what its KeyID means first, say so on its traffic key: the next segment
        with this KeyID needs no look-up (`is_expected`)."""
        cdef KeySlot *slot
        if row.traffic_key != NONE and (
                row.mkt == self.owners.details[row.connection].candidates[row.direction][0]):
            slot = key_slot(self.slabs, row.traffic_key)
            slot.tagged = slot.tagged & ~<uint32_t>0xFF | FIRST_CHOICE | key_id

    cdef void note_side(self, const Attempt *row, const Segment *segment) noexcept nogil:
        """Say on a row's traffic key which side of its MKT sends, where only one can."""
        cdef const Mkt *mkt = &self.mkts[row.mkt]
        cdef bint local = matches(mkt, segment, True)
        if row.traffic_key != NONE and local != matches(mkt, segment, False):
            key_slot(self.slabs, row.traffic_key).tagged |= OF_LOCAL_SIDE if local else OF_REMOTE_SIDE

    cdef int32_t find_slot(self, int32_t head, int32_t mkt) noexcept nogil:
        """The traffic key of an MKT in a chain, or NONE."""
        cdef KeySlot *slot
        while head != NONE:
            slot = key_slot(self.slabs, head)
            if slot_mkt(slot) == mkt:
                slot.batch = self.owners.batch | IN_USE
                return head
            head = slot.next
        return NONE

    cdef int derive(self, Derivation *wanted, Py_ssize_t count) except -1 nogil:
        """Derive the wanted traffic keys (RFC 5926 section 3.1) into their slots."""
        cdef int primitive
        cdef Py_ssize_t i
        if count == 0:
            return 0
        for primitive in range(SLABS):
            for i in range(count):
                if self.mkts[wanted[i].mkt].primitive == primitive:
                    if self.mkts[wanted[i].mkt].master_length == 0:
                        with gil:
                            self.derive_library(primitive, wanted, count)
                    else:
                        derive_compiled(self, primitive, wanted, count)
                    break
        return 0

    cdef int library_mac(self, int32_t mkt, const tcpao_message *message) except -1 nogil:
        """A MAC by a library: the pieces are the message's bytes, the key is raw."""
        with gil:
            algorithm = self.algorithms[mkt]
            key = message.key[:algorithm.traffic_key_length]
            text = message.piece[0][:message.blocks[0]] + message.piece[1][:message.blocks[1]]
            digest = algorithm.mac(key, text)
            memcpy(message.mac, <const uint8_t *><bytes>digest, len(digest))
        return 0

    cdef int derive_library(self, int primitive, Derivation *wanted, Py_ssize_t count) except -1:
        cdef uint8_t text[64]
        cdef size_t length
        cdef Py_ssize_t i
        for i in range(count):
            if self.mkts[wanted[i].mkt].primitive != primitive:
                continue
            length = context(wanted[i].segment, wanted[i].isn_source, wanted[i].isn_destination,
                             nat_of(&self.mkts[wanted[i].mkt], wanted[i].segment), text)
            algorithm = self.algorithms[wanted[i].mkt]
            key = algorithm.derive(self.library_secrets[wanted[i].mkt], text[:length])
            if primitive == PRIMITIVE_LIBRARY:
                memcpy(key_data(self.slabs, wanted[i].slot), <const uint8_t *><bytes>key, len(key))
            else:
                prepare(primitive, <const uint8_t *><bytes>key, len(key), 1,
                        key_data(self.slabs, wanted[i].slot))
        return 0


cdef int grow(Slab *slab) except -1 nogil:
    """Some slots more; what is there stays where it is."""
    cdef int32_t chunk = slab.capacity // CHUNK
    cdef void *grown
    if slab.capacity % CHUNK == 0:
        grown = realloc(slab.chunks, (chunk + 1) * sizeof(uint8_t *))
        if grown == NULL:
            out_of_memory()
        slab.chunks = <uint8_t **>grown
        # where there are few keys, big pages would be a waste
        grown = tcpao_new_table(CHUNK * slab.stride, chunk > 0)
        if grown == NULL:
            out_of_memory()
        slab.chunks[chunk] = <uint8_t *>grown
    slab.available += STEP
    slab.capacity += STEP
    return 0


cdef void kdf_message(const Mkt *mkt, uint8_t *scratch, size_t context_length, uint8_t *digest,
                      tcpao_message *message) noexcept nogil:
    """The KDF's input around a context that stands in `scratch` behind room for the prefix."""
    cdef size_t length = mkt.kdf_prefix_length + context_length + mkt.kdf_suffix_length
    memcpy(scratch, mkt.kdf_prefix, mkt.kdf_prefix_length)
    memcpy(scratch + length - mkt.kdf_suffix_length, mkt.kdf_suffix, mkt.kdf_suffix_length)
    layout(mkt.primitive, mkt.master, scratch, length, NULL, 0, NULL, 0, digest, message)


cdef void derive_compiled(KeyTable table, int primitive, Derivation *wanted,
                          Py_ssize_t count) noexcept nogil:
    """Derive those of the wanted keys whose MKT uses this primitive, `DERIVE_CHUNK` side by side."""
    cdef uint8_t *scratch = table.scratch
    cdef tcpao_message *messages = table.messages
    cdef uint8_t *raw = scratch + DERIVE_CHUNK * SCRATCH
    cdef uint8_t *prepared = raw + DERIVE_CHUNK * RAW
    cdef Slab *slab = &table.slabs[primitive]
    cdef Derivation *chosen[DERIVE_CHUNK]
    cdef const Mkt *mkt
    cdef Py_ssize_t at = 0, n, i
    cdef size_t length = 0, size
    while at < count:
        n = 0
        while at < count and n < DERIVE_CHUNK:
            mkt = &table.mkts[wanted[at].mkt]
            if mkt.primitive == primitive:
                chosen[n] = &wanted[at]
                length = mkt.traffic_key_length
                size = context(wanted[at].segment, wanted[at].isn_source,
                               wanted[at].isn_destination, nat_of(mkt, wanted[at].segment),
                               scratch + SCRATCH * n + mkt.kdf_prefix_length)
                kdf_message(mkt, scratch + SCRATCH * n, size, raw + RAW * n, &messages[n])
                n += 1
            at += 1
        table.scheduler.run(primitive, messages, n)
        for i in range(1, n):               # the PRF's output is the traffic key: close up
            memcpy(raw + length * i, raw + RAW * i, length)
        prepare(primitive, raw, length, n, prepared)
        for i in range(n):
            memcpy(key_data(table.slabs, chosen[i].slot), prepared + slab.prepared * i, slab.prepared)
        wipe(raw, RAW * n)
        wipe(prepared, slab.prepared * n)


def derive_traffic_keys(algorithm, secret, contexts):
    """RFC 5926's key derivation (or the algorithm's own) over many contexts.

    Parameters
    ----------
    algorithm : str
    secret : bytes
        The master key.
    contexts : uint8[n, context_length]
        Source address, destination address, source port, destination port, source ISN,
        destination ISN, big endian, as the segment's sender sees them (RFC 5925 section 5.2):
        20 bytes a row for IPv4, 44 for IPv6. A SYN without ACK has destination ISN 0.

    Returns
    -------
    uint8[n, key_length]
        20 bytes for HMAC-SHA-1, 16 for AES-128-CMAC, 32 for HMAC-SHA-256 and KMAC256, 64 for
        HMAC-SHA-512.

    Raises
    ------
    UnknownAlgorithmError
    InvalidArgumentError
        Contexts of another shape, an empty secret, or an algorithm without a KDF (``tcp-md5``).
    """
    cdef const uint8_t[:, ::1] rows
    known = find(algorithm)
    array = np.asarray(contexts)
    if array.dtype != np.uint8 or array.ndim != 2 or array.shape[1] not in (20, 44):
        raise InvalidArgumentError(
            f"contexts is {array.dtype}{list(array.shape)}; it must be uint8[n, 20] or uint8[n, 44]"
        )
    if known.is_tcp_md5:
        raise InvalidArgumentError("tcp-md5 derives no traffic keys")
    if not isinstance(secret, (bytes, bytearray, memoryview)):
        raise InvalidArgumentError(f"secret is a {type(secret).__name__}; it must be bytes")
    if not secret:
        raise InvalidArgumentError("secret is empty")
    rows = np.ascontiguousarray(array)
    if known.derive:
        keys = np.empty((rows.shape[0], known.traffic_key_length), np.uint8)
        for i in range(rows.shape[0]):
            keys[i] = np.frombuffer(known.derive(bytes(secret), bytes(rows[i])), np.uint8)
        return keys
    prf = TrafficKeys(
        algorithm,
        np.frombuffer(condition(known, bytes(secret)), np.uint8)[None, :],
    )
    return run_kdf(prf, known, np.zeros(rows.shape[0], np.int32), array)


def run_kdf(prf, known, which, contexts):
    """The KDF of an algorithm that is compiled: its MAC over prefix | context | suffix.

    Parameters
    ----------
    prf : TrafficKeys
        Master keys, as `condition` gives them.
    known : Algorithm
    which : int32[n]
        The master key of each context.
    contexts : uint8[n, context_length]
        As for `derive_traffic_keys`.

    Returns
    -------
    uint8[n, key_length]
    """
    prefix = np.frombuffer(known.kdf_prefix, np.uint8)
    suffix = np.frombuffer(known.kdf_suffix, np.uint8)
    count, length = contexts.shape
    inputs = np.empty((count, len(prefix) + length + len(suffix)), np.uint8)
    inputs[:, :len(prefix)] = prefix
    inputs[:, len(prefix):len(prefix) + length] = contexts
    inputs[:, len(prefix) + length:] = suffix
    size = inputs.shape[1]
    macs = mac_batch(prf, which, inputs, np.arange(count) * size, np.full(count, size))
    return np.ascontiguousarray(macs[:, :known.traffic_key_length])
