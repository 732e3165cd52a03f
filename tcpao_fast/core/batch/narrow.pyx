"""The narrow way in: one packet through all stages, without the arrays of a batch.

What becomes of it is what becomes of a batch of one.  A small call is mostly objects: so the packet's
record is kept from call to call, and all that is made is the answer.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.long cimport PyLong_CheckExact
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from tcpao_fast.core.batch.pipeline cimport Pipeline
from tcpao_fast.core.batch.shard cimport Columns, Shard
from tcpao_fast.core.batch.sign cimport IN_BUFFER, Output, sign_shard
from tcpao_fast.core.wire.parse cimport Layers, parse_tagged
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.rewrite cimport (
    MAX_GROWTH,
    NOT_TCP,
    SIGNED,
    STRIPPED,
    Outcome,
    Written,
    remove_option,
)
from tcpao_fast.core.wire.segment cimport Segment

from operator import index as operator_index

from numpy import ndarray

from tcpao_fast.errors import InvalidArgumentError


@cython.final
@cython.freelist(64)
cdef class Verified:
    """What `Engine.verify` found of one packet.

    Attributes
    ----------
    verdict : Verdict
        `Verdict.not_tcp` where it is no TCP segment.
    key : int
        Index into `Engine.keys`, -1 without: the key that was right, or the one that was tried.
    connection : int
        A number of the connection that is never used again, -1 without.
    sne : int
        The sequence number extension it was verified with.
    """

    cdef readonly object verdict
    cdef readonly int key
    cdef readonly int64_t connection
    cdef readonly uint32_t sne

    @staticmethod
    def of(verdict, int key, int64_t connection, uint32_t sne):
        """The answer with these attributes.

        Parameters
        ----------
        verdict : Verdict
        key, connection, sne : int

        Returns
        -------
        Verified
        """
        cdef Verified found = Verified.__new__(Verified)
        found.verdict = verdict
        found.key = key
        found.connection = connection
        found.sne = sne
        return found

    def __repr__(self):
        return (f"Verified(verdict={self.verdict}, key={self.key}, connection={self.connection}, "
                f"sne={self.sne})")


@cython.final
@cython.freelist(64)
cdef class RewrittenPacket:
    """What `Engine.sign` or `strip` made of one packet.

    Attributes
    ----------
    packet : bytes
        As it is now; where nothing was to be done, what was given.
    outcome : SignOutcome
    key, connection : int
        Index into `Engine.keys` and the connection's number, -1 without, and from `strip`.
    dropped : int
        Bytes of other TCP options that were given up to make room.
    """

    cdef readonly object packet
    cdef readonly object outcome
    cdef readonly int key
    cdef readonly int64_t connection
    cdef readonly int dropped

    @staticmethod
    def of(packet, outcome):
        """The answer where nothing was done.

        Parameters
        ----------
        packet : buffer
        outcome : SignOutcome

        Returns
        -------
        RewrittenPacket
        """
        return made(packet, NULL, 0, outcome, False, -1, -1, 0)

    def __repr__(self):
        return (f"RewrittenPacket({len(self.packet)} bytes, outcome={self.outcome}, "
                f"key={self.key}, connection={self.connection}, dropped={self.dropped})")


cdef enum:
    USUAL = 2048              # bytes of a packet that is rewritten without asking for memory

cdef int64_t MOST = 0x7FFFFFFFFFFFFFFF


# What is said of a packet beside its bytes; negative where nothing is.
cdef struct Beside:
    int64_t timestamp
    int64_t wire_length
    int32_t vlan
    int linktype


cdef int read_beside(linktype, timestamp, wire_length, vlan, Beside *to) except -1:
    to.linktype = <int>number("linktype", linktype, 0, 0x7FFFFFFF)
    to.timestamp = -1 if timestamp is None else number("timestamps", timestamp, -MOST - 1, MOST)
    to.wire_length = -1
    to.vlan = -1
    if wire_length is not None:
        to.wire_length = number("wire_lengths", wire_length, 0, 0xFFFFFFFF)
    if vlan is not None:
        to.vlan = <int32_t>number("vlan", vlan, -0x80000000, 0x7FFFFFFF)
    return 0


cdef int64_t number(str name, value, int64_t least, int64_t most) except? -1:
    """A number beside a packet; a float is none, as it may be seconds where nanoseconds are meant."""
    cdef int64_t found
    try:
        found = value if PyLong_CheckExact(value) else operator_index(value)
    except TypeError:
        raise InvalidArgumentError(
            f"{name} is a {type(value).__name__}; of one packet it must be an integer") from None
    except OverflowError:
        raise InvalidArgumentError(f"{name} is {value}; it must be {least} to {most}") from None
    if not least <= found <= most:
        raise InvalidArgumentError(f"{name} is {value}; it must be {least} to {most}")
    return found


@cython.final
cdef class NarrowWay:
    """One packet at a time through a pipeline.

    Parameters
    ----------
    pipeline : Pipeline
    verdicts, outcomes : sequence
        What each verdict's and each outcome's number is shown as.
    """

    cdef Pipeline pipeline
    cdef tuple verdicts
    cdef tuple outcomes
    cdef Records records      # of one packet, the one at hand
    cdef int64_t time
    cdef int64_t wire_length
    cdef int32_t vlan

    def __cinit__(self, Pipeline pipeline not None, verdicts, outcomes):
        self.pipeline = pipeline
        self.verdicts = tuple(verdicts)
        self.outcomes = tuple(outcomes)
        self.records = Records([b""])

    cdef void point_at(self, const uint8_t *start, Py_ssize_t length, const Beside *beside) noexcept:
        cdef Records records = self.records
        records.bounds[0].start = <uint8_t *>start
        records.bounds[0].length = length
        records.one_linktype = beside.linktype
        self.time = beside.timestamp
        records.times = &self.time
        self.wire_length = beside.wire_length
        records.wire = NULL if beside.wire_length < 0 else &self.wire_length
        self.vlan = beside.vlan
        records.vlans = NULL if beside.vlan < 0 else &self.vlan

    def verify(self, packet, linktype, timestamp, wire_length, vlan, bint final):
        """Verify one packet; see `Engine.verify`.

        Parameters
        ----------
        packet : buffer protocol, contiguous bytes
        linktype : int
        timestamp, wire_length, vlan : int or None
        final : bool

        Returns
        -------
        Verified
        """
        cdef Py_buffer view
        cdef bint exported = not PyBytes_CheckExact(packet)
        cdef Columns out
        cdef uint8_t verdict
        cdef int32_t mkt
        cdef int64_t connection
        cdef uint32_t sne
        cdef Beside beside
        read_beside(linktype, timestamp, wire_length, vlan, &beside)
        if exported:
            export(packet, &view)
        out.verdict = &verdict
        out.mkt = &mkt
        out.connection = &connection
        out.sne = &sne
        out.origin = NULL
        out.effects = NULL
        try:
            self.pipeline.turn.enter()
            try:
                if exported:
                    self.point_at(<const uint8_t *>view.buf, view.len, &beside)
                else:
                    self.point_at(<const uint8_t *>PyBytes_AS_STRING(packet),
                                  PyBytes_GET_SIZE(packet), &beside)
                self.pipeline.verify_rows(self.records, final, &out)
            finally:
                self.pipeline.turn.leave()
        finally:
            if exported:
                PyBuffer_Release(&view)
        return Verified.of(self.verdicts[verdict], mkt, connection, sne)

    def sign(self, packet, linktype, timestamp, wire_length, vlan, bint make_room, int checksums):
        """Sign one packet; see `Engine.sign`.

        Parameters
        ----------
        packet, linktype, timestamp, wire_length, vlan
            As for `verify`.
        make_room : bool
        checksums : int
            A number of `Checksums`.

        Returns
        -------
        RewrittenPacket
        """
        cdef Py_buffer view
        cdef uint8_t usual[USUAL]
        cdef uint8_t *room = usual
        cdef Output out
        cdef int64_t offset, length = 0, connection = -1
        cdef uint8_t outcome = NOT_TCP, dropped = 0
        cdef int32_t mkt = -1
        cdef Beside beside
        read_beside(linktype, timestamp, wire_length, vlan, &beside)
        export(packet, &view)
        try:
            if view.len + MAX_GROWTH > USUAL:
                room = <uint8_t *>malloc(view.len + MAX_GROWTH)
                if room == NULL:
                    raise MemoryError()
            memset(&out, 0, sizeof(Output))
            out.target = IN_BUFFER
            out.checksums = checksums
            out.make_room = make_room
            out.buffer = room
            out.offset = &offset
            out.length = &length
            out.outcome = &outcome
            out.dropped = &dropped
            out.mkt = &mkt
            out.connection = &connection
            self.pipeline.turn.enter()
            try:
                self.point_at(<const uint8_t *>view.buf, view.len, &beside)
                self.sign_row(&out)
            finally:
                self.pipeline.turn.leave()
            return made(packet, room, length, self.outcomes[outcome], outcome == SIGNED, mkt,
                        connection, dropped)
        finally:
            if room != usual:
                free(room)
            PyBuffer_Release(&view)

    cdef int sign_row(self, Output *out) except -1:
        """The shard that the packet is for signs it; where its bytes change meanwhile, none may."""
        cdef Shard shard
        if self.pipeline.threads == 1:
            return sign_shard(self.pipeline.first, self.records, out)
        for shard in self.pipeline.shards:
            sign_shard(shard, self.records, out)
            if out.rows:
                break
        if self.pipeline.unnumbered():
            self.pipeline.number_connections()
            out.connection[0] = shard.connections.numbered(out.connection[0])
            for shard in self.pipeline.shards:
                shard.connections.unnumbered_count = 0
        return 0


def strip_packet(packet, linktype, wire_length, vlan, int checksums, outcomes):
    """Take the option out of one packet; see `tcpao_fast.strip`.

    Parameters
    ----------
    packet, linktype, wire_length, vlan
        As for `NarrowWay.verify`.
    checksums : int
        A number of `Checksums`.
    outcomes : sequence
        What each outcome's number is shown as.

    Returns
    -------
    RewrittenPacket
    """
    cdef Py_buffer view
    cdef uint8_t usual[USUAL]
    cdef uint8_t *room = usual
    cdef Segment segment
    cdef Layers layers
    cdef Outcome outcome
    cdef Written written
    cdef Beside beside
    read_beside(linktype, None, wire_length, vlan, &beside)
    export(packet, &view)
    try:
        if view.len > USUAL:
            room = <uint8_t *>malloc(view.len)
            if room == NULL:
                raise MemoryError()
        parse_tagged(<const uint8_t *>view.buf, view.len,
                     view.len if beside.wire_length < 0 else beside.wire_length, beside.linktype,
                     0 if beside.vlan < 0 else beside.vlan & 0xFFF, &segment, &layers)
        written = remove_option(<const uint8_t *>view.buf, view.len, &layers, room, &segment,
                                checksums, &outcome)
        return made(packet, room, written.length, outcomes[<int>outcome], outcome == STRIPPED, -1, -1,
                    0)
    finally:
        if room != usual:
            free(room)
        PyBuffer_Release(&view)


cdef RewrittenPacket made(packet, const uint8_t *start, Py_ssize_t length, outcome, bint rewritten,
                          int key, int64_t connection, int dropped):
    cdef RewrittenPacket found = RewrittenPacket.__new__(RewrittenPacket)
    if rewritten:
        packet = PyBytes_FromStringAndSize(<const char *>start, length)
    found.packet = packet
    found.outcome = outcome
    found.key = key
    found.connection = connection
    found.dropped = dropped
    return found


cdef int export(packet, Py_buffer *view) except -1:
    """Have a packet's bytes exported to `view`."""
    if isinstance(packet, ndarray) and (packet.ndim != 1 or packet.dtype.hasobject):
        raise InvalidArgumentError("a packet in an array is one dimension of numbers")
    try:
        PyObject_GetBuffer(packet, view, PyBUF_SIMPLE)
    except TypeError:
        raise InvalidArgumentError(
            f"buffer is a {type(packet).__name__}; it must offer the buffer protocol "
            "(bytes, bytearray, memoryview, mmap, numpy array)") from None
    except (BufferError, ValueError):
        raise InvalidArgumentError("buffer must be contiguous memory") from None
    return 0
