"""The C interface's functions, and the capsule that hands them out.

They work on a handle's own `Records`, which point at the caller's packets for the time of a call:
from there on everything is as for a batch from Python.  The GIL is asked for where keys and files are
read, where there are IP fragments, and where something goes wrong.
"""

cimport cython
from cpython.pycapsule cimport PyCapsule_New
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset, strncpy

from tcpao_fast.core.batch.pipeline cimport Pipeline
from tcpao_fast.core.batch.shard cimport Columns
from tcpao_fast.core.batch.sign cimport IN_OPTION, IN_ROOM, Output, sign_shard
from tcpao_fast.core.batch.turn cimport Turn
from tcpao_fast.core.flow.verdict cimport VERDICT_COUNT, VERDICT_GOOD, VERDICT_MD5_GOOD
from tcpao_fast.core.wire.bounds cimport Bounds
from tcpao_fast.core.wire.records cimport Records, first_overlap
from tcpao_fast.core.wire.rewrite cimport (
    CHECKSUMS_FULL,
    CHECKSUMS_INCREMENTAL,
    CHECKSUMS_PARTIAL,
    strip_rows,
)

from os import fsdecode

from tcpao_fast.capture.state import StateFile
from tcpao_fast.engine import Engine
from tcpao_fast.engine.workers import survive_forks
from tcpao_fast.keys.files import load_keys

cdef extern from "Python.h":
    ctypedef struct PyObject:
        pass
    void PyErr_Fetch(PyObject **kind, PyObject **value, PyObject **trace)
    void PyErr_NormalizeException(PyObject **kind, PyObject **value, PyObject **trace)
    void PyErr_SetObject(object kind, object value)
    void Py_XDECREF(PyObject *one)

cdef extern from *:
    """
    #define MOST_MESSAGE 512
    static _Thread_local char tcpao_said[MOST_MESSAGE];
    """
    enum:
        MOST_MESSAGE
    char tcpao_said[]

cdef extern from "tcpao_fast.h" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len

    enum:
        TCPAO_API_MAJOR
        TCPAO_API_MINOR
        TCPAO_OK
        TCPAO_EINVAL
        TCPAO_EVERSION
        TCPAO_ECLOSED
        TCPAO_EOVERLAP
        TCPAO_ENOMEM
        TCPAO_EENGINE
        TCPAO_MAKE_ROOM
        TCPAO_FILL_IN
        TCPAO_CHECKSUMS_INCREMENTAL
        TCPAO_CHECKSUMS_PARTIAL
        TCPAO_KEEP_FRAGMENTS
        TCPAO_VERDICTS

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
        uint8_t reserved[5]

    ctypedef struct tcpao_table:      # functions, whose types C knows
        uint32_t major
        uint32_t minor
        void *from_python
        void *open
        void *close
        void *update
        void *save
        void *load
        void *counts
        void *verify
        void *sign
        void *strip
        void *verify_and_strip
        void *verify_iov
        void *sign_iov
        void *strip_iov
        void *verify_and_strip_iov
        void *error_text

cdef enum:
    MAGIC = 0x7463616F
    MOST_ROOM = 1 << 20
    MOST_OPTIONS = 4096

cdef enum Work:
    VERIFY = 1
    SIGN = 2
    STRIP = 4

# what the struct had in version 1.0: what it gets later does not count
cdef size_t LEAST_OPTIONS = sizeof(tcpao_options)
cdef int64_t MOST_WIRE_BYTES = 0xFFFFFFFF      # as captures can say

assert <int>TCPAO_VERDICTS == <int>VERDICT_COUNT

#: Every handle there ever was: a late call finds it, and that it is closed.
_handles = []


