"""A captured segment written anew: its TCP-AO or TCP-MD5 option inserted or removed, and every length
and checksum around it made right.

Which key and which MAC is not decided here: an inserted option has a MAC of zeros, for `batch.sign` and
`batch.one` to fill in.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

from tcpao_fast.core.mac.kernels cimport tcpao_add_up, tcpao_copy_and_add_up, tcpao_copy_few, tcpao_fold
from tcpao_fast.core.wire.parse cimport (
    LAYER_8023,
    LAYER_AH,
    LAYER_GRE,
    LAYER_IPV4,
    LAYER_IPV6,
    LAYER_PPPOE,
    Layer,
    Layers,
    parse_tagged,
)
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.segment cimport (
    AUTH_AO,
    AUTH_MD5,
    AUTH_NONE,
    FLAG_SYN,
    Segment,
    be16,
    be32,
    put16,
    put32,
)

from tcpao_fast.core.wire.records import require_separate
from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    MAX_OPTIONS = 40          # bytes of TCP options
    KIND_SACK_PERMITTED = 4
    KIND_SACK = 5
    SACK_BLOCK = 8            # bytes of one
    KIND_TIMESTAMPS = 8
    KIND_FAST_OPEN = 34
    MAX_8023 = 1500           # what is more is an EtherType


# -- headers and checksums ----------------------------------------------------------------------

def add_up(const uint8_t[::1] data not None, uint64_t total=0):
    """The ones' complement sum of bytes (RFC 1071), continued from `total` below 2^48, for tests."""
    if total >> 48:
        raise InvalidArgumentError(f"total is {total}; it must be below 2^48")
    return tcpao_add_up(&data[0] if data.shape[0] else NULL, data.shape[0], total)


cdef inline uint64_t addresses_sum(const Segment *segment) noexcept nogil:
    """What the pseudo-header adds to the checksum but for the length; not folded."""
    if segment.version == 4:
        return <uint64_t>be32(segment.source) + be32(segment.destination) + 6
    return tcpao_add_up(segment.destination, 16, tcpao_add_up(segment.source, 16, 6))


cdef inline uint32_t carried(const Segment *segment) noexcept nogil:
    """What the addresses and the payload add to the checksum, by the checksum that is there
    (RFC 1624): kept in the checksum's place until the header is done."""
    cdef uint64_t total = <uint16_t>~be16(segment.tcp + 16)
    cdef uint32_t header = tcpao_add_up(segment.tcp, segment.header_length, length_sum(segment) + total)
    return tcpao_fold(total + (~header & 0xFFFF))


cdef void carry_checksum(Segment *segment) noexcept nogil:
    """Before the option of a segment is filled in where it is, for `set_checksums`."""
    put16(<uint8_t *>segment.tcp + 16, carried(segment))


cdef uint32_t fresh_checksum(const Segment *segment, int checksums) noexcept nogil:
    """The TCP checksum of a whole segment, whatever stands in its place; of the pseudo-header alone with
    CHECKSUMS_PARTIAL, and then not inverted."""
    cdef uint64_t total = addresses_sum(segment) + length_sum(segment)
    if checksums == CHECKSUMS_PARTIAL:
        return tcpao_fold(total)
    total += <uint16_t>~be16(segment.tcp + 16)           # without the one that is there
    return ~tcpao_add_up(segment.tcp, segment.length, total) & 0xFFFF


cdef void mend_gre(uint8_t *frame, const Layers *layers, const Segment *segment) noexcept nogil:
    """Compute the checksums of the GRE headers around a segment: innermost first, as outer ones cover
    inner ones."""
    cdef uint32_t i = layers.count
    cdef uint8_t *start
    while i:
        i -= 1
        if layers.layer[i].kind == LAYER_GRE:
            start = frame + layers.layer[i].start
            put16(start + 4, 0)
            put16(start + 4, ~tcpao_add_up(start, segment.tcp + segment.length - start, 0) & 0xFFFF)


cdef Outcome resizable(const uint8_t *frame, const Layers *layers, const Segment *segment,
                       int growth) noexcept nogil:
    """Why the headers around a segment cannot hold `growth` bytes more, or POSSIBLE."""
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
    return IPSEC if ipsec else POSSIBLE


