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
    """Records of a buffer: where each begins, how long it is, its link type and time.

    Parameters
    ----------
    buffer : buffer protocol, contiguous
    offsets, lengths : int64[n]
        In bytes.
    linktype : int or int32[n]
    timestamps : int64[n], optional
        Nanoseconds since 1970.
    wire_lengths : int64[n], optional
        Bytes each record had before the snap length cut it.
    writable : bool
        Whether the buffer will be written to.

    Raises
    ------
    InvalidArgumentError
        A record outside the buffer, arrays of other shapes or types, a read-only buffer where a
        writable one is needed, or no buffer at all.
    """

    def __cinit__(self, buffer, offsets, lengths, linktype=1, timestamps=None, wire_lengths=None,
                  bint writable=False):
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
            self.timestamps = &column[0]
        if wire_lengths is not None:
            column = wire_lengths
            self.wire_lengths = &column[0]
        if not one_type:
            types = linktype
            self.linktypes = &types[0]
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
        if self.wire_lengths != NULL:
            with nogil:
                for i in range(self.count):
                    if not 0 <= self.wire_lengths[i] <= MOST_WIRE_BYTES:
                        first_bad = i
                        break
            if first_bad >= 0:
                raise InvalidArgumentError(
                    f"wire_lengths[{first_bad}] is {self.wire_lengths[first_bad]}; "
                    f"it must be 0 to {MOST_WIRE_BYTES}")

    def subset(self, rows):
        """The records with these indices (int64[]), in that order, of the same buffer."""
        offsets, lengths, timestamps, wire_lengths, linktype = self.arrays[:5]
        return Records(
            self.buffer, offsets[rows], lengths[rows],
            self.arrays[5][rows] if len(self.arrays) > 5 else linktype,
            None if timestamps is None else timestamps[rows],
            None if wire_lengths is None else wire_lengths[rows],
            not self.view.readonly,
        )

    def __dealloc__(self):
        free(self.bounds)
        if self.held:
            PyBuffer_Release(&self.view)
