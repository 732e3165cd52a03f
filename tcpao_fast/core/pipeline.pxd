from libc.stdint cimport int32_t, int64_t, uint8_t

from tcpao_fast.core.buffers cimport Records
from tcpao_fast.core.connections cimport ConnectionTable
from tcpao_fast.core.fragments cimport Reassembler
from tcpao_fast.core.hypothesis cimport Hypothesis
from tcpao_fast.core.kernels cimport tcpao_message
from tcpao_fast.core.keys cimport Derivation, KeyTable
from tcpao_fast.core.mac cimport Scheduler
from tcpao_fast.core.segment cimport Segment

cdef enum:
    DIGEST = 64               # bytes kept for each MAC


cdef class Pipeline:
    cdef readonly ConnectionTable connections
    cdef readonly KeyTable keys
    cdef Reassembler fragments
    cdef bint ao_required
    cdef readonly int threads
    cdef object pool                      # None with one thread
    cdef list schedulers                  # one a thread
    cdef Py_ssize_t batch_rows            # the most rows that go through the stages together
    cdef readonly int64_t rows_seen
    cdef Segment *segments                # the columns of a batch, `batch_rows` of each
    cdef Hypothesis *rows
    cdef int32_t *speculated              # connections to clean up
    cdef Derivation *derivations
    cdef uint8_t *scratch
    cdef uint8_t *macs
    cdef tcpao_message *messages
    cdef Py_ssize_t speculated_count
    cdef Py_ssize_t wanted                # how many derivations
    cdef int parse_batch(self, Records records, Py_ssize_t first, Py_ssize_t count) except -1
    cdef void locate_batch(self, Py_ssize_t count) noexcept nogil
    cdef void judge_batch(self, Records records, Py_ssize_t first, Py_ssize_t count) noexcept nogil
    cdef void key_row(self, Py_ssize_t i) noexcept nogil
    cdef int derive_wanted(self) except -1 nogil
    cdef int mac_batch(self, Py_ssize_t count) except -1
    cdef int run_kernel(self, int kernel, Py_ssize_t messages) except -1
    cdef int commit_batch(self, Records records, Py_ssize_t first, Py_ssize_t count) except -1 nogil
    cdef void end_batch(self, Py_ssize_t count) noexcept nogil
