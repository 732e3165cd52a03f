/* tcpao_fast.h: verify, sign and strip TCP-AO segments (RFC 5925) from C.
 *
 * Two ways to it:
 *
 *   a C extension, or a program that embeds Python, includes this header and calls tcpao_import()
 *   once, with the GIL; functions then come from the module that is installed.
 *
 *   any other program defines TCPAO_LIBRARY before including it, and links libtcpao_fast, which
 *   `python -m tcpao_fast build-library DIR` makes; tcpao_start() is tcpao_import() there.
 *
 * No function but those that say so needs the GIL, and none holds it while packets are worked on.
 * Every function may be called from any thread; calls on one engine take turns.
 *
 * What will not change while TCPAO_API_MAJOR is 1: names, numbers, the order and types of what is
 * in structs, and what functions do.  A struct that begins with `size` may grow at its end: what a
 * caller's is shorter by counts as 0.
 */
#ifndef TCPAO_FAST_H
#define TCPAO_FAST_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
struct iovec {
    void *iov_base;
    size_t iov_len;
};
#else
#include <sys/uio.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TCPAO_API_MAJOR 1
#define TCPAO_API_MINOR 0

/* An engine: keys, connections, counters.  It stays valid memory for as long as the process lives,
 * so that what comes after tcpao_close() is an error and no crash. */
typedef struct tcpao_engine tcpao_engine;

/* What functions return: 0, or why nothing was done.  tcpao_error_text() has it in words. */
enum tcpao_error {
    TCPAO_OK = 0,
    TCPAO_EINVAL = -1,   /* a NULL that may not be one, a number out of range */
    TCPAO_EVERSION = -2, /* header and module do not fit, or tcpao_options has no size */
    TCPAO_ECLOSED = -3,  /* the engine was closed, or its process was forked in a call */
    TCPAO_EOVERLAP = -4, /* records that are written to share bytes */
    TCPAO_ENOMEM = -5,
    TCPAO_EENGINE = -6,  /* it is no engine, has several threads, or keys could not be read */
    TCPAO_EIMPORT = -7,  /* tcpao_import() was not called, or failed */
};

/* The verdict on a record: tcpao_fast.Verdict. */
enum tcpao_verdict {
    TCPAO_GOOD = 0,
    TCPAO_BAD_MAC = 1,
    TCPAO_KEY_NOT_FOUND = 2,
    TCPAO_AO_REQUIRED = 3,
    TCPAO_UNSIGNED = 4,
    TCPAO_MISSING_ISN = 5,
    TCPAO_TRUNCATED = 6,
    TCPAO_MALFORMED = 7,
    TCPAO_MD5_GOOD = 8,
    TCPAO_MD5_BAD = 9,
    TCPAO_MD5_UNCHECKED = 10,
    TCPAO_NOT_TCP = 11,
    TCPAO_MD5_REQUIRED = 12,
    TCPAO_VERDICTS = 13 /* how many there are */
};

/* What became of a record: tcpao_fast.SignOutcome. */
enum tcpao_outcome {
    TCPAO_SIGNED = 0,
    TCPAO_NO_TCP = 1,
    TCPAO_NO_KEY = 2,
    TCPAO_NO_ISN = 3,
    TCPAO_NO_OPTION_SPACE = 4,
    TCPAO_ALREADY_SIGNED = 5,
    TCPAO_NO_OPTION = 6,
    TCPAO_WRONG_MAC_LENGTH = 7,
    TCPAO_CUT = 8,
    TCPAO_BROKEN = 9,
    TCPAO_FRAGMENT = 10,
    TCPAO_TOO_LONG = 11,
    TCPAO_IPSEC = 12,
    TCPAO_TOO_MANY_HEADERS = 13,
    TCPAO_STRIPPED = 14,
    TCPAO_UNSIGNED_HANDSHAKE = 15,
    TCPAO_NO_ROOM = 16,
    TCPAO_NOT_GOOD = 17
};

enum tcpao_flags {
    TCPAO_MAKE_ROOM = 1,             /* drop other options as Linux does (tcpao_sign) */
    TCPAO_FILL_IN = 2,               /* fill in options that are there (tcpao_sign) */
    TCPAO_CHECKSUMS_INCREMENTAL = 4, /* RFC 1624 */
    TCPAO_CHECKSUMS_PARTIAL = 8,     /* of the pseudo-header alone, for hardware */
    TCPAO_KEEP_FRAGMENTS = 16        /* wait for the others of a datagram (tcpao_verify) */
};

