# cython: language_level=3
"""Count segments by the authentication option they carry, without Python between them."""

from tcpao_fast.core.wire.parse cimport parse_frame
from tcpao_fast.core.wire.records cimport Records
from tcpao_fast.core.wire.segment cimport AUTH_AO, AUTH_MD5, KIND_SEGMENT, Segment


def count_options(Records records not None):
    """How many whole segments have TCP-AO, TCP-MD5, and neither."""
    cdef Segment segment
    cdef Py_ssize_t i, ao = 0, md5 = 0, neither = 0
    with nogil:
        for i in range(records.count):
            parse_frame(records.start(i), records.length(i), records.wire_length(i),
                        records.linktype(i), &segment, NULL)
            if segment.kind != KIND_SEGMENT:
                continue
            ao += segment.auth == AUTH_AO
            md5 += segment.auth == AUTH_MD5
            neither += segment.auth != AUTH_AO and segment.auth != AUTH_MD5
    return ao, md5, neither
