"""Stage `verdict`: what is known without a MAC; then compare, and only now move state.

The stages before worked on the most likely hypothesis of each segment, all of a batch at once.
`commit` walks the batch in order and decides as if the segments had come one by one: where the
speculation was the right first choice its MAC is used, everything else (a port used again, a
forged SYN-ACK in between, two MKTs with one ID) is computed here, for that segment alone.  So the
verdicts do not depend on how a stream is cut into batches.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from tcpao_fast.core.flow.connections cimport (
    HAS_MKT,
    INITIATOR_UNKNOWN,
    IS_PROVED,
    IS_SPECULATED,
    NONE,
    PROOF_NONE,
    PROOF_SYN,
    Connection,
    Incarnation,
    advance,
)
from tcpao_fast.core.mac.attempt cimport (
    ASKED_FOR_KEY,
    CHECK_AO,
    CHECK_MD5,
    CHECK_NOTHING,
    STEPPED_SNE,
    Tried,
)
from tcpao_fast.core.mac.kernels cimport tcpao_equal, tcpao_message
from tcpao_fast.core.flow.traffic_keys cimport (
    MOST_CANDIDATES,
    Derivation,
    KeySlot,
    key_data,
    is_expected,
    slot_mkt,
)
from tcpao_fast.core.mac.mac cimport mac_one
from tcpao_fast.core.mac.messages cimport DIGEST, PRIMITIVE_LIBRARY, SCRATCH, ao_prefix, layout
from tcpao_fast.core.keys.mkt cimport Mkt, nat_of, within
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO,
    AUTH_MD5,
    FLAG_ACK,
    FLAG_RST,
    FLAG_SYN,
    KIND_CUT,
    KIND_FRAGMENT,
    KIND_MALFORMED,
    KIND_NOT_TCP,
    KIND_SEGMENT,
    is_syn,
    is_syn_ack,
)
from tcpao_fast.core.flow.sne cimport extend


cdef struct Attempts:
    # what the commit of one segment needs at hand
    const Segment *segment
    Attempt *row              # the speculation, with its MAC in `mac`
    const uint8_t *mac
    const Tried *tried           # what was computed further, by `row.tried`
    uint8_t *scratch
    int64_t timestamp


cdef bint expected(ConnectionTable connections, KeyTable keys, const Segment *segment,
                   int64_t timestamp, Attempt *row) noexcept nogil:
    """The usual case at one go: a signed segment, no SYN, of a connection that is proved, with a
    KeyID that is known to mean the traffic key at hand.  What `classify`, `speculate` and the look-up
    of the key would find, or False: ask them."""
    cdef const Mkt *mkt
    cdef KeySlot *slot
    if (segment.kind != KIND_SEGMENT or segment.auth != AUTH_AO or segment.flags & FLAG_SYN
            or segment.captured < segment.length):
        return False
    if connections.connections[row.connection].looked_up & IS_SPECULATED:
        return False
    slot = live_key(connections, keys, segment, row)
    if slot == NULL or not is_expected(slot, segment.key_id):
        return False
    mkt = &keys.mkts[slot_mkt(slot)]
    if segment.auth_length - 4 != mkt.mac_length or not within(mkt.accept, timestamp):
        return False
    take_live_key(connections, keys, slot, row)
    row.check = CHECK_AO
    row.verdict = VERDICT_BAD_MAC
    return True


cdef void classify(ConnectionTable connections, KeyTable keys, bint ao_required,
                   const Segment *segment, int64_t timestamp, Attempt *row) noexcept nogil:
    """Everything that is asked before the MAC, in order.  Sets verdict and check; for TCP-AO the
    first MKT that the KeyID may mean."""
    cdef const Connection *connection
    cdef int32_t found[MOST_CANDIDATES]
    cdef int32_t md5_key
    row.mkt = row.traffic_key = NONE
    row.check = CHECK_NOTHING
    row.temporary = 0
    row.position = 0
    if segment.kind == KIND_NOT_TCP or segment.kind == KIND_FRAGMENT:
        row.verdict = VERDICT_NOT_TCP
        return
    if segment.kind == KIND_MALFORMED:
        row.verdict = VERDICT_MALFORMED
        return
    if segment.kind == KIND_CUT:
        row.verdict = VERDICT_TRUNCATED
        return
    connection = &connections.connections[row.connection]
    keys.look_up(segment, row.connection)
    if segment.auth == AUTH_AO:
        if keys.every_candidate(segment, row.connection, row.direction, timestamp, found) == 0:
            row.verdict = VERDICT_KEY_NOT_FOUND
            return
        row.mkt = found[0]
        row.check = CHECK_AO
        row.verdict = VERDICT_BAD_MAC
    elif segment.auth == AUTH_MD5:
        md5_key = keys.md5_key(segment, row.connection, timestamp)
        if md5_key == NONE:
            row.verdict = VERDICT_MD5_UNCHECKED
            return
        row.mkt = md5_key
        row.check = CHECK_MD5
        row.verdict = VERDICT_MD5_BAD
    else:
        row.verdict = VERDICT_UNSIGNED
        if connection.looked_up & HAS_MKT or ao_required:
            row.verdict = VERDICT_AO_REQUIRED
        elif keys.md5_key(segment, row.connection, timestamp) != NONE:
            row.verdict = VERDICT_MD5_REQUIRED
        return
    if segment.captured < segment.length:
        row.check = CHECK_NOTHING
        row.verdict = VERDICT_TRUNCATED


cdef int attempt(ConnectionTable connections, KeyTable keys, Attempts *one, int32_t mkt_index,
                 uint32_t isn_source, uint32_t isn_destination, int64_t position,
                 int32_t incarnation) except -1 nogil:
    """Whether the segment's MAC is good under an MKT, a pair of ISNs and a position; 1 or 0."""
    cdef const Segment *segment = one.segment
    cdef Attempt *row = one.row
    cdef const Mkt *mkt = &keys.mkts[mkt_index]
    cdef tcpao_message message
    cdef Derivation wanted
    cdef uint8_t digest[64]
    cdef const Tried *known
    cdef int32_t slot = NONE, at
    cdef int length = segment.auth_length - 4
    cdef size_t prefix
    cdef bint good
    if position < 0 or length != mkt.mac_length:
        return 0
    if (row.traffic_key != NONE and row.mkt == mkt_index and row.isn_source == isn_source
            and row.isn_destination == isn_destination and row.position >> 32 == position >> 32):
        row.position = position
        return tcpao_equal(one.mac, segment.tcp + segment.auth_offset + 4, length)
    at = row.tried
    while at:
        known = &one.tried[at - 1]
        if (known.mkt == mkt_index and known.isn_source == isn_source
                and known.isn_destination == isn_destination
                and known.sne == <uint32_t>(position >> 32)):
            if known.good:
                row.mkt = mkt_index
                row.position = position
            return known.good
        at = known.next
    if incarnation != NONE:
        slot = keys.owned_slot(incarnation, row.direction, mkt_index)
    if slot == NONE:
        keys.reserve(1)
        if incarnation != NONE:
            slot = keys.take_owned_slot(mkt_index, incarnation, row.direction)
        else:
            slot = keys.take_slot(mkt_index)
        wanted.segment = segment
        wanted.isn_source = isn_source
        wanted.isn_destination = isn_destination
        wanted.mkt = mkt_index
        wanted.slot = slot
        keys.derive(&wanted, 1)
    prefix = ao_prefix(segment, <uint32_t>(position >> 32), mkt.exclude_options,
                       nat_of(mkt, segment), one.scratch)
    layout(mkt.primitive, key_data(keys.slabs, slot), one.scratch, prefix,
           segment.tcp + segment.header_length, segment.length - segment.header_length, NULL, 0,
           digest, &message)
    if mkt.primitive == PRIMITIVE_LIBRARY:
        keys.library_mac(mkt_index, &message)
    else:
        mac_one(mkt.primitive, &message)
    good = tcpao_equal(digest, segment.tcp + segment.auth_offset + 4, length)
    if incarnation == NONE:
        keys.free_slot(slot)
    if good:
        row.mkt = mkt_index
        row.position = position
    return good