cdef inline void resize_ipv4(const uint8_t *header, size_t size, uint8_t *to, uint16_t length) noexcept nogil:
    """Write the length and the checksum of an IPv4 header to a copy of it, or where it is.  What is
    written in pieces and read whole is waited for: so all is read first."""
    cdef uint64_t total = <uint64_t>length + <uint16_t>~be16(header + 2) + <uint16_t>~be16(header + 10)
    cdef uint32_t checksum = ~tcpao_add_up(header, size, total) & 0xFFFF
    put16(to + 2, length)
    put16(to + 10, checksum)


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
            resize_ipv4(start, layer.size, start, <uint16_t>(layer.field + growth if layer.field else 0))
        elif layer.kind == LAYER_IPV6 and layer.field:
            put16(start + 4, layer.field + growth)


cdef inline void move(Segment *segment, Py_ssize_t distance) noexcept nogil:
    """The segment is now in a copy of its record."""
    segment.ip += distance
    segment.tcp += distance
    segment.source += distance
    segment.destination += distance


cdef inline void take_option(Segment *segment, uint8_t *tcp, int growth, uint32_t carry, uint8_t kind,
                             int at, int length, uint8_t key_id, uint8_t rnext_key_id) noexcept nogil:
    """The segment's headers grew by an option, `at` bytes into the TCP header, which is `tcp`: state
    that, and keep `carry` in the checksum's place."""
    segment.auth = AUTH_MD5 if kind == OPTION_MD5 else AUTH_AO
    segment.auth_offset = <uint8_t>at
    segment.auth_length = <uint8_t>length
    segment.key_id = key_id
    segment.rnext_key_id = rnext_key_id
    segment.header_length = <uint8_t>(segment.header_length + growth)
    segment.length += growth
    segment.captured += growth
    tcp[12] = <uint8_t>((tcp[12] & 0x0F) | segment.header_length << 2)
    put16(tcp + 16, carry)


cdef inline uint32_t carry_of(const Segment *segment, int checksums) noexcept nogil:
    """What stands in the checksum's place before the payload was looked at."""
    if checksums == CHECKSUMS_FULL:
        return tcpao_fold(addresses_sum(segment))
    return carried(segment) if checksums == CHECKSUMS_INCREMENTAL else 0


cdef inline uint32_t copy_body(uint8_t *to, const uint8_t *body, size_t payload, size_t length, int checksums,
                               uint32_t carry) noexcept nogil:
    """Copy a segment's payload and what is behind it, `length` bytes in all, to another place; the carry
    with the payload, where that is added up."""
    if checksums != CHECKSUMS_FULL:
        payload = 0
    elif payload:
        carry = tcpao_copy_and_add_up(to, body, payload, carry)
    if length > payload:
        memcpy(to + payload, body + payload, length - payload)
    return carry


# -- the option ----------------------------------------------------------------------------------------

cdef void write_option(uint8_t *to, uint8_t kind, int length, uint8_t key_id,
                       uint8_t rnext_key_id) noexcept nogil:
    """The option with its MAC zeroed and NOPs where Linux has them: behind it, for TCP-MD5 before
    it.  TCP-MD5's has no IDs."""
    if kind == OPTION_AO and length == 16:               # RFC 5926: nearly every one
        put32(to, kind << 24 | length << 16 | key_id << 8 | rnext_key_id)
        memset(to + 4, 0, 12)
        return
    memset(to, 1, aligned(length))
    if kind == OPTION_MD5:
        to += aligned(length) - length
    memset(to, 0, length)
    to[0] = kind
    to[1] = <uint8_t>length
    if kind == OPTION_AO:
        to[2] = key_id
        to[3] = rnext_key_id


cdef int nops_before(const uint8_t *options, int start) noexcept nogil:
    """How many NOPs stand right before an option: the last byte of another may look like one."""
    cdef int at = 0, nops = 0
    while at < start:
        if options[at] == 1:
            at += 1
            nops += 1
        else:
            at += max(<int>options[at + 1], 1)
            nops = 0
    return nops


cdef int find_option(const Kept *kept, uint8_t kind) noexcept nogil:
    """Where an option of a kind begins among those that are kept; -1 where there is none."""
    cdef int at = 0, size
    while at < kept.length and kept.options[at] != 0:
        if kept.options[at] == kind:
            return at
        size = 1 if kept.options[at] == 1 or at + 1 == kept.length else kept.options[at + 1]
        at += max(size, 1)
    return -1


