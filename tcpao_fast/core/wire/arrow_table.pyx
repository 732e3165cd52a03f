"""Columns handed out by Arrow's C data interface: pyarrow, polars, pandas and DuckDB read them.

The columns are numpy arrays, which Arrow's structs point into; each struct that is handed out keeps
the table alive until whoever has it releases it.
"""

cimport cython
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free

import numpy as np

from tcpao_fast.core.wire.arrow cimport ArrowArray, ArrowArrayStream, ArrowSchema

from tcpao_fast.errors import InvalidArgumentError

cdef enum:
    NULLABLE = 2              # ARROW_FLAG_NULLABLE
    ENOMEM = 12

#: Arrow's formats of the dtypes that columns have.
_FORMATS = {"u1": b"C", "u2": b"S", "u4": b"I", "i4": b"i", "i8": b"l"}


@cython.final
cdef class Texts:
    """The texts that a column's numbers stand for, as Arrow has strings: offsets into bytes."""

    cdef object offsets       # int32[n + 1]
    cdef bytes data
    cdef Py_ssize_t count

    def __cinit__(self, texts):
        encoded = [text.encode() for text in texts]
        self.count = len(encoded)
        self.data = b"".join(encoded)
        self.offsets = np.zeros(self.count + 1, np.int32)
        np.cumsum([len(one) for one in encoded], out=self.offsets[1:])


@cython.final
cdef class ArrowTable:
    """A table that offers ``__arrow_c_stream__``.

    Parameters
    ----------
    columns : dict of str to (array, array or None, sequence of str or None)
        For each column its values (one-dimensional), where there is one (bool; None: everywhere), and
        the texts that the values are indices of.
    times : collection of str
        Which columns of int64 are nanoseconds since 1970.
    """

    cdef list names           # bytes, which the structs point at
    cdef list formats
    cdef list values          # contiguous arrays
    cdef list bits            # validity bitmaps, or None
    cdef list nulls
    cdef list texts           # Texts, or None
    cdef readonly Py_ssize_t rows

    def __cinit__(self, columns, times=()):
        self.names, self.formats, self.values = [], [], []
        self.bits, self.nulls, self.texts = [], [], []
        self.rows = -1
        for name, (values, there, texts) in columns.items():
            array = np.ascontiguousarray(values)
            if texts is not None:
                array = np.ascontiguousarray(array, np.int32)
            if self.rows < 0:
                self.rows = len(array)
            if array.ndim != 1 or len(array) != self.rows:
                raise InvalidArgumentError(f"column {name} has not as many rows as the first")
            kind = array.dtype.str[1:]
            if kind not in _FORMATS:
                raise InvalidArgumentError(f"column {name} has dtype {array.dtype}")
            self.names.append(name.encode())
            self.formats.append(b"tsn:UTC" if name in times else _FORMATS[kind])
            self.values.append(array)
            if there is None or there.all():
                self.bits.append(None)
                self.nulls.append(0)
            else:
                self.bits.append(np.packbits(there, bitorder="little"))
                self.nulls.append(len(array) - int(np.count_nonzero(there)))
            self.texts.append(None if texts is None else Texts(texts))
        self.rows = max(self.rows, 0)

    @property
    def column_names(self):
        """The names of its columns, in order."""
        return [name.decode() for name in self.names]

    def __len__(self):
        return self.rows

    def __arrow_c_schema__(self):
        """A capsule with the schema: a struct of the columns."""
        cdef ArrowSchema *schema = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
        if schema == NULL or fill_schema(self, schema) < 0:
            free(schema)
            raise MemoryError()
        return PyCapsule_New(schema, "arrow_schema", free_schema_capsule)

    def __arrow_c_stream__(self, requested_schema=None):
        """A capsule with a stream of one chunk; another schema is not heeded, as Arrow allows."""
        cdef ArrowArrayStream *stream = <ArrowArrayStream *>calloc(1, sizeof(ArrowArrayStream))
        cdef StreamState *state = <StreamState *>calloc(1, sizeof(StreamState))
        if stream == NULL or state == NULL:
            free(stream)
            free(state)
            raise MemoryError()
        Py_INCREF(self)
        state.table = <void *>self
        stream.get_schema = stream_schema
        stream.get_next = stream_next
        stream.get_last_error = stream_error
        stream.release = release_stream
        stream.private_data = state
        return PyCapsule_New(stream, "arrow_array_stream", free_stream_capsule)


cdef struct StreamState:
    void *table
    bint done


# -- schemas ------------------------------------------------------------------------------------

cdef int fill_schema(ArrowTable table, ArrowSchema *out) except? -1:
    """The schema of all columns; -1 without memory, and nothing is held then."""
    cdef Py_ssize_t i, count = len(table.names)
    out.children = <ArrowSchema **>calloc(max(count, 1), sizeof(ArrowSchema *))
    if out.children == NULL:
        return -1
    begin_schema(table, out, b"+s", b"")
    for i in range(count):
        out.children[i] = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
        if out.children[i] == NULL:
            out.release(out)
            return -1
        out.n_children = i + 1
        begin_schema(table, out.children[i], table.formats[i], table.names[i])
        out.children[i].flags = NULLABLE
        if table.texts[i] is not None:
            out.children[i].dictionary = <ArrowSchema *>calloc(1, sizeof(ArrowSchema))
            if out.children[i].dictionary == NULL:
                out.release(out)
                return -1
            begin_schema(table, out.children[i].dictionary, b"u", b"")
    return 0


