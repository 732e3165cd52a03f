/* Wrong use of the C interface: each line is an error code and never a crash; for tests/capi. */
#include "tcpao_fast.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int failures = 0;

#define EXPECT(wanted, call)                                                                       \
    do {                                                                                           \
        int got = (call);                                                                          \
        if (got != (wanted)) {                                                                     \
            failures++;                                                                            \
            printf("line %d: %s is %d (%s), not %d\n", __LINE__, #call, got, tcpao_error_text(),   \
                   (wanted));                                                                      \
        } else if (got != TCPAO_OK && tcpao_error_text()[0] == 0) {                                \
            failures++;                                                                            \
            printf("line %d: %s fails without a word\n", __LINE__, #call);                         \
        }                                                                                          \
    } while (0)

enum { PACKETS = 64, BYTES = 128 };

static tcpao_engine *engine;

/* Memory of just the size, so that a byte too far is seen. */
static uint8_t *copy(const void *from, size_t size)
{
    uint8_t *made = malloc(size ? size : 1);
    memcpy(made, from, size);
    return made;
}

static const uint8_t syn[40] = {0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0x66, 0xcd, 10, 0, 0, 1, 10, 0, 0, 2,
                                0x9c, 0x40, 0, 0xb3, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0x50, 2, 4, 0};

static void *hammer(void *unused)
{
    (void)unused;
    for (int i = 0; i < 2000; i++) {
        uint8_t *packet = copy(syn, sizeof syn);
        const uint8_t *data[1] = {packet};
        size_t length[1] = {sizeof syn};
        tcpao_result result;
        tcpao_options options = TCPAO_OPTIONS;
        options.linktype = 101;
        EXPECT(TCPAO_OK, tcpao_verify(engine, data, length, 1, &options, &result));
        if (result.verdict != TCPAO_AO_REQUIRED)
            failures++;
        free(packet);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    uint8_t *packets[PACKETS];
    size_t length[PACKETS];
    tcpao_result *results = calloc(PACKETS, sizeof *results);
    tcpao_options options = TCPAO_OPTIONS;
    uint64_t counts[TCPAO_VERDICTS];
    tcpao_engine *other = NULL;
    struct iovec vector[2];
    if (argc != 2)
        return 2;

    EXPECT(TCPAO_EIMPORT, tcpao_open(argv[1], 0, &engine)); /* before tcpao_start() */
    EXPECT(TCPAO_EIMPORT, tcpao_verify(NULL, NULL, NULL, 0, NULL, NULL));
    EXPECT(TCPAO_OK, tcpao_start());
    EXPECT(TCPAO_OK, tcpao_start());

    EXPECT(TCPAO_EINVAL, tcpao_open(NULL, 0, &engine));
    EXPECT(TCPAO_EINVAL, tcpao_open(argv[1], 0, NULL));
    EXPECT(TCPAO_EENGINE, tcpao_open("/nowhere/keys.toml", 0, &engine));
    EXPECT(TCPAO_EENGINE, tcpao_open("/dev/null", 0, &engine));
    EXPECT(TCPAO_EENGINE, tcpao_open(argv[1], 1, &engine)); /* max_connections too small */
    EXPECT(TCPAO_OK, tcpao_open(argv[1], 0, &engine));

    for (int i = 0; i < PACKETS; i++) {
        packets[i] = copy(syn, sizeof syn);
        length[i] = sizeof syn;
    }
    const uint8_t *const *reading = (const uint8_t *const *)packets;
    options.linktype = 101;
    EXPECT(TCPAO_OK, tcpao_verify(engine, reading, length, PACKETS, &options, results));
    EXPECT(TCPAO_OK, tcpao_verify(engine, NULL, NULL, 0, NULL, NULL));
    EXPECT(TCPAO_EINVAL, tcpao_verify(NULL, reading, length, PACKETS, &options, results));
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, NULL, length, PACKETS, &options, results));
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, NULL, PACKETS, &options, results));
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, PACKETS, &options, NULL));
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, (size_t)-1, &options, results));
    EXPECT(TCPAO_EINVAL, tcpao_verify_iov(engine, NULL, 1, &options, results));
    EXPECT(TCPAO_EINVAL, tcpao_counts(engine, NULL));
    EXPECT(TCPAO_EINVAL, tcpao_update(engine, NULL));
    EXPECT(TCPAO_EENGINE, tcpao_update(engine, "/nowhere"));
    EXPECT(TCPAO_EENGINE, tcpao_save(engine, "/nowhere/state"));
    EXPECT(TCPAO_EENGINE, tcpao_load(engine, "/dev/null"));

    options.size = 0;
    EXPECT(TCPAO_EVERSION, tcpao_verify(engine, reading, length, 1, &options, results));
    options.size = 1 << 20;
    EXPECT(TCPAO_EVERSION, tcpao_verify(engine, reading, length, 1, &options, results));
    options.size = sizeof options;
    options.flags = 1u << 31;
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, 1, &options, results));
    options.flags = TCPAO_CHECKSUMS_INCREMENTAL | TCPAO_CHECKSUMS_PARTIAL;
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, 1, &options, results));
    options.flags = 0;
    options.linktype = -1;
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, 1, &options, results));
    options.linktype = 101;
    int64_t wire[1] = {-1};
    options.wire_lengths = wire;
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, 1, &options, results));
    options.wire_lengths = NULL;
    options.headroom = (size_t)-1;
    EXPECT(TCPAO_EINVAL, tcpao_sign(engine, packets, length, 1, &options, results));
    options.headroom = 0;

    uint8_t *kept = packets[1];
    packets[1] = NULL;
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, PACKETS, &options, results));
    length[1] = 0; /* of no bytes: fine */
    EXPECT(TCPAO_OK, tcpao_verify(engine, reading, length, PACKETS, &options, results));
    EXPECT(TCPAO_OK, tcpao_sign(engine, packets, length, PACKETS, &options, results));
    EXPECT(TCPAO_OK, tcpao_strip(engine, packets, length, PACKETS, &options, results));
    packets[1] = kept;
    length[1] = (size_t)-1;
    EXPECT(TCPAO_EINVAL, tcpao_verify(engine, reading, length, PACKETS, &options, results));
    length[1] = sizeof syn;

    packets[1] = packets[0]; /* the same record twice: it may be read so, not written */
    EXPECT(TCPAO_OK, tcpao_verify(engine, reading, length, PACKETS, &options, results));
    EXPECT(TCPAO_EOVERLAP, tcpao_sign(engine, packets, length, PACKETS, &options, results));
    EXPECT(TCPAO_EOVERLAP, tcpao_strip(engine, packets, length, PACKETS, &options, results));
    EXPECT(TCPAO_EOVERLAP, tcpao_verify_and_strip(engine, packets, length, 2, &options, results));
    vector[0].iov_base = vector[1].iov_base = packets[0];
    vector[0].iov_len = vector[1].iov_len = sizeof syn;
    EXPECT(TCPAO_OK, tcpao_verify_iov(engine, vector, 2, &options, results));
    EXPECT(TCPAO_EOVERLAP, tcpao_sign_iov(engine, vector, 2, &options, results));
    EXPECT(TCPAO_EOVERLAP, tcpao_strip_iov(engine, vector, 2, &options, results));
    EXPECT(TCPAO_EOVERLAP, tcpao_verify_and_strip_iov(engine, vector, 2, &options, results));
    packets[1] = kept;
    if (memcmp(packets[0], syn, sizeof syn) || memcmp(packets[1], syn, sizeof syn)) {
        failures++;
        printf("a refused call has written to packets\n");
    }

    /* no headroom: the outcome says so, and nothing beside the packet is touched */
    EXPECT(TCPAO_OK, tcpao_sign(engine, packets, length, 1, &options, results));
    if (results[0].outcome != TCPAO_NO_ROOM || memcmp(packets[0], syn, sizeof syn))
        failures++, printf("without headroom: outcome %d\n", results[0].outcome);

    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, hammer, NULL);
    for (int i = 0; i < 20; i++)
        EXPECT(TCPAO_OK, tcpao_update(engine, argv[1]));
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);

    EXPECT(TCPAO_OK, tcpao_open(argv[1], 2, &other));
    EXPECT(TCPAO_OK, tcpao_close(other));
    EXPECT(TCPAO_ECLOSED, tcpao_close(other));
    EXPECT(TCPAO_ECLOSED, tcpao_verify(other, reading, length, 1, &options, results));
    EXPECT(TCPAO_ECLOSED, tcpao_sign(other, packets, length, 1, &options, results));
    EXPECT(TCPAO_ECLOSED, tcpao_strip(other, packets, length, 1, &options, results));
    EXPECT(TCPAO_ECLOSED, tcpao_counts(other, counts));
    EXPECT(TCPAO_ECLOSED, tcpao_update(other, argv[1]));
    EXPECT(TCPAO_OK, tcpao_counts(engine, counts));
    EXPECT(TCPAO_OK, tcpao_close(engine));
    EXPECT(TCPAO_ECLOSED, tcpao_verify(engine, reading, length, 1, &options, results));

    for (int i = 0; i < PACKETS; i++)
        free(packets[i]);
    free(results);
    printf("%d failures\n", failures);
    return failures != 0;
}