cdef void drop_bytes(Kept *kept, int start, int size) noexcept nogil:
    """Give up so many bytes of the options, and NOPs before them that only aligned them."""
    cdef int end = start + size, i, length
    cdef int nops = nops_before(kept.options, start)
    while (start + kept.length - end) % 4 and nops:
        start -= 1
        nops -= 1
    length = start
    for i in range(start):
        kept.bytes[i] = kept.options[i]
    for i in range(end, kept.length):
        kept.bytes[length] = kept.options[i]
        length += 1
    while length % 4:
        kept.bytes[length] = 0
        length += 1
    kept.options = kept.bytes
    kept.length = length


cdef void drop_option(Kept *kept, uint8_t kind) noexcept nogil:
    cdef int at = find_option(kept, kind)
    if at >= 0:
        kept.dropped += kept.options[at + 1]
        drop_bytes(kept, at, kept.options[at + 1])


cdef void drop_sack_blocks(Kept *kept, int room) noexcept nogil:
    """Give up blocks of the SACK option, the last first, until the options fit; with the last block
    goes the option (Linux's ``tcp_established_options``)."""
    cdef int at = find_option(kept, KIND_SACK)
    cdef int size = kept.options[at + 1]
    cdef int excess = (kept.length - room + SACK_BLOCK - 1) // SACK_BLOCK * SACK_BLOCK
    if size - excess < 2 + SACK_BLOCK:
        drop_option(kept, KIND_SACK)
        return
    kept.dropped += excess
    drop_bytes(kept, at + size - excess, excess)
    kept.bytes[at + 1] = <uint8_t>(size - excess)


cdef void drop_options(const Segment *segment, int room, Kept *kept) noexcept nogil:
    """Give up what Linux gives up where TCP-AO or TCP-MD5 leaves so little room: SACK blocks; in a
    handshake the Fast Open cookie, then timestamps where SACK is offered (``tcp_syn_options``,
    ``tcp_synack_options``)."""
    if not segment.flags & FLAG_SYN:
        while kept.length > room and find_option(kept, KIND_SACK) >= 0:
            drop_sack_blocks(kept, room)
        return
    if kept.length > room:
        drop_option(kept, KIND_FAST_OPEN)
    if kept.length > room and find_option(kept, KIND_SACK_PERMITTED) >= 0:
        drop_option(kept, KIND_TIMESTAMPS)


cdef int growth_of(const Segment *segment, int option, const Kept *kept) noexcept nogil:
    """By how many bytes a segment grows with an option of so many, and those that it keeps."""
    return aligned(option) + kept.length - (segment.header_length - 20)


cdef Outcome check_room(const uint8_t *frame, const Segment *segment, const Layers *layers,
                        int option, bint make_room, Kept *kept) noexcept nogil:
    """Why a segment cannot have an option of so many bytes, or POSSIBLE; and which of its own it
    keeps: all, unless there has to be room."""
    cdef int room = MAX_OPTIONS - aligned(option)
    kept.options = segment.tcp + 20
    kept.length = segment.header_length - 20
    kept.dropped = 0
    if make_room and kept.length > room:
        drop_options(segment, room, kept)
    if kept.length > room:
        return NO_OPTION_SPACE
    return resizable(frame, layers, segment,
                     growth_of(segment, option, kept))


cdef Written insert_option(const uint8_t *frame, size_t length, const Layers *layers, uint8_t kind,
                           int option, uint8_t key_id, uint8_t rnext_key_id, const Kept *kept,
                           uint8_t *to, Segment *segment, int checksums) noexcept nogil:
    """Write a frame with an option of so many bytes, and those that are kept, to `to`, where
    `segment`, which was in the frame, then lies.  The copy is not parsed: where everything is
    follows.

    `to` may be the frame itself, or lie before it by as much as it grows: then the payload stays
    where it is.  So what is behind moves first.

    What addresses and payload add to the checksum stands in its place then, for `set_checksums`: of
    a whole segment it is taken while its payload is copied.
    """
    cdef size_t before = segment.tcp - frame + 20
    cdef size_t options = before + segment.header_length - 20      # where they end in the frame
    cdef int size = aligned(option)
    cdef int growth = growth_of(segment, option, kept)
    cdef size_t payload = segment.length - segment.header_length
    cdef uint8_t *moved = to + before + size + kept.length
    cdef uint32_t carry = carry_of(segment, checksums)
    cdef Written written
    cdef bint elsewhere = to >= frame + length or moved + length <= frame
    if not elsewhere:
        if checksums == CHECKSUMS_FULL:
            carry = tcpao_add_up(frame + options, payload, carry)
        memmove(moved, frame + options, length - options)
        memmove(to + before + size, kept.options, kept.length)
        memmove(to, frame, before)
    else:
        carry = copy_body(moved, frame + options, payload, length - options, checksums, carry)
        tcpao_copy_few(to + before + size, kept.options, kept.length)
        tcpao_copy_few(to, frame, before)
    write_option(to + before, kind, option, key_id, rnext_key_id)
    move(segment, to - frame)
    take_option(segment, to + before - 20, growth, carry, kind,
                20 + (size - option if kind == OPTION_MD5 else 0), option, key_id, rnext_key_id)
    resize(to, layers, growth)
    written.start = to
    written.length = length + growth
    return written