cdef int commit_syn(ConnectionTable connections, KeyTable keys, Attempts *one, int32_t *mkts,
                    int count) except -1 nogil:
    """A SYN verifies by itself: its traffic key has its own ISN and 0."""
    cdef Attempt *row = one.row
    cdef int32_t incarnation
    cdef int good = 0, i
    for i in range(count):
        good = attempt(connections, keys, one, mkts[i], one.segment.seq, 0, one.segment.seq, NONE)
        if good:
            break
    incarnation = connections.note_syn(row.connection, row.direction, one.segment.seq, good)
    if good and connections.connections[row.connection].live == NONE:
        connections.set_initiator(row.connection, row.direction)
    if good:
        row.verdict = VERDICT_GOOD
        if incarnation != NONE:
            advance(&connections.incarnations[incarnation], one.segment, row)
    return 0


cdef int accept_pair(ConnectionTable connections, KeyTable keys, Attempts *one,
                     uint32_t isn_source, uint32_t isn_destination) except -1 nogil:
    """A MAC proved both ISNs: the first time, their incarnation is live from here on."""
    cdef Attempt *row = one.row
    cdef int32_t incarnation = connections.note_pair(
        row.connection, row.direction, isn_source, isn_destination, True,
        1 - row.direction if is_syn_ack(one.segment) else INITIATOR_UNKNOWN)
    row.verdict = VERDICT_GOOD
    if incarnation != NONE:
        advance(&connections.incarnations[incarnation], one.segment, row)
    return 0


