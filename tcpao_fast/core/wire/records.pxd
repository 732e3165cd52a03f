from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t

from tcpao_fast.core.mac.kernels cimport TCPAO_LINE, tcpao_prefetch
from tcpao_fast.core.wire.bounds cimport Bounds


cdef class Records:
    cdef Py_buffer *views                # exported while this lives
    cdef Py_ssize_t held                 # how many of them
    cdef bint is_writable
    cdef bint in_one_buffer              # else each in its own, or anywhere
    cdef readonly object buffer          # as the caller gave it
    cdef object owner                    # keeps the bytes alive that no view holds
    cdef object given_offsets, given_lengths, given_wire, given_times, given_linktype, given_vlan
    cdef Bounds *bounds
    cdef Py_ssize_t room                 # of it
    cdef int64_t headroom, tailroom      # bytes free before and behind each record as it came
    cdef Bounds *limits                  # NULL: none; else all that is each record's
    cdef object given_numbers            # None: 1 to n
    cdef readonly str source             # the file, or empty
    cdef public object blocks            # the part of a pcapng file they are from, or None
    cdef readonly int64_t preceding      # records of the stream before that file
    cdef const int64_t *wire             # bytes on the wire; NULL: as many as were captured
    cdef const int32_t *types            # link types; NULL: all `one_linktype`
    cdef const int64_t *times            # NULL: none
    cdef const int32_t *vlans            # VLAN tags that are not in the records; NULL: none
    cdef int one_linktype
    cdef readonly Py_ssize_t count
    cdef int hold(self, buffer) except -1
    cdef int make_room(self, Py_ssize_t views, Py_ssize_t count) except -1
    cdef int locate_in_buffer(self, offsets, lengths) except -1
    cdef int locate_each(self, packets) except -1
    cdef int check_wire_lengths(self) except -1

    cdef void put(self, Py_ssize_t i, uint8_t *start, size_t length) noexcept nogil
    cdef int set_limits(self) except -1
    cdef int leave_room(self) except -1
    cdef int moved(self) except -1

    cdef inline int64_t before(self, Py_ssize_t i) noexcept nogil:
        """Bytes that are free before a record."""
        return 0 if self.limits == NULL else self.bounds[i].start - self.limits[i].start

    cdef inline int64_t behind(self, Py_ssize_t i) noexcept nogil:
        """Bytes that are free behind a record."""
        if self.limits == NULL:
            return 0
        return (self.limits[i].start + self.limits[i].length
                - (self.bounds[i].start + self.bounds[i].length))

    cdef inline uint8_t *start(self, Py_ssize_t i) noexcept nogil:
        return self.bounds[i].start

    cdef inline size_t length(self, Py_ssize_t i) noexcept nogil:
        return <size_t>self.bounds[i].length

    cdef inline void ask_for(self, Py_ssize_t i) noexcept nogil:
        """Ask for the lines of a record that are not read one behind the other: its headers and what
        is copied behind them, and its end."""
        tcpao_prefetch(self.bounds[i].start)
        tcpao_prefetch(self.bounds[i].start + TCPAO_LINE)
        if self.bounds[i].length > 3 * TCPAO_LINE:
            tcpao_prefetch(self.bounds[i].start + 2 * TCPAO_LINE)
            tcpao_prefetch(self.bounds[i].start + self.bounds[i].length - 1)

    cdef inline void ask_for_body(self, Py_ssize_t i) noexcept nogil:
        """Ask for the lines of a record that `ask_for` leaves, of a long one the first: it is to be
        copied next."""
        cdef int64_t at = 3 * TCPAO_LINE
        cdef int64_t end = min(self.bounds[i].length, <int64_t>(64 * TCPAO_LINE))
        while at < end:
            tcpao_prefetch(self.bounds[i].start + at)
            at += TCPAO_LINE

    cdef inline size_t wire_length(self, Py_ssize_t i) noexcept nogil:
        return <size_t>(self.bounds[i].length if self.wire == NULL else self.wire[i])

    cdef inline int linktype(self, Py_ssize_t i) noexcept nogil:
        return self.one_linktype if self.types == NULL else self.types[i]

    cdef inline int64_t timestamp(self, Py_ssize_t i) noexcept nogil:
        return -1 if self.times == NULL else self.times[i]

    cdef inline uint32_t vlan(self, Py_ssize_t i) noexcept nogil:
        """The tag that a record's VLAN tags begin with, 0 without."""
        return 0 if self.vlans == NULL or self.vlans[i] < 0 else self.vlans[i] & 0x0FFF


cdef Py_ssize_t first_overlap(const Bounds *bounds, Py_ssize_t count, Py_ssize_t *other) noexcept nogil
