"""Packets in a binary column of Arrow, taken where they are.

Arrow's C data interface (arrow.apache.org/docs/format/CDataInterface.html) hands over structs of
pointers in capsules; pyarrow, polars, DuckDB and nanoarrow offer it.  Nothing of the column is
copied, and it is given back when the last user lets go of it.
"""

cimport cython
from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from tcpao_fast.errors import InvalidArgumentError

cdef enum Layout:
    OFFSETS_32            # int32 offsets into the bytes
    OFFSETS_64
    VIEWS                 # 16 bytes each: a short value itself, or where a long one is
    FIXED_WIDTH

cdef enum:
    MOST_INLINE = 12      # bytes of a value that stands in its view

#: What has no value is a record without bytes.
cdef uint8_t NOTHING[1]


cdef int fail(const char *text) except -1:
    said = text.decode(errors="replace") if text != NULL else "no reason given"
    raise InvalidArgumentError(f"the Arrow column cannot be read: {said}")


cdef struct View:
    int32_t length
    int32_t prefix
    int32_t buffer
    int32_t offset


@cython.final
cdef class PacketColumn:
    """A binary column, of one chunk or of many.

    Parameters
    ----------
    column
        What has ``__arrow_c_array__`` or ``__arrow_c_stream__``: pyarrow's arrays and chunked arrays,
        a polars series, of type (large) binary, binary view or fixed-size binary.

    Attributes
    ----------
    count : int
        Its values; null counts as a value without bytes.

    Raises
    ------
    InvalidArgumentError
        The column has another type, or its producer reports an error.
    """

    def __cinit__(self, column):
        if hasattr(column, "__arrow_c_array__"):
            self.read_array(column)
        elif hasattr(column, "__arrow_c_stream__"):
            self.read_stream(column)
        else:
            raise InvalidArgumentError(
                f"column is a {type(column).__name__}; it must offer Arrow's C data interface")

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.chunk_count):
            if self.chunks[i].release != NULL:
                self.chunks[i].release(&self.chunks[i])
        free(self.chunks)

    cdef int read_array(self, column) except -1:
        cdef ArrowArray *array
        schema, capsule = column.__arrow_c_array__()
        self.read_format(<const ArrowSchema *>PyCapsule_GetPointer(schema, "arrow_schema"))
        array = <ArrowArray *>PyCapsule_GetPointer(capsule, "arrow_array")
        self.take(array)
        array.release = NULL                 # it is ours now
        return 0

    cdef int read_stream(self, column) except -1:
        cdef ArrowArrayStream *stream
        cdef ArrowSchema schema
        cdef ArrowArray chunk
        capsule = column.__arrow_c_stream__()
        stream = <ArrowArrayStream *>PyCapsule_GetPointer(capsule, "arrow_array_stream")
        if stream.get_schema(stream, &schema) != 0:
            fail(stream.get_last_error(stream))
        try:
            self.read_format(&schema)
        finally:
            schema.release(&schema)
        while True:
            memset(&chunk, 0, sizeof(ArrowArray))
            if stream.get_next(stream, &chunk) != 0:
                fail(stream.get_last_error(stream))
            if chunk.release == NULL:
                return 0
            try:
                self.take(&chunk)
            except BaseException:
                chunk.release(&chunk)
                raise

    cdef int read_format(self, const ArrowSchema *schema) except -1:
        found = schema.format.decode(errors="replace")
        if schema.dictionary != NULL:
            found = f"a dictionary of {found}"
        if found == "z":
            self.layout = OFFSETS_32
        elif found == "Z":
            self.layout = OFFSETS_64
        elif found == "vz":
            self.layout = VIEWS
        elif found[:2] == "w:" and found[2:].isdigit():
            self.layout = FIXED_WIDTH
            self.width = int(found[2:])
        else:
            raise InvalidArgumentError(
                f"the Arrow column has format {found!r}; it must be binary, large binary, "
                "binary view or fixed-size binary ('z', 'Z', 'vz', 'w:N')")
        return 0

    cdef int take(self, ArrowArray *chunk) except -1:
        cdef ArrowArray *grown = <ArrowArray *>realloc(
            self.chunks, (self.chunk_count + 1) * sizeof(ArrowArray))
        if grown == NULL:
            raise MemoryError()
        self.chunks = grown
        self.chunks[self.chunk_count] = chunk[0]
        self.chunk_count += 1
        self.count += chunk.length
        return 0

    cdef void locate(self, Bounds *bounds) noexcept nogil:
        """Where each of the values is, to `count` entries."""
        cdef Py_ssize_t c, i, at = 0
        cdef const ArrowArray *chunk
        for c in range(self.chunk_count):
            chunk = &self.chunks[c]
            for i in range(chunk.length):
                bounds[at].start = NOTHING
                bounds[at].length = 0
                if is_valid(chunk, i + chunk.offset):
                    locate_value(chunk, self.layout, self.width, i + chunk.offset, &bounds[at])
                at += 1


cdef inline bint is_valid(const ArrowArray *chunk, int64_t i) noexcept nogil:
    cdef const uint8_t *bits = <const uint8_t *>chunk.buffers[0]
    return bits == NULL or bits[i >> 3] >> (i & 7) & 1


cdef inline void locate_value(const ArrowArray *chunk, int layout, int64_t width, int64_t i,
                              Bounds *found) noexcept nogil:
    cdef const int32_t *narrow
    cdef const int64_t *wide
    cdef const View *view
    if layout == OFFSETS_32:
        narrow = <const int32_t *>chunk.buffers[1]
        found.length = narrow[i + 1] - narrow[i]
        if found.length > 0:
            found.start = <uint8_t *>chunk.buffers[2] + narrow[i]
    elif layout == OFFSETS_64:
        wide = <const int64_t *>chunk.buffers[1]
        found.length = wide[i + 1] - wide[i]
        if found.length > 0:
            found.start = <uint8_t *>chunk.buffers[2] + wide[i]
    elif layout == FIXED_WIDTH:
        found.length = width
        if width > 0:
            found.start = <uint8_t *>chunk.buffers[1] + i * width
    else:
        view = <const View *>chunk.buffers[1] + i
        found.length = view.length
        if view.length > MOST_INLINE:
            found.start = <uint8_t *>chunk.buffers[2 + view.buffer] + view.offset
        elif view.length > 0:
            found.start = <uint8_t *>view + 4
    if found.length < 0:                     # no producer writes that
        found.length = 0
