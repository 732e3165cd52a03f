"""Signing: which key and which ISNs each record gets, and the MACs of a batch written into it.

Signing believes what it is given: the ISNs of an unsigned capture are those that its SYNs state.
Every record comes out either signed with lengths and checksums right, or just as it was: in a
buffer of its own, in the room around it, or in the option that it has.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

import numpy as np

from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.rewrite cimport (
    ALREADY_SIGNED,
    CHECKSUMS_INCREMENTAL,
    MAX_GROWTH,
    MD5_OPTION_LENGTH,
    MISSING_ISN,
    NO_KEY,
    NO_OPTION,
    NOT_TCP,
    OPTION_AO,
    OPTION_MD5,
    POSSIBLE,
    SIGNED,
    TOO_MANY_HEADERS,
    NO_ROOM,
    UNSIGNED_HANDSHAKE,
    PLAIN_OPTION,
    WRONG_MAC_LENGTH,
    Kept,
    Outcome,
    Written,
    carry_checksum,
    check_room,
    check_segment,
    fits_plain,
    growth_of,
    insert_option,
    insert_plain,
    set_checksums,
)
from tcpao_fast.core.flow.connections cimport (
    NONE,
    SYN_UNSIGNED,
    Connection,
    Incarnation,
    advance,
)
from tcpao_fast.core.flow.traffic_keys cimport (
    OF_LOCAL_SIDE,
    OF_REMOTE_SIDE,
    KeySlot,
    is_expected,
    slot_mkt,
)
from tcpao_fast.core.mac.attempt cimport CHECK_AO, CHECK_MD5, CHECK_NOTHING, Attempt
from tcpao_fast.core.mac.kernels cimport TCPAO_MD5, tcpao_copy_few
from tcpao_fast.core.mac.messages cimport DIGEST
from tcpao_fast.core.keys.mkt cimport Mkt, matches, within
from tcpao_fast.core.batch.pipeline cimport Pipeline
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO,
    AUTH_MD5,
    AUTH_NONE,
    FLAG_ACK,
    FLAG_SYN,
    Segment,
    is_syn,
    is_syn_ack,
)
from tcpao_fast.core.batch.shard cimport Shard, first_row, owner
from tcpao_fast.core.flow.sne cimport extend
from tcpao_fast.core.flow.verdict cimport live_key, take_live_key

from tcpao_fast.core.wire.records import require_separate
from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    MAX_SYN_DATA = 1 << 16
    LATE = 8                  # records between a MAC's bytes and the checksum over them
    KEPT = 1 << 25            # bytes of signed records whose memory each shard keeps

# -- which ISNs and which key -------------------------------------------------------------------

cdef int32_t answered(Shard shard, Attempt *row, const Segment *segment) noexcept nogil:
    """The incarnation whose SYN a SYN-ACK answers that acknowledges more than the SYN, as with data in
    it (RFC 7413 section 3): ACK - 1 is the other ISN only where no SYN said another.  NONE: it does."""
    cdef Incarnation *it
    cdef int32_t at = shard.connections.connections[row.connection].newest
    cdef int direction = row.direction
    while at != NONE:
        it = &shard.connections.incarnations[at]
        # a SYN without its SYN-ACK, or with just this one, which is sent again
        if (it.known == 2 >> direction or (it.known == 3 and it.isn[direction] == segment.seq)) and (
                segment.ack - 1 - it.isn[1 - direction] < MAX_SYN_DATA):
            return at
        at = it.next
    return NONE


cdef bint expects(Shard shard, Attempt *row, const Segment *segment) noexcept nogil:
    """Fill in ISNs and position of a segment to sign; False when they are not known."""
    cdef Connection *connection = &shard.connections.connections[row.connection]
    cdef Incarnation *half
    cdef uint32_t isn_destination
    cdef int direction = row.direction
    cdef int32_t at
    row.incarnation = NONE
    if is_syn(segment):
        at = shard.connections.note_syn(row.connection, direction, segment.seq, True)
        if at != NONE:
            shard.connections.mark_ours(at)
        row.isn_source = segment.seq
        row.isn_destination = 0
        row.position = segment.seq
        return True
    at = shard.connections.to_sign(row.connection)
    if is_syn_ack(segment):
        isn_destination = segment.ack - 1
        at = answered(shard, row, segment)
        if at != NONE:
            isn_destination = shard.connections.incarnations[at].isn[1 - direction]
        at = shard.connections.note_pair(row.connection, direction, segment.seq, isn_destination,
                                         True, 1 - direction)
    elif connection.newest != NONE and segment.flags & FLAG_ACK:
        half = &shard.connections.incarnations[connection.newest]
        if half.known == 1 << direction and segment.seq == half.isn[direction] + 1:
            # the first segment behind a SYN whose SYN-ACK is not here acknowledges just that
            at = shard.connections.note_pair(row.connection, direction, half.isn[direction],
                                             segment.ack - 1, True, direction)
    if at == NONE:
        return False
    half = &shard.connections.incarnations[at]
    if is_syn_ack(segment):
        shard.connections.mark_ours(at)
    row.incarnation = at
    row.isn_source = half.isn[direction]
    row.isn_destination = half.isn[1 - direction]
    row.position = extend(half.anchor[direction], segment.seq)
    return row.position >= 0


cdef int32_t asked_for(Shard shard, const Incarnation *it, int direction, const Segment *segment,
                       int64_t timestamp, bint *forward) noexcept nogil:
    """The MKT that the other side's last good segment asks for by its RNextKeyID (RFC 5925 section
    7.5), where there is such and it may send; NONE."""
    cdef int32_t found[2]
    cdef const Mkt *mkt
    cdef uint8_t wanted = it.rnext_key_id[1 - direction]
    cdef int i
    if it.key_in_use[1 - direction] == NONE:
        return NONE
    shard.keys.match(segment, wanted, found)
    for i in range(2):
        if found[i] == NONE:
            continue
        mkt = &shard.keys.mkts[found[i]]
        if within(mkt.send, timestamp):
            forward[0] = mkt.send_id == wanted and matches(mkt, segment, True)
            return found[i]
    return NONE


cdef int32_t choose_key(Shard shard, Attempt *row, const Segment *segment,
                        int64_t timestamp, bint *forward) noexcept nogil:
    """The key in use on the connection while it lives, else the first that may send; where RNextKeyIDs
    are followed the one that the other side asks for before it."""
    cdef Connection *connection = &shard.connections.connections[row.connection]
    cdef int32_t used = NONE
    cdef const Mkt *mkt
    cdef int32_t at = shard.connections.to_sign(row.connection)
    if at != NONE and not is_syn(segment) and shard.follow_rnext:
        used = asked_for(shard, &shard.connections.incarnations[at], row.direction, segment,
                         timestamp, forward)
        if used != NONE:
            return used
    if at != NONE and not is_syn(segment):
        used = shard.connections.incarnations[at].key_in_use[row.direction]
        if used != NONE:
            mkt = &shard.keys.mkts[used]
            forward[0] = matches(mkt, segment, True)
            if forward[0] and matches(mkt, segment, False):
                forward[0] = connection.initiator != 1 - row.direction
            if within(mkt.send, timestamp):
                return used
    return shard.keys.to_send(segment, connection, row.direction, timestamp, forward)


cdef void note_initiator(Shard shard, Attempt *row, const Segment *segment) noexcept nogil:
    if is_syn(segment):
        shard.connections.set_initiator(row.connection, row.direction)
    elif is_syn_ack(segment):
        shard.connections.set_initiator(row.connection, 1 - row.direction)


cdef inline bint usual(Shard shard, Py_ssize_t i, bint follow_option, bint *forward) noexcept nogil:
    """The usual case at one go: a segment of a connection with one incarnation, which is live and whose
    handshake is signed, under the key in use, of which is known which side of it sends; or, with
    `follow_option`, under the key that its option is known to mean.  What `choose_key`, `expects`,
    `with_handshake` and the look-up of the traffic key would find, or False: ask them."""
    cdef const Segment *segment = &shard.segments[i]
    cdef Attempt *row = &shard.rows[i]
    cdef const Connection *connection
    cdef KeySlot *slot
    cdef int32_t used
    if segment.flags & FLAG_SYN or shard.follow_rnext:
        return False
    connection = &shard.connections.connections[row.connection]
    if connection.looked_up & (SYN_UNSIGNED | SYN_UNSIGNED << 1):
        return False
    slot = live_key(shard.connections, shard.keys, segment, row)
    if slot == NULL or connection.newest != connection.live or (
            shard.connections.incarnations[connection.live].next != NONE):
        return False
    if follow_option:
        # where keys share IDs, which of them comes first can change
        if (segment.auth != AUTH_AO or shard.keys.set.has_alternatives
                or not is_expected(slot, segment.key_id)):
            return False
    else:
        used = shard.connections.incarnations[connection.live].key_in_use[row.direction]
        if (slot_mkt(slot) != used or not slot.tagged & (OF_LOCAL_SIDE | OF_REMOTE_SIDE)
                or not within(shard.keys.mkts[used].send, shard.timestamps[i])):
            return False
    forward[0] = slot.tagged & OF_LOCAL_SIDE != 0
    take_live_key(shard.connections, shard.keys, slot, row)
    return True


# -- what becomes of a record -------------------------------------------------------------------

cdef struct Plan:
    bint forward              # the key is used from its local side to its remote one
    bint keep_ids             # the option's KeyIDs stay as they are
    bint into_tailroom        # the option moves what is behind it, not the headers
    bint plain                # `insert_plain` will do, and all other options are kept
    Kept kept                 # else the other options


cdef inline int option_length(const Mkt *mkt) noexcept nogil:
    return MD5_OPTION_LENGTH if mkt.primitive == TCPAO_MD5 else 4 + mkt.mac_length


cdef inline Outcome check(Attempt *row, const Mkt *mkt, Outcome found) noexcept nogil:
    """Ask for the MAC of a row if nothing forbids it."""
    if found != POSSIBLE:
        return found
    row.check = CHECK_MD5 if mkt.primitive == TCPAO_MD5 else CHECK_AO
    return SIGNED


cdef Outcome with_handshake(Shard shard, const Attempt *row, const Segment *segment,
                            Outcome found) noexcept nogil:
    """What becomes of a segment after its connection's handshake: where the SYN or SYN-ACK stayed
    unsigned (Fast Open data may leave no room) the peer has no signed connection, and would drop
    whatever is signed on it."""
    cdef int direction = row.direction
    if is_syn(segment):
        shard.connections.note_signed(row.connection, 1 - direction, True)
    elif found == POSSIBLE and (
            shard.connections.handshake_unsigned(row.connection, 1 - direction)
            or not is_syn_ack(segment)
            and shard.connections.handshake_unsigned(row.connection, direction)):
        found = UNSIGNED_HANDSHAKE
    if segment.flags & FLAG_SYN:
        shard.connections.note_signed(row.connection, direction, found == POSSIBLE)
    return found


cdef Outcome check_place(Records records, Py_ssize_t at, const Segment *segment, int growth,
                         Plan *plan) noexcept nogil:
    """Where in its own memory a record that is signed in place may grow: before its headers, or
    behind the options where no payload would have to move."""
    plan.into_tailroom = growth > records.before(at)
    if plan.into_tailroom and (segment.length > segment.header_length
                               or growth > records.behind(at)):
        return NO_ROOM
    return POSSIBLE


cdef Outcome plan_new(Shard shard, Records records, Py_ssize_t i, const Output *out,
                      Plan *plan) noexcept nogil:
    """Decide for row i of the batch whether an option is inserted, and with which key."""
    cdef const Segment *segment = &shard.segments[i]
    cdef Attempt *row = &shard.rows[i]
    cdef const Mkt *mkt
    cdef Outcome found
    cdef bint is_usual
    if segment.auth != AUTH_NONE:
        return ALREADY_SIGNED
    is_usual = usual(shard, i, False, &plan.forward)
    if not is_usual:
        row.mkt = choose_key(shard, row, segment, shard.timestamps[i], &plan.forward)
    if row.mkt == NONE:
        return NO_KEY
    mkt = &shard.keys.mkts[row.mkt]
    plan.plain = (out.target == IN_BUFFER and mkt.primitive != TCPAO_MD5
                  and option_length(mkt) == PLAIN_OPTION and fits_plain(segment, &shard.layers[i]))
    found = POSSIBLE
    if not plan.plain:
        found = check_room(records.start(shard.origins[i]), segment, &shard.layers[i],
                           option_length(mkt), out.make_room, &plan.kept)
    if found == POSSIBLE and out.target == IN_ROOM:
        found = check_place(records, shard.origins[i], segment,
                            growth_of(segment, option_length(mkt), &plan.kept), plan)
    if is_usual:
        return check(row, mkt, found)
    # the ISNs are learned even from a segment that has no room for the option
    if mkt.primitive != TCPAO_MD5 and not expects(shard, row, segment):
        return MISSING_ISN if found == POSSIBLE else found
    return check(row, mkt, with_handshake(shard, row, segment, found))


cdef Outcome plan_inplace(Shard shard, Records records, Py_ssize_t i, Plan *plan) noexcept nogil:
    """Decide for row i of the batch with which key its option is filled in."""
    cdef const Segment *segment = &shard.segments[i]
    cdef Attempt *row = &shard.rows[i]
    cdef const Mkt *mkt
    cdef int32_t candidates[2]
    cdef Outcome found = POSSIBLE
    cdef bint is_usual
    if segment.auth == AUTH_NONE:
        return NO_OPTION
    is_usual = usual(shard, i, True, &plan.forward)
    if is_usual:
        pass
    elif segment.auth == AUTH_MD5:
        row.mkt = shard.keys.md5_key(segment, row.connection, -1)
    elif shard.keys.candidates(segment, row.connection, row.direction, -1, candidates):
        row.mkt = candidates[0]
    else:
        plan.keep_ids = False
        row.mkt = choose_key(shard, row, segment, shard.timestamps[i], &plan.forward)
    if row.mkt == NONE or (segment.auth == AUTH_MD5) != (shard.keys.mkts[row.mkt].primitive == TCPAO_MD5):
        row.mkt = NONE
        return NO_KEY
    mkt = &shard.keys.mkts[row.mkt]
    if segment.auth_length != option_length(mkt):
        found = WRONG_MAC_LENGTH
    elif shard.layers[i].incomplete:             # one may be a GRE header with a checksum
        found = TOO_MANY_HEADERS
    if segment.auth == AUTH_AO and not is_usual and not expects(shard, row, segment):
        return MISSING_ISN if found == POSSIBLE else found
    return check(row, mkt, found)


cdef void write_row(Shard shard, Records records, Py_ssize_t i, const Plan *plan,
                    Output *out) noexcept nogil:
    """The option of row i, its MAC still zero, or the record as it is."""
    cdef Segment *segment = &shard.segments[i]
    cdef const Attempt *row = &shard.rows[i]
    cdef Py_ssize_t at = shard.origins[i], to = out.rows + i
    cdef const Mkt *mkt
    cdef uint8_t *start = records.start(at)
    cdef uint8_t *target
    cdef uint8_t *option
    cdef uint8_t key_id = 0, rnext_key_id = 0
    cdef Written written
    cdef int length
    if row.check == CHECK_AO:
        mkt = &shard.keys.mkts[row.mkt]
        key_id = mkt.send_id if plan.forward else mkt.recv_id
        rnext_key_id = mkt.recv_id if plan.forward else mkt.send_id
    out.dropped[to] = 0
    if out.target == IN_OPTION:
        if row.check != CHECK_NOTHING and out.checksums == CHECKSUMS_INCREMENTAL:
            carry_checksum(segment)
        if row.check == CHECK_AO and not plan.keep_ids:
            option = <uint8_t *>segment.tcp + segment.auth_offset
            option[2] = segment.key_id = key_id
            option[3] = segment.rnext_key_id = rnext_key_id
        return
    target = out.buffer + out.used if out.target == IN_BUFFER else start
    written.start = target
    written.length = records.length(at)
    if row.check == CHECK_AO and plan.plain:
        written = insert_plain(start, records.length(at), &shard.layers[i], key_id, rnext_key_id, target,
                               segment, out.checksums)
    elif row.check != CHECK_NOTHING:
        length = option_length(&shard.keys.mkts[row.mkt])
        if out.target == IN_ROOM and not plan.into_tailroom:
            target = start - growth_of(segment, length, &plan.kept)
        written = insert_option(
            start, records.length(at), &shard.layers[i],
            OPTION_AO if row.check == CHECK_AO else OPTION_MD5, length, key_id, rnext_key_id,
            &plan.kept, target, segment, out.checksums)
        out.dropped[to] = <uint8_t>plan.kept.dropped
    elif out.target == IN_BUFFER and written.length:
        memcpy(target, start, written.length)
    if out.target == IN_ROOM:
        records.put(at, written.start, written.length)
    else:
        out.offset[to] = out.used
        out.length[to] = written.length
        out.used += written.length


cdef void use_key(Shard shard, Py_ssize_t i, bint of_option) noexcept nogil:
    """Take row i's traffic key, which may be the one that its option means, and move its connection on
    as if the segment were sent."""
    cdef Attempt *row = &shard.rows[i]
    if row.check != CHECK_NOTHING:
        shard.connections.prove(row.connection)
    if row.check == CHECK_AO:
        if row.traffic_key == NONE:
            shard.key_row(&shard.segments[i], row)
            if of_option:
                shard.keys.expect_again(row, shard.segments[i].key_id)
            shard.keys.note_side(row, &shard.segments[i])
        if row.incarnation != NONE:
            advance(&shard.connections.incarnations[row.incarnation], &shard.segments[i], row)


cdef int sign_batch(Shard shard, Records records, Py_ssize_t count, Output *out) except -1 nogil:
    """All stages over a batch that `Shard.fill` has filled."""
    cdef Py_ssize_t i, done, to = out.rows
    cdef Plan plan
    cdef Outcome found
    cdef const Segment *segment
    cdef Attempt *row
    cdef int skip
    cdef bint carries = out.target != IN_OPTION or out.checksums == CHECKSUMS_INCREMENTAL
    shard.open_batch(count)
    for i in range(count):
        if out.target == IN_BUFFER and i + 1 < count:
            records.ask_for_body(shard.origins[i + 1])
        segment = &shard.segments[i]
        row = &shard.rows[i]
        plan.forward = plan.keep_ids = True
        found = check_segment(segment)
        row.mkt = row.traffic_key = row.incarnation = NONE
        if segment.flags & FLAG_SYN and row.connection != NONE:
            note_initiator(shard, row, segment)
            if found != POSSIBLE and out.target != IN_OPTION:
                with_handshake(shard, row, segment, found)
        if found == POSSIBLE:
            found = (plan_inplace(shard, records, i, &plan) if out.target == IN_OPTION
                     else plan_new(shard, records, i, out, &plan))
        write_row(shard, records, i, &plan, out)
        use_key(shard, i, out.target == IN_OPTION and plan.keep_ids)
        if out.origin != NULL:
            out.origin[to + i] = shard.origins[i]
        out.mkt[to + i] = row.mkt
        out.connection[to + i] = row.id
        out.outcome[to + i] = <uint8_t>found
    shard.derive_wanted()
    shard.mac_batch(count)
    for i in range(count + LATE):
        if i < count and shard.rows[i].check != CHECK_NOTHING:
            segment = &shard.segments[i]
            skip = 4 if segment.auth == AUTH_AO else 2
            tcpao_copy_few(<uint8_t *>segment.tcp + segment.auth_offset + skip,
                           shard.macs + DIGEST * i, segment.auth_length - skip)
        done = i - LATE
        if done >= 0 and shard.rows[done].check != CHECK_NOTHING:
            set_checksums(out.buffer + out.offset[to + done] if out.target == IN_BUFFER
                          else records.start(shard.origins[done]), &shard.layers[done],
                          &shard.segments[done], True, out.checksums, carries)
    out.rows += count
    return 0


cdef int sign_shard(Shard shard, Records records, Output *out) except -1 nogil:
    """Sign a shard's records."""
    cdef Py_ssize_t at = 0, count
    try:
        shard.reserve_layers()
        while at < records.count:
            count = shard.fill(records, out.owners, &at, -1, shard.layers)
            if count:
                sign_batch(shard, records, count, out)
            shard.end_batch()
    finally:
        shard.end_batch()
        shard.leave()
    return 0


