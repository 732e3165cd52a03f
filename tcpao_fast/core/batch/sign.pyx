"""The way back: TCP-AO (or TCP-MD5) options inserted, filled in, or removed.

Signing believes what it is given: the ISNs of an unsigned capture are those that its SYNs state.
Every record comes out either signed with lengths and checksums right, or just as it was.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.flow.connections cimport NONE, Connection, Incarnation, advance
from tcpao_fast.core.mac.hypothesis cimport CHECK_AO, CHECK_MD5, CHECK_NOTHING, Hypothesis
from tcpao_fast.core.mac.kernels cimport TCPAO_MD5, tcpao_add_up
from tcpao_fast.core.mac.messages cimport DIGEST
from tcpao_fast.core.keys.mkt cimport Mkt, matches, within
from tcpao_fast.core.wire.parse cimport (
    LAYER_8023,
    LAYER_AH,
    LAYER_GRE,
    LAYER_IPV4,
    LAYER_IPV6,
    LAYER_PPPOE,
    Layer,
    Layers,
    parse_frame,
)
from tcpao_fast.core.batch.pipeline cimport Pipeline
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO,
    AUTH_MD5,
    AUTH_NONE,
    FLAG_ACK,
    KIND_CUT,
    KIND_FRAGMENT,
    KIND_MALFORMED,
    KIND_NOT_TCP,
    Segment,
    is_syn,
    is_syn_ack,
    put16,
)
from tcpao_fast.core.batch.shard cimport Shard
from tcpao_fast.core.flow.sne cimport extend

from tcpao_fast.core.wire.records import require_separate
from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    MAX_HEADER = 60           # of TCP
    MAX_GROWTH = 40
    MAX_8023 = 1500           # what is more is an EtherType
    MAX_SYN_DATA = 1 << 16
    KIND_AO = 29              # option kinds
    KIND_MD5 = 19

cdef enum Outcome:
    SIGNED = 0                # for `strip`: the option is gone
    NOT_TCP = 1
    NO_KEY = 2
    MISSING_ISN = 3
    NO_OPTION_SPACE = 4
    ALREADY_SIGNED = 5
    NO_OPTION = 6
    WRONG_MAC_LENGTH = 7
    TRUNCATED = 8
    MALFORMED = 9
    FRAGMENT = 10
    TOO_LONG = 11
    IPSEC = 12
    TOO_MANY_HEADERS = 13


# -- which ISNs and which key -------------------------------------------------------------------

cdef int32_t answered(Shard shard, Hypothesis *row, const Segment *segment) noexcept nogil:
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


cdef bint expects(Shard shard, Hypothesis *row, const Segment *segment) noexcept nogil:
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
            shard.connections.incarnations[at].ours = 1
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
        half.ours = 1
    row.incarnation = at
    row.isn_source = half.isn[direction]
    row.isn_destination = half.isn[1 - direction]
    row.position = extend(half.anchor[direction], segment.seq)
    return row.position >= 0


cdef int32_t choose_key(Shard shard, Hypothesis *row, const Segment *segment,
                        int64_t timestamp, bint *forward) noexcept nogil:
    """The key in use on the connection while it lives, else the first that may send."""
    cdef Connection *connection = &shard.connections.connections[row.connection]
    cdef int32_t used = NONE
    cdef const Mkt *mkt
    cdef int32_t at = shard.connections.to_sign(row.connection)
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


cdef Outcome unfit(const Segment *segment) noexcept nogil:
    """Why a record cannot be worked on, or SIGNED if it can."""
    if segment.kind == KIND_NOT_TCP:
        return NOT_TCP
    if segment.kind == KIND_FRAGMENT:
        return FRAGMENT
    if segment.kind == KIND_MALFORMED:
        return MALFORMED
    if segment.kind == KIND_CUT or segment.captured < segment.length:
        return TRUNCATED
    return SIGNED


cdef void note_initiator(Shard shard, Hypothesis *row, const Segment *segment) noexcept nogil:
    if is_syn(segment):
        shard.connections.connections[row.connection].initiator = row.direction
    elif is_syn_ack(segment):
        shard.connections.connections[row.connection].initiator = 1 - row.direction


# -- headers and checksums ----------------------------------------------------------------------

def add_up(const uint8_t[::1] data not None, uint64_t total=0):
    """The ones' complement sum of bytes (RFC 1071), continued from `total` below 2^48, for tests."""
    if total >> 48:
        raise InvalidArgumentError(f"total is {total}; it must be below 2^48")
    return tcpao_add_up(&data[0] if data.shape[0] else NULL, data.shape[0], total)


