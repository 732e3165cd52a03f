"""The checked entry to the core: a caller's memory and the records in it.

Behind it the stages use bare pointers, so each record is proved to lie inside the caller's memory
here.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, qsort

from tcpao_fast.core.wire.arrow cimport PacketColumn
from tcpao_fast.core.wire.memory cimport memory_of

from numbers import Integral
from operator import index as operator_index

import numpy as np

from tcpao_fast.errors import InvalidArgumentError

cdef int64_t MOST_WIRE_BYTES = 0xFFFFFFFF      # as captures can say

cdef enum:
    MOST_SPARE = 1 << 16                       # records whose memory is kept for the next call


# looked up once: a small call is mostly look-ups
cdef object ndarray = np.ndarray, int64 = np.int64, INT64 = np.dtype(np.int64), ndim = np.ndim


def as_column(name, values, dtype, count):
    """`values` as a contiguous one-dimensional array of `dtype` with `count` entries (-1: any); a
    number that `dtype` cannot hold is an error."""
    if type(values) is ndarray and (<object>values).dtype is INT64 and dtype is int64 and (
            values.ndim == 1 and values.flags.c_contiguous and (count < 0 or len(values) == count)):
        return values                    # nearly always: looked at no further
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(f"{name} cannot become an array: {error}") from None
    if array.size == 0 and array.ndim <= 1:
        array = array.astype(dtype)
    if array.ndim != 1:
        raise InvalidArgumentError(f"{name} has {array.ndim} dimensions; it must have one")
    if array.dtype.kind not in "iu":
        raise InvalidArgumentError(f"{name} has dtype {array.dtype}; it must be {np.dtype(dtype)}")
    if count >= 0 and array.shape[0] != count:
        raise InvalidArgumentError(
            f"{name} has {array.shape[0]} entries; it must have {count}, as many as offsets"
        )
    if array.size and not np.can_cast(array.dtype, dtype):
        limits = np.iinfo(dtype)
        for worst in (int(array.min()), int(array.max())):
            if not limits.min <= worst <= limits.max:
                raise InvalidArgumentError(
                    f"{name}[{int(np.flatnonzero(array == worst)[0])}] is {worst}; "
                    f"it must be {limits.min} to {limits.max}"
                )
    # a base class's array: a subclass could lie about its length
    return np.ascontiguousarray(array, dtype=dtype).view(ndarray)


cdef struct Placed:
    size_t start
    size_t end
    Py_ssize_t which


cdef int compare(const void *one, const void *other) noexcept nogil:
    cdef const Placed *a = <const Placed *>one
    cdef const Placed *b = <const Placed *>other
    return (a.start > b.start) - (a.start < b.start)


cdef Py_ssize_t first_overlap(const Bounds *bounds, Py_ssize_t count, Py_ssize_t *other) noexcept nogil:
    """A record that shares bytes with another one, which goes to `other`; -1: none does, -2: there is
    no memory to find out."""
    cdef Placed *placed
    cdef size_t end = 0
    cdef Py_ssize_t i, n = 0, found = -1
    for i in range(count):               # nearly always in order
        if bounds[i].length == 0:
            continue
        if <size_t>bounds[i].start < end:
            break
        end = <size_t>bounds[i].start + bounds[i].length
    else:
        return -1
    placed = <Placed *>malloc(count * sizeof(Placed))
    if placed == NULL:
        return -2
    for i in range(count):
        if bounds[i].length:
            placed[n].start = <size_t>bounds[i].start
            placed[n].end = <size_t>bounds[i].start + bounds[i].length
            placed[n].which = i
            n += 1
    qsort(placed, n, sizeof(Placed), compare)
    for i in range(1, n):
        if placed[i].start < placed[i - 1].end:
            found = max(placed[i].which, placed[i - 1].which)
            other[0] = min(placed[i].which, placed[i - 1].which)
            break
    free(placed)
    return found


def require_separate(Records records not None):
    """Raise InvalidArgumentError where records that are to be written to share bytes, what is free
    before and behind each included."""
    cdef Py_ssize_t found, other = -1
    with nogil:
        found = first_overlap(records.bounds if records.limits == NULL else records.limits,
                              records.count, &other)
    if found == -2:
        raise MemoryError()
    if found >= 0:
        room = "" if records.limits == NULL else ", headroom and tailroom counted,"
        raise InvalidArgumentError(
            f"records {other} and {found}{room} overlap in the buffer; "
            "records that are written to must not")


# The memory of a call before: what malloc maps anew is paged in page by page, a tenth of a batch of
# short messages.  Only with the GIL.
cdef Bounds *spare = NULL
cdef Py_ssize_t spare_room = 0

cdef Bounds *take_bounds(Py_ssize_t count, Py_ssize_t *room) noexcept:
    """Memory for `count` records, with `room` for as many or more; NULL if there is none."""
    global spare
    cdef Bounds *found = spare
    if found != NULL and spare_room // 4 <= count <= spare_room:
        spare = NULL
        room[0] = spare_room
        return found
    room[0] = count
    return <Bounds *>malloc(count * sizeof(Bounds))


cdef void give_back(Bounds *bounds, Py_ssize_t room) noexcept:
    """What `take_bounds` gave is used no more."""
    global spare, spare_room
    if bounds == NULL or room > MOST_SPARE or (spare != NULL and room <= spare_room):
        free(bounds)
        return
    free(spare)
    spare, spare_room = bounds, room


@cython.final
cdef class Records:
    """Captured records where they lie: what `Engine.verify` and the others take, and what
    `CaptureReader` yields.

    Nothing is copied, and the memory stays exported while the object lives; the arrays beside it
    are copied before they are checked.

    Parameters
    ----------
    buffer
        With `offsets` and `lengths` one buffer (contiguous bytes) that holds all records. Without
        them the records themselves: a list or tuple of buffers (bytes, bytearray, memoryview,
        mmap, numpy array), a binary column of Arrow (what has ``__arrow_c_array__`` or
        ``__arrow_c_stream__``), or one buffer that is one record.
    offsets, lengths : int64[n] (lengths also int32[n])
        Where each record begins and how many bytes of it were captured. In a ring of slots that is
        ``slot * stride + headroom``.
    linktype : int or int32[n]
        Link type as in pcap files: 1 Ethernet, 101 raw IP, 113 and 276 Linux SLL and SLL2, 0 and
        108 BSD loopback.
    timestamps : int64[n], optional
        Nanoseconds since 1970, negative where a record has none.
    wire_lengths : int64[n], optional
        Bytes each record had before the snap length cut it.
    writable : bool
        Whether the memory will be written to.
    numbers : int64[n], optional
        Number of each record in its file, from 1, as Wireshark counts; by default 1 to n.
    source : str
        The file that the records are from, or empty.
    preceding : int
        How many records came before that file, in a stream of several.
    vlan : int32[n], optional
        The outermost VLAN tag where it is not in the record, as kernels hand it over: its TCI, of
        which the low 12 bits are the VLAN ID; negative without.
    headroom, tailroom : int
        Bytes that are free before and behind each record, for what is rewritten in place. A buffer
        of its own (in a list, or alone) begins with the headroom and ends with the tailroom.

    Attributes
    ----------
    blocks : tuple of (buffer, int, int) or None
        Of records from a pcapng file: where in memory the blocks that they are from begin and end,
        together with the blocks around them that hold no packet.

    Raises
    ------
    InvalidArgumentError
        A record lies outside the buffer, an array has the wrong shape or dtype, the memory is
        read-only although `writable` was asked for, or `buffer` is none of the above.
    """

    def __cinit__(self, buffer, offsets=None, lengths=None, linktype=1, timestamps=None,
                  wire_lengths=None, bint writable=False, numbers=None, str source="",
                  int64_t preceding=0, vlan=None, headroom=0, tailroom=0):
        cdef const int64_t[::1] column
        cdef const int32_t[::1] narrow
        cdef int64_t number
        self.is_writable = writable
        self.buffer = buffer
        for room in (headroom, tailroom):
            if (type(room) is not int and not isinstance(room, Integral)) or not 0 <= room <= MOST_WIRE_BYTES:
                raise InvalidArgumentError(
                    f"headroom and tailroom are {headroom!r} and {tailroom!r}; they must be 0 to "
                    f"{MOST_WIRE_BYTES}")
        self.headroom, self.tailroom = headroom, tailroom
        if offsets is not None and lengths is not None:
            self.locate_in_buffer(offsets, lengths)
        elif offsets is not None or lengths is not None:
            raise InvalidArgumentError("offsets and lengths are needed both, or neither")
        else:
            self.locate_each(buffer)
        if timestamps is not None:
            timestamps = as_column("timestamps", timestamps, np.int64, self.count)
        if wire_lengths is not None:
            wire_lengths = as_column("wire_lengths", wire_lengths, np.int64, self.count)
            if writable:
                wire_lengths = wire_lengths.copy()
        if numbers is not None:
            numbers = as_column("numbers", numbers, np.int64, self.count)
        if vlan is not None:
            vlan = as_column("vlan", vlan, np.int32, self.count)
        self.given_numbers = numbers
        self.source = source
        self.preceding = preceding
        cdef bint one_type = type(linktype) is int or ndim(linktype) == 0
        if one_type:
            try:
                number = operator_index(linktype)
                if not 0 <= number <= 0x7FFFFFFF:
                    raise OverflowError
            except (TypeError, ValueError, OverflowError):
                raise InvalidArgumentError(
                    f"linktype is {linktype!r}; it must be a number of a link type, or one a record"
                ) from None
            self.one_linktype = <int>number
        else:
            linktype = as_column("linktype", linktype, np.int32, self.count)
        self.given_times, self.given_wire = timestamps, wire_lengths
        self.given_linktype, self.given_vlan = linktype, vlan
        if self.count == 0:
            return
        if timestamps is not None:
            column = timestamps
            self.times = &column[0]
        if wire_lengths is not None:
            column = wire_lengths
            self.wire = &column[0]
            self.check_wire_lengths()
        if not one_type:
            narrow = linktype
            self.types = &narrow[0]
        if vlan is not None:
            narrow = vlan
            self.vlans = &narrow[0]
        if headroom or tailroom:
            self.set_limits()

    cdef int hold(self, buffer) except -1:
        """Have one more buffer exported; `views` has room for it."""
        cdef Py_buffer *view = &self.views[self.held]
        try:
            PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE if self.is_writable else PyBUF_SIMPLE)
        except TypeError:
            raise InvalidArgumentError(
                f"buffer is a {type(buffer).__name__}; it must offer the buffer protocol "
                "(bytes, bytearray, memoryview, mmap, numpy array)"
            ) from None
        except (BufferError, ValueError):
            wanted = "contiguous and writable" if self.is_writable else "contiguous"
            raise InvalidArgumentError(f"buffer must be {wanted} memory") from None
        self.held += 1
        if isinstance(buffer, ndarray) and (<object>buffer).dtype.hasobject:
            raise InvalidArgumentError("buffer is an array of objects; it must be one of bytes")
        return 0

    cdef int make_room(self, Py_ssize_t views, Py_ssize_t count) except -1:
        self.views = <Py_buffer *>malloc(max(<Py_ssize_t>1, views) * sizeof(Py_buffer))
        self.bounds = take_bounds(max(<Py_ssize_t>1, count), &self.room)
        if self.views == NULL or self.bounds == NULL:
            raise MemoryError()
        return 0

    cdef int locate_in_buffer(self, offsets, lengths) except -1:
        """The records in one buffer."""
        cdef const int64_t *offset
        cdef const int64_t *length
        cdef Py_ssize_t i, first_bad = -1
        cdef int64_t start, size
        offsets = as_column("offsets", offsets, np.int64, -1)
        cdef Py_ssize_t count = len(offsets)
        lengths = as_column("lengths", lengths, np.int64, count)
        self.make_room(1, count)
        self.hold(self.buffer)
        self.count = count
        self.given_offsets, self.given_lengths = offsets, lengths
        self.in_one_buffer = True
        if count == 0:
            return 0
        size = self.views[0].len
        offset = <const int64_t *>memory_of(offsets, False)
        length = <const int64_t *>memory_of(lengths, False)
        with nogil:
            for i in range(count):
                # what is checked is what is used: the caller's arrays may change meanwhile
                start = offset[i]
                self.bounds[i].length = length[i]
                if (start < self.headroom or self.bounds[i].length < 0 or start > size
                        or self.bounds[i].length > size - start - self.tailroom):
                    first_bad = i
                    break
                self.bounds[i].start = <uint8_t *>self.views[0].buf + start
        if first_bad >= 0:
            raise InvalidArgumentError(
                f"record {first_bad} (offset {start}, length {self.bounds[first_bad].length}"
                + (f", headroom {self.headroom}, tailroom {self.tailroom}"
                   if self.headroom or self.tailroom else "")
                + f") is not inside the buffer of {size} bytes")
        return 0

    cdef int locate_each(self, packets) except -1:
        """Records that lie each by itself."""
        cdef Py_ssize_t i, count
        cdef PacketColumn column
        if isinstance(packets, (list, tuple)):
            self.owner = packets = tuple(packets)
            count = len(packets)
            self.make_room(count, count)
            for i in range(count):
                packet = packets[i]
                if PyBytes_CheckExact(packet) and not self.is_writable:
                    self.bounds[i].start = <uint8_t *>PyBytes_AS_STRING(packet)
                    self.bounds[i].length = PyBytes_GET_SIZE(packet)
                    continue
                try:
                    self.hold(packet)
                except InvalidArgumentError as error:
                    raise InvalidArgumentError(f"packet {i}: {error}") from None
                self.bounds[i].start = <uint8_t *>self.views[self.held - 1].buf
                self.bounds[i].length = self.views[self.held - 1].len
            self.count = count
            return self.leave_room()
        if not isinstance(packets, ndarray) and (
                hasattr(packets, "__arrow_c_array__") or hasattr(packets, "__arrow_c_stream__")):
            if self.is_writable or self.headroom or self.tailroom:
                raise InvalidArgumentError("buffer is an Arrow column, which cannot be written to")
            self.owner = column = PacketColumn(packets)
            self.make_room(0, column.count)
            with nogil:
                column.locate(self.bounds)
            self.count = column.count
            return 0
        if isinstance(packets, ndarray) and packets.ndim != 1:
            raise InvalidArgumentError(
                f"buffer has {packets.ndim} dimensions: where its records are, offsets and lengths say")
        self.make_room(1, 1)
        self.hold(packets)
        self.bounds[0].start = <uint8_t *>self.views[0].buf
        self.bounds[0].length = self.views[0].len
        self.count = 1
        return self.leave_room()

    cdef int leave_room(self) except -1:
        """Of buffers that are a record each, leave the headroom and the tailroom out."""
        cdef Py_ssize_t i
        for i in range(self.count):
            if self.bounds[i].length < self.headroom + self.tailroom:
                raise InvalidArgumentError(
                    f"packet {i} has {self.bounds[i].length} bytes, fewer than its headroom and "
                    f"tailroom ({self.headroom} and {self.tailroom})")
            self.bounds[i].start += self.headroom
            self.bounds[i].length -= self.headroom + self.tailroom
        return 0

    cdef int set_limits(self) except -1:
        cdef Py_ssize_t i
        self.limits = <Bounds *>malloc(self.count * sizeof(Bounds))
        if self.limits == NULL:
            raise MemoryError()
        for i in range(self.count):
            self.limits[i].start = self.bounds[i].start - self.headroom
            self.limits[i].length = self.bounds[i].length + self.headroom + self.tailroom
        return 0

    cdef void put(self, Py_ssize_t i, uint8_t *start, size_t length) noexcept nogil:
        """A record is elsewhere now, in what is its own; `moved` is to follow."""
        if self.wire != NULL:            # of writable records it is our own
            (<int64_t *>self.wire)[i] += <int64_t>length - self.bounds[i].length
        self.bounds[i].start = start
        self.bounds[i].length = length

    cdef int moved(self) except -1:
        """The arrays beside the records are to follow what `put` said."""
        self.given_offsets = self.given_lengths = None
        return 0

    cdef int check_wire_lengths(self) except -1:
        cdef Py_ssize_t i
        cdef uint64_t beyond = 0         # several at a time: which one is asked when there is one
        with nogil:
            for i in range(self.count):
                beyond |= <uint64_t>self.wire[i] >> 32
        if not beyond:
            return 0
        for i in range(self.count):
            if not 0 <= self.wire[i] <= MOST_WIRE_BYTES:
                raise InvalidArgumentError(
                    f"wire_lengths[{i}] is {self.wire[i]}; it must be 0 to {MOST_WIRE_BYTES}")
        return 0

    def __len__(self):
        return self.count

    @property
    def offsets(self):
        """Where each record begins in the buffer, or in its own: int64[n]."""
        cdef Py_ssize_t i
        cdef int64_t[::1] offset
        if self.given_offsets is None:
            self.given_offsets = np.full(self.count, self.headroom, np.int64)
            offset = self.given_offsets
            if self.held == 1 and self.in_one_buffer:
                for i in range(self.count):
                    offset[i] = self.bounds[i].start - <uint8_t *>self.views[0].buf
            elif self.held == self.count:
                for i in range(self.count):
                    offset[i] = self.bounds[i].start - <uint8_t *>self.views[i].buf
        return self.given_offsets

    @property
    def lengths(self):
        """Captured bytes of each record: int64[n]."""
        cdef Py_ssize_t i
        cdef int64_t[::1] length
        if self.given_lengths is None:
            lengths = np.empty(self.count, np.int64)
            length = lengths
            for i in range(self.count):
                length[i] = self.bounds[i].length
            self.given_lengths = lengths
        return self.given_lengths

    @property
    def wire_lengths(self):
        """Bytes each record had on the wire: int64[n]."""
        return self.lengths if self.given_wire is None else self.given_wire

    @property
    def timestamps(self):
        """Nanoseconds since 1970, -1 where there is none: int64[n]."""
        return np.full(self.count, -1, np.int64) if self.given_times is None else self.given_times

    @property
    def linktypes(self):
        """Link type of each record: int32[n]."""
        if self.types != NULL or self.count == 0:
            return np.zeros(0, np.int32) if self.count == 0 else self.given_linktype
        return np.full(self.count, self.one_linktype, np.int32)

    @property
    def vlan(self):
        """The VLAN tag beside each record, -1 where there is none: int32[n]."""
        return np.full(self.count, -1, np.int32) if self.given_vlan is None else self.given_vlan

    @property
    def numbers(self):
        """Number of each record in its file, from 1: int64[n]."""
        return np.arange(1, self.count + 1) if self.given_numbers is None else self.given_numbers

    @property
    def writable(self):
        """Whether they may be signed in place: bool."""
        return self.is_writable

    def data(self, Py_ssize_t i):
        """The bytes of one record, copied.

        Parameters
        ----------
        i : int
            Its index.

        Returns
        -------
        bytes

        Raises
        ------
        IndexError
            There is no such record.
        """
        if not 0 <= i < self.count:
            raise IndexError(f"record {i} of {self.count}")
        return self.start(i)[:self.length(i)]

    def subset(self, rows):
        """The records with these indices, in that order; those that have each a buffer of their own
        are copied.

        Parameters
        ----------
        rows : int64[m]

        Returns
        -------
        Records
        """
        cdef Records found

        def chosen(column):
            return None if column is None else column[rows]
        linktype = self.one_linktype if self.types == NULL else self.given_linktype[rows]
        others = (linktype, chosen(self.given_times), chosen(self.given_wire),
                  self.is_writable and self.in_one_buffer, self.numbers[rows], self.source,
                  self.preceding, chosen(self.given_vlan))
        if self.in_one_buffer:
            found = Records(self.buffer, self.offsets[rows], self.lengths[rows], *others)
            found.blocks = self.blocks
            return found
        # the others: copied, as each may lie anywhere in what is its own
        return Records([self.data(row) for row in np.arange(self.count)[rows]], None, None, *others)

    def __dealloc__(self):
        cdef Py_ssize_t i
        give_back(self.bounds, self.room)
        free(self.limits)
        for i in range(self.held):
            PyBuffer_Release(&self.views[i])
        free(self.views)
