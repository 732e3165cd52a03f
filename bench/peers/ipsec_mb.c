/* intel-ipsec-mb over its job API: keys prepared once, then as many messages as there are in a call. */
#include <intel-ipsec-mb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PEER_HMAC_SHA1 = 0, PEER_AES_CMAC = 1 };

typedef struct {
    uint8_t ipad[20], opad[20]; /* midstates */
    DECLARE_ALIGNED(uint32_t round_keys[4 * 11], 16);
    uint32_t subkey1[4], subkey2[4];
} peer_key;

typedef struct {
    IMB_MGR *manager;
    int algorithm;
    peer_key *keys;
} peer;

static void midstate(IMB_MGR *manager, const uint8_t *key, size_t length, uint8_t pad, uint8_t *out)
{
    uint8_t block[64];

    memset(block, pad, sizeof block);
    for (size_t i = 0; i < length; i++)
        block[i] ^= key[i];
    IMB_SHA1_ONE_BLOCK(manager, block, out);
}

peer *peer_open(int algorithm, const uint8_t *raw, size_t raw_length, size_t count)
{
    peer *it = calloc(1, sizeof *it);
    uint32_t unused[4 * 15];

    it->manager = alloc_mb_mgr(0);
    /* BENCH_IPSEC_MB=avx2: as on a CPU without AVX-512, beside TCPAO_FAST_KERNELS */
    const char *isa = getenv("BENCH_IPSEC_MB");
    if (isa && !strcmp(isa, "avx2"))
        init_mb_mgr_avx2(it->manager);
    else
        init_mb_mgr_auto(it->manager, NULL);
    it->algorithm = algorithm;
    it->keys = aligned_alloc(64, (count * sizeof *it->keys + 63) / 64 * 64);
    for (size_t i = 0; i < count; i++, raw += raw_length) {
        peer_key *key = &it->keys[i];
        if (algorithm == PEER_HMAC_SHA1) {
            midstate(it->manager, raw, raw_length, 0x36, key->ipad);
            midstate(it->manager, raw, raw_length, 0x5c, key->opad);
        } else {
            IMB_AES_KEYEXP_128(it->manager, raw, key->round_keys, unused);
            IMB_AES_CMAC_SUBKEY_GEN_128(it->manager, key->round_keys, key->subkey1, key->subkey2);
        }
    }
    return it;
}

static void fill(const peer *it, IMB_JOB *job, const peer_key *key, const uint8_t *message,
                 size_t length, uint8_t *mac)
{
    job->cipher_mode = IMB_CIPHER_NULL;
    job->cipher_direction = IMB_DIR_ENCRYPT;
    job->chain_order = IMB_ORDER_HASH_CIPHER;
    job->src = message;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_hash_in_bytes = length;
    job->auth_tag_output = mac;
    if (it->algorithm == PEER_HMAC_SHA1) {
        job->hash_alg = IMB_AUTH_HMAC_SHA_1;
        job->auth_tag_output_len_in_bytes = 12;
        job->u.HMAC._hashed_auth_key_xor_ipad = key->ipad;
        job->u.HMAC._hashed_auth_key_xor_opad = key->opad;
    } else {
        job->hash_alg = IMB_AUTH_AES_CMAC;
        job->auth_tag_output_len_in_bytes = 12;
        job->u.CMAC._key_expanded = key->round_keys;
        job->u.CMAC._skey1 = key->subkey1;
        job->u.CMAC._skey2 = key->subkey2;
    }
}

/* One job after the other. */
void peer_jobs(peer *it, const uint8_t *buffer, const int64_t *offsets, const int64_t *lengths,
               const int32_t *index, size_t count, uint8_t *macs)
{
    for (size_t i = 0; i < count; i++) {
        fill(it, IMB_GET_NEXT_JOB(it->manager), &it->keys[index[i]], buffer + offsets[i],
             (size_t)lengths[i], macs + 12 * i);
        IMB_SUBMIT_JOB_NOCHECK(it->manager);
    }
    while (IMB_FLUSH_JOB(it->manager))
        ;
}

/* Its burst API for hashes, in bursts as long as it takes. */
void peer_bursts(peer *it, const uint8_t *buffer, const int64_t *offsets, const int64_t *lengths,
                 const int32_t *index, size_t count, uint8_t *macs)
{
    static IMB_JOB jobs[IMB_MAX_BURST_SIZE];

    for (size_t at = 0; at < count; at += IMB_MAX_BURST_SIZE) {
        const size_t n = count - at < IMB_MAX_BURST_SIZE ? count - at : IMB_MAX_BURST_SIZE;
        for (size_t i = 0; i < n; i++)
            fill(it, &jobs[i], &it->keys[index[at + i]], buffer + offsets[at + i],
                 (size_t)lengths[at + i], macs + 12 * (at + i));
        IMB_SUBMIT_HASH_BURST_NOCHECK(it->manager, jobs, (uint32_t)n, jobs[0].hash_alg);
    }
}

/* Whether the burst API takes this algorithm at all. */
int peer_can_burst(peer *it)
{
    static const uint8_t message[16];
    static IMB_JOB job;
    uint8_t mac[12];

    fill(it, &job, it->keys, message, sizeof message, mac);
    return IMB_SUBMIT_HASH_BURST(it->manager, &job, 1, job.hash_alg) == 1;
}

const char *peer_version(void)
{
    return imb_get_version_str();
}