cdef int commit_syn_ack(ConnectionTable connections, KeyTable keys, Attempts *one, int32_t *mkts,
                        int count) except -1 nogil:
    """A SYN-ACK names both ISNs; where it acknowledges data of the SYN too (RFC 7413 section 3), the
    SYN named the other one."""
    cdef Attempt *row = one.row
    cdef uint32_t isn_destination = one.segment.ack - 1, isn
    cdef int32_t incarnation = connections.find_pair(row.connection, row.direction,
                                                     one.segment.seq, isn_destination)
    cdef Incarnation *it
    cdef int32_t at, following
    cdef int i, other = 1 - row.direction
    # at an endpoint a SYN-ACK for a SYN that was not signed here is an earlier one, replayed
    cdef bint strict = connections.as_endpoint
    if not strict or answers_us(connections, row, isn_destination):
        for i in range(count):
            if attempt(connections, keys, one, mkts[i], one.segment.seq, isn_destination,
                       one.segment.seq, incarnation):
                return accept_pair(connections, keys, one, one.segment.seq, isn_destination)
    at = connections.connections[row.connection].newest
    while at != NONE:
        it = &connections.incarnations[at]
        following = it.next
        isn = it.isn[other]
        if strict and not awaits(connections, row.connection, at, other):
            pass
        elif it.known == 3 and it.isn[row.direction] == one.segment.seq and isn != isn_destination:
            # it is sent again, and both ISNs are known by now
            if attempt_incarnation(connections, keys, one, mkts, count, at):
                return 0
        elif it.known == 1 << other and attempt_guess(
                connections, keys, one, mkts, count, one.segment.seq, isn):
            return 0
        at = following
    if not strict and note_unproved(connections, one):
        row.verdict = VERDICT_MISSING_ISN
    return 0


cdef inline bint awaits(ConnectionTable connections, int32_t connection, int32_t incarnation,
                        int own) noexcept nogil:
    """Whether an incarnation is one whose SYN was signed here and waits for its SYN-ACK, or the one
    that is signed under, whose SYN-ACK can be sent again."""
    cdef const Incarnation *it = &connections.incarnations[incarnation]
    return it.ours and (it.known == 1 << own
                        or it.known == 3 and incarnation == connections.to_sign(connection))