/* What is said of all records of a call; initialize with TCPAO_OPTIONS.  Pointers may be NULL. */
typedef struct tcpao_options {
    size_t size;   /* sizeof(tcpao_options) */
    int linktype;  /* as in pcap files: 1 Ethernet, 101 raw IP */
    uint32_t flags;
    size_t headroom; /* bytes free before each record, for tcpao_sign: an option takes up to 40 */
    size_t tailroom; /* bytes free behind each */
    const int64_t *timestamps;   /* of each: nanoseconds since 1970, negative where not known */
    const int32_t *vlan;         /* of each: the tag that is not in it, negative without */
    const int64_t *wire_lengths; /* of each: bytes it had before it was cut */
} tcpao_options;

#define TCPAO_OPTIONS {sizeof(tcpao_options), 1, 0, 0, 0, NULL, NULL, NULL}

/* What was found of one record. */
typedef struct tcpao_result {
    int64_t connection; /* a number that is never used again, -1 without */
    int32_t key;        /* index into the engine's keys, -1 without */
    uint32_t sne;       /* sequence number extension (tcpao_verify) */
    uint8_t verdict;    /* of tcpao_verify, tcpao_verify_and_strip: enum tcpao_verdict */
    uint8_t outcome;    /* of the others, tcpao_verify_and_strip: enum tcpao_outcome */
    uint8_t dropped;    /* bytes of other options that were given up (tcpao_sign) */
    uint8_t reserved[5];
} tcpao_result;

/* The functions by a capsule: "tcpao_fast.capi.table._C_API". */
typedef struct tcpao_table {
    uint32_t major, minor;
    tcpao_engine *(*from_python)(void *engine);
    int (*open)(const char *key_file, uint32_t max_connections, tcpao_engine **engine);
    int (*close)(tcpao_engine *engine);
    int (*update)(tcpao_engine *engine, const char *key_file);
    int (*save)(tcpao_engine *engine, const char *path);
    int (*load)(tcpao_engine *engine, const char *path);
    int (*counts)(tcpao_engine *engine, uint64_t counts[TCPAO_VERDICTS]);
    int (*verify)(tcpao_engine *engine, const uint8_t *const *data, const size_t *length,
                  size_t count, const tcpao_options *options, tcpao_result *results);
    int (*sign)(tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                const tcpao_options *options, tcpao_result *results);
    int (*strip)(tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                 const tcpao_options *options, tcpao_result *results);
    int (*verify_and_strip)(tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                            const tcpao_options *options, tcpao_result *results);
    int (*verify_iov)(tcpao_engine *engine, const struct iovec *packets, size_t count,
                      const tcpao_options *options, tcpao_result *results);
    int (*sign_iov)(tcpao_engine *engine, struct iovec *packets, size_t count,
                    const tcpao_options *options, tcpao_result *results);
    int (*strip_iov)(tcpao_engine *engine, struct iovec *packets, size_t count,
                     const tcpao_options *options, tcpao_result *results);
    int (*verify_and_strip_iov)(tcpao_engine *engine, struct iovec *packets, size_t count,
                                const tcpao_options *options, tcpao_result *results);
    const char *(*error_text)(void);
} tcpao_table;

#ifdef TCPAO_LIBRARY

/* Begin: starts Python where it does not run yet.  From the thread that lives longest. */
int tcpao_start(void);

#define TCPAO_FUNCTION(type, name, parameters, arguments, failure) type tcpao_##name parameters;

#else

#include <Python.h>

#ifdef TCPAO_SHARED_TABLE /* several files of one extension share what one of them imports */
extern const tcpao_table *TCPAO_SHARED_TABLE;
#define TCPAO_TABLE TCPAO_SHARED_TABLE
#else
static const tcpao_table *tcpao_imported = NULL;
#define TCPAO_TABLE tcpao_imported
#endif

/* Begin: with the GIL.  0, or -1 with a Python exception. */
static inline int tcpao_import(void)
{
    PyObject *module = PyImport_ImportModule("tcpao_fast.capi.table"); /* the next looks it up */
    if (module == NULL)
        return -1;
    Py_DECREF(module);
    const tcpao_table *table =
        (const tcpao_table *)PyCapsule_Import("tcpao_fast.capi.table._C_API", 0);
    if (table == NULL)
        return -1;
    if (table->major != TCPAO_API_MAJOR || (int)table->minor < TCPAO_API_MINOR) {
        PyErr_Format(PyExc_ImportError,
                     "tcpao_fast has C interface %u.%u; this was compiled for %d.%d", table->major,
                     table->minor, TCPAO_API_MAJOR, TCPAO_API_MINOR);
        return -1;
    }
    TCPAO_TABLE = table;
    return 0;
}

