"""Stage `keys`: KeyID and matching MKTs -> MKT and traffic key; missing keys are derived in batches.

A traffic key is derived once for a connection, MKT and direction, and kept as its MAC wants it:
as midstates or round keys, in slabs of one size a kernel.  The slots of one incarnation and
direction are chained; the first is where `connections` keeps it.

A slab does not grow for ever: beyond its limit a key that was not used lately gives way (a clock
with a second chance), and is derived again when it is needed.

A slot number alone does not say in which slab it lies, so the number of a key carries both:
``slot << SLAB_BITS | kernel``.
"""

cimport cython
from libc.stdint cimport uint16_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

import numpy as np

from tcpao_fast.core.connections cimport (
    HAS_CANDIDATES,
    HAS_DETAILS,
    NONE,
    Aside,
    out_of_memory,
)
from tcpao_fast.core.kernels cimport TCPAO_MD5, tcpao_big_pages, tcpao_grow_table, tcpao_prefetch
from tcpao_fast.core.mac cimport Scheduler, prepare, prepared_length, wipe
from tcpao_fast.core.mkt cimport within
from tcpao_fast.core.messages cimport KERNEL_LIBRARY, MAX_SUFFIX, SCRATCH, context, layout

from tcpao_fast.core.mac import TrafficKeys, mac_batch, require_kernels
from tcpao_fast.algorithms import find
from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    RAW = 64              # bytes kept for a derived key before it is prepared
    PREPARED = 256        # and for a prepared one
    DERIVE_CHUNK = 256    # derived side by side
    KEY_BYTES = 200       # kept for the traffic keys of a connection, if all are there
    FEWEST_SLOTS = 16384  # and at least so many keys: more than a batch can use
    MOST_SLOTS = 0x7fffffff >> 3
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
    if mkt.vrf >= 0 and mkt.vrf != <int64_t>segment.vrf:
        return False
    if forward:
        return (side_matches(&mkt.local, segment.source, segment.source_port)
                and side_matches(&mkt.remote, segment.destination, segment.destination_port))
    return (side_matches(&mkt.remote, segment.source, segment.source_port)
            and side_matches(&mkt.local, segment.destination, segment.destination_port))


def condition(algorithm, secret):
    """The key of the KDF's PRF: the master key, condensed where the algorithm wants that."""
    if not algorithm.extract or len(secret) == algorithm.exact_secret_length:
        return secret
    zeros = np.zeros((1, algorithm.traffic_key_length), np.uint8)
    return bytes(mac_batch(TrafficKeys(algorithm.name, zeros), [0], secret, [0], [len(secret)])[0])