cdef bint answers_us(ConnectionTable connections, const Attempt *row,
                     uint32_t isn_destination) noexcept nogil:
    """Whether a SYN-ACK acknowledges a SYN that waits for it here, and nothing else."""
    cdef int32_t at = connections.connections[row.connection].newest
    cdef int other = 1 - row.direction
    while at != NONE:
        if awaits(connections, row.connection, at, other) and (
                connections.incarnations[at].isn[other] == isn_destination):
            return True
        at = connections.incarnations[at].next
    return False


cdef bint note_unproved(ConnectionTable connections, Attempts *one) noexcept nogil:
    """Keep what a SYN-ACK says of the ISNs, though its MAC does not prove it.  Returns whether one
    of them is merely supposed: data in a SYN that was not seen may have moved what it acknowledges."""
    cdef const Connection *connection = &connections.connections[one.row.connection]
    cdef const Incarnation *it
    cdef int other = 1 - one.row.direction
    cdef bint supposed = connection.live == NONE
    cdef int32_t at = connection.newest
    while at != NONE:
        it = &connections.incarnations[at]
        if it.known >> other & 1 and not it.supposed:
            supposed = False
        at = it.next
    at = connections.note_pair(one.row.connection, one.row.direction, one.segment.seq,
                               one.segment.ack - 1, False, other)
    if supposed and at != NONE and connections.incarnations[at].proof == PROOF_NONE:
        connections.incarnations[at].supposed = 1
    return supposed


cdef int attempt_incarnation(ConnectionTable connections, KeyTable keys, Attempts *one,
                             int32_t *mkts, int count, int32_t incarnation) except -1 nogil:
    """Try a segment under an incarnation of which both ISNs are known."""
    cdef Incarnation *it = &connections.incarnations[incarnation]
    cdef int direction = one.row.direction
    cdef int i
    cdef int64_t position = extend(it.anchor[direction], one.segment.seq)
    for i in range(count):
        if attempt(connections, keys, one, mkts[i], it.isn[direction], it.isn[1 - direction],
                   position, incarnation):
            accept_pair(connections, keys, one, it.isn[direction], it.isn[1 - direction])
            return 1
    return 0


cdef int attempt_guess(ConnectionTable connections, KeyTable keys, Attempts *one, int32_t *mkts,
                       int count, uint32_t isn_source, uint32_t isn_destination) except -1 nogil:
    """Try a segment under ISNs that it states itself."""
    cdef int i
    if connections.find_listed(one.row.connection, one.row.direction, isn_source,
                               isn_destination) != NONE:
        return 0                 # tried already; what is merely speculated on was not
    for i in range(count):
        if attempt(connections, keys, one, mkts[i], isn_source, isn_destination,
                   extend(isn_source, one.segment.seq), NONE):
            accept_pair(connections, keys, one, isn_source, isn_destination)
            return 1
    return 0


