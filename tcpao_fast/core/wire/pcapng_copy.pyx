# cython: nonecheck=False
"""The way out where a pcapng capture came in: its blocks as they are, its packets rewritten.

Sections, interfaces, names, statistics, secrets, unknown blocks and the options of packets are copied.
What no longer fits is not: the hash of a packet whose bytes have changed, and the length that a section
states.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

import numpy as np

from tcpao_fast.core.wire.byte_order cimport half, put_half, put_word, word
from tcpao_fast.core.wire.records cimport Records

from tcpao_fast.core.wire.records import as_column
from tcpao_fast.errors import InvalidArgumentError

cdef enum BlockType:
    BLOCK_INTERFACE = 1
    BLOCK_PACKET = 2          # obsolete
    BLOCK_SIMPLE_PACKET = 3
    BLOCK_ENHANCED_PACKET = 6
    BLOCK_SECTION = 0x0A0D0D0A

cdef enum:
    END_OF_OPTIONS = 0
    COMMENT = 1
    HASH = 3                  # of a packet, in both kinds of packet blocks
    HEAD = 28                 # of a packet block, up to its data
    SIMPLE_HEAD = 12

cdef struct Rewritten:        # what becomes of one packet
    const uint8_t *data
    int64_t length
    int64_t wire_length
    bint changed
    const uint8_t *comment
    int64_t comment_size      # -1 without


cdef inline int64_t padded(int64_t length) noexcept nogil:
    return (length + 3) & ~<int64_t>3


@cython.final
cdef class BlockCopier:
    """Copies a pcapng file part by part; what it knows of a section goes with it.

    Parameters
    ----------
    growth : int
        By how many bytes a packet may become longer: interfaces' snap lengths grow by as many.
    """

    cdef bint big_endian
    cdef uint32_t growth
    cdef uint32_t first_snap_length       # of the section's first interface, for simple packets
    cdef bint has_interface

    def __cinit__(self, uint32_t growth=0):
        self.growth = growth

    def copy(self, file, Py_ssize_t start, Py_ssize_t end, Records records not None, buffer=None,
             offsets=None, lengths=None, comment_of=None, comments=()):
        """The blocks of a part of a file, with its packets rewritten.

        Parameters
        ----------
        file : buffer protocol
            What `records` lie in.
        start, end : int
            The part: whole blocks, as `Scanner.scan` went through them.
        records : Records
            Which packets are wanted, as they lie in `file` and in its order; others are left out.
        buffer, offsets, lengths : optional
            What becomes of each; without it each stays as it is.
        comment_of : int32[n], optional
            Index into `comments` of what is added to each, -1: nothing.
        comments : list of bytes
            UTF-8, up to 65,535 bytes each.

        Returns
        -------
        bytes-like
        """
        cdef Records target = records
        cdef const uint8_t[::1] whole = memoryview(file).cast("B")
        cdef const int32_t[::1] which
        cdef const uint8_t[::1] text
        cdef const int64_t[::1] starts
        cdef Py_ssize_t i, n = records.count
        cdef int64_t total
        if not 0 <= start <= end <= whole.shape[0]:
            raise InvalidArgumentError(f"blocks from {start} to {end} of {whole.shape[0]} bytes")
        if buffer is not None:
            target = Records(buffer, offsets, lengths, 1)
            if target.count != n:
                raise InvalidArgumentError(f"{target.count} packets for {n}")
        if comment_of is None:
            comment_of = np.full(n, -1, np.int32)
        which = as_column("comment_of", comment_of, np.int32, n)
        joined = b"".join(comments) + b"\0"
        text = joined
        starts = np.concatenate([[0], np.cumsum([len(one) for one in comments])]).astype(np.int64)
        total = end - start
        for i in range(n):
            if which[i] >= len(comments):
                raise InvalidArgumentError(f"comment_of[{i}] is {which[i]}; there are {len(comments)}")
            total += max(<int64_t>target.length(i) - <int64_t>records.length(i), <int64_t>0) + 4
            if which[i] >= 0:
                # a simple packet becomes an enhanced one
                total += padded(starts[which[i] + 1] - starts[which[i]]) + 8 + 4 + (HEAD - SIMPLE_HEAD)
            total += HEAD - SIMPLE_HEAD
        out = np.empty(total, np.uint8)
        cdef uint8_t[::1] room = out
        cdef uint8_t *to = &room[0] if total else NULL
        cdef const uint8_t *data = &whole[0] if whole.shape[0] else NULL
        cdef const uint8_t *place
        cdef Py_ssize_t at = start, done = 0
        cdef uint32_t kind, length
        cdef Rewritten it
        with nogil:
            i = 0
            while at < end:
                if end - at < 12:
                    break
                kind = word(data + at, self.big_endian)
                if kind == BLOCK_SECTION:
                    self.big_endian = data[at + 8] == 0x1A
                    self.has_interface = False
                length = word(data + at + 4, self.big_endian)
                if length < 12 or <int64_t>length > end - at:
                    break
                place = data + at
                if kind == BLOCK_ENHANCED_PACKET or kind == BLOCK_PACKET or kind == BLOCK_SIMPLE_PACKET:
                    place += SIMPLE_HEAD if kind == BLOCK_SIMPLE_PACKET else HEAD
                    if i < n and records.start(i) == place:
                        if place + records.length(i) + 4 > data + at + length:
                            break                         # the file has changed meanwhile
                        it.data = target.start(i)
                        it.length = target.length(i)
                        it.wire_length = (<int64_t>records.wire_length(i)
                                          + it.length - <int64_t>records.length(i))
                        it.changed = target is not records
                        it.comment_size = -1
                        if which[i] >= 0:
                            it.comment = &text[starts[which[i]]]
                            it.comment_size = starts[which[i] + 1] - starts[which[i]]
                        done += self.packet(data + at, kind, length, records.length(i), &it, to + done)
                        i += 1
                else:
                    memcpy(to + done, data + at, length)
                    if kind == BLOCK_SECTION and length >= 28:
                        memset(to + done + 16, 0xFF, 8)       # its length is not stated
                    elif kind == BLOCK_INTERFACE and length >= 20:
                        self.interface(to + done)
                    done += length
                at += length
        if at != end or i != n:
            raise InvalidArgumentError("the records are not those of these blocks")
        return out[:done]

    cdef void interface(self, uint8_t *block) noexcept nogil:
        cdef uint32_t snap_length = word(block + 12, self.big_endian)
        if snap_length:
            snap_length += min(self.growth, 0xFFFFFFFFU - snap_length)
            put_word(block + 12, snap_length, self.big_endian)
        if not self.has_interface:
            self.first_snap_length = snap_length
            self.has_interface = True

    cdef int64_t packet(self, const uint8_t *block, uint32_t kind, uint32_t length, int64_t captured,
                        const Rewritten *it, uint8_t *to) noexcept nogil:
        """One packet's block as it becomes; the bytes written."""
        cdef int64_t done, size
        cdef const uint8_t *option = block + HEAD + padded(captured)
        cdef const uint8_t *options_end = block + length - 4
        cdef uint32_t code, option_length
        cdef bint any_option = False
        if kind == BLOCK_SIMPLE_PACKET and it.comment_size < 0 and (
                not self.first_snap_length or it.length <= self.first_snap_length):
            put_word(to, BLOCK_SIMPLE_PACKET, self.big_endian)
            put_word(to + 8, <uint32_t>it.wire_length, self.big_endian)
            done = SIMPLE_HEAD
        elif kind == BLOCK_SIMPLE_PACKET:         # which can say no more than that
            put_word(to, BLOCK_ENHANCED_PACKET, self.big_endian)
            memset(to + 8, 0, 12)                 # the first interface, no time
            put_word(to + 20, <uint32_t>it.length, self.big_endian)
            put_word(to + 24, <uint32_t>it.wire_length, self.big_endian)
            done = HEAD
        else:
            memcpy(to, block, HEAD)
            put_word(to + 20, <uint32_t>it.length, self.big_endian)
            put_word(to + 24, <uint32_t>it.wire_length, self.big_endian)
            done = HEAD
        memcpy(to + done, it.data, it.length)
        memset(to + done + it.length, 0, padded(it.length) - it.length)
        done += padded(it.length)
        if kind != BLOCK_SIMPLE_PACKET:
            while options_end - option >= 4:
                code = half(option, self.big_endian)
                option_length = half(option + 2, self.big_endian)
                size = 4 + padded(option_length)
                if code == END_OF_OPTIONS or size > options_end - option:
                    break
                if not (it.changed and code == HASH):
                    memcpy(to + done, option, size)
                    done += size
                    any_option = True
                option += size
        if it.comment_size >= 0:
            put_half(to + done, COMMENT, self.big_endian)
            put_half(to + done + 2, <uint32_t>it.comment_size, self.big_endian)
            memcpy(to + done + 4, it.comment, it.comment_size)
            memset(to + done + 4 + it.comment_size, 0, padded(it.comment_size) - it.comment_size)
            done += 4 + padded(it.comment_size)
            any_option = True
        if any_option:
            memset(to + done, 0, 4)
            done += 4
        put_word(to + 4, <uint32_t>(done + 4), self.big_endian)
        put_word(to + done, <uint32_t>(done + 4), self.big_endian)
        return done + 4