#define TCPAO_FUNCTION(type, name, parameters, arguments, failure)                                 \
    static inline type tcpao_##name parameters                                                     \
    {                                                                                              \
        return TCPAO_TABLE == NULL ? (failure) : TCPAO_TABLE->name arguments;                      \
    }

#endif

#ifdef __GNUC__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

#ifndef TCPAO_LIBRARY
/* The handle of a tcpao_fast.Engine (a PyObject *), which has one thread; with the GIL.  NULL with
 * a Python exception. */
TCPAO_FUNCTION(tcpao_engine *, from_python, (void *engine), (engine), NULL)
#endif

/* An engine with the keys of a file, in any of the formats that `tcpao` reads. */
TCPAO_FUNCTION(int, open,
               (const char *key_file, uint32_t max_connections, tcpao_engine **engine),
               (key_file, max_connections, engine), TCPAO_EIMPORT)
/* Let go of it. */
TCPAO_FUNCTION(int, close, (tcpao_engine *engine), (engine), TCPAO_EIMPORT)
/* Go on with the keys of a file, as tcpao_fast.Engine.update does. */
TCPAO_FUNCTION(int, update, (tcpao_engine *engine, const char *key_file), (engine, key_file),
               TCPAO_EIMPORT)
/* Write what is proved of connections to a file, or take it from one; it holds no secrets. */
TCPAO_FUNCTION(int, save, (tcpao_engine *engine, const char *path), (engine, path), TCPAO_EIMPORT)
TCPAO_FUNCTION(int, load, (tcpao_engine *engine, const char *path), (engine, path), TCPAO_EIMPORT)
/* How many segments got each verdict since it was opened. */
TCPAO_FUNCTION(int, counts, (tcpao_engine *engine, uint64_t counts[TCPAO_VERDICTS]),
               (engine, counts), TCPAO_EIMPORT)

/* Verify records, in their order.  `options` NULL: Ethernet, nothing else said. */
TCPAO_FUNCTION(int, verify,
               (tcpao_engine *engine, const uint8_t *const *data, const size_t *length,
                size_t count, const tcpao_options *options, tcpao_result *results),
               (engine, data, length, count, options, results), TCPAO_EIMPORT)
/* Sign records where they are.  Headers move into the headroom, payloads stay; `data` and `length`
 * say where each is then.  With TCPAO_FILL_IN options that are there are filled in. */
TCPAO_FUNCTION(int, sign,
               (tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                const tcpao_options *options, tcpao_result *results),
               (engine, data, length, count, options, results), TCPAO_EIMPORT)
/* Take TCP-AO and TCP-MD5 options out: headers move up to the payload, which stays. */
TCPAO_FUNCTION(int, strip,
               (tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                const tcpao_options *options, tcpao_result *results),
               (engine, data, length, count, options, results), TCPAO_EIMPORT)
/* Verify records, and take the options out of those that are good. */
TCPAO_FUNCTION(int, verify_and_strip,
               (tcpao_engine *engine, uint8_t **data, size_t *length, size_t count,
                const tcpao_options *options, tcpao_result *results),
               (engine, data, length, count, options, results), TCPAO_EIMPORT)

/* The same where each record is what one struct iovec says. */
TCPAO_FUNCTION(int, verify_iov,
               (tcpao_engine *engine, const struct iovec *packets, size_t count,
                const tcpao_options *options, tcpao_result *results),
               (engine, packets, count, options, results), TCPAO_EIMPORT)
TCPAO_FUNCTION(int, sign_iov,
               (tcpao_engine *engine, struct iovec *packets, size_t count,
                const tcpao_options *options, tcpao_result *results),
               (engine, packets, count, options, results), TCPAO_EIMPORT)
TCPAO_FUNCTION(int, strip_iov,
               (tcpao_engine *engine, struct iovec *packets, size_t count,
                const tcpao_options *options, tcpao_result *results),
               (engine, packets, count, options, results), TCPAO_EIMPORT)
TCPAO_FUNCTION(int, verify_and_strip_iov,
               (tcpao_engine *engine, struct iovec *packets, size_t count,
                const tcpao_options *options, tcpao_result *results),
               (engine, packets, count, options, results), TCPAO_EIMPORT)

/* Why the last call of this thread returned what it did, in words; empty where all was well.  It
 * stays until the thread's next call. */
TCPAO_FUNCTION(const char *, error_text, (void), (), "tcpao_import() was not called, or failed")

#ifdef __GNUC__
#pragma GCC diagnostic pop
#endif

#undef TCPAO_FUNCTION

#ifdef __cplusplus
}
#endif

#endif