cdef Written insert_plain(const uint8_t *frame, size_t length, const Layers *layers, uint8_t key_id,
                          uint8_t rnext_key_id, uint8_t *to, Segment *segment, int checksums) noexcept nogil:
    """What `insert_option` does for a segment that `fits_plain` says yes to, in less than half the
    instructions: the option is TCP-AO's with a MAC of 12 bytes, all other options are kept, and `to`
    is elsewhere."""
    cdef const uint8_t *header = frame + layers.layer[0].start
    cdef const uint8_t *body = segment.tcp + segment.header_length
    cdef size_t before = segment.tcp - frame + 20, options = segment.header_length - 20
    cdef size_t payload = segment.length - segment.header_length
    cdef size_t behind = frame + length - body
    cdef uint8_t *moved = to + before + PLAIN_OPTION
    cdef uint32_t carry = carry_of(segment, checksums)
    cdef Written written
    tcpao_copy_few(to, frame, before)
    write_option(moved - PLAIN_OPTION, OPTION_AO, PLAIN_OPTION, key_id, rnext_key_id)
    if options:
        tcpao_copy_few(moved, frame + before, options)
        moved += options
    if behind:
        carry = copy_body(moved, body, payload, behind, checksums, carry)
    resize_ipv4(header, 20, to + layers.layer[0].start, <uint16_t>(layers.layer[0].field + PLAIN_OPTION))
    move(segment, to - frame)
    take_option(segment, to + before - 20, PLAIN_OPTION, carry, OPTION_AO, 20, PLAIN_OPTION, key_id,
                rnext_key_id)
    written.start = to
    written.length = length + PLAIN_OPTION
    return written


cdef Written remove_option(const uint8_t *frame, size_t length, const Layers *layers, uint8_t *to,
                           Segment *segment, int checksums, Outcome *outcome) noexcept nogil:
    """Write a frame without its option to `to`; with NULL where it is, the payload staying in its
    place.  `segment` is in the frame, and in what is written then; where nothing is to be removed,
    that is the frame as it is."""
    cdef uint32_t start, end, size, kept, padded, nops, carry = 0
    cdef const uint8_t *options           # where they begin in the frame
    cdef size_t before
    cdef int growth
    cdef Written written
    outcome[0] = check_segment(segment)
    if outcome[0] == POSSIBLE and segment.auth == AUTH_NONE:
        outcome[0] = NO_OPTION
    if outcome[0] == POSSIBLE:
        options = segment.tcp + 20
        size = segment.header_length - 20
        start = segment.auth_offset - 20
        end = start + segment.auth_length
        # with the option go the NOPs that aligned it, behind it first
        while (start + size - end) % 4 and end < size and options[end] == 1:
            end += 1
        nops = nops_before(options, start)
        while (start + size - end) % 4 and nops:
            start -= 1
            nops -= 1
        kept = start + size - end
        padded = (kept + 3) // 4 * 4
        growth = <int>padded - <int>size
        outcome[0] = resizable(frame, layers, segment, growth)
    if outcome[0] != POSSIBLE:
        written.start = to
        written.length = length
        if to == NULL:
            written.start = <uint8_t *>frame
        elif length:
            memcpy(to, frame, length)
        return written
    before = options - frame
    if checksums == CHECKSUMS_INCREMENTAL:
        carry = carried(segment)
    if to == NULL:
        to = <uint8_t *>frame - growth
    # where it is the same memory, what is behind moves first, and the payload not at all
    memmove(to + before + start, options + end, size - end)
    memset(to + before + kept, 0, padded - kept)
    memmove(to, frame, before + start)
    if to + before + padded != options + size:
        memcpy(to + before + padded, options + size, length - before - size)
    to[before - 8] = <uint8_t>((to[before - 8] & 0x0F) | (20 + padded) << 2)
    put16(to + before - 4, carry)
    move(segment, to - frame)
    segment.length += growth
    segment.captured += growth
    segment.header_length = <uint8_t>(20 + padded)
    resize(to, layers, growth)
    set_checksums(to, layers, segment, False, checksums, checksums == CHECKSUMS_INCREMENTAL)
    outcome[0] = STRIPPED
    written.start = to
    written.length = length + growth
    return written