# -- a call ---------------------------------------------------------------------------------------

cdef class Results:
    """What became of a shard's records, an entry a row, and the memory of it.

    Parameters
    ----------
    n : int
    target : int
        A number of `Target`.
    room : int
        Bytes of the buffer; 0 in place.
    memory : tuple of arrays, optional
        To be used instead of new: buffer, offset, length, outcome, mkt, connection, dropped.
    own_order : bool
        Whether rows are not records, so that each says which record it is.
    """

    cdef object buffer        # uint8[]: the records; None in place
    cdef object origin        # int64[n], or None where rows are records
    cdef object offset        # int64[n]
    cdef object length        # int64[n]
    cdef object outcome       # uint8[n]
    cdef object dropped       # uint8[n]
    cdef object mkt           # int32[n]
    cdef object connection    # int64[n]
    cdef object owners        # what `out.owners` points to, or None
    cdef const uint8_t **source   # of each record, where those of several shards are put together
    cdef Output out

    def __cinit__(self, Py_ssize_t n, int target, Py_ssize_t room, bint make_room, int checksums,
                  memory, bint own_order=False):
        cdef int64_t[::1] origin, offset, length, connection
        cdef uint8_t[::1] buffer, outcome, dropped
        cdef int32_t[::1] mkt
        # of all this no more is paged in than is written
        if memory is None:
            memory = new_memory(n, room)
        self.buffer, self.offset, self.length, self.outcome, self.mkt, self.connection, \
            self.dropped = memory
        offset, length, outcome, mkt = self.offset, self.length, self.outcome, self.mkt
        connection, dropped = self.connection, self.dropped
        if min(len(offset), len(length), len(outcome), len(mkt), len(connection), len(dropped)) < n or (
                room and len(self.buffer) < room):
            raise InvalidArgumentError(f"out has no room: {n} records and {room} bytes are needed")
        if n and own_order:
            self.origin = origin = np.empty(n, np.int64)
            self.out.origin = &origin[0]
        if n:
            self.out.offset = &offset[0]
            self.out.length = &length[0]
            self.out.outcome = &outcome[0]
            self.out.dropped = &dropped[0]
            self.out.mkt = &mkt[0]
            self.out.connection = &connection[0]
        self.out.target = target
        self.out.checksums = checksums
        self.out.make_room = make_room
        if room:
            buffer = self.buffer
            self.out.buffer = &buffer[0]

    def __dealloc__(self):
        free(self.source)


