# cython: nonecheck=False
"""The way out: columns -> rows of text, JSON lines or values between delimiters.

Rows are put together in a buffer that stays in the second-level cache, from texts that are encoded
once; whoever takes them gets them a buffer at a time.
"""

cimport cython
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

import numpy as np

from tcpao_fast.errors import InvalidArgumentError

cdef enum Kind:
    UNSIGNED_1, UNSIGNED_2, UNSIGNED_4, UNSIGNED_8, SIGNED_1, SIGNED_2, SIGNED_4, SIGNED_8, TEXT, TIME

cdef enum:
    BUFFER = 1 << 18
    SLACK = 16
    MOST_DIGITS = 20
    MOST_TIME = 32            # "2262-04-11T23:47:16.854775807Z", and quotes

cdef dict KINDS = {
    "u1": UNSIGNED_1, "u2": UNSIGNED_2, "u4": UNSIGNED_4, "u8": UNSIGNED_8,
    "i1": SIGNED_1, "i2": SIGNED_2, "i4": SIGNED_4, "i8": SIGNED_8,
}

cdef struct Column:
    Kind kind
    const uint8_t *values
    const uint8_t *there      # a byte a row; NULL: everywhere
    const char *before        # what stands before the value
    Py_ssize_t before_size
    const char *texts         # of TEXT: one behind the other
    const int64_t *starts
    int64_t count
    int64_t second            # of TIME: what `shown` is
    char shown[24]

cdef char DIGITS[200]
for _i in range(100):
    DIGITS[2 * _i], DIGITS[2 * _i + 1] = ord("0") + _i // 10, ord("0") + _i % 10


cdef inline char *put_bytes(char *to, const char *what, Py_ssize_t size) noexcept nogil:
    """Copies in steps of 16 bytes, up to 15 more than asked for: what is short, as most is, costs no
    call.  Both ends have so much room (`SLACK`)."""
    cdef Py_ssize_t at = 16
    memcpy(to, what, 16)
    while at < size:
        memcpy(to + at, what + at, 16)
        at += 16
    return to + size


cdef inline int digits_of(uint64_t value) noexcept nogil:
    cdef int count = 1
    while value >= 10000:
        value //= 10000
        count += 4
    return count + (value >= 10) + (value >= 100) + (value >= 1000)


cdef inline Py_ssize_t put_number(char *to, uint64_t value) noexcept nogil:
    """Digits where they belong, from the last on: put together elsewhere they would be waited for (a
    load that spans several stores)."""
    cdef int size = digits_of(value), at = size
    while value >= 100:
        at -= 2
        memcpy(to + at, DIGITS + 2 * (value % 100), 2)
        value //= 100
    if at == 2:
        memcpy(to, DIGITS + 2 * value, 2)
    else:
        to[0] = <char>(48 + value)
    return size


cdef inline Py_ssize_t put_signed(char *to, int64_t value) noexcept nogil:
    if value >= 0:
        return put_number(to, <uint64_t>value)
    to[0] = 45
    return 1 + put_number(to + 1, -<uint64_t>value)


