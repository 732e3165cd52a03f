# cython: nonecheck=False
"""Results added up by connection: how many of each verdict, which keys, the first bad record, and
when.

Connections are followed one by one up to a limit.  Beyond it those without a good segment give way,
the earliest first, and what was counted of them is added up for all of them together: so a flood of
forged connections takes no more memory than the limit, and hides none that verifies.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

import numpy as np

from tcpao_fast.core.flow.connections cimport out_of_memory
from tcpao_fast.core.mac.kernels cimport tcpao_free_table, tcpao_grow_table
from tcpao_fast.core.flow.verdict cimport VERDICT_COUNT, VERDICT_GOOD, VERDICT_MD5_GOOD

from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    NONE = -1
    FIRST_CAPACITY = 256
    MOST_LIMIT = 1 << 28
    HAND_STEPS = 64           # how far one that may give way is looked for

cdef uint64_t ODD = 0x9E3779B97F4A7C15ULL
cdef int64_t NEVER = 0x7FFFFFFFFFFFFFFF

#: `Tally.rows`' first_bad of a connection without a bad record.
NOTHING_BAD = NEVER
#: The columns of `Tally.rows`' times.
FIRST, LAST, FIRST_BAD = 0, 1, 2

cdef struct Entry:
    int64_t id
    int64_t first_bad
    int64_t counts[VERDICT_COUNT]
    int64_t first             # times, -1 without
    int64_t last
    int64_t bad_time          # of `first_bad`
    int32_t last_key          # of the last good segment, -1 without


cdef inline void clear(Entry *it, int64_t id_) noexcept nogil:
    memset(it, 0, sizeof(Entry))
    it.id = id_
    it.first_bad = NEVER
    it.first = it.last = it.bad_time = NONE
    it.last_key = NONE


cdef inline void note_time(Entry *it, int64_t moment) noexcept nogil:
    if moment >= 0:
        if moment > it.last:
            it.last = moment
        if moment < it.first or it.first < 0:
            it.first = moment


cdef inline void note_bad(Entry *it, int64_t number, int64_t moment) noexcept nogil:
    if number < it.first_bad:
        it.first_bad = number
        it.bad_time = moment


@cython.final
cdef class Tally:
    """What was found of each connection, by its id.

    Parameters
    ----------
    bad : container of int
        The verdicts that are.
    limit : int
        How many connections are followed one by one.

    Attributes
    ----------
    other_connections : int
        How many are not (one that comes back after it gave way is another).
    """

    cdef readonly int64_t other_connections
    cdef readonly int32_t limit
    cdef Entry *entries
    cdef int32_t *slots               # a hash table of entries
    cdef uint64_t mask
    cdef int32_t count
    cdef int32_t capacity
    cdef int32_t hand
    cdef Entry rest                   # all others together
    cdef dict keys                    # entry -> the MKTs of good segments, where more than one
    cdef uint8_t bad[VERDICT_COUNT]

    def __cinit__(self, bad=(), int32_t limit=MOST_LIMIT):
        cdef int verdict
        if not 1 <= limit <= MOST_LIMIT:
            raise InvalidArgumentError(f"limit is {limit}; it must be 1 to {MOST_LIMIT}")
        self.limit = limit
        self.keys = {}
        clear(&self.rest, NONE)
        for verdict in range(<int>VERDICT_COUNT):
            self.bad[verdict] = verdict in bad
        self.rehash(2 * FIRST_CAPACITY)

    def __dealloc__(self):
        tcpao_free_table(self.entries, self.capacity * sizeof(Entry), True)
        free(self.slots)

    cdef inline uint64_t home(self, int64_t id_) noexcept nogil:
        """Ids count up, and must not fill neighbouring places: closing a gap walks along them."""
        return (<uint64_t>id_ * ODD >> 32) & self.mask

    cdef int rehash(self, uint64_t size) except -1 nogil:
        cdef int32_t *slots = <int32_t *>malloc(size * sizeof(int32_t))
        cdef int32_t i
        if slots == NULL:
            out_of_memory()
        memset(slots, 0xFF, size * sizeof(int32_t))
        free(self.slots)
        self.slots = slots
        self.mask = size - 1
        for i in range(self.count):
            self.put(i)
        return 0

    cdef void put(self, int32_t entry) noexcept nogil:
        cdef uint64_t at = self.home(self.entries[entry].id)
        while self.slots[at] != NONE:
            at = (at + 1) & self.mask
        self.slots[at] = entry

    cdef void take_out(self, int32_t entry) noexcept nogil:
        """Out of the hash table; the gap is closed."""
        cdef uint64_t hole = self.home(self.entries[entry].id), probe, home
        while self.slots[hole] != entry:
            hole = (hole + 1) & self.mask
        probe = hole
        while True:
            probe = (probe + 1) & self.mask
            if self.slots[probe] == NONE:
                break
            home = self.home(self.entries[self.slots[probe]].id)
            if ((probe - home) & self.mask) >= ((probe - hole) & self.mask):
                self.slots[hole] = self.slots[probe]
                hole = probe
        self.slots[hole] = NONE

    cdef int32_t find(self, int64_t id_) noexcept nogil:
        cdef uint64_t at = self.home(id_)
        while self.slots[at] != NONE:
            if self.entries[self.slots[at]].id == id_:
                return self.slots[at]
            at = (at + 1) & self.mask
        return NONE

    cdef void begin(self, int32_t entry, int64_t id_) noexcept nogil:
        clear(&self.entries[entry], id_)
        self.put(entry)

    cdef int32_t follow(self, int64_t id_) except -2 nogil:
        """An entry for a connection that has none; NONE where it is counted with the others."""
        cdef void *grown
        cdef int32_t entry, capacity
        cdef int verdict
        if self.count < self.limit:
            if self.count == self.capacity:
                capacity = min(self.limit, max(<int32_t>FIRST_CAPACITY, 2 * self.capacity))
                grown = tcpao_grow_table(self.entries, self.capacity * sizeof(Entry),
                                         capacity * sizeof(Entry))
                if grown == NULL:
                    out_of_memory()
                self.entries = <Entry *>grown
                self.capacity = capacity
                if 2 * <uint64_t>capacity > self.mask + 1:
                    self.rehash(2 * (self.mask + 1))
            entry = self.count
            self.count += 1
            self.begin(entry, id_)
            return entry
        for _ in range(HAND_STEPS):
            entry = self.hand
            self.hand = self.hand + 1 if self.hand + 1 < self.count else 0
            if not (self.entries[entry].counts[<int>VERDICT_GOOD]
                    or self.entries[entry].counts[<int>VERDICT_MD5_GOOD]):
                for verdict in range(<int>VERDICT_COUNT):
                    self.rest.counts[verdict] += self.entries[entry].counts[verdict]
                note_bad(&self.rest, self.entries[entry].first_bad, self.entries[entry].bad_time)
                note_time(&self.rest, self.entries[entry].first)
                note_time(&self.rest, self.entries[entry].last)
                self.other_connections += 1
                self.take_out(entry)
                self.begin(entry, id_)
                return entry
        self.other_connections += 1
        return NONE

    def add(self, const int64_t[::1] numbers not None, const int64_t[::1] connection not None,
            const uint8_t[::1] verdict not None, const int32_t[::1] key not None,
            const int64_t[::1] times not None):
        """Add records.

        Parameters
        ----------
        numbers : int64[n]
            The records' numbers.
        connection : int64[n]
            Ids, negative without.
        verdict : uint8[n]
        key : int32[n]
        times : int64[n]
            Nanoseconds since 1970, negative without.
        """
        cdef Py_ssize_t i, n = connection.shape[0]
        cdef int64_t last = NONE
        cdef int32_t entry = NONE
        cdef uint8_t most = 0
        cdef Entry *it
        if (numbers.shape[0] != n or verdict.shape[0] != n or key.shape[0] != n
                or times.shape[0] != n):
            raise InvalidArgumentError("numbers, connection, verdict, key and times must be as long")
        for i in range(n):
            most = max(most, verdict[i])
        if most >= VERDICT_COUNT:        # several were looked at at a time: which one was it?
            for i in range(n):
                if verdict[i] >= VERDICT_COUNT:
                    raise InvalidArgumentError(f"verdict[{i}] is {verdict[i]}")
        with nogil:
            for i in range(n):
                if connection[i] < 0:
                    continue
                if connection[i] != last or entry == NONE:
                    last = connection[i]
                    entry = self.find(last)
                    if entry == NONE:
                        entry = self.follow(last)
                it = &self.rest if entry == NONE else &self.entries[entry]
                it.counts[verdict[i]] += 1
                note_time(it, times[i])
                if self.bad[verdict[i]]:
                    note_bad(it, numbers[i], times[i])
                if entry != NONE and it.last_key != key[i] and (
                        verdict[i] == VERDICT_GOOD or verdict[i] == VERDICT_MD5_GOOD):
                    if it.last_key != NONE:
                        with gil:
                            self.keys.setdefault(last, {it.last_key}).add(key[i])
                    it.last_key = key[i]

    def rows(self):
        """What was found of the connections that are followed, in the order of their ids.

        Returns
        -------
        tuple of (int64[m], int64[m, VERDICT_COUNT], int64[m], list of set of int, int64[m, 3])
            Ids; how many records had each verdict; the first record with a bad verdict, or
            `NOTHING_BAD`; the MKTs that good segments carried; times of the first and the last
            record and of the first with a bad verdict, -1 where there is none.
        """
        cdef Py_ssize_t i, n = self.count
        cdef int verdict
        ids = np.empty(n, np.int64)
        counts = np.empty((n, <int>VERDICT_COUNT), np.int64)
        first_bad = np.empty(n, np.int64)
        times = np.empty((n, 3), np.int64)
        cdef int64_t[::1] id_ = ids, first = first_bad
        cdef int64_t[:, ::1] count = counts, time = times
        keys = []
        for i in range(n):
            id_[i] = self.entries[i].id
            first[i] = self.entries[i].first_bad
            time[i, 0] = self.entries[i].first
            time[i, 1] = self.entries[i].last
            time[i, 2] = self.entries[i].bad_time
            for verdict in range(<int>VERDICT_COUNT):
                count[i, verdict] = self.entries[i].counts[verdict]
            one = self.entries[i].last_key
            keys.append(self.keys.get(id_[i]) or ({one} if one != NONE else set()))
        order = np.argsort(ids, kind="stable")
        return ids[order], counts[order], first_bad[order], [keys[i] for i in order], times[order]

    def others(self):
        """Of all other connections together: (int64[VERDICT_COUNT], the first bad record, int64[3]
        times as of `rows`)."""
        counts = np.array([self.rest.counts[verdict] for verdict in range(<int>VERDICT_COUNT)])
        times = np.array([self.rest.first, self.rest.last, self.rest.bad_time], np.int64)
        return counts, self.rest.first_bad, times
