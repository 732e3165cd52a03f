"""A master key tuple (RFC 5925 section 3.1) as the core has it."""

from libc.stdint cimport int64_t, uint8_t, uint16_t

cdef struct Side:
    uint8_t network[16]
    uint8_t any
    uint8_t prefix            # bits
    uint16_t port_low
    uint16_t port_high

cdef struct Mkt:
    Side local
    Side remote
    int64_t vrf               # -1: any
    int64_t accept[2]         # lifetimes in ns since 1970, both ends included
    int64_t send[2]
    uint8_t *master           # prepared PRF key; TCP-MD5: the key itself; library: NULL
    size_t master_length
    uint8_t kdf_prefix[8]
    uint8_t kdf_suffix[2]
    uint8_t kdf_prefix_length
    uint8_t kdf_suffix_length
    uint8_t version           # 4, 6, or 0 for either
    uint8_t send_id
    uint8_t recv_id
    uint8_t mac_length
    uint8_t traffic_key_length
    uint8_t exclude_options
    uint8_t kernel

cdef inline bint within(const int64_t *lifetime, int64_t timestamp) noexcept nogil:
    """Whether a lifetime covers a time; no clock (-1) is always covered."""
    return timestamp < 0 or (lifetime[0] <= timestamp <= lifetime[1])
