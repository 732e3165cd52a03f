"""Stage `sne`: the 32-bit sequence number extension of each segment (RFC 5925 section 6.2).

The rule is Linux's: extend SEQ to 64 bits next to a position that is known, here the highest that
a MAC has proved.  It is stateless; the anchors live with the connections and move in `verdict`.
"""

from libc.stdint cimport int64_t, uint32_t

import numpy as np

from tcpao_fast.core.wire.records import as_column


def extend_position(int64_t anchor, uint32_t seq):
    """The 64-bit position of SEQ `seq` next to the position `anchor`; negative if none exists."""
    return extend(anchor, seq)


def extend_positions(int64_t anchor, seqs):
    """`extend_position` over many SEQs with one anchor.

    Parameters
    ----------
    anchor : int
        A known 64-bit position.
    seqs : uint32[n]

    Returns
    -------
    int64[n]
        Positions; the high 32 bits are the SNE, negative where no such position exists.
    """
    cdef const uint32_t[::1] values = as_column("seqs", seqs, np.uint32, -1)
    positions = np.empty(values.shape[0], dtype=np.int64)
    cdef int64_t[::1] out = positions
    cdef Py_ssize_t i
    with nogil:
        for i in range(values.shape[0]):
            out[i] = extend(anchor, values[i])
    return positions
