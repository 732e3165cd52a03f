"""Sets of MKTs: which of them a connection matches, whatever their number.

A connection identifier is a prefix at each end, so a set has few *shapes*: pairs of prefix lengths.
A search masks the segment's addresses once for each shape and probes a hash table (tuple space
search); ports and VRF are compared in what it finds.  It holds no secret: what is in the table is
the operator's, and a segment's addresses can only choose among that.
"""

cimport cython
from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp, memcpy, memset

from tcpao_fast.core.wire.segment cimport be32, between

from tcpao_fast.errors import InvalidArgumentError

cdef uint64_t ODD = 0x9E3779B97F4A7C15ULL

cdef enum:
    NONE = -1
    FIRST_CAPACITY = 16
    MOST_MKTS = 1 << 22


cdef bint side_matches(const Side *side, const uint8_t *address, uint16_t port) noexcept nogil:
    cdef int whole = side.prefix // 8
    cdef int rest = side.prefix % 8
    if port < side.port_low or port > side.port_high:
        return False
    if side.any:
        return True
    if memcmp(side.network, address, whole) != 0:
        return False
    return rest == 0 or (side.network[whole] ^ address[whole]) >> (8 - rest) == 0


cdef bint matches(const Mkt *mkt, const Segment *segment, bint forward) noexcept nogil:
    """Whether the MKT's connection identifier covers a segment that its local side sent (forward)
    or received."""
    if mkt.version != 0 and mkt.version != segment.version:
        return False
    if mkt.vrf >= 0 and mkt.vrf != <int64_t>segment.vlan:
        return False
    if forward:
        return (side_matches(&mkt.local, segment.source, segment.source_port)
                and side_matches(&mkt.remote, segment.destination, segment.destination_port))
    return (side_matches(&mkt.remote, segment.source, segment.source_port)
            and side_matches(&mkt.local, segment.destination, segment.destination_port))


cdef inline uint64_t mix(uint64_t hash, uint64_t word) noexcept nogil:
    hash = (hash ^ word) * ODD
    return hash ^ (hash >> 29)


cdef inline uint32_t masked(const uint8_t *address, int at, int prefix) noexcept nogil:
    """The 32 bits of an address from byte `at` on, as far as they belong to the prefix."""
    cdef int bits = prefix - 8 * at
    if bits >= 32:
        return be32(address + at)
    return be32(address + at) & ~(<uint32_t>0xFFFFFFFF >> bits) if bits > 0 else 0


cdef uint64_t hash_of(const Shape *shape, Purpose purpose, uint8_t key_id, const uint8_t *local,
                      const uint8_t *remote) noexcept nogil:
    cdef int at = 0, size = 16 if shape.version == 6 else 4
    cdef uint64_t hash = mix(<uint64_t>purpose << 8 | key_id, (
        <uint64_t>shape.version << 16 | <uint64_t>shape.local_prefix << 8 | shape.remote_prefix))
    while shape.version and at < size:
        hash = mix(hash, <uint64_t>masked(local, at, shape.local_prefix) << 32
                   | masked(remote, at, shape.remote_prefix))
        at += 4
    return hash


cdef inline bint same_shape(const Shape *shape, const Mkt *mkt) noexcept nogil:
    return (shape.version == mkt.version and shape.local_prefix == mkt.local.prefix
            and shape.remote_prefix == mkt.remote.prefix)


cdef int fill_side(Side *side, description) except -1:
    network, prefix, low, high, nat = description
    if network is not None and (
            len(network) not in (4, 16) or not 0 <= prefix <= 8 * len(network)):
        raise InvalidArgumentError(f"a network has 4 or 16 bytes, of which {prefix} bits are none")
    side.any = network is None
    side.prefix = prefix
    side.port_low = low
    side.port_high = high
    side.nat = nat
    if network is not None:
        memcpy(side.network, <const uint8_t *><bytes>network, len(network))
    return 0


cdef inline int purposes(const Mkt *mkt) noexcept nogil:
    """How many entries an MKT has."""
    return 1 if mkt.tcp_md5 else PURPOSES