@cython.final
cdef class KeyTable:
    """The MKTs of an engine and every traffic key derived from them.

    `add` every MKT, then `freeze`; MKTs are numbered from 0 in the order of `add`.

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
            self.slabs[i].stride = prepared_length(i)
            if self.slabs[i].stride:
                bytes_ = <int64_t>KEY_BYTES * owners.limit
                self.slabs[i].limit = <int32_t>min(
                    max(bytes_ // <int64_t>(self.slabs[i].stride + sizeof(KeySlot)),
                        <int64_t>FEWEST_SLOTS), <int64_t>MOST_SLOTS)

    def __dealloc__(self):
        cdef int i, chunk
        for i in range(self.count):
            wipe(self.mkts[i].master, self.mkts[i].master_length)
            free(self.mkts[i].master)
        free(self.mkts)
        wipe(self.scratch, DERIVE_CHUNK * (SCRATCH + RAW + PREPARED))
        free(self.scratch)
        free(self.messages)
        free(self.by_send_id)
        free(self.by_recv_id)
        for i in range(SLABS):
            for chunk in range(self.slabs[i].capacity // CHUNK):
                wipe(self.slabs[i].chunks[chunk], CHUNK * self.slabs[i].stride)
                free(self.slabs[i].chunks[chunk])
            free(self.slabs[i].chunks)
            free(self.slabs[i].slots)

    def add(self, *, algorithm, secret, send_id, recv_id, mac_length, exclude_options, version,
            local, remote, vrf, send_lifetime, accept_lifetime):
        """Append an MKT.

        Parameters
        ----------
        algorithm : Algorithm
        secret : bytes
        send_id, recv_id : int
            0 for TCP-MD5.
        mac_length : int
        exclude_options : bool
        version : int
            4, 6, or 0 for either.
        local, remote : tuple of (network bytes or None, prefix bits, low port, high port)
        vrf : int or None
        send_lifetime, accept_lifetime : tuple of (int, int)
            Nanoseconds since 1970, both included.
        """
        if self.count >= MOST_MKTS:
            raise InvalidArgumentError(f"more than {MOST_MKTS} keys")
        cdef Mkt *mkts = <Mkt *>realloc(self.mkts, (self.count + 1) * sizeof(Mkt))
        cdef Mkt *mkt
        cdef const uint8_t[::1] key
        if mkts == NULL:
            raise MemoryError()
        self.mkts = mkts
        mkt = &mkts[self.count]
        memset(mkt, 0, sizeof(Mkt))
        fill_side(&mkt.local, local)
        fill_side(&mkt.remote, remote)
        mkt.version = version
        mkt.vrf = -1 if vrf is None else vrf
        mkt.send = send_lifetime
        mkt.accept = accept_lifetime
        mkt.send_id = send_id
        mkt.recv_id = recv_id
        mkt.mac_length = mac_length
        mkt.exclude_options = exclude_options
        mkt.kernel = algorithm.kernel
        mkt.traffic_key_length = algorithm.traffic_key_length
        mkt.kdf_prefix_length = len(algorithm.kdf_prefix)
        mkt.kdf_suffix_length = len(algorithm.kdf_suffix)
        memcpy(mkt.kdf_prefix, <const uint8_t *><bytes>algorithm.kdf_prefix, mkt.kdf_prefix_length)
        memcpy(mkt.kdf_suffix, <const uint8_t *><bytes>algorithm.kdf_suffix, mkt.kdf_suffix_length)
        if mkt.kernel == TCPAO_MD5:
            if not 0 < len(secret) <= MAX_SUFFIX:
                raise InvalidArgumentError(f"a TCP-MD5 key has 1 to {MAX_SUFFIX} bytes")
            mkt.master_length = len(secret)
        else:
            mkt.master_length = 0 if mkt.kernel == KERNEL_LIBRARY else prepared_length(mkt.kernel)
        if mkt.master_length:
            mkt.master = <uint8_t *>malloc(mkt.master_length)
            if mkt.master == NULL:
                raise MemoryError()
            key = secret if mkt.kernel == TCPAO_MD5 else condition(algorithm, secret)
            if mkt.kernel == TCPAO_MD5:
                memcpy(mkt.master, &key[0], mkt.master_length)
            else:
                prepare(mkt.kernel, &key[0], key.shape[0], 1, mkt.master)
        self.in_use[mkt.kernel] = mkt.kernel != TCPAO_MD5
        self.algorithms.append(algorithm)
        self.library_secrets.append(secret if mkt.kernel == KERNEL_LIBRARY else None)
        self.count += 1

    def freeze(self):
        """Build the look-up by key ID; no `add` after it."""
        cdef int32_t i
        cdef int32_t[::1] order
        self.by_send_id = <int32_t *>malloc(max(1, self.count) * sizeof(int32_t))
        self.by_recv_id = <int32_t *>malloc(max(1, self.count) * sizeof(int32_t))
        if self.by_send_id == NULL or self.by_recv_id == NULL:
            raise MemoryError()
        usable = [i for i in range(self.count) if self.mkts[i].kernel != TCPAO_MD5]
        for ids, receive in (([self.mkts[i].send_id for i in range(self.count)], False),
                             ([self.mkts[i].recv_id for i in range(self.count)], True)):
            ordered = sorted(usable, key=ids.__getitem__)
            starts = np.searchsorted([ids[i] for i in ordered], np.arange(257))
            for i in range(257):
                if receive:
                    self.recv_starts[i] = starts[i]
                else:
                    self.send_starts[i] = starts[i]
            if ordered:
                order = np.array(ordered, dtype=np.int32)
                memcpy(self.by_recv_id if receive else self.by_send_id, &order[0],
                       len(ordered) * sizeof(int32_t))

    cdef void match(self, const Segment *segment, uint8_t key_id, int32_t *found) noexcept nogil:
        """The MKTs that the KeyID of a segment may mean: as SendID of one whose local side sent
        it, as RecvID of one whose remote side sent it.  At most one each, as MKTs that overlap
        share no IDs."""
        cdef int32_t i
        found[0] = found[1] = NONE
        for i in range(self.send_starts[key_id], self.send_starts[key_id + 1]):
            if matches(&self.mkts[self.by_send_id[i]], segment, True):
                found[0] = self.by_send_id[i]
                break
        for i in range(self.recv_starts[key_id], self.recv_starts[key_id + 1]):
            if matches(&self.mkts[self.by_recv_id[i]], segment, False):
                found[1] = self.by_recv_id[i]
                break
        if found[0] == NONE or found[0] == found[1]:
            found[0] = found[1]
            found[1] = NONE

    cdef void look_up(self, const Segment *segment, int32_t connection) noexcept nogil:
        """Note on the connection, once, whether it has an MKT and which TCP-MD5 key."""
        cdef Connection *it = &self.owners.connections[connection]
        cdef Aside *aside = &self.owners.asides[connection]
        cdef int32_t i
        if it.looked_up & HAS_DETAILS:
            return
        it.looked_up |= HAS_DETAILS
        it.has_mkt = 0
        aside.md5_key = NONE
        for i in range(self.count):
            if matches(&self.mkts[i], segment, True) or matches(&self.mkts[i], segment, False):
                if self.mkts[i].kernel != TCPAO_MD5:
                    it.has_mkt = 1
                elif aside.md5_key == NONE:
                    aside.md5_key = i

    cdef int candidates(self, const Segment *segment, int32_t connection, int direction,
                        int64_t timestamp, int32_t *found) noexcept nogil:
        """How many MKTs a signed segment's KeyID may mean (0 to 2), and which."""
        cdef Connection *it = &self.owners.connections[connection]
        cdef int32_t *cached = self.owners.asides[connection].candidates[direction]
        cdef int i, count = 0
        if not it.looked_up & HAS_CANDIDATES << direction or (
                it.candidate_id[direction] != segment.key_id):
            self.match(segment, segment.key_id, cached)
            it.candidate_id[direction] = segment.key_id
            it.looked_up |= HAS_CANDIDATES << direction
        for i in range(2):
            if cached[i] != NONE and within(self.mkts[cached[i]].accept, timestamp):
                found[count] = cached[i]
                count += 1
        return count

    cdef int32_t to_send(self, const Segment *segment, const Connection *connection, int direction,
                         int64_t timestamp, bint *forward) noexcept nogil:
        """The first MKT that may sign a segment, TCP-AO before TCP-MD5, or NONE.  `forward`: its
        local side is the sender; where both would do, the side that opened the connection is local."""
        cdef int32_t i, md5 = NONE
        cdef bint ahead, back
        for i in range(self.count):
            if not within(self.mkts[i].send, timestamp):
                continue
            ahead = matches(&self.mkts[i], segment, True)
            back = matches(&self.mkts[i], segment, False)
            if not ahead and not back:
                continue
            if self.mkts[i].kernel == TCPAO_MD5:
                md5 = i if md5 == NONE else md5
                continue
            forward[0] = ahead and (not back or connection.initiator != 1 - direction)
            return i
        forward[0] = True
        return md5

    cdef int reserve(self, Py_ssize_t more) except -1 nogil:
        """Make room for `more` traffic keys of each kernel in use."""
        cdef int kernel
        cdef Slab *slab
        for kernel in range(SLABS):
            slab = &self.slabs[kernel]
            while self.in_use[kernel] and slab.available < more:
                if slab.capacity < slab.limit or not self.evict(slab):
                    grow(slab)
        return 0

    cdef bint evict(self, Slab *slab) noexcept nogil:
        """Free the slot of a key that was not used lately, and not in this batch."""
        cdef int kernel = <int>(slab - self.slabs)
        cdef KeySlot *slot
        for _ in range(2 * slab.capacity):
            slab.hand = slab.hand + 1 if slab.hand + 1 < slab.capacity else 0
            slot = &slab.slots[slab.hand]
            if slot.owner == NONE or slot.batch & ~<uint32_t>IN_USE == self.owners.batch:
                continue
            if slot.batch & IN_USE:
                slot.batch &= ~<uint32_t>IN_USE
            elif self.disown(slab, kernel, slab.hand):
                self.free_slot(slab.hand << SLAB_BITS | kernel)
                self.evicted += 1
                return True
        return False

    cdef bint disown(self, Slab *slab, int kernel, int32_t slot) noexcept nogil:
        """Take a slot out of its owner's chain; False where the owner has let it go already."""
        cdef int32_t owner = slab.slots[slot].owner
        cdef int32_t *link = &self.owners.incarnations[owner >> 1].keys[owner & 1]
        while link[0] != NONE:
            if link[0] == (slot << SLAB_BITS | kernel):
                link[0] = slab.slots[slot].next
                return True
            link = &key_slot(self.slabs, link[0]).next
        return False

    cdef void prefetch(self, const Hypothesis *row) noexcept nogil:
        """Ask for the traffic key that a row of a proved connection will probably use."""
        cdef int32_t live, key
        cdef const uint8_t *data
        cdef size_t at = 0
        if row.connection == NONE:
            return
        live = self.owners.connections[row.connection].live
        if live == NONE:
            return
        key = self.owners.incarnations[live].keys[row.direction]
        if key == NONE:
            return
        tcpao_prefetch(key_slot(self.slabs, key))
        data = key_data(self.slabs, key)
        while at < self.slabs[slab_of(key)].stride:
            tcpao_prefetch(data + at)
            at += 64

    cdef int32_t take_slot(self, int32_t mkt) noexcept nogil:
        """A free slot for a traffic key of the MKT (`reserve` has made room)."""
        cdef int kernel = self.mkts[mkt].kernel
        cdef Slab *slab = &self.slabs[kernel]
        cdef int32_t slot = slab.free
        slab.free = slab.slots[slot].next
        slab.available -= 1
        slab.slots[slot].tagged = <uint32_t>mkt << TAG_BITS
        slab.slots[slot].next = slab.slots[slot].owner = NONE
        slab.slots[slot].batch = self.owners.batch | IN_USE
        return slot << SLAB_BITS | kernel

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
        slot = slot_of(slot)
        slab.slots[slot].owner = NONE
        slab.slots[slot].next = slab.free
        slab.free = slot
        slab.available += 1

    cdef void free_list(self, int32_t head) noexcept nogil:
        cdef int32_t following
        while head != NONE:
            following = key_slot(self.slabs, head).next
            self.free_slot(head)
            head = following

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
        cdef int kernel
        cdef Py_ssize_t i
        if count == 0:
            return 0
        for kernel in range(SLABS):
            for i in range(count):
                if self.mkts[wanted[i].mkt].kernel == kernel:
                    if kernel == KERNEL_LIBRARY:
                        with gil:
                            self.derive_library(wanted, count)
                    else:
                        derive_compiled(self, kernel, wanted, count)
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

    cdef int derive_library(self, Derivation *wanted, Py_ssize_t count) except -1:
        cdef uint8_t text[64]
        cdef size_t length
        cdef Py_ssize_t i
        for i in range(count):
            if self.mkts[wanted[i].mkt].kernel != KERNEL_LIBRARY:
                continue
            length = context(wanted[i].segment, wanted[i].isn_source, wanted[i].isn_destination, text)
            algorithm = self.algorithms[wanted[i].mkt]
            key = algorithm.derive(self.library_secrets[wanted[i].mkt], text[:length])
            memcpy(key_data(self.slabs, wanted[i].slot),
                   <const uint8_t *><bytes>key, len(key))
        return 0


