"""Results added up by connection: how many of each verdict, which keys, and the first bad record."""

from libc.stdint cimport int32_t, int64_t, uint8_t

import numpy as np

from tcpao_fast.core.verdict cimport VERDICT_COUNT, VERDICT_GOOD, VERDICT_MD5_GOOD

from tcpao_fast.verdicts import BAD

#: `Tally.first_bad` of a connection without a bad record.
NOTHING_BAD = np.iinfo(np.int64).max


cdef class Tally:
    """What was found of each connection, by its id.

    Attributes
    ----------
    counts : int64[n, VERDICT_COUNT]
        How many records had each verdict.
    first_bad : int64[n]
        The first record with a verdict of `BAD`, or `NOTHING_BAD`.
    keys : dict of int to set of int
        The MKTs that good segments carried.
    """

    cdef readonly object counts
    cdef readonly object first_bad
    cdef readonly dict keys
    cdef object last_key              # int32[n]: the key of the last good segment, -1 without
    cdef uint8_t bad[VERDICT_COUNT]

    def __cinit__(self):
        cdef int verdict
        self.counts = np.zeros((0, VERDICT_COUNT), np.int64)
        self.first_bad = np.zeros(0, np.int64)
        self.last_key = np.zeros(0, np.int32)
        self.keys = {}
        for verdict in range(<int>VERDICT_COUNT):
            self.bad[verdict] = verdict in BAD

    cdef int grow(self, Py_ssize_t connections) except -1:
        """Room for connections with ids below `connections`."""
        known = len(self.counts)
        if connections <= known:
            return 0
        more = max(connections, known * 3 // 2) - known
        self.counts = np.concatenate((self.counts, np.zeros((more, VERDICT_COUNT), np.int64)))
        self.first_bad = np.concatenate((self.first_bad, np.full(more, NOTHING_BAD)))
        self.last_key = np.concatenate((self.last_key, np.full(more, -1, np.int32)))
        return 0

    def add(self, const int64_t[::1] numbers not None, const int64_t[::1] connection not None,
            const uint8_t[::1] verdict not None, const int32_t[::1] key not None):
        """Add records.

        Parameters
        ----------
        numbers : int64[n]
            The records' numbers.
        connection : int64[n]
            Ids, negative without.
        verdict : uint8[n]
        key : int32[n]

        Returns
        -------
        int
            One more than the highest id, 0 without.
        """
        cdef Py_ssize_t i, n = connection.shape[0]
        cdef int64_t top = -1, one
        cdef int64_t[:, ::1] counts
        cdef int64_t[::1] first_bad
        cdef int32_t[::1] last_key
        with nogil:
            for i in range(n):
                top = max(top, connection[i])
        self.grow(top + 1)
        counts, first_bad, last_key = self.counts, self.first_bad, self.last_key
        with nogil:
            for i in range(n):
                one = connection[i]
                if one < 0:
                    continue
                counts[one, verdict[i]] += 1
                if self.bad[verdict[i]] and numbers[i] < first_bad[one]:
                    first_bad[one] = numbers[i]
                if (verdict[i] == VERDICT_GOOD or verdict[i] == VERDICT_MD5_GOOD) and (
                        last_key[one] != key[i]):
                    last_key[one] = key[i]
                    with gil:
                        self.keys.setdefault(one, set()).add(key[i])
        return top + 1
