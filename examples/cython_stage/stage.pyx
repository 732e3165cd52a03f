# distutils: language = c
"""A pipeline stage in Cython: drops what does not verify, without the GIL and without a copy.

The packets lie in a buffer of fixed slots; `keep` says which go on, and where each is then.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc

from tcpao_fast.capi cimport (
    TCPAO_OK,
    TCPAO_STRIPPED,
    tcpao_engine,
    tcpao_error_text,
    tcpao_from_python,
    tcpao_import,
    tcpao_options,
    tcpao_result,
    tcpao_verify_and_strip,
)

tcpao_import()


cdef class Stage:
    """Verifies and strips the packets of an engine's keys.

    Parameters
    ----------
    engine : tcpao_fast.Engine
        With one thread.
    linktype : int
    """

    cdef tcpao_engine *engine
    cdef tcpao_options options

    def __cinit__(self, engine, int linktype=1):
        self.engine = tcpao_from_python(<void *>engine)
        self.options.size = sizeof(tcpao_options)
        self.options.linktype = linktype

    def keep(self, uint8_t[:, ::1] slots, int64_t[::1] offset, int64_t[::1] length):
        """Of the packets in slots those that are good: their numbers; `offset` and `length` follow."""
        cdef Py_ssize_t i, n = slots.shape[0]
        cdef int code
        cdef uint8_t **data = <uint8_t **>malloc(max(n, 1) * sizeof(uint8_t *))
        cdef size_t *size = <size_t *>malloc(max(n, 1) * sizeof(size_t))
        cdef tcpao_result *result = <tcpao_result *>malloc(max(n, 1) * sizeof(tcpao_result))
        try:
            if data == NULL or size == NULL or result == NULL:
                raise MemoryError()
            with nogil:
                for i in range(n):
                    data[i] = &slots[i, 0] + offset[i]
                    size[i] = length[i]
                code = tcpao_verify_and_strip(self.engine, data, size, n, &self.options, result)
            if code != TCPAO_OK:
                raise RuntimeError(tcpao_error_text().decode())
            kept = []
            for i in range(n):
                if result[i].outcome == TCPAO_STRIPPED:
                    offset[i] = data[i] - &slots[i, 0]
                    length[i] = size[i]
                    kept.append(i)
            return kept
        finally:
            free(data)
            free(size)
            free(result)