cdef int fill_side(Side *side, description) except -1:
    network, prefix, low, high = description
    side.any = network is None
    side.prefix = prefix
    side.port_low = low
    side.port_high = high
    if network is not None:
        memcpy(side.network, <const uint8_t *><bytes>network, len(network))
    return 0


cdef int grow(Slab *slab) except -1 nogil:
    """A chunk more; what is there stays where it is."""
    cdef int32_t chunk = slab.capacity // CHUNK, i
    cdef void *grown = realloc(slab.chunks, (chunk + 1) * sizeof(uint8_t *))
    if grown == NULL:
        out_of_memory()
    slab.chunks = <uint8_t **>grown
    if chunk & (chunk - 1) == 0:         # the slots stand together, and double
        grown = tcpao_grow_table(slab.slots, chunk * CHUNK * sizeof(KeySlot),
                                 max(1, 2 * chunk) * CHUNK * sizeof(KeySlot))
        if grown == NULL:
            out_of_memory()
        slab.slots = <KeySlot *>grown
    slab.chunks[chunk] = <uint8_t *>calloc(CHUNK, slab.stride)
    if slab.chunks[chunk] == NULL:
        out_of_memory()
    if chunk:                            # where there are few keys, big pages would be a waste
        tcpao_big_pages(slab.chunks[chunk], CHUNK * slab.stride)
    for i in range(slab.capacity + CHUNK - 1, slab.capacity - 1, -1):
        slab.slots[i].owner = NONE
        slab.slots[i].next = slab.free
        slab.free = i
    slab.available += CHUNK
    slab.capacity += CHUNK
    return 0


