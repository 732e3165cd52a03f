"""Stage `messages`: what the MAC covers, as pieces of whole blocks for the kernels.

A long message is never copied whole: its head (SNE, pseudo-header, TCP header, first payload bytes up
to a block boundary) and its tail (the last partial block with its padding) are written to scratch,
the blocks between are read where they lie in the packet.
"""

from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy, memset

from tcpao_fast.core.mac.attempt cimport CHECK_MD5, CHECK_NOTHING, Attempt
from tcpao_fast.core.mac.kernels cimport (
    TCPAO_AES_CMAC,
    TCPAO_BY_BYTES,
    TCPAO_HMAC_SHA1,
    TCPAO_HMAC_SHA256,
    TCPAO_HMAC_SHA512,
    TCPAO_KMAC256,
    TCPAO_MD5,
    store64_le,
    tcpao_copy_few,
    tcpao_once32,
)
from tcpao_fast.core.keys.mkt cimport NAT_DESTINATION, NAT_SOURCE, Mkt, nat_of
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.segment cimport Segment, put16, put32

# the numbers of kernels.h, for the table in `algorithms`
HMAC_SHA1 = <int>TCPAO_HMAC_SHA1
AES_CMAC = <int>TCPAO_AES_CMAC
HMAC_SHA256 = <int>TCPAO_HMAC_SHA256
MD5 = <int>TCPAO_MD5
HMAC_SHA512 = <int>TCPAO_HMAC_SHA512
KMAC256 = <int>TCPAO_KMAC256
LIBRARY = <int>PRIMITIVE_LIBRARY

cdef enum:
    # a message up to this long is copied, of others the first so many bytes: so the heads of a batch
    # are alike, and its lanes change pieces together
    COPIED = 128
    AHEAD = 8             # messages between a prefetch and its use


cdef inline size_t pseudo_header(const Segment *segment, uint8_t *out) noexcept nogil:
    """RFC 9293 section 3.1 for IPv4, RFC 8200 section 8.1 for IPv6."""
    if segment.version == 4:
        memcpy(out, segment.source, 4)
        memcpy(out + 4, segment.destination, 4)
        put32(out + 8, 6 << 16 | (segment.length & 0xFFFF))
        return 12
    memcpy(out, segment.source, 16)
    memcpy(out + 16, segment.destination, 16)
    put32(out + 32, segment.length)
    put32(out + 36, 6)
    return 40


cdef inline size_t fixed_header(const Segment *segment, uint8_t *out) noexcept nogil:
    memcpy(out, segment.tcp, 20)
    put16(out + 16, 0)
    return 20


cdef inline void zero_mac(uint8_t *mac, uint32_t length) noexcept nogil:
    if length == 12:                     # RFC 5926: three stores are quicker than a call
        put32(mac, 0)
        put32(mac + 4, 0)
        put32(mac + 8, 0)
    else:
        memset(mac, 0, length)


cdef void hide(uint8_t nat, uint8_t *addresses, size_t size, uint8_t *ports) noexcept nogil:
    """Zero the address and the port of each side that is behind a NAT (RFC 6978 section 4)."""
    if nat & NAT_SOURCE:
        memset(addresses, 0, size)
        memset(ports, 0, 2)
    if nat & NAT_DESTINATION:
        memset(addresses + size, 0, size)
        memset(ports + 2, 0, 2)


cdef size_t ao_prefix(const Segment *segment, uint32_t sne, bint exclude_options, uint8_t nat,
                      uint8_t *out) noexcept nogil:
    """Everything before the payload (RFC 5925 section 5.1); at most `MAX_PREFIX` bytes."""
    cdef size_t length = 4
    cdef size_t option
    put32(out, sne)
    length += pseudo_header(segment, out + length)
    option = length + segment.auth_offset
    length += fixed_header(segment, out + length)
    if nat:
        hide(nat, out + 4, 16 if segment.version == 6 else 4, out + length - 20)
    if exclude_options:
        option = length
        memcpy(out + option, segment.tcp + segment.auth_offset, 4)
        length += segment.auth_length
    else:
        tcpao_copy_few(out + length, segment.tcp + 20, segment.header_length - 20)
        length += segment.header_length - 20
    zero_mac(out + option + 4, segment.auth_length - 4)
    return length


cdef inline size_t plain_headers(const Segment *segment, uint8_t *out, size_t at) noexcept nogil:
    """The TCP header with a MAC of 12 bytes, behind what is in `out` up to `at`; where it ends."""
    memcpy(out + at, segment.tcp, 20)
    put16(out + at + 16, 0)
    if segment.header_length == 36:
        memcpy(out + at + 20, segment.tcp + 20, 16)
    else:
        tcpao_copy_few(out + at + 20, segment.tcp + 20, segment.header_length - 20)
    memset(out + at + segment.auth_offset + 4, 0, 12)
    return at + segment.header_length


cdef inline size_t plain_prefix(const Segment *segment, uint32_t sne, uint8_t *out) noexcept nogil:
    """What `ao_prefix` writes for a MAC of 12 bytes, options covered and no NAT: nearly every
    segment."""
    put32(out, sne)
    if segment.version == 4:             # each with lengths that are known when this is compiled
        pseudo_header(segment, out + 4)
        return plain_headers(segment, out, 16)
    pseudo_header(segment, out + 4)
    return plain_headers(segment, out, 44)


