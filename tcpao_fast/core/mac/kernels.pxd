"""The C interface of the MAC kernels.  Only `mac` links them; others use the declarations alone."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "kernels/kernels.h" nogil:
    enum:
        TCPAO_HMAC_SHA1
        TCPAO_AES_CMAC
        TCPAO_HMAC_SHA256
        TCPAO_MD5
        TCPAO_HMAC_SHA512
        TCPAO_KMAC256
        TCPAO_BY_BYTES
        TCPAO_KERNEL_COUNT
        TCPAO_MAX_KERNELS

    const char *tcpao_algorithm_name(int algorithm)
    size_t tcpao_prepared_length(int algorithm)

    ctypedef struct tcpao_message:
        const uint8_t *piece[3]
        uint32_t blocks[3]
        uint32_t padded
        const uint8_t *key
        uint8_t *mac

    ctypedef void (*tcpao_prepare_pointer "tcpao_prepare_fn *")(
        const uint8_t *, size_t, size_t, uint8_t *) noexcept
    ctypedef void (*tcpao_mac_pointer "tcpao_mac_fn *")(
        const tcpao_message *const *, size_t) noexcept

    ctypedef struct tcpao_kernel:
        const char *name
        uint32_t cpu_features
        tcpao_prepare_pointer prepare
        tcpao_mac_pointer mac
        uint32_t lanes

    size_t tcpao_kernels_available(int, const tcpao_kernel **)
    const tcpao_kernel *tcpao_kernel_active(int)
    const tcpao_kernel *tcpao_kernel_for_few(int, uint32_t *)
    size_t tcpao_kernels_force(const char *)
    void tcpao_mac(int, const tcpao_message *const *, size_t)
    void tcpao_wipe(void *, size_t)
    void tcpao_burn_stack()

cdef extern from "kernels/calibrate.h" nogil:
    ctypedef struct tcpao_timing:
        float brief
        float full
        float alone
    void tcpao_kernels_rank(uint64_t (*clock)() noexcept)
    const tcpao_timing *tcpao_kernels_timings(int)

cdef extern from "kernels/clock.h" nogil:
    uint64_t tcpao_now()

cdef extern from "kernels/bytes.h" nogil:
    uint16_t load16_be(const uint8_t *p)
    uint16_t load16_le(const uint8_t *p)
    uint32_t load32_be(const uint8_t *p)
    uint32_t load32_le(const uint8_t *p)
    void store16_be(uint8_t *p, uint16_t v)
    void store16_le(uint8_t *p, uint16_t v)
    void store32_be(uint8_t *p, uint32_t v)
    void store32_le(uint8_t *p, uint32_t v)
    void store64_le(uint8_t *p, uint64_t v)
    void tcpao_copy_few(uint8_t *to, const uint8_t *source, size_t length)

cdef extern from "kernels/equal.h" nogil:
    bint tcpao_equal(const uint8_t *, const uint8_t *, size_t)

cdef extern from "kernels/once.h" nogil:
    uint8_t tcpao_once8(const uint8_t *)
    uint16_t tcpao_once16(const uint8_t *)
    uint32_t tcpao_once32(const void *)

cdef extern from "kernels/prefetch.h" nogil:
    void tcpao_prefetch(const void *)

cdef extern from "kernels/pages.h" nogil:
    enum:
        TCPAO_LINE

    void *tcpao_new_table(size_t, bint)
    void tcpao_free_table(void *, size_t, bint)
    void *tcpao_grow_table(void *, size_t, size_t)

cdef extern from "kernels/flow_hash.h" nogil:
    ctypedef struct tcpao_flow_secret:
        int with_aes
    void tcpao_flow_begin(tcpao_flow_secret *secret, const uint8_t *random, int with_aes)
    uint32_t tcpao_flow_hash(const tcpao_flow_secret *secret, const uint64_t *words, int count)
    void tcpao_flow_hash_many(const tcpao_flow_secret *secret, const uint64_t *words, int each,
                              uint32_t *hashes, size_t count)

cdef extern from "kernels/checksum.h" nogil:
    uint32_t tcpao_fold(uint64_t sum)
    uint32_t tcpao_copy_and_add_up(uint8_t *to, const uint8_t *data, size_t length, uint64_t total)
    uint32_t tcpao_add_up(const uint8_t *data, size_t length, uint64_t total)