cdef void mend_checksums(uint8_t *frame, const Layers *layers, const Segment *segment,
                         bint signed) noexcept nogil:
    """Compute the TCP checksum anew, and those of GRE around it: innermost first, as outer ones cover
    inner ones.

    A `signed` segment never gets 0x0000, which Linux takes for a checksum that is still to be
    filled in and drops the segment; 0xFFFF is the same sum (RFC 1071).
    """
    cdef uint8_t *tcp = <uint8_t *>segment.tcp
    cdef uint8_t *start
    cdef size_t size = 16 if segment.version == 6 else 4
    cdef uint64_t total = 6 + (segment.length >> 16) + (segment.length & 0xFFFF)
    cdef uint32_t checksum, i = layers.count
    put16(tcp + 16, 0)
    total = tcpao_add_up(segment.source, size, total)
    total = tcpao_add_up(segment.destination, size, total)
    checksum = ~tcpao_add_up(tcp, segment.length, total) & 0xFFFF
    put16(tcp + 16, 0xFFFF if signed and checksum == 0 else checksum)
    while i:
        i -= 1
        if layers.layer[i].kind == LAYER_GRE:
            start = frame + layers.layer[i].start
            put16(start + 4, 0)
            put16(start + 4, ~tcpao_add_up(start, tcp + segment.length - start, 0) & 0xFFFF)


cdef Outcome resizable(const uint8_t *frame, const Layers *layers, const Segment *segment,
                       int growth) noexcept nogil:
    """Why the headers around a segment cannot hold `growth` bytes more, or SIGNED if they can."""
    cdef const Layer *layer
    cdef const uint8_t *end = segment.tcp + segment.length
    cdef uint32_t i
    cdef bint too_long = False, ipsec = False
    if layers.incomplete:
        return TOO_MANY_HEADERS
    for i in range(layers.count):
        layer = &layers.layer[i]
        if layer.kind == LAYER_AH:
            ipsec = True
        if layer.kind == LAYER_GRE or layer.field == 0:    # 0: left open by segmentation offload
            continue
        if layer.kind == LAYER_8023 or layer.kind == LAYER_PPPOE:
            # the parser does not ask these: does what they announce hold the segment?
            if frame + layer.start + 2 + layer.field < end:
                return MALFORMED
        too_long |= layer.field + growth > (MAX_8023 if layer.kind == LAYER_8023 else 0xFFFF)
    if too_long:
        return TOO_LONG
    return IPSEC if ipsec else SIGNED


cdef void resize(uint8_t *frame, const Layers *layers, int growth) noexcept nogil:
    """Write the lengths of the headers around a segment that has grown, and IPv4's checksums."""
    cdef const Layer *layer
    cdef uint8_t *start
    cdef uint32_t i
    for i in range(layers.count):
        layer = &layers.layer[i]
        start = frame + layer.start
        if layer.kind == LAYER_8023 or layer.kind == LAYER_PPPOE:
            if layer.field:
                put16(start, layer.field + growth)
        elif layer.kind == LAYER_IPV4:
            put16(start + 2, layer.field + growth if layer.field else 0)
            put16(start + 10, 0)
            put16(start + 10, ~tcpao_add_up(start, layer.size, 0) & 0xFFFF)
        elif layer.kind == LAYER_IPV6 and layer.field:
            put16(start + 4, layer.field + growth)


cdef void move(Segment *segment, Py_ssize_t distance) noexcept nogil:
    """The segment is now in a copy of its record."""
    segment.ip += distance
    segment.tcp += distance
    segment.source += distance
    segment.destination += distance


# -- the three operations -----------------------------------------------------------------------

cdef inline int option_length(const Mkt *mkt) noexcept nogil:
    return 18 if mkt.kernel == TCPAO_MD5 else 4 + mkt.mac_length