def new_memory(Py_ssize_t n, Py_ssize_t room):
    """Arrays for the results of n records and `room` bytes, as `sign` takes them."""
    return (np.empty(room, np.uint8) if room else None, np.empty(n, np.int64),
            np.empty(n, np.int64), np.empty(n, np.uint8), np.empty(n, np.int32),
            np.empty(n, np.int64), np.empty(n, np.uint8))


def sign_part(Shard shard not None, Records records not None, Results results not None):
    """Sign a shard's records."""
    with nogil:
        sign_shard(shard, records, &results.out)


def room_to_sign(Records records not None):
    """The most bytes that the records have when they are signed; never 0."""
    cdef Py_ssize_t i, total = 1 + MAX_GROWTH * records.count
    for i in range(records.count):
        total += records.length(i)
    return total


cdef Results run(Pipeline pipeline, Records records, int target, bint make_room, int checksums,
                 memory):
    """Sign in all threads; the results in the order of the records."""
    cdef Py_ssize_t n = records.count
    cdef Py_ssize_t room = room_to_sign(records) if target == IN_BUFFER else 0
    cdef Results whole = Results(n, target, room, make_room, checksums, memory)
    if pipeline.threads == 1:            # its rows are the records
        sign_part(pipeline.first, records, whole)
        return whole
    parts = parts_for(pipeline, n, target, room, make_room, checksums)
    tell_owners(pipeline, records, target, parts)
    pipeline.all_threads(
        lambda thread: sign_part(pipeline.shards[thread], records, parts[thread]), n)
    if pipeline.unnumbered():
        pipeline.number_connections()
    gather(pipeline, records, parts, whole)
    return whole


