/* The one header of the MAC kernels: what a message is, and the table of who can compute it.
 *
 * A kernel knows no packets.  It gets prepared keys and messages that are already padded to whole
 * blocks, and writes full-length digests.  Every kernel of an algorithm has the same signature; the
 * portable one is the definition of the others.
 */
#ifndef TCPAO_KERNELS_H
#define TCPAO_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    TCPAO_HMAC_SHA1 = 0,   /* RFC 2104 over SHA-1 */
    TCPAO_AES_CMAC = 1,    /* RFC 4493, AES-128 */
    TCPAO_HMAC_SHA256 = 2, /* RFC 2104 over SHA-256 */
    TCPAO_MD5 = 3,         /* RFC 1321, no key: TCP-MD5 puts its key behind the message */
    TCPAO_HMAC_SHA512 = 4, /* RFC 2104 over SHA-512 */
    TCPAO_KMAC256 = 5,     /* NIST SP 800-185, 128 bits */
    TCPAO_KERNEL_COUNT = 6,
    /* from here on messages are not padded, and their pieces are counted in bytes */
    TCPAO_BY_BYTES = TCPAO_HMAC_SHA512
};

/* Bytes of a prepared key. HMAC: inner and outer midstate, native words. CMAC: see cmac.h. KMAC: a
 * state. */
enum {
    TCPAO_HMAC_SHA1_PREPARED = 40,
    TCPAO_AES_CMAC_PREPARED = 32,
    TCPAO_HMAC_SHA256_PREPARED = 64,
    TCPAO_MD5_PREPARED = 0,
    TCPAO_HMAC_SHA512_PREPARED = 128,
    TCPAO_KMAC256_PREPARED = 200
};

/* A message in up to three pieces of whole blocks: head (scratch), middle (read in place from the
 * packet), tail (scratch).  Padding is part of the pieces; CMAC's subkey is not, as the kernel adds
 * it to the last block. */
typedef struct {
    const uint8_t *piece[3];
    uint32_t blocks[3];
    uint32_t padded;    /* for CMAC: whether the last block has padding, which chooses the subkey */
    const uint8_t *key; /* prepared key; NULL for MD5 */
    uint8_t *mac;       /* out: the digest, untruncated */
} tcpao_message;

/* Prepare `count` keys of `raw_length` bytes each, one behind the other. */
typedef void tcpao_prepare_fn(const uint8_t *raw, size_t raw_length, size_t count, uint8_t *prepared);
/* Compute `count` MACs; every message has its own key and its own length. */
typedef void tcpao_mac_fn(const tcpao_message *const *messages, size_t count);

typedef struct {
    const char *name;
    uint32_t cpu_features; /* all of these must be there (cpu.h) */
    tcpao_prepare_fn *prepare;
    tcpao_mac_fn *mac;
    uint32_t lanes; /* messages side by side: multiples of it go best */
    uint32_t least; /* fewer messages than this are quicker with the next kernel of the table */
} tcpao_kernel;

#define TCPAO_MAX_KERNELS 8

/* Name of an algorithm, and bytes of one of its prepared keys. */
const char *tcpao_algorithm_name(int algorithm);
size_t tcpao_prepared_length(int algorithm);

/* Kernels of one algorithm that this CPU can run, best first; the portable one last. */
size_t tcpao_kernels_available(int algorithm, const tcpao_kernel *found[TCPAO_MAX_KERNELS]);
/* The kernel in use; never NULL. */
const tcpao_kernel *tcpao_kernel_active(int algorithm);
/* The kernel in use for fewer than `least` messages over; NULL where it is the same. */
const tcpao_kernel *tcpao_kernel_for_few(int algorithm, uint32_t *least);
/* Choose by name for every algorithm that has it; NULL or "" means the best.  Returns how many
 * algorithms have a kernel of that name that this CPU can run (0: nothing was changed). */
size_t tcpao_kernels_force(const char *name);
/* The MACs of messages of one algorithm that are sorted by their number of blocks: by the kernel in
 * use, and what does not fill its lanes by one that suits few messages. */
void tcpao_mac(int algorithm, const tcpao_message *const *messages, size_t count);

tcpao_prepare_fn tcpao_hmac_sha1_prepare_portable, tcpao_aes_cmac_prepare_portable,
    tcpao_hmac_sha256_prepare_portable, tcpao_md5_prepare_portable, tcpao_hmac_sha512_prepare_portable,
    tcpao_kmac256_prepare_portable;
tcpao_mac_fn tcpao_hmac_sha1_portable, tcpao_aes_cmac_portable, tcpao_hmac_sha256_portable,
    tcpao_md5_portable, tcpao_hmac_sha512_portable, tcpao_kmac256_portable;

#if defined(__x86_64__)
tcpao_prepare_fn tcpao_hmac_sha1_prepare_avx512, tcpao_hmac_sha1_prepare_avx2,
    tcpao_hmac_sha1_prepare_avx2_two, tcpao_hmac_sha1_prepare_shani, tcpao_aes_cmac_prepare_vaes512,
    tcpao_aes_cmac_prepare_vaes256, tcpao_aes_cmac_prepare_aesni, tcpao_hmac_sha256_prepare_avx512,
    tcpao_hmac_sha256_prepare_avx2, tcpao_hmac_sha256_prepare_shani;
tcpao_mac_fn tcpao_hmac_sha1_avx512, tcpao_hmac_sha1_avx2, tcpao_hmac_sha1_avx2_two, tcpao_hmac_sha1_shani,
    tcpao_aes_cmac_vaes512, tcpao_aes_cmac_vaes256, tcpao_aes_cmac_aesni, tcpao_hmac_sha256_avx512,
    tcpao_hmac_sha256_avx2, tcpao_hmac_sha256_shani, tcpao_md5_avx512, tcpao_md5_avx2;
#elif defined(__aarch64__)
tcpao_prepare_fn tcpao_hmac_sha1_prepare_armv8, tcpao_aes_cmac_prepare_armv8,
    tcpao_hmac_sha256_prepare_armv8;
tcpao_mac_fn tcpao_hmac_sha1_armv8, tcpao_aes_cmac_armv8, tcpao_hmac_sha256_armv8;
#endif

/* Overwrite memory that held a secret; not removed by the optimiser. */
void tcpao_wipe(void *memory, size_t length);
/* Overwrite what kernels left on the stack below the caller. */
void tcpao_burn_stack(void);

#endif
