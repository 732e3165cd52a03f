# cython: nonecheck=False
"""Stage `scan`: where the records of a pcap or pcapng file lie.  No packet is copied or parsed.

`Scanner` works on whatever part of the file is in memory: a mapping of all of it, or a window that
moves along a stream.  It keeps what the file's headers said from window to window.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcmp

import numpy as np

from tcpao_fast.core.mac.kernels cimport tcpao_prefetch
from tcpao_fast.core.wire.byte_order cimport half, word

cdef enum:
    MAX_RECORD = 64 << 20     # bytes; larger is damage, not data
    NEED_MORE = 1             # the window ends inside a record
    DAMAGED = 2
    FULL = 3                  # as many records as were asked for
    TRUSTED = 4

cdef enum Format:
    FORMAT_UNKNOWN = 0
    FORMAT_PCAP = 1
    FORMAT_PCAPNG = 2

cdef enum BlockType:
    BLOCK_INTERFACE = 1
    BLOCK_PACKET = 2          # obsolete, but written by old tools
    BLOCK_SIMPLE_PACKET = 3
    BLOCK_ENHANCED_PACKET = 6
    BLOCK_SECTION = 0x0A0D0D0A

cdef struct Interface:
    int32_t linktype
    uint32_t snap_length
    uint64_t units            # timestamp units a second, if a power of 10; else 0
    int binary                # else 2^binary units a second
    int64_t offset            # seconds added to every timestamp

cdef struct Columns:
    int64_t *offsets
    int64_t *lengths
    int64_t *wire_lengths
    int64_t *timestamps
    int32_t *linktypes
    Py_ssize_t count
    Py_ssize_t limit


cdef enum:
    MOST_INTERFACES = 1 << 16
    TRUSTED_CHAIN = 8         # blocks in a row that are sound
    MOST_CONTENT = 1 << 18    # bytes of a packet, as usual snap lengths have it
    NO_BLOCK = 0
    CUT_BLOCK = -1


@cython.final
cdef class Scanner:
    """Finds the records of one capture file.

    Attributes
    ----------
    format : str
        ``"pcap"`` or ``"pcapng"``, empty before the first bytes.
    big_endian, nanoseconds : bool
        How a pcap file was written; pcapng: the last section, and always nanoseconds.
    snap_length, linktype : int
        From a pcap file's header (link type without the bits that say the FCS length).
    linktype_field : int
        The whole field that a pcap file's header has the link type in.
    damage : str or None
        What was wrong, once `scan` has found that something is; `damage_at`: its offset in the
        window.
    """

    cdef int kind
    cdef readonly bint big_endian
    cdef readonly bint nanoseconds
    cdef readonly uint32_t snap_length
    cdef readonly int32_t linktype
    cdef readonly uint32_t linktype_field
    cdef Interface *interfaces
    cdef Py_ssize_t interface_count
    cdef Py_ssize_t interface_room
    cdef bint lost_interfaces         # damage hit what describes interfaces: a section must come first
    cdef const char *problem
    cdef readonly Py_ssize_t damage_at

    def __dealloc__(self):
        free(self.interfaces)

    @property
    def format(self):
        return ("", "pcap", "pcapng")[self.kind]

    @property
    def damage(self):
        return None if self.problem == NULL else self.problem.decode()

    def scan(self, window, Py_ssize_t start=0, Py_ssize_t limit=65536, bint final=True):
        """Find up to `limit` records in the bytes of `window` from `start` on.

        Parameters
        ----------
        window : buffer protocol
            Bytes of the file; `start` must be where the previous call ended.
        final : bool
            Whether the file ends with the window. If not, a record that the window cuts is left
            for the next call.

        Returns
        -------
        tuple of ((int64[n], int64[n], int64[n], int64[n], int32[n]), int)
            Offsets in the window, captured lengths, lengths on the wire, timestamps (nanoseconds
            since 1970, -1 where the format has none), link types; and where to go on. When that is
            the end of the window, or no record is returned, there are no more in it.
        """
        cdef Py_buffer view
        cdef Columns columns
        cdef Py_ssize_t end
        offsets = np.empty(limit, np.int64)
        lengths = np.empty(limit, np.int64)
        wire_lengths = np.empty(limit, np.int64)
        timestamps = np.empty(limit, np.int64)
        linktypes = np.empty(limit, np.int32)
        cdef int64_t[::1] a = offsets, b = lengths, c = wire_lengths, d = timestamps
        cdef int32_t[::1] e = linktypes
        columns.offsets = &a[0]
        columns.lengths = &b[0]
        columns.wire_lengths = &c[0]
        columns.timestamps = &d[0]
        columns.linktypes = &e[0]
        columns.count = 0
        columns.limit = limit
        PyObject_GetBuffer(window, &view, PyBUF_SIMPLE)
        try:
            with nogil:
                end = self.walk(<const uint8_t *>view.buf, view.len, start, final, &columns)
        finally:
            PyBuffer_Release(&view)
        n = columns.count
        return (offsets[:n], lengths[:n], wire_lengths[:n], timestamps[:n], linktypes[:n]), end

    def recover(self, window, Py_ssize_t start, Py_ssize_t damaged, bint final=True):
        """After damage: find where a scan can go on (pcapng alone; records of pcap have no mark).

        That is where the damaged block says that it ends, at either of its ends, if a sound block
        follows. Else it is the first block from which blocks follow one another soundly for longer
        than a packet could hold, or to the end of the file: packets may hold blocks themselves.

        Parameters
        ----------
        window : buffer protocol
        start : int
            Where to look from.
        damaged : int
            Where the damaged block begins; negative before the window.
        final : bool
            Whether the file ends with the window.

        Returns
        -------
        tuple of (bool, int)
            Whether there is one, and where; if there is none, from where on the window is still
            needed (its end, if nothing in it is).
        """
        cdef Py_buffer view
        cdef const uint8_t *data
        cdef Py_ssize_t at = start, stated = -1
        cdef bint found = False, follows
        cdef int state
        PyObject_GetBuffer(window, &view, PyBUF_SIMPLE)
        try:
            if self.kind != FORMAT_PCAPNG:
                return False, view.len
            data = <const uint8_t *>view.buf
            with nogil:
                if 0 <= damaged <= view.len - 8:
                    stated = damaged + self.u32(data + damaged + 4)
                while at < view.len:
                    follows = at == stated or (
                        at >= 4 and self.u32(data + at - 4) == <uint64_t>(at - damaged))
                    state = self.chain(data, view.len, at, final, follows)
                    if state == TRUSTED:
                        found = True
                        break
                    if state == NEED_MORE:
                        break
                    at += 1
        finally:
            PyBuffer_Release(&view)
        if found:
            self.problem = NULL
        return found, min(at, view.len)

    cdef int chain(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t at, bint final,
                   bint follows) noexcept nogil:
        """Whether blocks from `at` on can be trusted: TRUSTED, NEED_MORE, or 0."""
        cdef Py_ssize_t count = 0, interfaces = self.interface_count, length, start = at
        cdef bint big_endian = self.big_endian, unknown = self.lost_interfaces
        while True:
            if at == size:
                return NEED_MORE if not final else TRUSTED if count else 0
            length = sound_block(data + at, size - at, &big_endian, &interfaces, &unknown)
            if length == NO_BLOCK:
                return 0
            if length == CUT_BLOCK:
                return NEED_MORE if not final else TRUSTED if count > 1 else 0
            at += length
            count += 1
            if follows or (count >= TRUSTED_CHAIN and at - start > MOST_CONTENT):
                return TRUSTED

    cdef int damaged(self, const char *problem, Py_ssize_t at) noexcept nogil:
        self.problem = problem
        self.damage_at = at
        return DAMAGED

    cdef int cut(self, bint final, const char *problem, Py_ssize_t at) noexcept nogil:
        """The window ends early: wait for more, or say that the file is cut."""
        return self.damaged(problem, at) if final else NEED_MORE

    cdef inline uint32_t u32(self, const uint8_t *p) noexcept nogil:
        return word(p, self.big_endian)

    cdef inline uint16_t u16(self, const uint8_t *p) noexcept nogil:
        return half(p, self.big_endian)

    cdef Py_ssize_t walk(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t at, bint final,
                         Columns *out) noexcept nogil:
        """Scan from `at`; returns where to go on."""
        cdef Py_ssize_t following = at, before = at
        cdef int state = 0
        if self.problem != NULL:
            return at
        if self.kind == FORMAT_UNKNOWN:
            following = at
            state = self.file_header(data, size, &following, final)
            if state:
                return at
            at = following
        while at < size and out.count < out.limit:
            # one header tells where the next is, so each would be waited for; but records of one
            # size come in rows: ask for the header that is likely to be the fourth from here
            tcpao_prefetch(data + at + 4 * (following - before))
            before = following = at
            if self.kind == FORMAT_PCAP:
                state = self.pcap_record(data, size, &following, final, out)
            else:
                state = self.pcapng_block(data, size, &following, final, out)
                if state == DAMAGED and size - at >= 4:
                    # the interfaces of what follows are not those that are known
                    self.lost_interfaces |= self.u32(data + at) in (BLOCK_SECTION, BLOCK_INTERFACE)
            if state:
                return at
            at = following
        return at

    cdef int file_header(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t *at,
                         bint final) noexcept nogil:
        cdef const uint8_t *p = data + at[0]
        cdef uint32_t magic
        if size - at[0] < 4:
            if size == at[0] and final:
                return self.damaged("the file is empty", at[0])
            return self.cut(final, "the file ends inside its header", at[0])
        self.big_endian = True
        magic = self.u32(p)
        if magic == BLOCK_SECTION:
            self.kind = FORMAT_PCAPNG
            self.nanoseconds = True
            return 0
        if not (magic == 0xA1B2C3D4U or magic == 0xA1B23C4DU or magic == 0xD4C3B2A1U
                or magic == 0x4D3CB2A1U):
            if magic >> 16 == 0x1F8B:
                return self.damaged("the file is compressed with gzip: decompress it first", at[0])
            if magic == 0x28B52FFDU:
                return self.damaged("the file is compressed with zstd: decompress it first", at[0])
            if (magic == 0xA1B2CD34U or magic == 0x34CDB2A1U or magic == 0xA1E2CB12U
                    or magic == 0x12CBE2A1U):
                return self.damaged(
                    "the file is of a variant of pcap with other record headers: "
                    "convert it with editcap -F pcap", at[0])
            return self.damaged("the file is neither pcap nor pcapng", at[0])
        self.big_endian = magic == 0xA1B2C3D4U or magic == 0xA1B23C4DU
        self.nanoseconds = magic == 0xA1B23C4DU or magic == 0x4D3CB2A1U
        if size - at[0] < 24:
            return self.cut(final, "the file ends inside its header", at[0])
        self.kind = FORMAT_PCAP
        self.snap_length = self.u32(p + 16)
        self.linktype_field = self.u32(p + 20)
        self.linktype = self.linktype_field & 0xFFFF
        at[0] += 24
        return 0

    cdef inline int pcap_record(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t *at, bint final,
                                Columns *out) noexcept nogil:
        cdef const uint8_t *p = data + at[0]
        cdef int64_t length
        if size - at[0] < 16:
            return self.cut(final, "the file ends inside a record header", at[0])
        length = self.u32(p + 8)
        if length > MAX_RECORD:
            return self.damaged("a record header states an absurd length", at[0])
        if size - at[0] - 16 < length:
            return self.cut(final, "the file ends inside a record", at[0])
        self.emit(out, at[0] + 16, length, self.u32(p + 12), self.linktype,
                  <int64_t>self.u32(p) * 1000000000
                  + <int64_t>self.u32(p + 4) * (1 if self.nanoseconds else 1000))
        at[0] += 16 + length
        return 0

    cdef inline void emit(self, Columns *out, int64_t offset, int64_t length, int64_t wire_length,
                          int32_t linktype, int64_t timestamp) noexcept nogil:
        out.offsets[out.count] = offset
        out.lengths[out.count] = length
        out.wire_lengths[out.count] = wire_length if wire_length > length else length
        out.linktypes[out.count] = linktype
        out.timestamps[out.count] = timestamp
        out.count += 1

    cdef int pcapng_block(self, const uint8_t *data, Py_ssize_t size, Py_ssize_t *at, bint final,
                          Columns *out) noexcept nogil:
        cdef const uint8_t *p = data + at[0]
        cdef const uint8_t *body
        cdef uint32_t kind, length, captured, number
        cdef int64_t limit
        cdef int state
        if size - at[0] < 12:
            return self.cut(final, "the file ends inside a block header", at[0])
        kind = self.u32(p)
        if kind == BLOCK_SECTION:        # the same in both byte orders; what follows says which
            if memcmp(p + 8, b"\x1a\x2b\x3c\x4d", 4) == 0:
                self.big_endian = True
            elif memcmp(p + 8, b"\x4d\x3c\x2b\x1a", 4) == 0:
                self.big_endian = False
            else:
                return self.damaged("a section header has no byte-order magic", at[0])
        length = self.u32(p + 4)
        if length < 12 or length % 4 or length > MAX_RECORD:
            return self.damaged("a block states an impossible length", at[0])
        if size - at[0] < <Py_ssize_t>length:
            return self.cut(final, "the file ends inside a block", at[0])
        if self.u32(p + length - 4) != length:
            return self.damaged("a block's two lengths differ", at[0])
        body = p + 8
        limit = length - 12
        if kind == BLOCK_SECTION:
            if limit < 16:
                return self.damaged("a section header is too short", at[0])
            if self.u16(body + 4) != 1:
                return self.damaged("a section is of an unknown pcapng version", at[0])
            self.interface_count = 0
            self.lost_interfaces = False
        elif kind == BLOCK_INTERFACE:
            if limit < 8:
                return self.damaged("an interface description is too short", at[0])
            state = self.add_interface(body, limit, at[0])
            if state:
                return state
        elif kind == BLOCK_ENHANCED_PACKET or kind == BLOCK_PACKET:
            if limit < 20:
                return self.damaged("a packet block is too short", at[0])
            number = self.u32(body) if kind == BLOCK_ENHANCED_PACKET else self.u16(body)
            if number >= <uint32_t>self.interface_count:
                return self.damaged("a packet block names an interface that is not described", at[0])
            captured = self.u32(body + 12)
            if captured > limit - 20:
                return self.damaged("a packet is longer than its block", at[0])
            self.emit(out, at[0] + 28, captured, self.u32(body + 16), self.interfaces[number].linktype,
                      nanoseconds(&self.interfaces[number],
                                  <uint64_t>self.u32(body + 4) << 32 | self.u32(body + 8)))
        elif kind == BLOCK_SIMPLE_PACKET:
            if limit < 4:
                return self.damaged("a packet block is too short", at[0])
            if self.interface_count == 0:
                return self.damaged("a packet block names an interface that is not described", at[0])
            captured = self.u32(body)
            if self.interfaces[0].snap_length and captured > self.interfaces[0].snap_length:
                captured = self.interfaces[0].snap_length
            if captured > limit - 4:
                return self.damaged("a packet is longer than its block", at[0])
            self.emit(out, at[0] + 12, captured, self.u32(body), self.interfaces[0].linktype, -1)
        at[0] += length
        return 0

    cdef int add_interface(self, const uint8_t *body, int64_t limit, Py_ssize_t block) noexcept nogil:
        cdef Interface *one
        cdef void *grown
        cdef int64_t at = 8
        cdef uint32_t code, length, exponent
        if self.interface_count >= MOST_INTERFACES:
            return self.damaged("more than 65,536 interfaces in a section", block)
        if self.interface_count == self.interface_room:
            grown = realloc(self.interfaces, (2 * self.interface_room + 8) * sizeof(Interface))
            if grown == NULL:
                return self.damaged("too many interfaces", block)
            self.interfaces = <Interface *>grown
            self.interface_room = 2 * self.interface_room + 8
        one = &self.interfaces[self.interface_count]
        one.linktype = self.u16(body)
        one.snap_length = self.u32(body + 4)
        one.units = 1000000
        one.binary = 0
        one.offset = 0
        while at + 4 <= limit:
            code = self.u16(body + at)
            length = self.u16(body + at + 2)
            if code == 0:
                break
            if at + 4 + length > limit:
                return self.damaged("an option is longer than its block", block)
            if code == 9 and length == 1:            # if_tsresol
                exponent = body[at + 4] & 0x7F
                if exponent > (63 if body[at + 4] & 0x80 else 19):
                    return self.damaged("an interface's timestamp resolution is absurd", block)
                one.units = 0
                one.binary = exponent
                if not body[at + 4] & 0x80:
                    one.units = 1
                    while exponent:
                        one.units *= 10
                        exponent -= 1
            elif code == 14 and length == 8:         # if_tsoffset
                if self.big_endian:
                    one.offset = <int64_t>(<uint64_t>self.u32(body + at + 4) << 32
                                           | self.u32(body + at + 8))
                else:
                    one.offset = <int64_t>(<uint64_t>self.u32(body + at + 8) << 32
                                           | self.u32(body + at + 4))
            at += 4 + (length + 3) // 4 * 4
        self.interface_count += 1
        return 0


cdef Py_ssize_t sound_block(const uint8_t *p, Py_ssize_t size, bint *big_endian, Py_ssize_t *interfaces,
                            bint *unknown) noexcept nogil:
    """The length of the block at `p`, if it is sound as far as can be told where nothing before it is
    known to be; else NO_BLOCK, or CUT_BLOCK where it may be one that ends behind `size`."""
    cdef uint32_t kind, length, number
    cdef bint order = big_endian[0]
    if size < 4:
        return CUT_BLOCK
    kind = word(p, order)
    if kind == BLOCK_SECTION:
        if size < 12:
            return CUT_BLOCK
        order = memcmp(p + 8, b"\x1a\x2b\x3c\x4d", 4) == 0
        if not order and memcmp(p + 8, b"\x4d\x3c\x2b\x1a", 4):
            return NO_BLOCK
    elif unknown[0] or not (1 <= kind <= 10 or kind == 0xBAD or kind == 0x40000BADU):
        return NO_BLOCK
    if size < 8:
        return CUT_BLOCK
    length = word(p + 4, order)
    if length < 12 or length % 4 or length > MAX_RECORD:
        return NO_BLOCK
    if kind == BLOCK_SECTION and length < 28:
        return NO_BLOCK
    if kind == BLOCK_INTERFACE and length < 20:
        return NO_BLOCK
    if kind == BLOCK_ENHANCED_PACKET or kind == BLOCK_PACKET:
        if length < 32:
            return NO_BLOCK
        if size < 24:
            return CUT_BLOCK
        number = half(p + 8, order) if kind == BLOCK_PACKET else word(p + 8, order)
        if number >= <uint32_t>interfaces[0] or word(p + 20, order) > length - 32:
            return NO_BLOCK
    if kind == BLOCK_SIMPLE_PACKET and (length < 16 or interfaces[0] == 0):
        return NO_BLOCK
    if size < <Py_ssize_t>length:
        return CUT_BLOCK
    if word(p + length - 4, order) != length:
        return NO_BLOCK
    if kind == BLOCK_SECTION:
        big_endian[0] = order
        interfaces[0] = 0
        unknown[0] = False
    elif kind == BLOCK_INTERFACE:
        interfaces[0] += 1
    return length


cdef int64_t nanoseconds(const Interface *one, uint64_t stamp) noexcept nogil:
    """A pcapng timestamp in nanoseconds since 1970."""
    cdef uint64_t seconds, part, billion = 1000000000
    if one.units:
        seconds = stamp // one.units
        part = stamp % one.units
        part = part * (billion // one.units) if one.units <= billion else part // (one.units // billion)
    else:
        seconds = stamp >> one.binary
        part = stamp & ((<uint64_t>1 << one.binary) - 1)
        if one.binary > 30:
            part = (part >> (one.binary - 30)) * billion >> 30
        else:
            part = part * billion >> one.binary
    return <int64_t>((seconds + <uint64_t>one.offset) * billion + part)
