"""The checked entry to the core: a caller's buffer and the records in it.

Behind it the stages use bare pointers, so each record is proved to lie inside the buffer here.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free, malloc

from operator import index as operator_index

import numpy as np

from tcpao_fast.errors import InvalidArgumentError

cdef int64_t MOST_WIRE_BYTES = 0xFFFFFFFF      # as captures can say

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


def require_separate(Records records not None):
    """Raise InvalidArgumentError where records that are to be written to share bytes."""
    cdef Py_ssize_t i, n = records.count
    cdef int64_t end = 0, low
    cdef Py_ssize_t last = -1
    cdef bint ordered = True
    with nogil:
        for i in range(n):
            if records.length(i) == 0:
                continue
            low = records.start(i) - records.base
            if low < end:
                ordered = False
                break
            end = low + <int64_t>records.length(i)
    if ordered:
        return
    order = np.argsort(np.array([records.start(i) - records.base for i in range(n)]), kind="stable")
    end = 0
    for i in order:
        if records.length(i) == 0:
            continue
        low = records.start(i) - records.base
        if low < end:
            raise InvalidArgumentError(
                f"records {last} and {i} overlap in the buffer; records that are written to must not")
        end = low + <int64_t>records.length(i)
        last = i


@cython.final
cdef class Records:
    """Captured records in a buffer: what `Engine.verify` and the others take, and what
    `CaptureReader` yields.

    The buffer is not copied and stays exported while the object lives; the arrays are copied before
    they are checked.

    Parameters
    ----------
    buffer : buffer protocol, contiguous bytes
    offsets, lengths : int64[n] (lengths also int32[n])
        Where each record begins and how many bytes of it were captured.
    linktype : int or int32[n]
        Link type as in pcap files: 1 Ethernet, 101 raw IP, 113 and 276 Linux SLL and SLL2, 0 and
        108 BSD loopback.
    timestamps : int64[n], optional
        Nanoseconds since 1970, negative where a record has none.
    wire_lengths : int64[n], optional
        Bytes each record had before the snap length cut it.
    writable : bool
        Whether the buffer will be written to.
    numbers : int64[n], optional
        Number of each record in its file, from 1, as Wireshark counts; by default 1 to n.
    source : str
        The file that the records are from, or empty.
    preceding : int
        How many records came before that file, in a stream of several.

    Raises
    ------
    InvalidArgumentError
        A record lies outside the buffer, an array has the wrong shape or dtype, the buffer is
        read-only although `writable` was asked for, or `buffer` offers no buffer protocol.
    """

    def __cinit__(self, buffer, offsets, lengths, linktype=1, timestamps=None, wire_lengths=None,
                  bint writable=False, numbers=None, str source="", int64_t preceding=0):
        cdef const int64_t[::1] column
        cdef const int32_t[::1] types
        cdef Py_ssize_t i, first_bad = -1, size
        cdef int64_t number
        self.held = False
        try:
            PyObject_GetBuffer(buffer, &self.view, PyBUF_WRITABLE if writable else PyBUF_SIMPLE)
        except TypeError:
            raise InvalidArgumentError(
                f"buffer is a {type(buffer).__name__}; it must offer the buffer protocol "
                "(bytes, bytearray, memoryview, mmap, numpy array)"
            ) from None
        except (BufferError, ValueError):
            wanted = "contiguous and writable" if writable else "contiguous"
            raise InvalidArgumentError(f"buffer must be {wanted} memory") from None
        self.held = True
        self.is_writable = writable
        if isinstance(buffer, ndarray) and (<object>buffer).dtype.hasobject:
            raise InvalidArgumentError("buffer is an array of objects; it must be one of bytes")
        self.buffer = buffer
        self.base = <uint8_t *>self.view.buf
        size = self.view.len
        arrays = [as_column("offsets", offsets, np.int64, -1)]
        self.count = len(arrays[0])
        arrays.append(as_column("lengths", lengths, np.int64, self.count))
        if timestamps is not None:
            timestamps = as_column("timestamps", timestamps, np.int64, self.count)
        if wire_lengths is not None:
            wire_lengths = as_column("wire_lengths", wire_lengths, np.int64, self.count)
        if numbers is not None:
            numbers = as_column("numbers", numbers, np.int64, self.count)
        self.given_numbers = numbers
        self.source = source
        self.preceding = preceding
        self.arrays = (*arrays, timestamps, wire_lengths, linktype)
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
            self.arrays = (*self.arrays, linktype)
        if self.count == 0:
            return
        # what is checked here is what is used: the caller's arrays may change meanwhile
        self.bounds = <Bounds *>malloc(self.count * sizeof(Bounds))
        if self.bounds == NULL:
            raise MemoryError()
        column = arrays[0]
        for i in range(self.count):
            self.bounds[i].offset = column[i]
        column = arrays[1]
        for i in range(self.count):
            self.bounds[i].length = column[i]
        if timestamps is not None:
            column = timestamps
            self.times = &column[0]
        if wire_lengths is not None:
            column = wire_lengths
            self.wire = &column[0]
        if not one_type:
            types = linktype
            self.types = &types[0]
        with nogil:
            for i in range(self.count):
                if (self.bounds[i].offset < 0 or self.bounds[i].length < 0
                        or self.bounds[i].offset > size
                        or self.bounds[i].length > size - self.bounds[i].offset):
                    first_bad = i
                    break
        if first_bad >= 0:
            raise InvalidArgumentError(
                f"record {first_bad} (offset {self.bounds[first_bad].offset}, "
                f"length {self.bounds[first_bad].length}) is not inside the buffer of {size} bytes"
            )
        if self.wire != NULL:
            with nogil:
                for i in range(self.count):
                    if not 0 <= self.wire[i] <= MOST_WIRE_BYTES:
                        first_bad = i
                        break
            if first_bad >= 0:
                raise InvalidArgumentError(
                    f"wire_lengths[{first_bad}] is {self.wire[first_bad]}; "
                    f"it must be 0 to {MOST_WIRE_BYTES}")

    def __len__(self):
        return self.count

    @property
    def offsets(self):
        """Where each record begins in the buffer: int64[n]."""
        return self.arrays[0]

    @property
    def lengths(self):
        """Captured bytes of each record: int64[n]."""
        return self.arrays[1]

    @property
    def wire_lengths(self):
        """Bytes each record had on the wire: int64[n]."""
        return self.arrays[1] if self.arrays[3] is None else self.arrays[3]

    @property
    def timestamps(self):
        """Nanoseconds since 1970, -1 where there is none: int64[n]."""
        return np.full(self.count, -1, np.int64) if self.arrays[2] is None else self.arrays[2]

    @property
    def linktypes(self):
        """Link type of each record: int32[n]."""
        if len(self.arrays) > 5:
            return self.arrays[5]
        return np.full(self.count, self.one_linktype, np.int32)

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
        """The records with these indices, in that order, of the same buffer.

        Parameters
        ----------
        rows : int64[m]

        Returns
        -------
        Records
        """
        offsets, lengths, timestamps, wire_lengths, linktype = self.arrays[:5]
        return Records(
            self.buffer, offsets[rows], lengths[rows],
            self.arrays[5][rows] if len(self.arrays) > 5 else linktype,
            None if timestamps is None else timestamps[rows],
            None if wire_lengths is None else wire_lengths[rows],
            self.is_writable,
            self.numbers[rows],
            self.source, self.preceding,
        )

    def __dealloc__(self):
        free(self.bounds)
        if self.held:
            PyBuffer_Release(&self.view)
