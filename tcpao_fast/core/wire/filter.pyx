"""Which records a compiled BPF program takes: libpcap's own interpreter, called row by row."""

from libc.stdint cimport uint8_t, uint32_t, uintptr_t

import numpy as np

from tcpao_fast.core.wire.records cimport Records

ctypedef uint32_t (*bpf_filter)(const void *program, const uint8_t *packet, uint32_t wire_length,
                                uint32_t length) noexcept nogil


def choose(Records records not None, uintptr_t function, uintptr_t program):
    """Run a program over records.

    Parameters
    ----------
    records : Records
    function : int
        Address of libpcap's ``bpf_filter``.
    program : int
        Address of the instructions, as ``pcap_compile`` made and checked them.

    Returns
    -------
    bool[n]
        Whether it takes the record.
    """
    cdef Py_ssize_t i
    cdef bpf_filter run = <bpf_filter>function
    taken = np.zeros(records.count, np.uint8)
    cdef uint8_t[::1] out = taken
    with nogil:
        for i in range(records.count):
            out[i] = run(<const void *>program, records.start(i),
                         <uint32_t>records.wire_length(i), <uint32_t>records.length(i)) != 0
    return taken.view(bool)