def owners_part(Pipeline pipeline, Records records, Py_ssize_t thread, uint16_t[::1] owners):
    """Tell whose the records of a thread's share are."""
    cdef int64_t i
    with nogil:
        for i in range(pipeline.share(records.count, thread), pipeline.share(records.count, thread + 1)):
            owners[i] = owner(records, i, pipeline.threads)


cdef int tell_owners(Pipeline pipeline, Records records, int target, list parts) except -1:
    """Where headers move, whose each record is must be told before: no thread may then look at what
    another is moving."""
    cdef uint16_t[::1] told
    cdef Results part
    owners = None
    if target == IN_ROOM and records.count:
        owners = told = np.empty(records.count, np.uint16)
        pipeline.all_threads(
            lambda thread: owners_part(pipeline, records, thread, owners), records.count)
    for part in parts:
        part.owners = owners
        part.out.owners = NULL if owners is None else &told[0]
    return 0


cdef list parts_for(Pipeline pipeline, Py_ssize_t n, int target, Py_ssize_t room, bint make_room,
                    int checksums):
    """Memory for each shard's records.  What is not much is kept from call to call: new memory is paged
    in slowly."""
    cdef Results part
    parts = pipeline.signed
    if parts is None or len((<Results>parts[0]).length) < n or len((<Results>parts[0]).buffer) < room:
        parts = [Results(n, target, max(room, 1), make_room, checksums, None, True)
                 for _ in pipeline.shards]
        pipeline.signed = parts if max(room, MAX_GROWTH * n) <= KEPT else None
    for part in parts:
        part.out.target = target
        part.out.make_room = make_room
        part.out.checksums = checksums
        part.out.rows = part.out.used = 0
    return parts