cdef void put_date(char *to, int64_t second) noexcept nogil:
    """``2026-11-27T09:30:00.`` of a second since 1970 (Howard Hinnant's civil_from_days)."""
    cdef int64_t days = second // 86400, rest = second % 86400, era, of_era, year_of_era, of_year, month
    cdef int64_t year, day
    days += 719468
    era = days // 146097
    of_era = days - era * 146097
    year_of_era = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    memcpy(to, DIGITS + 2 * (year // 100), 2)
    memcpy(to + 2, DIGITS + 2 * (year % 100), 2)
    memcpy(to + 5, DIGITS + 2 * month, 2)
    memcpy(to + 8, DIGITS + 2 * day, 2)
    memcpy(to + 11, DIGITS + 2 * (rest // 3600), 2)
    memcpy(to + 14, DIGITS + 2 * (rest // 60 % 60), 2)
    memcpy(to + 17, DIGITS + 2 * (rest % 60), 2)
    to[4] = to[7] = 45
    to[10] = 84
    to[13] = to[16] = 58
    to[19] = 46


cdef inline Py_ssize_t put_time(char *to, Column *column, int64_t moment, bint quoted) noexcept nogil:
    cdef int64_t second = moment // 1000000000, part = moment % 1000000000
    cdef Py_ssize_t at = 0
    if second != column.second:
        put_date(column.shown, second)
        column.second = second
    if quoted:
        to[0] = 34
        at = 1
    memcpy(to + at, column.shown, 20)
    to[at + 20] = <char>(48 + part // 100000000)
    memcpy(to + at + 21, DIGITS + 2 * (part // 1000000 % 100), 2)
    memcpy(to + at + 23, DIGITS + 2 * (part // 10000 % 100), 2)
    memcpy(to + at + 25, DIGITS + 2 * (part // 100 % 100), 2)
    memcpy(to + at + 27, DIGITS + 2 * (part % 100), 2)
    to[at + 29] = 90
    if quoted:
        to[at + 30] = 34
        return 32
    return 30


@cython.final
cdef class RowText:
    """Puts rows together.

    Parameters
    ----------
    names : sequence of str
        The columns, in their order.
    times : collection of str
        Those that are nanoseconds since 1970, negative without; shown as ISO 8601, UTC.
    befores : sequence of bytes
        What stands before each column's value.
    end : bytes
        What stands behind the last.
    nothing : bytes
        What stands for a value that is not there.
    quoted : bool
        Whether times are in quotes.
    """

    cdef list names, befores, before_sizes
    cdef object times
    cdef bytes end, nothing
    cdef Py_ssize_t end_size, nothing_size
    cdef bint quoted
    cdef Column *columns
    cdef Py_ssize_t count
    cdef bytearray buffer

    def __cinit__(self, names, times, befores, bytes end, bytes nothing, bint quoted):
        self.names, self.times, self.quoted = list(names), times, quoted
        self.before_sizes = [len(one) for one in befores]
        self.befores = [one + bytes(SLACK) for one in befores]
        self.end_size, self.nothing_size = len(end), len(nothing)
        self.end, self.nothing = end + bytes(SLACK), nothing + bytes(SLACK)
        self.count = len(self.names)
        self.columns = <Column *>calloc(self.count + 1, sizeof(Column))
        if self.columns == NULL:
            raise MemoryError()
        self.buffer = bytearray(BUFFER)

    def __dealloc__(self):
        free(self.columns)

    def write(self, columns, encode, put):
        """The rows of some columns.

        Parameters
        ----------
        columns : dict of str to (array, bool array or None, sequence of str or None)
            As `tcpao_fast.engine.columns` has them.
        encode : callable
            Given a column's texts, all of them joined as they stand in a row (bytes), and where
            each begins (int64[n + 1]).
        put : callable
            Takes bytes of whole rows, valid during the call.
        """
        cdef Py_ssize_t i, rows = -1, most, done, at
        cdef const uint8_t[::1] view
        cdef const int64_t[::1] starts
        cdef Column *column
        held = []                            # what the columns point into
        most = self.end_size + SLACK
        for i in range(self.count):
            values, there, texts = columns[self.names[i]]
            column = &self.columns[i]
            values = np.ascontiguousarray(values)
            if rows < 0:
                rows = len(values)
            if values.ndim != 1 or len(values) != rows or (there is not None and len(there) != rows):
                raise InvalidArgumentError(f"column {self.names[i]} has not as many rows as the first")
            if texts is not None:
                values = np.ascontiguousarray(values, np.int32)
                joined, begins = encode(texts)
                if len(joined) < begins[len(begins) - 1] + SLACK:
                    joined += bytes(SLACK)
                starts = begins
                column.kind = TEXT
                column.texts = joined
                column.starts = &starts[0]
                column.count = len(begins) - 1
                held += [joined, begins]
                most += max(np.diff(begins).max(initial=0), self.nothing_size)
            elif self.names[i] in self.times:
                values = np.ascontiguousarray(values, np.int64)
                column.kind = TIME
                most += max(<Py_ssize_t>MOST_TIME, self.nothing_size)
            else:
                if values.dtype.str[1:] not in KINDS:
                    raise InvalidArgumentError(f"column {self.names[i]} has dtype {values.dtype}")
                column.kind = KINDS[values.dtype.str[1:]]
                most += max(<Py_ssize_t>MOST_DIGITS, self.nothing_size)
            column.before = self.befores[i]
            column.before_size = self.before_sizes[i]
            column.second = -1
            most += column.before_size
            column.there = NULL
            if there is not None and rows:
                there = np.ascontiguousarray(there, np.bool_).view(np.uint8)
                view = there
                column.there = &view[0]
                held.append(there)
            if rows:
                view = values.view(np.uint8)
                column.values = &view[0]
            held.append(values)
        if rows <= 0:
            return
        if len(self.buffer) < most:
            self.buffer = bytearray(2 * most)
        view_of = memoryview(self.buffer)
        at = 0
        while at < rows:
            with nogil:
                done = self.fill(&at, rows, most)
            put(view_of[:done])

    cdef Py_ssize_t fill(self, Py_ssize_t *at, Py_ssize_t rows, Py_ssize_t most) noexcept nogil:
        """Rows from `at` on, as many as the buffer takes; the bytes used."""
        cdef char *to
        cdef Py_ssize_t size, i, row = at[0], end_size = self.end_size, nothing_size = self.nothing_size
        cdef char *limit
        cdef char *start
        cdef const char *end
        cdef const char *nothing
        cdef Column *column
        cdef int32_t which
        with gil:
            to = start = self.buffer
            limit = to + len(self.buffer) - most
            end, nothing = self.end, self.nothing
        while row < rows and to <= limit:
            for i in range(self.count):
                column = &self.columns[i]
                to = put_bytes(to, column.before, column.before_size)
                if column.there != NULL and not column.there[row]:
                    to = put_bytes(to, nothing, nothing_size)
                elif column.kind == TEXT:
                    which = (<const int32_t *>column.values)[row]
                    if 0 <= which < column.count:
                        size = column.starts[which + 1] - column.starts[which]
                        to = put_bytes(to, column.texts + column.starts[which], size)
                    else:
                        to = put_bytes(to, nothing, nothing_size)
                elif column.kind == TIME:
                    if (<const int64_t *>column.values)[row] < 0:
                        to = put_bytes(to, nothing, nothing_size)
                    else:
                        to += put_time(to, column, (<const int64_t *>column.values)[row], self.quoted)
                elif column.kind == UNSIGNED_1:
                    to += put_number(to, column.values[row])
                elif column.kind == UNSIGNED_2:
                    to += put_number(to, (<const uint16_t *>column.values)[row])
                elif column.kind == UNSIGNED_4:
                    to += put_number(to, (<const uint32_t *>column.values)[row])
                elif column.kind == UNSIGNED_8:
                    to += put_number(to, (<const uint64_t *>column.values)[row])
                elif column.kind == SIGNED_1:
                    to += put_signed(to, (<const int8_t *>column.values)[row])
                elif column.kind == SIGNED_2:
                    to += put_signed(to, (<const int16_t *>column.values)[row])
                elif column.kind == SIGNED_4:
                    to += put_signed(to, (<const int32_t *>column.values)[row])
                else:
                    to += put_signed(to, (<const int64_t *>column.values)[row])
            to = put_bytes(to, end, end_size)
            row += 1
        at[0] = row
        return to - start