@cython.final
cdef class Handle:
    """What a ``tcpao_engine *`` points at."""

    cdef uint32_t magic
    cdef bint closed
    cdef Turn guard           # of all below
    cdef object engine
    cdef Pipeline pipeline
    cdef Records records      # of the call at hand
    cdef size_t room          # records that there is memory for
    cdef uint8_t *verdict
    cdef uint8_t *outcome
    cdef uint8_t *dropped
    cdef int32_t *key
    cdef uint32_t *sne
    cdef int64_t *connection
    cdef int64_t *wire
    cdef Bounds *limits
    cdef object __weakref__

    def __cinit__(self, engine):
        self.guard = Turn()
        self.engine = engine
        self.pipeline = engine._pipeline
        self.records = Records([])
        self.magic = MAGIC

    @property
    def turn(self):
        return self.guard

    def renew(self):
        """In a child of the process: there is nothing to begin anew."""

    cdef int reserve(self, size_t count) noexcept nogil:
        """Memory for so many records; less than all of it is of no harm."""
        if count <= self.room:
            return TCPAO_OK
        if not (resize(<void **>&self.verdict, count) and resize(<void **>&self.outcome, count)
                and resize(<void **>&self.dropped, count)
                and resize(<void **>&self.key, count * sizeof(int32_t))
                and resize(<void **>&self.sne, count * sizeof(uint32_t))
                and resize(<void **>&self.connection, count * sizeof(int64_t))
                and resize(<void **>&self.wire, count * sizeof(int64_t))
                and resize(<void **>&self.records.bounds, count * sizeof(Bounds))
                and resize(<void **>&self.limits, count * sizeof(Bounds))):
            return said(TCPAO_ENOMEM, "there is no memory for so many records")
        self.room = count
        return TCPAO_OK

    cdef void let_go(self) noexcept:
        """Of all but the handle itself."""
        self.closed = True
        self.engine = None
        self.pipeline = None
        self.records.limits = NULL
        self.records = None
        free(self.verdict)
        free(self.outcome)
        free(self.dropped)
        free(self.key)
        free(self.sne)
        free(self.connection)
        free(self.wire)
        free(self.limits)
        self.limits = NULL
        self.verdict = self.outcome = self.dropped = NULL
        self.key = NULL
        self.sne = NULL
        self.connection = self.wire = NULL
        self.room = 0


cdef bint resize(void **memory, size_t size) noexcept nogil:
    cdef void *grown = realloc(memory[0], size)
    if grown != NULL:
        memory[0] = grown
    return grown != NULL


cdef int said(int code, const char *text) noexcept nogil:
    """The error, with its words for `tcpao_error_text`."""
    strncpy(tcpao_said, text, MOST_MESSAGE - 1)
    return code


cdef int failed(int code, error) noexcept:
    text = str(error).encode(errors="replace")
    return said(TCPAO_ENOMEM if isinstance(error, MemoryError) else code, text)


cdef int enter(Handle handle) noexcept nogil:
    """Take the handle's turn; whoever gets TCPAO_OK gives it back."""
    tcpao_said[0] = 0
    if <void *>handle == NULL:
        return said(TCPAO_EINVAL, "engine is NULL")
    if handle.magic != MAGIC:
        return said(TCPAO_EENGINE, "engine is not from tcpao_open() or tcpao_from_python()")
    if take_turn_quietly(handle.guard) < 0:
        return ended(TCPAO_ECLOSED)
    if handle.closed:
        handle.guard.leave()
        return said(TCPAO_ECLOSED, "the engine was closed")
    return TCPAO_OK


cdef int take_turn(Turn turn) except -1 nogil:
    turn.enter_without_gil()
    return 0


cdef int run(Handle handle, int what, const tcpao_options *options) except -1 nogil:
    work_on(handle, what, options)
    return 0


# the same functions, for callers that look at what they return: an exception waits until then
ctypedef int (*TakeTurn)(Turn turn) noexcept nogil
ctypedef int (*Run)(Handle handle, int what, const tcpao_options *options) noexcept nogil
cdef TakeTurn take_turn_quietly = <TakeTurn>&take_turn
cdef Run run_quietly = <Run>&run


cdef int ended(int code) noexcept nogil:
    """The code for the exception that is set, which ends here: C hears of it by that."""
    with gil:
        return end_exception(code)


cdef int end_exception(int code) noexcept:
    cdef PyObject *kind = NULL
    cdef PyObject *value = NULL
    cdef PyObject *trace = NULL
    PyErr_Fetch(&kind, &value, &trace)
    PyErr_NormalizeException(&kind, &value, &trace)
    code = failed(code, <object>value if value != NULL else RuntimeError("no reason given"))
    Py_XDECREF(kind)
    Py_XDECREF(value)
    Py_XDECREF(trace)
    return code


