"""Threads that share the work of a call, and what a fork does to them.

A call ends when every thread has ended its part, whatever is raised meanwhile: a signal handler's
exception must not leave a thread behind that works on the same memory as the next call.

Such an exception may come behind any step of the main thread, inside the standard library's Python
code too: there it leaves a condition's lock taken for good (an executor then hangs in `submit`, its
threads in `set_result`). So nothing here waits for anything but locks and queues that are written
in C, which are taken or not, and the threads are started without a handshake.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

from tcpao_fast.core.batch.turn import Turn

#: Seconds that a fork waits for the call that runs in another thread.
FORK_PATIENCE = 60.0


class _Call:
    def __init__(self, work: Callable[[int], Any]) -> None:
        self.work = work
        self.closed = False  # what has not begun does nothing any more


class _Part:
    """What one thread does of a call.

    The main thread can be interrupted between any two steps, and may then take none of them twice.
    So it is told by flags, which only the part's thread sets, and the lock is but a bell.
    """

    def __init__(self, call: _Call, thread: int) -> None:
        self._call = call
        self._thread = thread
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._claim = _thread.allocate_lock()  # taken once, by whoever does it
        self.begun = False
        self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do it, unless the caller does; to be called by a thread that no signal interrupts."""
        if not self._claim.acquire(blocking=False):
            return
        self.begun = True
        try:
            if not self._call.closed:
                self.result = self._call.work(self._thread)
        except BaseException as error:
            self.error = error
        finally:
            self.ended = True
            self._bell.release()

    def run_here(self) -> None:
        """Do it in the caller's thread, unless another does; whatever is raised comes out."""
        if self._claim.acquire(blocking=False):
            self.result = self._call.work(self._thread)
            self.ended = True

    def wait(self) -> None:
        """Return when it has ended; to be called again after an exception."""
        while not self.ended:
            self._bell.acquire()


_Parts = SimpleQueue[_Part | None]


def _serve(parts: _Parts) -> None:
    """A thread's life: it knows the queue alone, so it does not keep its `Workers` alive."""
    while (part := parts.get()) is not None:
        part.run()
        del part  # or it would hold on to the call's buffers until the next one
    parts.put(None)  # for the next thread


class Workers:
    """The caller's thread and others beside it.

    Parameters
    ----------
    threads : int
        How many share a call, the caller's among them.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.renew()

    def renew(self) -> None:
        """Begin with new threads: those of a process are not in its children."""
        self._started = 0
        self._parts: _Parts = SimpleQueue()
        if self.threads > 1:
            weakref.finalize(self, self._parts.put, None)

    def _start(self) -> None:
        while self._started < self.threads - 1:
            _thread.start_new_thread(_serve, (self._parts,))
            self._started += 1

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """``work(thread)`` of every thread, the first here; their results.

        An exception that a signal handler raises meanwhile is raised when all have ended.
        """
        call = _Call(work)
        parts = [_Part(call, thread) for thread in range(1, self.threads)]
        failure: BaseException | None = None
        first: Any = None
        try:
            with contextlib.suppress(RuntimeError):  # no more threads to be had: then done here
                self._start()
            for part in parts:
                self._parts.put(part)
            first = work(0)
            for part in parts:
                part.run_here()
        except BaseException as error:
            call.closed = True  # not all may have been handed over
            failure = error
        while True:
            try:
                for part in parts:
                    if part.begun or not call.closed:
                        part.wait()
                break
            except BaseException as error:
                failure = error
        for part in parts:
            failure = failure or part.error
        if failure is not None:
            raise failure
        return [first, *(part.result for part in parts)]


class Forkable(Protocol):
    """What has calls and threads."""

    @property
    def turn(self) -> Turn:
        """Whose turn it is."""

    def renew(self) -> None:
        """Begin anew in a child."""


_forkables: weakref.WeakSet[Any] = weakref.WeakSet()
_one_fork = threading.Lock()
_held: list[tuple[Forkable, bool]] = []


def survive_forks(one: Forkable) -> None:
    """Let an object be used in children too: a fork waits until no call of it runs."""
    _forkables.add(one)


def _before_fork() -> None:
    _one_fork.acquire()
    _held.extend((one, one.turn.hold(FORK_PATIENCE)) for one in list(_forkables))


def _after_fork_in_parent() -> None:
    for one, held in _held:
        if held:
            one.turn.release()
    _held.clear()
    _one_fork.release()


def _after_fork_in_child() -> None:
    for one, held in _held:
        one.turn.renew(held)
        one.renew()
    _held.clear()
    _one_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