cdef void scatter(const Output *rows, Shard shard, int64_t start, int64_t end, Output *out,
                  const uint8_t **source) noexcept nogil:
    """Put the rows of records from `start` to before `end` where their records are."""
    cdef Py_ssize_t row = first_row(rows.origin, rows.rows, start)
    cdef int64_t at
    while row < rows.rows and rows.origin[row] < end:
        at = rows.origin[row]
        if out.target == IN_BUFFER:
            source[at] = rows.buffer + rows.offset[row]
            out.length[at] = rows.length[row]
        out.outcome[at] = rows.outcome[row]
        out.dropped[at] = rows.dropped[row]
        out.mkt[at] = rows.mkt[row]
        out.connection[at] = shard.connections.numbered(rows.connection[row])
        row += 1


def scatter_part(Pipeline pipeline, Records records, Py_ssize_t thread, list parts, Results whole):
    """Gather what became of a thread's share of the records from all shards; how many bytes they have
    now."""
    cdef Output *out = &whole.out
    cdef int64_t start = pipeline.share(records.count, thread)
    cdef int64_t end = pipeline.share(records.count, thread + 1)
    cdef int64_t i, total = 0
    cdef Results part
    cdef Shard shard
    with nogil:
        for i in range(start, end):          # what no shard took: its bytes changed meanwhile
            if out.target == IN_BUFFER:
                whole.source[i] = records.start(i)
                out.length[i] = records.length(i)
            out.outcome[i] = NOT_TCP
            out.dropped[i] = 0
            out.mkt[i] = out.connection[i] = NONE
    for shard, part in zip(pipeline.shards, parts):
        with nogil:
            scatter(&part.out, shard, start, end, out, whole.source)
    if out.target == IN_BUFFER:
        for i in range(start, end):
            total += out.length[i]
    return total