cdef int read_options(const tcpao_options *given, tcpao_options *options) noexcept nogil:
    memset(options, 0, sizeof(tcpao_options))
    options.linktype = 1
    if given == NULL:
        return TCPAO_OK
    if not LEAST_OPTIONS <= given.size <= MOST_OPTIONS:
        return said(TCPAO_EVERSION, "options.size is not that of a tcpao_options: use TCPAO_OPTIONS")
    memcpy(options, given, min(given.size, sizeof(tcpao_options)))
    if options.linktype < 0:
        return said(TCPAO_EINVAL, "options.linktype is negative")
    if options.headroom > MOST_ROOM or options.tailroom > MOST_ROOM:
        return said(TCPAO_EINVAL, "options.headroom or options.tailroom is more than 1 MiB")
    if options.flags & ~<uint32_t>(TCPAO_MAKE_ROOM | TCPAO_FILL_IN | TCPAO_CHECKSUMS_INCREMENTAL
                                   | TCPAO_CHECKSUMS_PARTIAL | TCPAO_KEEP_FRAGMENTS):
        return said(TCPAO_EINVAL, "options.flags has bits that mean nothing")
    if options.flags & TCPAO_CHECKSUMS_INCREMENTAL and options.flags & TCPAO_CHECKSUMS_PARTIAL:
        return said(TCPAO_EINVAL, "options.flags wants checksums in two ways")
    return TCPAO_OK


cdef int point_at(Handle handle, uint8_t **data, size_t *length, iovec *packets, size_t count,
                  const tcpao_options *options, bint writing) noexcept nogil:
    """Have the handle's records be those of a call."""
    cdef Bounds *limits = handle.limits
    cdef Py_ssize_t other
    cdef size_t i
    cdef uint8_t *start
    cdef size_t size
    for i in range(count):
        start = <uint8_t *>packets[i].iov_base if packets != NULL else data[i]
        size = packets[i].iov_len if packets != NULL else length[i]
        if size > 0x7FFFFFFF:
            return said(TCPAO_EINVAL, "a length is more than 2147483647")
        if start == NULL:
            if size:
                return said(TCPAO_EINVAL, "a packet is NULL, and its length is not 0")
            start = handle.verdict           # of no bytes: any address will do
        handle.records.bounds[i].start = start
        handle.records.bounds[i].length = size
        if options.wire_lengths != NULL:
            handle.wire[i] = options.wire_lengths[i]
            if handle.wire[i] < 0 or handle.wire[i] > MOST_WIRE_BYTES:
                return said(TCPAO_EINVAL, "a wire length is negative, or more than 4294967295")
        if writing:
            limits[i].start = start
            limits[i].length = size
            if size:
                if <size_t>start < options.headroom:
                    return said(TCPAO_EINVAL, "options.headroom is more than there can be")
                limits[i].start = start - options.headroom
                limits[i].length = size + options.headroom + options.tailroom
    if writing and first_overlap(limits, count, &other) != -1:
        return said(TCPAO_EOVERLAP, "records overlap, headroom and tailroom counted; those that are "
                    "written to must not")
    handle.records.count = count
    handle.records.one_linktype = options.linktype
    handle.records.times = options.timestamps
    handle.records.vlans = options.vlan
    handle.records.wire = handle.wire if options.wire_lengths != NULL else NULL
    handle.records.limits = limits if writing else NULL
    return TCPAO_OK


cdef int work(Handle handle, int what, uint8_t **data, size_t *length, iovec *packets, size_t count,
              const tcpao_options *given, tcpao_result *results) noexcept nogil:
    """One call: what functions that work on packets have in common."""
    cdef tcpao_options options
    cdef int code = enter(handle)
    if code != TCPAO_OK:
        return code
    code = read_options(given, &options)
    if code == TCPAO_OK and count > 0x7FFFFFFF:
        code = said(TCPAO_EINVAL, "count is more than 2147483647")
    if code == TCPAO_OK and count and (
            results == NULL or (packets == NULL and (data == NULL or length == NULL))):
        code = said(TCPAO_EINVAL, "packets, lengths or results are NULL, and count is not 0")
    if code == TCPAO_OK:
        code = handle.reserve(count + 1)
    if code == TCPAO_OK:
        code = point_at(handle, data, length, packets, count, &options, what != VERIFY)
    if code == TCPAO_OK:
        if take_turn_quietly(handle.pipeline.turn) < 0:
            code = ended(TCPAO_ECLOSED)
        else:
            if run_quietly(handle, what, &options) < 0:
                code = ended(TCPAO_EENGINE)
            handle.pipeline.turn.leave()
    if code == TCPAO_OK:
        answer(handle, what, data, length, packets, results)
    handle.records.limits = NULL
    handle.records.times = NULL
    handle.records.vlans = NULL
    handle.guard.leave()
    return code