cdef void kdf_message(const Mkt *mkt, uint8_t *scratch, size_t context_length, uint8_t *digest,
                      tcpao_message *message) noexcept nogil:
    """The KDF's input around a context that stands in `scratch` behind room for the prefix."""
    cdef size_t length = mkt.kdf_prefix_length + context_length + mkt.kdf_suffix_length
    memcpy(scratch, mkt.kdf_prefix, mkt.kdf_prefix_length)
    memcpy(scratch + length - mkt.kdf_suffix_length, mkt.kdf_suffix, mkt.kdf_suffix_length)
    layout(mkt.kernel, mkt.master, scratch, length, NULL, 0, NULL, 0, digest, message)


cdef void derive_compiled(KeyTable table, int kernel, Derivation *wanted,
                          Py_ssize_t count) noexcept nogil:
    """Derive those of the wanted keys whose MKT uses this kernel, `DERIVE_CHUNK` side by side."""
    cdef uint8_t *scratch = table.scratch
    cdef tcpao_message *messages = table.messages
    cdef uint8_t *raw = scratch + DERIVE_CHUNK * SCRATCH
    cdef uint8_t *prepared = raw + DERIVE_CHUNK * RAW
    cdef Slab *slab = &table.slabs[kernel]
    cdef Derivation *chosen[DERIVE_CHUNK]
    cdef const Mkt *mkt
    cdef Py_ssize_t at = 0, n, i
    cdef size_t length = 0, size
    while at < count:
        n = 0
        while at < count and n < DERIVE_CHUNK:
            mkt = &table.mkts[wanted[at].mkt]
            if mkt.kernel == kernel:
                chosen[n] = &wanted[at]
                length = mkt.traffic_key_length
                size = context(wanted[at].segment, wanted[at].isn_source,
                               wanted[at].isn_destination,
                               scratch + SCRATCH * n + mkt.kdf_prefix_length)
                kdf_message(mkt, scratch + SCRATCH * n, size, raw + RAW * n, &messages[n])
                n += 1
            at += 1
        table.scheduler.run(kernel, messages, n)
        for i in range(1, n):               # the PRF's output is the traffic key: close up
            memcpy(raw + length * i, raw + RAW * i, length)
        prepare(kernel, raw, length, n, prepared)
        for i in range(n):
            memcpy(key_data(table.slabs, chosen[i].slot), prepared + slab.stride * i, slab.stride)


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
        20 bytes for HMAC-SHA-1, 16 for AES-128-CMAC, 32 for HMAC-SHA-256.

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
    if not secret:
        raise InvalidArgumentError("secret is empty")
    rows = np.ascontiguousarray(array)
    if known.kernel == KERNEL_LIBRARY:
        keys = np.empty((rows.shape[0], known.traffic_key_length), np.uint8)
        for i in range(rows.shape[0]):
            keys[i] = np.frombuffer(known.derive(bytes(secret), bytes(rows[i])), np.uint8)
        return keys
    # the KDF is the algorithm's MAC over prefix | context | suffix
    prefix = np.frombuffer(known.kdf_prefix, np.uint8)
    suffix = np.frombuffer(known.kdf_suffix, np.uint8)
    count = rows.shape[0]
    inputs = np.empty((count, len(prefix) + rows.shape[1] + len(suffix)), np.uint8)
    inputs[:, :len(prefix)] = prefix
    inputs[:, len(prefix):len(prefix) + rows.shape[1]] = array
    inputs[:, len(prefix) + rows.shape[1]:] = suffix
    prf = TrafficKeys(
        algorithm,
        np.frombuffer(condition(known, bytes(secret)), np.uint8)[None, :],
    )
    size = inputs.shape[1]
    macs = mac_batch(prf, np.zeros(count, np.int32), inputs, np.arange(count) * size,
                     np.full(count, size))
    return np.ascontiguousarray(macs[:, :known.traffic_key_length])