def place_part(Pipeline pipeline, Records records, Py_ssize_t thread, int64_t at, Results whole):
    """Put a thread's share of the signed records one behind the other, from byte `at` of the buffer."""
    cdef Output *out = &whole.out
    cdef int64_t i
    with nogil:
        for i in range(pipeline.share(records.count, thread), pipeline.share(records.count, thread + 1)):
            out.offset[i] = at
            if out.length[i]:
                memcpy(out.buffer + at, whole.source[i], out.length[i])
            at += out.length[i]


cdef int gather(Pipeline pipeline, Records records, list parts, Results whole) except -1:
    """The rows of all shards as one, each where its record is."""
    cdef Py_ssize_t n = records.count
    cdef Shard shard
    if whole.out.target == IN_BUFFER:
        whole.source = <const uint8_t **>malloc(max(1, n) * sizeof(uint8_t *))
        if whole.source == NULL:
            raise MemoryError()
    totals = pipeline.all_threads(
        lambda thread: scatter_part(pipeline, records, thread, parts, whole), n)
    for shard in pipeline.shards:
        shard.connections.unnumbered_count = 0
    if whole.out.target == IN_BUFFER:
        pipeline.all_threads(
            lambda thread: place_part(pipeline, records, thread, sum(totals[:thread]), whole), n)
        whole.out.used = sum(totals)
    return 0