cdef inline Purpose purpose_of(const Mkt *mkt, int32_t entry) noexcept nogil:
    return BY_TCP_MD5 if mkt.tcp_md5 else <Purpose>(entry % PURPOSES)


cdef inline uint8_t id_of(const Mkt *mkt, Purpose purpose) noexcept nogil:
    if purpose == BY_SEND_ID:
        return mkt.send_id
    return mkt.recv_id if purpose == BY_RECV_ID else 0


@cython.final
cdef class MktSet:
    """MKTs, numbered from 0 in the order in which they are added."""

    def __dealloc__(self):
        free(self.mkts)
        free(self.present)
        free(self.entries)
        free(self.buckets)
        free(self.shapes)

    cdef int reserve(self) except -1:
        """Make room for one more."""
        cdef int32_t capacity = max(FIRST_CAPACITY, 2 * self.capacity), i
        cdef uint64_t buckets = 1
        cdef void *grown
        if self.count < self.capacity:
            return 0
        if capacity > MOST_MKTS:
            raise InvalidArgumentError(f"more than {MOST_MKTS // 2} keys")
        grown = realloc(self.mkts, capacity * sizeof(Mkt))
        if grown == NULL:
            raise MemoryError()
        self.mkts = <Mkt *>grown
        grown = realloc(self.present, capacity)
        if grown == NULL:
            raise MemoryError()
        self.present = <uint8_t *>grown
        grown = realloc(self.entries, capacity * PURPOSES * sizeof(Entry))
        if grown == NULL:
            raise MemoryError()
        self.entries = <Entry *>grown
        grown = realloc(self.shapes, capacity * sizeof(Shape))      # each could have its own
        if grown == NULL:
            raise MemoryError()
        self.shapes = <Shape *>grown
        while buckets < 2 * PURPOSES * <uint64_t>capacity:
            buckets *= 2
        grown = realloc(self.buckets, buckets * sizeof(int32_t))
        if grown == NULL:
            raise MemoryError()
        self.buckets = <int32_t *>grown
        self.mask = buckets - 1
        self.capacity = capacity
        memset(self.buckets, 0xFF, buckets * sizeof(int32_t))
        for i in range(PURPOSES * self.count):
            if self.present[i // PURPOSES] and i % PURPOSES < purposes(&self.mkts[i // PURPOSES]):
                self.link(i)
        return 0

    cdef void link(self, int32_t entry) noexcept nogil:
        cdef int32_t *bucket = &self.buckets[self.entries[entry].hash & self.mask]
        self.entries[entry].next = bucket[0]
        bucket[0] = entry

    cdef void unlink(self, int32_t entry) noexcept nogil:
        cdef int32_t *at = &self.buckets[self.entries[entry].hash & self.mask]
        while at[0] != entry:
            at = &self.entries[at[0]].next
        at[0] = self.entries[entry].next

    def add(self, *, tcp_md5, send_id, recv_id, version, local, remote, vrf, send_lifetime,
            accept_lifetime, alternative=False):
        """Add an MKT; its number.

        Parameters
        ----------
        tcp_md5 : bool
        send_id, recv_id : int
            0 for TCP-MD5.
        version : int
            4, 6, or 0 for either.
        local, remote : tuple of (network bytes or None, prefix bits, low port, high port, NAT)
        vrf : int or None
        send_lifetime, accept_lifetime : tuple of (int, int)
            Nanoseconds since 1970, both included.
        alternative : bool
            Whether other MKTs for the same connections may share its IDs, so that MACs decide.
        """
        cdef Mkt *mkt
        cdef Shape *shape
        cdef Purpose purpose
        cdef int32_t i
        if version not in (0, 4, 6) or any(
                side[0] is not None and len(side[0]) != (4 if version == 4 else 16)
                for side in (local, remote)):
            raise InvalidArgumentError(f"networks of an MKT with version {version} are of another")
        self.reserve()
        mkt = &self.mkts[self.count]
        memset(mkt, 0, sizeof(Mkt))
        fill_side(&mkt.local, local)
        fill_side(&mkt.remote, remote)
        mkt.nat = mkt.local.nat or mkt.remote.nat
        mkt.tcp_md5 = tcp_md5
        mkt.version = version
        mkt.vrf = -1 if vrf is None else vrf
        mkt.send = send_lifetime
        mkt.accept = accept_lifetime
        mkt.send_id = send_id
        mkt.recv_id = recv_id
        self.has_alternatives |= <bint>alternative
        for i in range(self.shape_count):
            if same_shape(&self.shapes[i], mkt):
                break
        else:
            i = self.shape_count
            shape = &self.shapes[i]
            shape.version = mkt.version
            shape.local_prefix = mkt.local.prefix
            shape.remote_prefix = mkt.remote.prefix
            shape.count = 0
            self.shape_count += 1
        shape = &self.shapes[i]
        shape.count += 1
        for i in range(PURPOSES * self.count, PURPOSES * self.count + purposes(mkt)):
            purpose = purpose_of(mkt, i)
            self.entries[i].hash = hash_of(shape, purpose, id_of(mkt, purpose), mkt.local.network,
                                           mkt.remote.network)
            self.link(i)
        self.present[self.count] = 1
        self.count += 1
        return self.count - 1

    def remove(self, int32_t number):
        """Take an MKT out; its number is not given again."""
        cdef Mkt *mkt
        cdef int32_t i
        if not 0 <= number < self.count or not self.present[number]:
            raise InvalidArgumentError(f"there is no MKT {number}")
        mkt = &self.mkts[number]
        self.present[number] = 0
        for i in range(PURPOSES * number, PURPOSES * number + purposes(mkt)):
            self.unlink(i)
        for i in range(self.shape_count):
            if same_shape(&self.shapes[i], mkt):
                self.shapes[i].count -= 1
                if self.shapes[i].count == 0:
                    self.shape_count -= 1
                    self.shapes[i] = self.shapes[self.shape_count]
                break

    cdef void start(self, Search *search) noexcept nogil:
        search.shape = NONE
        search.entry = NONE

    cdef int32_t next_match(self, Search *search, Purpose purpose, uint8_t key_id,
                            const Segment *segment, bint forward) noexcept nogil:
        """The number of the next MKT that covers a segment (see `matches`), in no order; NONE at
        the end.  `key_id` counts for `BY_SEND_ID` and `BY_RECV_ID` and is else 0."""
        cdef const uint8_t *local = segment.source if forward else segment.destination
        cdef const uint8_t *remote = segment.destination if forward else segment.source
        cdef int32_t entry = search.entry, number
        cdef const Mkt *mkt
        cdef Purpose found
        while True:
            while entry != NONE:
                number = entry // PURPOSES
                search.entry = self.entries[entry].next
                if self.entries[entry].hash == search.hash:
                    mkt = &self.mkts[number]
                    found = purpose_of(mkt, entry)
                    if found == purpose and id_of(mkt, found) == key_id and same_shape(
                            &self.shapes[search.shape], mkt) and matches(mkt, segment, forward):
                        return number
                entry = search.entry
            search.shape += 1
            while search.shape < self.shape_count and (
                    self.shapes[search.shape].version != segment.version
                    and self.shapes[search.shape].version != 0):
                search.shape += 1
            if search.shape >= self.shape_count:
                search.entry = NONE
                return NONE
            search.hash = hash_of(&self.shapes[search.shape], purpose, key_id, local, remote)
            entry = self.buckets[search.hash & self.mask]

    cdef int32_t first_match(self, Purpose purpose, uint8_t key_id, const Segment *segment,
                             bint forward) noexcept nogil:
        """Of all that `next_match` gives the one that was added first."""
        cdef Search search
        cdef int32_t found = NONE, number
        self.start(&search)
        number = self.next_match(&search, purpose, key_id, segment, forward)
        while number != NONE:
            if found == NONE or number < found:
                found = number
            number = self.next_match(&search, purpose, key_id, segment, forward)
        return found

    def matching(self, int version, const uint8_t[::1] local, uint16_t local_port,
                 const uint8_t[::1] remote, uint16_t remote_port, uint32_t vrf, *, send_id=None,
                 recv_id=None, bint tcp_md5=False):
        """The numbers of all MKTs for a connection, as its local end sees it, in rising order.

        Parameters
        ----------
        version : int
            4 or 6.
        local, remote : 4 or 16 bytes
        local_port, remote_port, vrf : int
        send_id, recv_id : int, optional
            Only those with this SendID, or with this RecvID.
        tcp_md5 : bool
            The TCP-MD5 keys instead of those of TCP-AO.
        """
        cdef Segment segment
        cdef Search search
        cdef int32_t number
        cdef Purpose purpose = BY_TCP_MD5 if tcp_md5 else BY_ANY_ID
        cdef uint8_t key_id = 0
        if version not in (4, 6) or not len(local) == len(remote) == (4 if version == 4 else 16):
            raise InvalidArgumentError("addresses have 4 bytes with version 4, 16 with version 6")
        if recv_id is not None:
            purpose, key_id = BY_RECV_ID, recv_id
        elif send_id is not None:
            purpose, key_id = BY_SEND_ID, send_id
        between(&segment, version, &local[0], &remote[0], local_port, remote_port, vrf)
        found = []
        self.start(&search)
        number = self.next_match(&search, purpose, key_id, &segment, True)
        while number != NONE:
            if send_id is None or self.mkts[number].send_id == <uint8_t>send_id:
                found.append(number)
            number = self.next_match(&search, purpose, key_id, &segment, True)
        found.sort()
        return found

    cdef set neighbours(self, const Mkt *mkt, Purpose purpose, uint8_t key_id):
        """Numbers of the MKTs with this purpose and ID that may overlap an MKT: where its prefixes
        are the shorter all of them, else those whose prefixes cover it."""
        cdef const Mkt *other
        cdef const Shape *shape
        cdef uint64_t hash
        cdef int32_t entry, i
        found = set()
        for i in range(self.shape_count):
            shape = &self.shapes[i]
            if shape.version and mkt.version and shape.version != mkt.version:
                continue
            if shape.local_prefix > mkt.local.prefix or shape.remote_prefix > mkt.remote.prefix:
                break
            hash = hash_of(shape, purpose, key_id, mkt.local.network, mkt.remote.network)
            entry = self.buckets[hash & self.mask]
            while entry != NONE:
                other = &self.mkts[entry // PURPOSES]
                if self.entries[entry].hash == hash and purpose_of(other, entry) == purpose and (
                        id_of(other, purpose) == key_id):
                    found.add(entry // PURPOSES)
                entry = self.entries[entry].next
        else:
            return found
        for i in range(self.count):
            other = &self.mkts[i]
            if self.present[i] and other.tcp_md5 == (purpose == BY_TCP_MD5) and (
                    id_of(other, purpose) == key_id):
                found.add(i)
        return found

    cdef const Mkt *checked(self, int32_t number) except NULL:
        if not 0 <= number < self.count:
            raise InvalidArgumentError(f"there is no MKT {number}; there are {self.count}")
        return &self.mkts[number]

    def sharing(self, int32_t number):
        """MKTs that share an ID with this one and may overlap it.

        Returns
        -------
        list of (str, int)
            ``"send_id"`` or ``"recv_id"``, and a number.  Ports, VRF, and addresses where this
            one's prefixes are the shorter, are not compared.
        """
        cdef const Mkt *mkt = self.checked(number)
        found = []
        if not mkt.tcp_md5:
            for purpose, name in ((BY_SEND_ID, "send_id"), (BY_RECV_ID, "recv_id")):
                numbers = self.neighbours(mkt, purpose, id_of(mkt, purpose))
                numbers.discard(number)
                found += [(name, i) for i in sorted(numbers)]
        return found

    def of_other_kind(self, int32_t number):
        """The numbers of the TCP-MD5 keys that may overlap an MKT, or of the MKTs that may overlap a
        TCP-MD5 key: see `sharing`."""
        cdef const Mkt *mkt = self.checked(number)
        return sorted(self.neighbours(mkt, BY_ANY_ID if mkt.tcp_md5 else BY_TCP_MD5, 0))