cdef int commit_other(ConnectionTable connections, KeyTable keys, Attempts *one, int32_t *mkts,
                      int count) except -1 nogil:
    """Try the live incarnation, then candidates, then what the segment itself implies:
    the missing ISN of a half-seen handshake, or both, as behind a SYN cookie."""
    cdef Connection *connection = &connections.connections[one.row.connection]
    cdef const Segment *segment = one.segment
    cdef Incarnation *it
    cdef int32_t at = connection.live, following
    cdef int direction = one.row.direction
    cdef bint pair_known = at != NONE, syn_unproved = False
    if connections.as_endpoint and connections.to_sign(one.row.connection) != NONE:
        # what was good under another pair is not of this connection any more
        attempt_incarnation(connections, keys, one, mkts, count,
                            connections.to_sign(one.row.connection))
        return 0
    if at != NONE and attempt_incarnation(connections, keys, one, mkts, count, at):
        return 0
    at = connection.newest
    while at != NONE:
        following = connections.incarnations[at].next
        if at != connection.live and connections.incarnations[at].known == 3:
            pair_known |= not connections.incarnations[at].supposed
            if attempt_incarnation(connections, keys, one, mkts, count, at):
                return 0
        at = following
    at = connection.newest
    while at != NONE:
        it = &connections.incarnations[at]
        following = it.next
        if it.known != 3:
            syn_unproved |= it.proof != PROOF_SYN
            if it.known == 1 << direction:
                if segment.flags & FLAG_ACK and attempt_guess(
                        connections, keys, one, mkts, count, it.isn[direction], segment.ack - 1):
                    return 0
            elif attempt_guess(connections, keys, one, mkts, count,
                               segment.seq if segment.flags & FLAG_RST else segment.seq - 1,
                               it.isn[1 - direction]):
                return 0
        at = following
    if segment.flags & FLAG_ACK and attempt_guess(connections, keys, one, mkts, count,
                                                  segment.seq - 1, segment.ack - 1):
        return 0
    # a SYN that was good and a guess that was not: the other ISN was never seen
    one.row.verdict = VERDICT_BAD_MAC if pair_known or syn_unproved else VERDICT_MISSING_ISN
    return 0


cdef bint confirmed(ConnectionTable connections, const Segment *segment, Attempt *row,
                    const uint8_t *mac) noexcept nogil:
    """The usual case at one go: the first thing that `commit_other` would try is what was
    speculated on, and its MAC is good.  False: ask `commit`."""
    cdef Connection *connection
    cdef Incarnation *live
    cdef int direction = row.direction
    cdef int64_t position
    if (row.check != CHECK_AO or row.incarnation == NONE or row.traffic_key == NONE
            or segment.flags & FLAG_SYN):
        return False
    connection = &connections.connections[row.connection]
    if connection.live != row.incarnation or (
            connections.as_endpoint and connections.to_sign(row.connection) != row.incarnation):
        return False
    live = &connections.incarnations[row.incarnation]
    position = extend(live.anchor[direction], segment.seq)
    if (live.isn[direction] != row.isn_source or live.isn[1 - direction] != row.isn_destination
            or position < 0 or position >> 32 != row.position >> 32
            or not tcpao_equal(mac, segment.tcp + segment.auth_offset + 4, segment.auth_length - 4)):
        return False
    row.position = position
    row.verdict = VERDICT_GOOD
    connection.referenced = 1
    advance(live, segment, row)
    return True


cdef Py_ssize_t commit_batch(ConnectionTable connections, KeyTable keys, const Segment *segments,
                             Attempt *rows, const uint8_t *macs, const Tried *tried,
                             const int64_t *timestamps, Py_ssize_t first, Py_ssize_t count,
                             bint stop, bint tracing) except -1 nogil:
    """The verdict on each row from `first` on, in their order; row i's MAC is the i-th `DIGEST` bytes
    of `macs`, and what `tried` has of it needs no computing.  `tracing`: note also what the good ones
    did.  Returns `count`; with `stop` the first row that further tries are worth computing for."""
    cdef Attempts one
    cdef uint8_t scratch[SCRATCH]
    cdef Py_ssize_t i
    cdef int64_t sne = 0
    one.scratch = scratch
    one.tried = tried
    for i in range(first, count):
        if tracing:
            sne = reached_sne(connections, &rows[i])
        if not confirmed(connections, &segments[i], &rows[i], macs + DIGEST * i):
            if stop and rows[i].check == CHECK_AO and not segments[i].flags & FLAG_SYN:
                return i
            one.segment = &segments[i]
            one.row = &rows[i]
            one.mac = macs + DIGEST * i
            one.timestamp = timestamps[i]
            commit(connections, keys, &one)
        if tracing and rows[i].verdict == VERDICT_GOOD:
            rows[i].effects = what_happened(connections, &segments[i], &rows[i], sne)
    return count