cdef int work_on(Handle handle, int what, const tcpao_options *options) except -1 nogil:
    """The stages; as for `Engine`."""
    cdef Columns found
    cdef Output out
    cdef int checksums = CHECKSUMS_FULL
    cdef Py_ssize_t i
    if options.flags & TCPAO_CHECKSUMS_INCREMENTAL:
        checksums = CHECKSUMS_INCREMENTAL
    elif options.flags & TCPAO_CHECKSUMS_PARTIAL:
        checksums = CHECKSUMS_PARTIAL
    if what & VERIFY:
        found.verdict = handle.verdict
        found.mkt = handle.key
        found.connection = handle.connection
        found.sne = handle.sne
        found.origin = NULL
        found.effects = NULL
        handle.pipeline.verify_rows(handle.records, not options.flags & TCPAO_KEEP_FRAGMENTS, &found)
        if what & STRIP:
            for i in range(handle.records.count):
                handle.dropped[i] = (handle.verdict[i] == VERDICT_GOOD
                                     or handle.verdict[i] == VERDICT_MD5_GOOD)
            strip_rows(handle.records, handle.dropped, NULL, NULL, NULL, handle.outcome, checksums)
            memset(handle.dropped, 0, handle.records.count)
    elif what & STRIP:
        strip_rows(handle.records, NULL, NULL, NULL, NULL, handle.outcome, checksums)
    else:
        memset(&out, 0, sizeof(Output))
        out.target = IN_OPTION if options.flags & TCPAO_FILL_IN else IN_ROOM
        out.checksums = checksums
        out.make_room = options.flags & TCPAO_MAKE_ROOM != 0
        out.outcome = handle.outcome
        out.dropped = handle.dropped
        out.mkt = handle.key
        out.connection = handle.connection
        sign_shard(handle.pipeline.first, handle.records, &out)
    return 0


cdef void answer(Handle handle, int what, uint8_t **data, size_t *length, iovec *packets,
                 tcpao_result *results) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(handle.records.count):
        memset(&results[i], 0, sizeof(tcpao_result))
        results[i].connection = results[i].key = -1
        if what != STRIP:
            results[i].connection = handle.connection[i]
            results[i].key = handle.key[i]
        if what & VERIFY:
            results[i].verdict = handle.verdict[i]
            results[i].sne = handle.sne[i]
        if what == VERIFY:
            continue
        results[i].outcome = handle.outcome[i]
        if what & SIGN:
            results[i].dropped = handle.dropped[i]
        if packets != NULL:
            packets[i].iov_len = handle.records.bounds[i].length
            if handle.records.bounds[i].length:
                packets[i].iov_base = handle.records.bounds[i].start
        else:
            length[i] = handle.records.bounds[i].length
            if handle.records.bounds[i].length:
                data[i] = handle.records.bounds[i].start


# -- the functions of the table -----------------------------------------------------------------------

cdef int api_verify(Handle handle, const uint8_t *const *data, const size_t *length, size_t count,
                    const tcpao_options *options, tcpao_result *results) noexcept nogil:
    return work(handle, VERIFY, <uint8_t **>data, <size_t *>length, NULL, count, options, results)


cdef int api_sign(Handle handle, uint8_t **data, size_t *length, size_t count,
                  const tcpao_options *options, tcpao_result *results) noexcept nogil:
    return work(handle, SIGN, data, length, NULL, count, options, results)


cdef int api_strip(Handle handle, uint8_t **data, size_t *length, size_t count,
                   const tcpao_options *options, tcpao_result *results) noexcept nogil:
    return work(handle, STRIP, data, length, NULL, count, options, results)


cdef int api_verify_and_strip(Handle handle, uint8_t **data, size_t *length, size_t count,
                              const tcpao_options *options, tcpao_result *results) noexcept nogil:
    return work(handle, VERIFY | STRIP, data, length, NULL, count, options, results)


cdef int api_iov(Handle handle, int what, iovec *packets, size_t count,
                 const tcpao_options *options, tcpao_result *results) noexcept nogil:
    if packets == NULL and count:
        tcpao_said[0] = 0
        return said(TCPAO_EINVAL, "packets is NULL, and count is not 0")
    return work(handle, what, NULL, NULL, packets, count, options, results)


cdef int api_verify_iov(Handle handle, const iovec *packets, size_t count,
                        const tcpao_options *options, tcpao_result *results) noexcept nogil:
    return api_iov(handle, VERIFY, <iovec *>packets, count, options, results)


cdef int api_sign_iov(Handle handle, iovec *packets, size_t count, const tcpao_options *options,
                      tcpao_result *results) noexcept nogil:
    return api_iov(handle, SIGN, packets, count, options, results)


cdef int api_strip_iov(Handle handle, iovec *packets, size_t count, const tcpao_options *options,
                       tcpao_result *results) noexcept nogil:
    return api_iov(handle, STRIP, packets, count, options, results)