cdef inline int aligned(int length) noexcept nogil:
    """The option with the NOPs that align it."""
    return (length + 3) // 4 * 4


cdef void write_option(uint8_t *to, uint8_t kind, int length, uint8_t key_id,
                       uint8_t rnext_key_id) noexcept nogil:
    """The option with its MAC zeroed and NOPs where Linux has them: behind it, for TCP-MD5 before
    it.  TCP-MD5's has no IDs."""
    memset(to, 1, aligned(length))
    if kind == KIND_MD5:
        to += aligned(length) - length
    memset(to, 0, length)
    to[0] = kind
    to[1] = <uint8_t>length
    if kind == KIND_AO:
        to[2] = key_id
        to[3] = rnext_key_id


cdef Outcome lacks_room(const uint8_t *frame, const Segment *segment, const Layers *layers,
                        int growth) noexcept nogil:
    """Why a header cannot grow, or SIGNED if it can."""
    if segment.header_length + growth > MAX_HEADER:
        return NO_OPTION_SPACE
    return resizable(frame, layers, segment, growth)


cdef Outcome plan(Shard shard, Records records, Py_ssize_t i, Py_ssize_t at,
                  bint *forward) noexcept nogil:
    """Decide on row i of the batch (record `at`) whether and with what an option is inserted."""
    cdef const Segment *segment = &shard.segments[i]
    cdef Hypothesis *row = &shard.rows[i]
    cdef Outcome why = unfit(segment)
    row.mkt = row.traffic_key = row.incarnation = NONE
    if row.connection != NONE:
        note_initiator(shard, row, segment)
    if why != SIGNED:
        return why
    if segment.auth != AUTH_NONE:
        return ALREADY_SIGNED
    row.mkt = choose_key(shard, row, segment, records.timestamp(at), forward)
    if row.mkt == NONE:
        return NO_KEY
    why = lacks_room(records.start(at), segment, &shard.layers[i],
                     aligned(option_length(&shard.keys.mkts[row.mkt])))
    if shard.keys.mkts[row.mkt].kernel == TCPAO_MD5:
        row.check = CHECK_MD5 if why == SIGNED else CHECK_NOTHING
        return why
    # the ISNs are learned even from a segment that has no room for the option
    if not expects(shard, row, segment):
        return MISSING_ISN if why == SIGNED else why
    row.check = CHECK_AO if why == SIGNED else CHECK_NOTHING
    return why


cdef Outcome plan_inplace(Shard shard, Records records, Py_ssize_t i, Py_ssize_t at,
                          bint *forward, bint *keep_ids) noexcept nogil:
    """Decide on row i of the batch (record `at`) with what its option is filled in."""
    cdef const Segment *segment = &shard.segments[i]
    cdef Hypothesis *row = &shard.rows[i]
    cdef int32_t found[2]
    cdef Outcome why = unfit(segment)
    cdef int64_t timestamp = records.timestamp(at)
    row.mkt = row.traffic_key = row.incarnation = NONE
    if row.connection != NONE:
        note_initiator(shard, row, segment)
    if why != SIGNED:
        return why
    if segment.auth == AUTH_NONE:
        return NO_OPTION
    if segment.auth == AUTH_MD5:
        shard.keys.look_up(segment, row.connection)
        row.mkt = shard.connections.asides[row.connection].md5_key
        if row.mkt == NONE:
            return NO_KEY
        if shard.layers[i].incomplete:
            return TOO_MANY_HEADERS
        row.check = CHECK_MD5
        return SIGNED
    keep_ids[0] = True
    if shard.keys.candidates(segment, row.connection, row.direction, -1, found):
        row.mkt = found[0]
    else:
        keep_ids[0] = False
        row.mkt = choose_key(shard, row, segment, timestamp, forward)
    if row.mkt == NONE or shard.keys.mkts[row.mkt].kernel == TCPAO_MD5:
        row.mkt = NONE
        return NO_KEY
    if segment.auth_length - 4 != shard.keys.mkts[row.mkt].mac_length:
        why = WRONG_MAC_LENGTH
    elif shard.layers[i].incomplete:             # one may be a GRE header with a checksum
        why = TOO_MANY_HEADERS
    if not expects(shard, row, segment):
        return MISSING_ISN if why == SIGNED else why
    row.check = CHECK_AO if why == SIGNED else CHECK_NOTHING
    return why


