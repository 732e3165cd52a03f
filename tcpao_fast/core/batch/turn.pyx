"""Whose turn it is: one call at a time works on a pipeline, from Python or from C."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_type_lock

from tcpao_fast.errors import StateError

cdef extern from "pythread.h" nogil:
    ctypedef enum PyLockStatus:
        PY_LOCK_FAILURE
        PY_LOCK_ACQUIRED
        PY_LOCK_INTR
    enum:
        WAIT_LOCK
        NOWAIT_LOCK
    PyThread_type_lock PyThread_allocate_lock()
    void PyThread_free_lock(PyThread_type_lock lock)
    int PyThread_acquire_lock(PyThread_type_lock lock, int mode)
    PyLockStatus PyThread_acquire_lock_timed(PyThread_type_lock lock, long long microseconds,
                                             int interruptible)
    void PyThread_release_lock(PyThread_type_lock lock)
    unsigned long PyThread_get_thread_ident()


@cython.final
cdef class Turn:
    """A lock that knows who has it, for ``with``; C takes it without the GIL.

    Attributes
    ----------
    why_shut : str or None
        Why whoever enters gets a `StateError` that says so.
    """

    def __cinit__(self):
        self.lock = PyThread_allocate_lock()
        if self.lock == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self.lock != NULL:
            PyThread_free_lock(self.lock)

    cdef int enter(self) except -1:
        """Wait for the turn, with the GIL; a signal's handler runs meanwhile."""
        cdef PyLockStatus status = PY_LOCK_ACQUIRED
        if not PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            while True:
                with nogil:
                    status = PyThread_acquire_lock_timed(self.lock, -1, 1)
                if status != PY_LOCK_INTR:
                    break
                PyErr_CheckSignals()
        return self.begin()

    cdef int enter_without_gil(self) except -1 nogil:
        """Wait for the turn, without the GIL."""
        PyThread_acquire_lock(self.lock, WAIT_LOCK)
        if self.shut:
            with gil:
                return self.begin()
        self.owner = PyThread_get_thread_ident()
        self.taken = True
        return 0

    cdef int begin(self) except -1:
        self.owner = PyThread_get_thread_ident()
        self.taken = True
        if self.shut:
            self.leave()
            raise StateError(self.why_shut)
        return 0

    def shut_for(self, str why not None):
        """From here on whoever enters gets a `StateError` that says why."""
        self.why_shut = why
        self.shut = True

    cdef void leave(self) noexcept nogil:
        self.taken = False
        PyThread_release_lock(self.lock)

    def __enter__(self):
        self.enter()

    def __exit__(self, *_):
        self.leave()

    # -- around a fork ------------------------------------------------------------------------------

    def hold(self, double seconds):
        """Keep every call out, for a fork; whether that succeeded in so many seconds. A call that this
        very thread is in (a signal handler forks) does not end before the fork."""
        cdef PyLockStatus status
        cdef long long most = <long long>(seconds * 1e6)
        if self.taken and self.owner == PyThread_get_thread_ident():
            return False
        if PyThread_acquire_lock(self.lock, NOWAIT_LOCK):
            return True
        with nogil:
            status = PyThread_acquire_lock_timed(self.lock, most, 0)
        return status == PY_LOCK_ACQUIRED

    def release(self):
        """After `hold`, in the process that forked."""
        PyThread_release_lock(self.lock)

    def renew(self, bint held):
        """After `hold`, in the child: with a lock of its own."""
        cdef PyThread_type_lock lock = PyThread_allocate_lock()
        if lock == NULL:
            raise MemoryError()
        self.lock = lock          # the other may be in a state that no thread here can end
        self.taken = False
        if not held:
            self.shut_for(
                "this process was forked in the middle of a call to its engine; make a new engine")