cdef int64_t reached_sne(ConnectionTable connections, const Attempt *row) noexcept nogil:
    """The SNE that the sender of a segment has reached; -1 without proof."""
    cdef int32_t live = NONE
    if row.connection != NONE:
        live = connections.connections[row.connection].live
    return -1 if live == NONE else connections.incarnations[live].anchor[row.direction] >> 32


cdef uint8_t what_happened(ConnectionTable connections, const Segment *segment,
                           const Attempt *row, int64_t sne) noexcept nogil:
    """Bits of `Effect`; `sne` is what `reached_sne` was before the segment."""
    cdef int32_t live = connections.connections[row.connection].live
    cdef const Incarnation *it
    cdef int other = 1 - row.direction
    cdef uint8_t found = 0
    if live == NONE or segment.flags & FLAG_SYN:
        return 0
    it = &connections.incarnations[live]
    if it.key_in_use[other] != NONE and it.key_id[other] != segment.rnext_key_id:
        found |= ASKED_FOR_KEY
    if sne >= 0 and it.anchor[row.direction] >> 32 != sne:
        found |= STEPPED_SNE
    return found


cdef int commit(ConnectionTable connections, KeyTable keys, Attempts *one) except -1 nogil:
    """The verdict on one segment, and whatever it proves."""
    cdef Attempt *row = one.row
    cdef const Segment *segment = one.segment
    cdef Connection *connection
    cdef int32_t mkts[MOST_CANDIDATES]
    cdef int32_t found
    cdef int count
    cdef bint good = True
    if row.connection == NONE:
        return 0
    connection = &connections.connections[row.connection]
    if segment.flags & FLAG_SYN and not connection.looked_up & IS_PROVED and (
            is_syn(segment) or connection.initiator == INITIATOR_UNKNOWN):
        # what it says is reported until a MAC says it, or something else
        connection.initiator = row.direction if is_syn(segment) else 1 - row.direction
    if row.check == CHECK_MD5:
        if not tcpao_equal(one.mac, segment.tcp + segment.auth_offset + 2, 16):
            # one of several keys for the peer, or the one that another segment just moved to
            found = keys.find_md5(segment, row.connection, one.timestamp, row.mkt, one.scratch)
            row.mkt = keys.best_md5(segment, one.timestamp, False) if found == NONE else found
            good = found != NONE
        if good:
            row.verdict = VERDICT_MD5_GOOD
            connections.prove(row.connection)
            if segment.flags & FLAG_SYN and connection.live == NONE:
                connection.initiator = row.direction if is_syn(segment) else 1 - row.direction
        return 0
    if row.check == CHECK_NOTHING:
        if segment.auth == AUTH_AO and row.verdict != VERDICT_MALFORMED:
            if is_syn(segment):     # not verified, but it says an ISN
                connections.note_syn(row.connection, row.direction, segment.seq, False)
            elif is_syn_ack(segment):
                note_unproved(connections, one)
        return 0
    count = keys.every_candidate(segment, row.connection, row.direction, one.timestamp, mkts)
    if is_syn(segment):
        commit_syn(connections, keys, one, mkts, count)
    elif is_syn_ack(segment):
        commit_syn_ack(connections, keys, one, mkts, count)
    else:
        commit_other(connections, keys, one, mkts, count)
    if row.verdict == VERDICT_GOOD:
        keys.prefer(row.connection, row.direction, row.mkt)
    else:
        # what it was speculated to be depends on how the stream is cut; this does not
        row.position = bad_position(connections, segment, row)
    return 0


cdef int64_t bad_position(ConnectionTable connections, const Segment *segment,
                          const Attempt *row) noexcept nogil:
    """Where a segment that is not good would be on its live connection; SNE 0 without one."""
    cdef int32_t live = connections.connections[row.connection].live
    cdef int64_t position
    if live == NONE or segment.flags & FLAG_SYN:
        return segment.seq
    position = extend(connections.incarnations[live].anchor[row.direction], segment.seq)
    return position if position >= 0 else segment.seq