cdef int open_batch(Shard shard, Records records, Py_ssize_t first, Py_ssize_t count,
                    const int64_t *origins) except -1 nogil:
    """Parse `count` records from `first` on into the batch, and find their connections."""
    cdef Py_ssize_t i
    shard.reserve_layers()
    for i in range(count):
        parse_frame(records.start(first + i), records.length(first + i),
                    records.wire_length(first + i), records.linktype(first + i),
                    &shard.segments[i], &shard.layers[i])
        shard.origins[i] = first + i if origins == NULL else origins[first + i]
    return shard.open_batch(count)


cdef int write_macs(Shard shard, Py_ssize_t count) except -1 nogil:
    """Compute the MACs of the rows that have a check, write them where they belong."""
    cdef Py_ssize_t i
    cdef const Segment *segment
    cdef int skip
    shard.derive_wanted()
    shard.mac_batch(count)
    for i in range(count):
        if shard.rows[i].check == CHECK_NOTHING:
            continue
        segment = &shard.segments[i]
        skip = 4 if segment.auth == AUTH_AO else 2
        memcpy(<uint8_t *>segment.tcp + segment.auth_offset + skip, shard.macs + DIGEST * i,
               segment.auth_length - skip)
    return 0


cdef void schedule(Shard shard, Py_ssize_t i) noexcept nogil:
    """Take row i's traffic key and count the segment as sent."""
    cdef Hypothesis *row = &shard.rows[i]
    if row.check != CHECK_NOTHING:
        shard.connections.prove(row.connection)
    if row.check == CHECK_AO:
        shard.key_row(&shard.segments[i], row)
        if row.incarnation != NONE:
            advance(&shard.connections.incarnations[row.incarnation], &shard.segments[i], row)


cdef size_t insert(const uint8_t *frame, size_t length, const Layers *layers, uint8_t kind, int option,
                   uint8_t key_id, uint8_t rnext_key_id, uint8_t *to, Segment *segment) noexcept nogil:
    """Write a frame with an option of so many bytes to `to`, where `segment`, which was in the frame,
    then lies.  Returns the bytes.  The copy is not parsed: where everything is follows."""
    cdef size_t before = segment.tcp - frame + 20
    cdef int growth = aligned(option)
    memcpy(to, frame, before)
    write_option(to + before, kind, option, key_id, rnext_key_id)
    memcpy(to + before + growth, frame + before, length - before)
    move(segment, to - frame)
    segment.header_length = <uint8_t>(segment.header_length + growth)
    segment.length += growth
    segment.captured += growth
    segment.auth = AUTH_MD5 if kind == KIND_MD5 else AUTH_AO
    segment.auth_offset = 20 + (growth - option if kind == KIND_MD5 else 0)
    segment.auth_length = <uint8_t>option
    segment.key_id = key_id
    segment.rnext_key_id = rnext_key_id
    to[before - 8] = <uint8_t>((to[before - 8] & 0x0F) | segment.header_length << 2)
    resize(to, layers, growth)
    return length + growth


def with_option(frame, int linktype, uint8_t kind, int length, uint8_t key_id=0,
                uint8_t rnext_key_id=0):
    """A copy of one frame with a TCP-AO or TCP-MD5 option first among its options, the MAC zeroed,
    data offset and IP lengths mended: for `with_mac` to finish.

    Parameters
    ----------
    frame : buffer protocol
    linktype : int
    kind : int
        29 or 19.
    length : int
        Of the option, kind and length bytes included.
    key_id, rnext_key_id : int
        TCP-MD5 has none.

    Returns
    -------
    int, bytearray or None
        A `SignOutcome`, and the copy where it is 0.
    """
    cdef Records records = Records(frame, [0], [memoryview(frame).nbytes], linktype)
    cdef Segment segment
    cdef Layers layers
    cdef Outcome why
    cdef uint8_t[::1] to
    if kind not in (KIND_AO, KIND_MD5) or not (4 if kind == KIND_AO else 18) <= length <= MAX_GROWTH:
        raise InvalidArgumentError(f"no option of kind {kind} has {length} bytes")
    parse_frame(records.start(0), records.length(0), records.length(0), linktype, &segment, &layers)
    why = unfit(&segment)
    if why == SIGNED and segment.auth != AUTH_NONE:
        why = ALREADY_SIGNED
    if why == SIGNED:
        why = lacks_room(records.start(0), &segment, &layers, aligned(length))
    if why != SIGNED:
        return why, None
    grown = bytearray(records.length(0) + aligned(length))
    to = grown
    insert(records.start(0), records.length(0), &layers, kind, length, key_id, rnext_key_id, &to[0],
           &segment)
    return why, grown