cdef int strip_rows(Records records, const uint8_t *good, uint8_t *to, int64_t *offset,
                    int64_t *length, uint8_t *outcome, int checksums) noexcept nogil:
    """Remove options: into `to`, one record behind the other, or with NULL in place; with `good` (of
    each record) only where it is not 0."""
    cdef Segment segment
    cdef Layers layers
    cdef Outcome found
    cdef Written written
    cdef int64_t used = 0
    cdef Py_ssize_t i
    for i in range(records.count):
        found = NOT_TCP
        written.start = records.start(i)
        written.length = records.length(i)
        if written.length:
            if good != NULL and not good[i]:
                found = NOT_GOOD
                if to != NULL:
                    memcpy(to + used, written.start, written.length)
            else:
                parse_tagged(records.start(i), records.length(i), records.wire_length(i),
                             records.linktype(i), records.vlan(i), &segment, &layers)
                written = remove_option(records.start(i), records.length(i), &layers,
                                        NULL if to == NULL else to + used, &segment, checksums,
                                        &found)
        outcome[i] = <uint8_t>found
        if to == NULL:
            records.put(i, written.start, written.length)
        else:
            offset[i] = used
            length[i] = written.length
            used += written.length
    return 0


def strip(Records records not None, buffer, offsets, lengths, outcomes, int checksums=0, good=None):
    """Remove TCP-AO and TCP-MD5 options; see `tcpao_fast.engine.strip`.

    Parameters
    ----------
    records : Records
    buffer : uint8[m]
        Where to: `room_to_strip` bytes or more.
    offsets, lengths : int64[n or more]
    outcomes : uint8[n or more]
    checksums : int
        A number of `Checksums`.
    good : bool[n], optional
        Which are to be stripped; all.

    Returns
    -------
    int
        How many bytes of `buffer` were written.
    """
    cdef uint8_t[::1] out = buffer
    cdef int64_t[::1] offset = offsets, length = lengths
    cdef uint8_t[::1] outcome = outcomes
    cdef const uint8_t[::1] wanted
    cdef const uint8_t *which = NULL
    cdef Py_ssize_t n = records.count
    if len(offset) < n or len(length) < n or len(outcome) < n or len(out) < room_to_strip(records):
        raise InvalidArgumentError(
            f"out has no room: {n} records and {room_to_strip(records)} bytes are needed")
    if not n:
        return 0
    if good is not None:
        wanted = good
        if len(wanted) != n:
            raise InvalidArgumentError(f"good has {len(wanted)} entries; it must have {n}")
        which = &wanted[0]
    with nogil:
        strip_rows(records, which, &out[0], &offset[0], &length[0], &outcome[0], checksums)
    return offset[n - 1] + length[n - 1]


def strip_inplace(Records records not None, outcomes, int checksums=0, good=None):
    """Remove options where the records are, which then begin later; `records` says where.

    Parameters
    ----------
    records : Records
        Writable.
    outcomes : uint8[n]
    checksums, good
        As for `strip`.
    """
    cdef uint8_t[::1] outcome = outcomes
    cdef const uint8_t[::1] wanted
    cdef const uint8_t *which = NULL
    require_separate(records)
    if not records.count:
        return
    if len(outcome) < records.count:
        raise InvalidArgumentError(f"outcomes has {len(outcome)} entries; {records.count} are needed")
    if good is not None:
        wanted = good
        if len(wanted) != records.count:
            raise InvalidArgumentError(
                f"good has {len(wanted)} entries; it must have {records.count}")
        which = &wanted[0]
    with nogil:
        strip_rows(records, which, NULL, NULL, NULL, &outcome[0], checksums)
    records.moved()


def room_to_strip(Records records not None):
    """The most bytes that the records have without options; never 0."""
    cdef Py_ssize_t i
    cdef int64_t total = 1
    for i in range(records.count):
        total += records.length(i)
    return total