def sign(Pipeline pipeline not None, Records records not None, bint make_room=False,
         int checksums=0, memory=None):
    """Insert options; see `Engine.sign`.

    Parameters
    ----------
    pipeline : Pipeline
    records : Records
    make_room : bool
    checksums : int
        A number of `Checksums`.
    memory : tuple of arrays, optional
        As of `new_memory`: what is written goes there.

    Returns
    -------
    tuple of (tuple of arrays, int)
        Buffer, offsets, lengths, outcomes, MKT indices, connection ids, bytes of options given up;
        and how many bytes of the buffer were written.
    """
    cdef Results done = run(pipeline, records, IN_BUFFER, make_room, checksums, memory)
    return (done.buffer, done.offset, done.length, done.outcome, done.mkt, done.connection,
            done.dropped), done.out.used


def sign_inplace(Pipeline pipeline not None, Records records not None, bint make_room=False,
                 int checksums=0):
    """Sign where the records are, which must be writable; see `Engine.sign_inplace`.  Without headroom
    and tailroom options that are there are filled in, else they are inserted.

    Returns
    -------
    tuple of (uint8[n], int32[n], int64[n], uint8[n])
        Outcomes, MKT indices, connection ids, bytes of options given up.
    """
    cdef int target = IN_OPTION if records.limits == NULL else IN_ROOM
    require_separate(records)
    cdef Results done = run(pipeline, records, target, make_room, checksums, None)
    if target == IN_ROOM:
        records.moved()
    return done.outcome, done.mkt, done.connection, done.dropped