def with_mac(frame, int linktype, const uint8_t[::1] mac):
    """Write the MAC into the option of one frame (a bytearray), and mend the checksums over it."""
    cdef Records records = Records(frame, [0], [len(frame)], linktype, writable=True)
    cdef Segment segment
    cdef Layers layers
    cdef int skip
    parse_frame(records.start(0), records.length(0), records.length(0), linktype, &segment, &layers)
    skip = 4 if segment.auth == AUTH_AO else 2
    if unfit(&segment) != SIGNED or segment.auth == AUTH_NONE or (
            mac is None or mac.shape[0] < segment.auth_length - skip):
        raise InvalidArgumentError("frame has no option that such a MAC fits")
    if segment.auth_length > skip:
        memcpy(<uint8_t *>segment.tcp + segment.auth_offset + skip, &mac[0],
               segment.auth_length - skip)
    mend_checksums(records.start(0), &layers, &segment, True)


def sign_records(Shard shard not None, Records records not None, origins=None):
    """Insert options into records whose connections are this shard's; see `sign`.  `origins`: the
    number of each record, int64[n]."""
    cdef Py_ssize_t n = records.count, first = 0, count, i, at
    cdef int64_t total = 0
    for i in range(n):
        total += records.length(i)
    buffer = np.empty(total + MAX_GROWTH * n, np.uint8)
    offsets = np.empty(n, np.int64)
    lengths = np.empty(n, np.int64)
    outcomes = np.empty(n, np.uint8)
    mkts = np.empty(n, np.int32)
    ids = np.empty(n, np.int64)
    cdef uint8_t[::1] out = buffer
    cdef int64_t[::1] offset = offsets
    cdef int64_t[::1] length = lengths
    cdef uint8_t[::1] outcome = outcomes
    cdef int32_t[::1] mkt = mkts
    cdef int64_t[::1] identity = ids
    cdef uint8_t *to = &out[0] if total else NULL
    cdef Hypothesis *row
    cdef const Mkt *mkt_used
    cdef bint forward = True
    cdef Py_ssize_t used = 0
    cdef const int64_t[::1] numbers
    cdef const int64_t *number = NULL
    if origins is not None and n:
        numbers = origins
        number = &numbers[0]
    while first < n:
        count = min(shard.batch_rows, n - first)
        try:
            with nogil:
                open_batch(shard, records, first, count, number)
                for i in range(count):
                    at = first + i
                    row = &shard.rows[i]
                    outcome[at] = plan(shard, records, i, at, &forward)
                    offset[at] = used
                    if row.check == CHECK_NOTHING:
                        if records.length(at):
                            memcpy(to + used, records.start(at), records.length(at))
                        length[at] = records.length(at)
                    else:
                        mkt_used = &shard.keys.mkts[row.mkt]
                        length[at] = insert(
                            records.start(at), records.length(at), &shard.layers[i],
                            KIND_MD5 if mkt_used.kernel == TCPAO_MD5 else KIND_AO,
                            option_length(mkt_used),
                            mkt_used.send_id if forward else mkt_used.recv_id,
                            mkt_used.recv_id if forward else mkt_used.send_id,
                            to + used, &shard.segments[i])
                        schedule(shard, i)
                    used += length[at]
                    mkt[at] = row.mkt
                    identity[at] = row.id
                write_macs(shard, count)
                for i in range(count):
                    if shard.rows[i].check != CHECK_NOTHING:
                        mend_checksums(to + offset[first + i], &shard.layers[i], &shard.segments[i],
                                       True)
        finally:
            with nogil:
                shard.end_batch()
                shard.leave()
        first += count
    return buffer[:used], offsets, lengths, outcomes, mkts, ids