cdef int api_verify_and_strip_iov(Handle handle, iovec *packets, size_t count,
                                  const tcpao_options *options, tcpao_result *results) noexcept nogil:
    return api_iov(handle, VERIFY | STRIP, packets, count, options, results)


cdef int api_counts(Handle handle, uint64_t *counts) noexcept nogil:
    cdef int i, code = enter(handle)
    if code != TCPAO_OK:
        return code
    if counts == NULL:
        code = said(TCPAO_EINVAL, "counts is NULL")
    else:
        for i in range(<int>VERDICT_COUNT):
            counts[i] = handle.pipeline.totals[i]
    handle.guard.leave()
    return code


cdef const char *api_error_text() noexcept nogil:
    return tcpao_said


cdef void *new_handle(engine) except NULL:
    """A handle for an engine, valid until the process ends."""
    if not isinstance(engine, Engine):
        raise TypeError(f"engine is a {type(engine).__name__}; it must be a tcpao_fast.Engine")
    if engine.threads != 1:
        raise ValueError("the C interface works in its caller's thread: the engine must have one")
    handle = Handle(engine)
    survive_forks(handle)
    _handles.append(handle)
    return <void *>handle


cdef void *api_from_python(void *engine) noexcept with gil:
    tcpao_said[0] = 0
    try:
        if engine == NULL:
            raise TypeError("engine is NULL")
        return new_handle(<object>engine)
    except Exception as error:
        failed(TCPAO_EENGINE, error)
        PyErr_SetObject(type(error), error)
        return NULL


cdef int api_open(const char *key_file, uint32_t max_connections, void **engine) noexcept with gil:
    tcpao_said[0] = 0
    if key_file == NULL or engine == NULL:
        return said(TCPAO_EINVAL, "key_file or engine is NULL")
    try:
        more = {"max_connections": max_connections} if max_connections else {}
        engine[0] = new_handle(Engine(load_keys(path_of(key_file)), **more))
    except Exception as error:
        return failed(TCPAO_EENGINE, error)
    return TCPAO_OK


cdef path_of(const char *text):
    return fsdecode(<bytes>text)


cdef int api_close(Handle handle) noexcept nogil:
    cdef int code = enter(handle)
    if code != TCPAO_OK:
        return code
    with gil:
        handle.let_go()
    handle.guard.leave()
    return TCPAO_OK


cdef int call(Handle handle, const char *path, int what) noexcept nogil:
    """What needs Python, and a file."""
    cdef int code = enter(handle)
    if code != TCPAO_OK:
        return code
    if path == NULL:
        code = said(TCPAO_EINVAL, "the file's name is NULL")
    else:
        with gil:
            code = call_python(handle, path, what)
    handle.guard.leave()
    return code


cdef int call_python(Handle handle, const char *path, int what) noexcept:
    try:
        name = path_of(path)
        if what == 0:
            handle.engine.update(load_keys(name))
        elif what == 1:
            with StateFile(name) as state:
                state.write(handle.engine)
        else:
            with StateFile(name) as state:
                state.read(handle.engine)
    except BaseException as error:
        return failed(TCPAO_EENGINE, error)
    return TCPAO_OK


cdef int api_update(Handle handle, const char *path) noexcept nogil:
    return call(handle, path, 0)


cdef int api_save(Handle handle, const char *path) noexcept nogil:
    return call(handle, path, 1)


cdef int api_load(Handle handle, const char *path) noexcept nogil:
    return call(handle, path, 2)


cdef tcpao_table functions
functions.major = TCPAO_API_MAJOR
functions.minor = TCPAO_API_MINOR
functions.from_python = <void *>&api_from_python
functions.open = <void *>&api_open
functions.close = <void *>&api_close
functions.update = <void *>&api_update
functions.save = <void *>&api_save
functions.load = <void *>&api_load
functions.counts = <void *>&api_counts
functions.verify = <void *>&api_verify
functions.sign = <void *>&api_sign
functions.strip = <void *>&api_strip
functions.verify_and_strip = <void *>&api_verify_and_strip
functions.verify_iov = <void *>&api_verify_iov
functions.sign_iov = <void *>&api_sign_iov
functions.strip_iov = <void *>&api_strip_iov
functions.verify_and_strip_iov = <void *>&api_verify_and_strip_iov
functions.error_text = <void *>&api_error_text

_C_API = PyCapsule_New(&functions, "tcpao_fast.capi.table._C_API", NULL)
