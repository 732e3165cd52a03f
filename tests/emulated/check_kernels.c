/* Every kernel that the CPU has, against MACs that hmac, hashlib and cryptography made.
 *
 * No operating system is needed: this runs under qemu-user, and bare on an emulated CPU.
 *
 * Cases, little endian, one behind the other: algorithm (0xffffffff ends them), key length, message
 * length, MAC length, 32 bits each; then the key, the message, the MAC.
 */
#include "check_kernels.h"

#include <string.h>

#include "cmac.h"

enum { MOST_CASES = 2048, MOST_SIDE_BY_SIDE = 33, KEY_ROOM = 256, MAC_ROOM = 64 };

typedef struct {
    uint32_t algorithm, key_length, message_length, mac_length;
    const uint8_t *key, *message, *mac;
} test_case;

static test_case cases[MOST_CASES];
static tcpao_message messages[MOST_CASES];
static uint8_t prepared[MOST_CASES][KEY_ROOM], macs[MOST_CASES][MAC_ROOM];
static uint32_t count;
static int failures;

static uint32_t number(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void read_cases(const uint8_t *at, uint32_t algorithm)
{
    for (count = 0; number(at) != 0xffffffff;) {
        test_case one = {number(at), number(at + 4), number(at + 8), number(at + 12), 0, 0, 0};
        one.key = at + 16;
        one.message = one.key + one.key_length;
        one.mac = one.message + one.message_length;
        at = one.mac + one.mac_length;
        if (one.algorithm == algorithm && count < MOST_CASES)
            cases[count++] = one;
    }
}

/* Whether a message of CMAC fills its last block. */
static int is_whole(const test_case *one)
{
    return one->algorithm == TCPAO_AES_CMAC && one->message_length && one->message_length % BLOCK == 0;
}

/* Write message and padding to `to`; returns how many bytes.  With `to` NULL, only that. */
static size_t pad(const test_case *one, uint8_t *to)
{
    const size_t block = one->algorithm == TCPAO_AES_CMAC ? BLOCK : 64;
    /* TCP-MD5 puts its key behind the message */
    const size_t suffix = one->algorithm == TCPAO_MD5 ? one->key_length : 0;
    const size_t length = one->message_length + suffix;
    const size_t more = one->algorithm == TCPAO_AES_CMAC ? !is_whole(one) : 9;
    const size_t size = (length + more + block - 1) / block * block;
    uint64_t bits = 8 * (uint64_t)(length + (one->algorithm == TCPAO_MD5 ? 0 : 64));

    if (!to)
        return size;
    memset(to, 0, size);
    memcpy(to, one->message, one->message_length);
    memcpy(to + one->message_length, one->key, suffix);
    if (!is_whole(one))
        to[length] = 0x80;
    for (int i = 0; i < 8 && one->algorithm != TCPAO_AES_CMAC; i++, bits >>= 8)
        to[one->algorithm == TCPAO_MD5 ? size - 8 + i : size - 1 - i] = (uint8_t)bits;
    return size;
}

/* Cut a padded message of `size` bytes into pieces: `how` is 0 for one, else two or three. */
static void cut(tcpao_message *message, const test_case *one, const uint8_t *text, size_t size, uint32_t how)
{
    const size_t block = one->algorithm == TCPAO_AES_CMAC ? BLOCK : 64;
    const uint32_t blocks = (uint32_t)(size / block);
    const uint32_t first = how ? blocks / (how + 1) : blocks, second = how ? (blocks - first) / how : 0;

    message->blocks[0] = first;
    message->blocks[1] = second;
    message->blocks[2] = blocks - first - second;
    message->padded = !is_whole(one);
    message->piece[0] = text;
    message->piece[1] = text + first * block;
    message->piece[2] = text + (first + second) * block;
}

static void check(const char *kernel, const char *what, uint32_t first, uint32_t n, check_say *say)
{
    for (uint32_t i = first; i < first + n; i++) {
        int bad = memcmp(macs[i], cases[i].mac, cases[i].mac_length) != 0;
        for (uint32_t at = cases[i].mac_length; at < MAC_ROOM; at++)
            bad |= macs[i][at] != 0xa5;
        if (bad && failures++ < 10) {
            say("BAD ");
            say(kernel);
            say(" ");
            say(what);
            say("\n");
        }
    }
    memset(macs, 0xa5, sizeof macs);
}

static void run(const tcpao_kernel *kernel, uint32_t first, uint32_t n)
{
    static const tcpao_message *chosen[MOST_CASES];

    for (uint32_t i = 0; i < n; i++) {
        messages[first + i].key = prepared[first + i];
        messages[first + i].mac = macs[first + i];
        chosen[i] = &messages[first + i];
    }
    kernel->mac(chosen, n);
}

static void check_kernel(const tcpao_kernel *kernel, uint8_t *arena, uint8_t *arena_end, check_say *say)
{
    uint8_t *at = arena;

    memset(macs, 0xa5, sizeof macs);
    for (uint32_t i = 0; i < count; i++) {
        kernel->prepare(cases[i].key, cases[i].key_length, 1, prepared[i]);
        at += i % 3; /* misaligned */
        const size_t size = pad(&cases[i], at);
        cut(&messages[i], &cases[i], at, size, i % 3);
        at += size;
    }
    run(kernel, 0, count);
    check(kernel->name, "all at once, longest last", 0, count, say);
    for (uint32_t n = 1, first = 0; n <= MOST_SIDE_BY_SIDE && first + n <= count; first += n++) {
        run(kernel, first, n);
        check(kernel->name, "some", first, n, say);
    }
    /* a message, and then a key, that ends where memory does */
    for (uint32_t i = 0; i < count; i += 7) {
        const size_t size = pad(&cases[i], NULL);
        uint8_t *const text = arena_end - size;
        pad(&cases[i], text);
        cut(&messages[i], &cases[i], text, size, i % 3);
        run(kernel, i, 1);
        check(kernel->name, "message at the end of memory", i, 1, say);
        if (cases[i].algorithm == TCPAO_MD5)
            continue;
        const size_t key_size = cases[i].algorithm == TCPAO_HMAC_SHA1  ? TCPAO_HMAC_SHA1_PREPARED
                                : cases[i].algorithm == TCPAO_AES_CMAC ? TCPAO_AES_CMAC_PREPARED
                                                                       : TCPAO_HMAC_SHA256_PREPARED;
        const tcpao_message *message = &messages[i];
        pad(&cases[i], arena);
        cut(&messages[i], &cases[i], arena, size, i % 3);
        messages[i].key = memcpy(arena_end - key_size, prepared[i], key_size);
        kernel->mac(&message, 1);
        check(kernel->name, "key at the end of memory", i, 1, say);
    }
    /* keys prepared side by side */
    if (cases[0].algorithm != TCPAO_MD5) {
        const uint32_t length = cases[0].key_length;
        uint8_t *raw = arena, *many = arena + MOST_SIDE_BY_SIDE * 64;
        uint32_t n = 0;
        size_t stride = cases[0].algorithm == TCPAO_HMAC_SHA1  ? TCPAO_HMAC_SHA1_PREPARED
                        : cases[0].algorithm == TCPAO_AES_CMAC ? TCPAO_AES_CMAC_PREPARED
                                                               : TCPAO_HMAC_SHA256_PREPARED;
        for (; n < MOST_SIDE_BY_SIDE && cases[n].key_length == length; n++)
            memcpy(raw + n * length, cases[n].key, length);
        kernel->prepare(raw, length, n, many);
        for (uint32_t i = 0; i < n; i++)
            if (memcmp(many + i * stride, prepared[i], stride) && failures++ < 10) {
                say("BAD ");
                say(kernel->name);
                say(" keys side by side\n");
            }
    }
}

int check_kernels(const uint8_t *blob, uint8_t *arena, uint8_t *arena_end, check_say *say)
{
    static const char *const names[] = {"hmac-sha1", "aes-128-cmac", "hmac-sha256", "md5"};
    const tcpao_kernel *found[TCPAO_MAX_KERNELS];

    /* those that count bytes are portable C alone, and tested where they run */
    for (uint32_t algorithm = 0; algorithm < TCPAO_BY_BYTES; algorithm++) {
        const size_t kernels = tcpao_kernels_available((int)algorithm, found);
        read_cases(blob, algorithm);
        for (size_t i = 0; i < kernels; i++) {
            const int before = failures;
            check_kernel(found[i], arena, arena_end, say);
            say(failures == before && count ? "ok " : "FAILED ");
            say(names[algorithm]);
            say(" ");
            say(found[i]->name);
            say("\n");
        }
        if (!count)
            failures++;
    }
    say(failures ? "FAILED\n" : "done\n");
    return failures;
}