def sign_records_inplace(Shard shard not None, Records records not None, origins=None):
    """Fill in options of records whose connections are this shard's; see `sign_inplace`."""
    cdef Py_ssize_t n = records.count, first = 0, count, i, at
    outcomes = np.empty(n, np.uint8)
    mkts = np.empty(n, np.int32)
    ids = np.empty(n, np.int64)
    cdef uint8_t[::1] outcome = outcomes
    cdef int32_t[::1] mkt = mkts
    cdef int64_t[::1] identity = ids
    cdef Hypothesis *row
    cdef Segment *segment
    cdef uint8_t *option
    cdef bint forward = True, keep_ids = True
    cdef const int64_t[::1] numbers
    cdef const int64_t *number = NULL
    if origins is not None and n:
        numbers = origins
        number = &numbers[0]
    while first < n:
        count = min(shard.batch_rows, n - first)
        try:
            with nogil:
                open_batch(shard, records, first, count, number)
                for i in range(count):
                    at = first + i
                    row = &shard.rows[i]
                    segment = &shard.segments[i]
                    outcome[at] = plan_inplace(shard, records, i, at, &forward, &keep_ids)
                    if row.check == CHECK_AO and not keep_ids:
                        option = <uint8_t *>segment.tcp + segment.auth_offset
                        option[2] = (shard.keys.mkts[row.mkt].send_id if forward
                                     else shard.keys.mkts[row.mkt].recv_id)
                        option[3] = (shard.keys.mkts[row.mkt].recv_id if forward
                                     else shard.keys.mkts[row.mkt].send_id)
                        segment.key_id = option[2]
                        segment.rnext_key_id = option[3]
                    schedule(shard, i)
                    mkt[at] = row.mkt
                    identity[at] = row.id
                write_macs(shard, count)
                for i in range(count):
                    if shard.rows[i].check != CHECK_NOTHING:
                        mend_checksums(records.start(first + i), &shard.layers[i],
                                       &shard.segments[i], True)
        finally:
            with nogil:
                shard.end_batch()
                shard.leave()
        first += count
    return outcomes, mkts, ids


def by_shard(Pipeline pipeline not None, Records records not None, work):
    """``work(shard, records)`` of each shard's records, in all threads.

    Returns
    -------
    tuple of (list of int64[], list)
        The rows of each shard, and what `work` gave for them.
    """
    rows = pipeline.shards_of(records)
    done = pipeline.all_threads(
        lambda thread: work(pipeline.shards[thread], records.subset(rows[thread]), rows[thread]))
    return rows, done


def sign(Pipeline pipeline not None, Records records not None):
    """Insert options; see `Engine.sign`.

    Returns
    -------
    tuple of (uint8[m], int64[n], int64[n], uint8[n], int32[n], int64[n])
        Buffer, offsets, lengths, outcomes, MKT indices, connection ids.
    """
    if pipeline.threads == 1:
        return sign_records(pipeline.shards[0], records)
    rows, done = by_shard(pipeline, records, sign_records)
    cdef Py_ssize_t n = records.count, i
    starts = np.empty(n, np.int64)          # of each record, in the buffer of its shard
    columns = [np.empty(n, dtype) for dtype in (np.int64, np.uint8, np.int32, np.int64)]
    for index, (_, offsets, *found) in zip(rows, done):
        starts[index] = offsets
        for column, values in zip(columns, found):
            column[index] = values
    lengths, outcomes, mkts, ids = columns
    pipeline.settle(ids, rows)
    ends = np.cumsum(lengths)
    buffer = np.empty(int(lengths.sum()), np.uint8)
    cdef uint8_t[::1] to = buffer
    cdef const int64_t[::1] end = ends
    cdef const int64_t[::1] length = lengths
    cdef const int64_t[::1] start = starts
    cdef const uint8_t[::1] source
    for number in range(pipeline.threads):
        source = done[number][0]
        index = rows[number]
        for i in index:
            if length[i]:
                memcpy(&to[end[i] - length[i]], &source[start[i]], length[i])
    return buffer, ends - lengths, lengths, outcomes, mkts, ids