cdef void begin_schema(ArrowTable table, ArrowSchema *out, const char *format, const char *name):
    Py_INCREF(table)                     # formats and names are its own
    out.format = format
    out.name = name
    out.release = release_schema
    out.private_data = <void *>table


cdef void release_schema(ArrowSchema *one) noexcept with gil:
    cdef int64_t i
    for i in range(one.n_children):
        if one.children[i].release != NULL:
            one.children[i].release(one.children[i])
        free(one.children[i])
    free(one.children)
    if one.dictionary != NULL:
        if one.dictionary.release != NULL:
            one.dictionary.release(one.dictionary)
        free(one.dictionary)
    one.release = NULL
    Py_DECREF(<object>one.private_data)


cdef void free_schema_capsule(object capsule) noexcept:
    cdef ArrowSchema *schema = <ArrowSchema *>PyCapsule_GetPointer(capsule, "arrow_schema")
    if schema.release != NULL:
        schema.release(schema)
    free(schema)


# -- arrays -------------------------------------------------------------------------------------

cdef const void *address(array):
    cdef size_t where = array.ctypes.data
    return <const void *>where


cdef int begin_array(ArrowTable table, ArrowArray *out, Py_ssize_t length, int buffers):
    out.buffers = <const void **>calloc(max(buffers, 1), sizeof(void *))
    if out.buffers == NULL:
        return -1
    Py_INCREF(table)
    out.length = length
    out.n_buffers = buffers
    out.release = release_array
    out.private_data = <void *>table
    return 0


cdef int fill_array(ArrowTable table, ArrowArray *out) except? -1:
    """All columns; -1 without memory, and nothing is held then."""
    cdef Py_ssize_t i, count = len(table.names)
    cdef ArrowArray *column
    cdef Texts texts
    if begin_array(table, out, table.rows, 1) < 0:
        return -1
    out.children = <ArrowArray **>calloc(max(count, 1), sizeof(ArrowArray *))
    if out.children == NULL:
        out.release(out)
        return -1
    for i in range(count):
        column = <ArrowArray *>calloc(1, sizeof(ArrowArray))
        if column == NULL:
            out.release(out)
            return -1
        out.children[i] = column
        out.n_children = i + 1
        if begin_array(table, column, table.rows, 2) < 0:
            out.release(out)
            return -1
        column.null_count = table.nulls[i]
        if table.bits[i] is not None:
            column.buffers[0] = address(table.bits[i])
        column.buffers[1] = address(table.values[i])
        if table.texts[i] is None:
            continue
        texts = table.texts[i]
        column.dictionary = <ArrowArray *>calloc(1, sizeof(ArrowArray))
        if column.dictionary == NULL or begin_array(table, column.dictionary, texts.count, 3) < 0:
            out.release(out)
            return -1
        column.dictionary.buffers[1] = address(texts.offsets)
        column.dictionary.buffers[2] = <const char *>texts.data
    return 0


cdef void release_array(ArrowArray *one) noexcept with gil:
    cdef int64_t i
    for i in range(one.n_children):
        if one.children[i].release != NULL:
            one.children[i].release(one.children[i])
        free(one.children[i])
    free(one.children)
    if one.dictionary != NULL:
        if one.dictionary.release != NULL:
            one.dictionary.release(one.dictionary)
        free(one.dictionary)
    free(one.buffers)
    one.release = NULL
    Py_DECREF(<object>one.private_data)


# -- the stream ---------------------------------------------------------------------------------

cdef int stream_schema(ArrowArrayStream *stream, ArrowSchema *out) noexcept with gil:
    cdef StreamState *state = <StreamState *>stream.private_data
    try:
        out[0] = ArrowSchema(NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL)
        return ENOMEM if fill_schema(<ArrowTable>state.table, out) < 0 else 0
    except BaseException:
        return ENOMEM


cdef int stream_next(ArrowArrayStream *stream, ArrowArray *out) noexcept with gil:
    cdef StreamState *state = <StreamState *>stream.private_data
    try:
        out[0] = ArrowArray(0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL)
        if state.done:
            return 0
        state.done = True
        return ENOMEM if fill_array(<ArrowTable>state.table, out) < 0 else 0
    except BaseException:
        return ENOMEM


cdef const char *stream_error(ArrowArrayStream *stream) noexcept:
    return "there is no memory"


cdef void release_stream(ArrowArrayStream *stream) noexcept with gil:
    cdef StreamState *state = <StreamState *>stream.private_data
    Py_DECREF(<object>state.table)
    free(state)
    stream.release = NULL


cdef void free_stream_capsule(object capsule) noexcept:
    cdef ArrowArrayStream *stream = <ArrowArrayStream *>PyCapsule_GetPointer(
        capsule, "arrow_array_stream")
    if stream.release != NULL:
        stream.release(stream)
    free(stream)