cdef size_t md5_prefix(const Segment *segment, uint8_t *out) noexcept nogil:
    """Everything before the payload for TCP-MD5 (RFC 2385 section 2.0): no options, no SNE."""
    cdef size_t length = pseudo_header(segment, out)
    return length + fixed_header(segment, out + length)


cdef size_t context(const Segment *segment, uint32_t isn_source, uint32_t isn_destination,
                    uint8_t nat, uint8_t *out) noexcept nogil:
    """The KDF's context (RFC 5925 section 5.2): 20 bytes for IPv4, 44 for IPv6."""
    cdef size_t size = 16 if segment.version == 6 else 4
    memcpy(out, segment.source, size)
    memcpy(out + size, segment.destination, size)
    put16(out + 2 * size, segment.source_port)
    put16(out + 2 * size + 2, segment.destination_port)
    hide(nat, out, size, out + 2 * size)
    put32(out + 2 * size + 4, isn_source)
    put32(out + 2 * size + 8, isn_destination)
    return 2 * size + 12


cdef inline uint32_t finish(int primitive, uint8_t *last, size_t used, uint64_t total,
                            const uint8_t *suffix, size_t suffix_length,
                            tcpao_message *out) noexcept nogil:
    """Append suffix and padding behind `used` bytes at `last`; returns the whole blocks there.

    The zeros are more than the padding needs: so many at a time are single instructions, and
    nothing stands behind them.
    """
    cdef uint64_t bits
    cdef size_t end, at
    if suffix_length:
        memcpy(last + used, suffix, suffix_length)
        used += suffix_length
        total += suffix_length
    if primitive == TCPAO_AES_CMAC:            # RFC 4493 section 2.4: a whole last block has none
        end = (used + 15) // 16 * 16 if total else 16
        out.padded = end != used
        if out.padded:
            memset(last + used, 0, 16)
            last[used] = 0x80
        return <uint32_t>(end // 16)
    # the hashes: 0x80, zeros, the length in bits; HMAC's key block went before
    end = (used + 9 + 63) // 64 * 64
    at = used
    while at < end:
        memset(last + at, 0, 16)
        at += 16
    last[used] = 0x80
    if primitive == TCPAO_MD5:
        bits = 8 * total
        store64_le(last + end - 8, bits)
    else:
        bits = 8 * (total + 64)
        put32(last + end - 8, <uint32_t>(bits >> 32))
        put32(last + end - 4, <uint32_t>bits)
    return <uint32_t>(end // 64)


cdef inline void begin(tcpao_message *out, const uint8_t *key, uint8_t *mac) noexcept nogil:
    """A message under this prepared key, whose MAC goes to `mac`, without any blocks yet."""
    out.key = key
    out.mac = mac
    out.blocks[0] = out.blocks[1] = out.blocks[2] = out.padded = 0


cdef void layout(int primitive, const uint8_t *key, uint8_t *scratch, size_t prefix_length,
                 const uint8_t *body, size_t body_length, const uint8_t *suffix,
                 size_t suffix_length, uint8_t *mac, tcpao_message *out) noexcept nogil:
    """Cut prefix (already in `scratch`), body and suffix into head, middle and tail of a message
    with this prepared key, whose MAC goes to `mac`.

    `scratch` has `SCRATCH` bytes; prefix up to `MAX_PREFIX`, suffix up to `MAX_SUFFIX`, which only
    TCP-MD5 has.
    """
    cdef size_t block = 16 if primitive == TCPAO_AES_CMAC else 64
    cdef size_t total = prefix_length + body_length
    cdef size_t copied, rest
    begin(out, key, mac)
    out.piece[0] = scratch
    if primitive >= TCPAO_BY_BYTES:          # whoever computes it pads it
        out.blocks[0] = <uint32_t>prefix_length
        out.piece[1] = body
        out.blocks[1] = <uint32_t>body_length
        return
    if total <= COPIED:
        if body_length:
            memcpy(scratch + prefix_length, body, body_length)
        out.blocks[0] = finish(primitive, scratch, total, total, suffix, suffix_length, out)
        return
    copied = COPIED - prefix_length
    memcpy(scratch + prefix_length, body, copied)
    out.blocks[0] = <uint32_t>(COPIED // block)
    rest = (total - COPIED) % block
    out.piece[1] = body + copied
    out.blocks[1] = <uint32_t>((total - COPIED - rest) // block)
    if rest:
        tcpao_copy_few(scratch + COPIED, body + body_length - rest, rest)
    out.piece[2] = scratch + COPIED
    out.blocks[2] = finish(primitive, scratch + COPIED, rest, total, suffix, suffix_length, out)


cdef inline size_t lay(int primitive, const uint8_t *key, uint8_t *scratch, size_t prefix_length,
                       const uint8_t *body, size_t body_length, uint8_t *mac,
                       tcpao_message *out) noexcept nogil:
    """What `layout` does where there is no suffix, whichever way is quicker; returns the bytes of
    scratch in use, a multiple of 64: little scratch stays in the cache."""
    cdef size_t length = prefix_length + body_length
    if length > COPIED or primitive >= TCPAO_BY_BYTES:
        layout(primitive, key, scratch, prefix_length, body, body_length, NULL, 0, mac, out)
        return SCRATCH
    tcpao_copy_few(scratch + prefix_length, body, body_length)
    begin(out, key, mac)
    out.piece[0] = scratch
    out.blocks[0] = finish(primitive, scratch, length, length, NULL, 0, out)
    if primitive == TCPAO_AES_CMAC:
        return (16 * out.blocks[0] + 63) // 64 * 64
    return 64 * out.blocks[0]


cdef inline size_t lay_bare(int primitive, const uint8_t *key, uint8_t *scratch, const uint8_t *body,
                            size_t length, uint8_t *mac, tcpao_message *out) noexcept nogil:
    """What `lay` does without a prefix: whole blocks are read where they lie, unless they are few and
    have padding to join."""
    cdef size_t block = 16 if primitive == TCPAO_AES_CMAC else 64
    cdef size_t rest = length % block
    cdef bint whole = primitive == TCPAO_AES_CMAC and rest == 0 and length > 0
    if primitive >= TCPAO_BY_BYTES or (length <= COPIED and not whole):
        return lay(primitive, key, scratch, 0, body, length, mac, out)
    begin(out, key, mac)
    if whole:
        out.piece[0] = body
        out.blocks[0] = <uint32_t>(length // block)
        return 0
    out.piece[1] = body                      # as the middle of others: it is asked for ahead
    out.blocks[1] = <uint32_t>(length // block)
    tcpao_copy_few(scratch, body + length - rest, rest)
    out.piece[2] = scratch
    out.blocks[2] = finish(primitive, scratch, rest, length, NULL, 0, out)
    return 2 * 64


cdef inline bint is_plain(const Mkt *mkt, const Segment *segment) noexcept nogil:
    """Whether `plain_prefix` suits a segment."""
    return segment.auth_length == 16 and not mkt.exclude_options and not mkt.nat


cdef Py_ssize_t assemble(int primitive, const Mkt *mkts, const Segment *segments,
                         const Attempt *rows, Py_ssize_t count, uint8_t *scratch, uint8_t *macs,
                         tcpao_message *out) noexcept nogil:
    """The messages of those rows of a batch that want a MAC of this primitive; returns how many.

    There are `SCRATCH` bytes of scratch for each row, of which short messages leave most untouched;
    the MAC of row i goes to the i-th `DIGEST` bytes of `macs`.
    """
    cdef Py_ssize_t i, n = 0
    cdef const Mkt *mkt
    cdef const Segment *segment
    cdef const uint8_t *body
    cdef uint32_t sne
    cdef size_t prefix, length
    for i in range(count):
        if rows[i].check == CHECK_NOTHING or mkts[rows[i].mkt].primitive != primitive:
            continue
        segment = &segments[i]
        mkt = &mkts[rows[i].mkt]
        body = segment.tcp + segment.header_length
        length = segment.length - segment.header_length
        sne = <uint32_t>(rows[i].position >> 32)
        if rows[i].check == CHECK_MD5:
            prefix = md5_prefix(segment, scratch)
            layout(primitive, NULL, scratch, prefix, body, length, mkt.master, mkt.master_length,
                   macs + DIGEST * i, &out[n])
            scratch += SCRATCH
        elif rows[i].traffic_key < 0:
            continue
        else:
            prefix = (plain_prefix(segment, sne, scratch) if is_plain(mkt, segment) else
                      ao_prefix(segment, sne, mkt.exclude_options, nat_of(mkt, segment), scratch))
            scratch += lay(primitive, rows[i].key, scratch, prefix, body, length, macs + DIGEST * i,
                           &out[n])
        n += 1
    return n


cdef void lay_batch(int primitive, const uint8_t *keys, size_t stride, size_t key_count,
                    const int32_t *index, Records records, Py_ssize_t first, Py_ssize_t count,
                    uint8_t *scratch, uint8_t *macs, size_t digest_length,
                    tcpao_message *out) noexcept nogil:
    """The messages that `count` records are from `first` on, without any prefix: each under the key of
    `keys` that `index` says, or the first where another thread has put what is none.  There are
    `SCRATCH` bytes of scratch for each; MACs go side by side."""
    cdef Py_ssize_t i
    cdef size_t which
    cdef const uint8_t *key
    for i in range(first, first + count):
        if i + AHEAD < records.count:
            records.ask_for(i + AHEAD)
        which = tcpao_once32(&index[i])
        key = keys + (which if which < key_count else 0) * stride
        if primitive == TCPAO_MD5:
            layout(primitive, NULL, scratch, 0, records.start(i), records.length(i), key, stride,
                   macs + digest_length * i, &out[i - first])
            scratch += SCRATCH
        else:
            scratch += lay_bare(primitive, key, scratch, records.start(i), records.length(i),
                                macs + digest_length * i, &out[i - first])
