"""The C interface, for Cython: ``tcpao_import()`` once, then the functions, without the GIL."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "tcpao_fast.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

    ctypedef struct tcpao_engine:
        pass

    enum:
        TCPAO_OK
        TCPAO_EINVAL
        TCPAO_EVERSION
        TCPAO_ECLOSED
        TCPAO_EOVERLAP
        TCPAO_ENOMEM
        TCPAO_EENGINE
        TCPAO_EIMPORT
        TCPAO_VERDICTS
        TCPAO_GOOD
        TCPAO_MD5_GOOD
        TCPAO_SIGNED
        TCPAO_STRIPPED
        TCPAO_MAKE_ROOM
        TCPAO_FILL_IN
        TCPAO_CHECKSUMS_INCREMENTAL
        TCPAO_CHECKSUMS_PARTIAL
        TCPAO_KEEP_FRAGMENTS

    ctypedef struct tcpao_options:
        size_t size
        int linktype
        uint32_t flags
        size_t headroom
        size_t tailroom
        const int64_t *timestamps
        const int32_t *vlan
        const int64_t *wire_lengths

    ctypedef struct tcpao_result:
        int64_t connection
        int32_t key
        uint32_t sne
        uint8_t verdict
        uint8_t outcome
        uint8_t dropped

    int tcpao_import() except -1 with gil
    tcpao_engine *tcpao_from_python(void *engine) except NULL with gil
    int tcpao_close(tcpao_engine *engine)
    int tcpao_counts(tcpao_engine *engine, uint64_t *counts)
    int tcpao_verify(tcpao_engine *engine, const uint8_t *const *data, const size_t *length,
                     size_t count, const tcpao_options *options, tcpao_result *results)
    int tcpao_sign(tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                   const tcpao_options *options, tcpao_result *results)
    int tcpao_strip(tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                    const tcpao_options *options, tcpao_result *results)
    int tcpao_verify_and_strip(tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                               const tcpao_options *options, tcpao_result *results)
    int tcpao_verify_iov(tcpao_engine *engine, const iovec *packets, size_t count,
                         const tcpao_options *options, tcpao_result *results)
    int tcpao_sign_iov(tcpao_engine *engine, iovec *packets, size_t count,
                       const tcpao_options *options, tcpao_result *results)
    int tcpao_strip_iov(tcpao_engine *engine, iovec *packets, size_t count,
                        const tcpao_options *options, tcpao_result *results)
    int tcpao_verify_and_strip_iov(tcpao_engine *engine, iovec *packets, size_t count,
                                   const tcpao_options *options, tcpao_result *results)
    const char *tcpao_error_text()