def sign_inplace(Pipeline pipeline not None, Records records not None):
    """Fill in options that are there; see `Engine.sign_inplace`.  `records` must be writable.

    Returns
    -------
    tuple of (uint8[n], int32[n], int64[n])
        Outcomes, MKT indices, connection ids.
    """
    require_separate(records)
    if pipeline.threads == 1:
        return sign_records_inplace(pipeline.shards[0], records)
    rows, done = by_shard(pipeline, records, sign_records_inplace)
    columns = [np.empty(records.count, dtype) for dtype in (np.uint8, np.int32, np.int64)]
    for index, found in zip(rows, done):
        for column, values in zip(columns, found):
            column[index] = values
    pipeline.settle(columns[2], rows)
    return tuple(columns)


cdef size_t strip_frame(const uint8_t *frame, size_t length, size_t wire_length, int linktype,
                        uint8_t *to, Outcome *why) noexcept nogil:
    """Write a frame without its option to `to`; returns the bytes (as many when it was left)."""
    cdef Segment segment
    cdef Layers layers
    cdef const uint8_t *options           # where they begin in the frame
    cdef uint32_t start, end, size, kept, padded
    cdef size_t before
    cdef int growth
    parse_frame(frame, length, wire_length, linktype, &segment, &layers)
    why[0] = unfit(&segment)
    if why[0] == SIGNED and segment.auth == AUTH_NONE:
        why[0] = NO_OPTION
    if why[0] == SIGNED:
        options = segment.tcp + 20
        size = segment.header_length - 20
        start = segment.auth_offset - 20
        end = start + segment.auth_length
        # with the option go the NOPs that aligned it, behind it first
        while (start + size - end) % 4 and end < size and options[end] == 1:
            end += 1
        while (start + size - end) % 4 and start > 0 and options[start - 1] == 1:
            start -= 1
        kept = start + size - end
        padded = (kept + 3) // 4 * 4
        growth = <int>padded - <int>size
        why[0] = resizable(frame, &layers, &segment, growth)
    if why[0] != SIGNED:
        memcpy(to, frame, length)
        return length
    before = options - frame
    memcpy(to, frame, before + start)
    memcpy(to + before + start, options + end, size - end)
    memset(to + before + kept, 0, padded - kept)
    memcpy(to + before + padded, options + size, length - before - size)
    to[before - 8] = <uint8_t>((to[before - 8] & 0x0F) | (20 + padded) << 2)
    move(&segment, to - frame)
    segment.length += growth
    resize(to, &layers, growth)
    mend_checksums(to, &layers, &segment, False)
    return length + growth


def strip(Records records not None):
    """Remove TCP-AO and TCP-MD5 options; see `tcpao_fast.engine.strip`.

    Returns
    -------
    tuple of (uint8[m], int64[n], int64[n], uint8[n])
        Buffer, offsets, lengths, outcomes (0: removed).
    """
    cdef Py_ssize_t n = records.count, i
    cdef int64_t total = 0
    for i in range(n):
        total += records.length(i)
    buffer = np.empty(total + 4 * n, np.uint8)   # removing can cost up to 3 bytes of padding
    offsets = np.empty(n, np.int64)
    lengths = np.empty(n, np.int64)
    outcomes = np.empty(n, np.uint8)
    cdef uint8_t[::1] out = buffer
    cdef int64_t[::1] offset = offsets
    cdef int64_t[::1] length = lengths
    cdef uint8_t[::1] outcome = outcomes
    cdef uint8_t *to = &out[0] if total else NULL
    cdef Outcome why
    cdef Py_ssize_t used = 0
    with nogil:
        for i in range(n):
            offset[i] = used
            length[i] = 0
            outcome[i] = NOT_TCP
            if records.length(i):
                length[i] = strip_frame(records.start(i), records.length(i),
                                        records.wire_length(i), records.linktype(i), to + used, &why)
                outcome[i] = why
            used += length[i]
    return buffer[:used], offsets, lengths, outcomes
