"""Threads that share the work of a call, and what a fork does to them.

A call ends when every thread has ended its part, whatever is raised meanwhile: a signal handler's
exception must not leave a thread behind that works on the same memory as the next call.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

#: Seconds that a fork waits for the call that runs in another thread.
FORK_PATIENCE = 60.0


class _Part:
    """What one thread does of a call.

    The main thread can be interrupted between any two steps, and may then take none of them twice.
    So it is told by flags, which only this thread sets, and the lock is but a bell.
    """

    def __init__(self, call: _Call, thread: int) -> None:
        self._call = call
        self._thread = thread
        self._bell = threading.Lock()
        self._bell.acquire()
        self._claim = threading.Lock()  # taken once, by whoever does it
        self.begun = False
        self.ended = False
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Do it, unless somebody does already or the call is over."""
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

    def wait(self) -> None:
        """Return when it has ended; to be called again after an exception."""
        while not self.ended:
            self._bell.acquire(timeout=1)


class _Call:
    def __init__(self, work: Callable[[int], Any]) -> None:
        self.work = work
        self.closed = False  # what has not begun does nothing any more


class Workers:
    """The caller's thread and others beside it.

    Parameters
    ----------
    threads : int
        How many share a call, the caller's among them.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.renew()

    def renew(self) -> None:
        """Begin with new threads: those of a process are not in its children."""
        if self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="tcpao")

    def run(self, work: Callable[[int], Any]) -> list[Any]:
        """``work(thread)`` of every thread, the first here; their results.

        An exception that a signal handler raises meanwhile is raised when all have ended.
        """
        call = _Call(work)
        parts = [_Part(call, thread) for thread in range(1, self.threads)]
        failure: BaseException | None = None
        first: Any = None
        try:
            for part in parts:
                try:
                    assert self._pool is not None
                    self._pool.submit(part.run)
                except RuntimeError:  # no more threads, or the interpreter is about to end
                    part.run()
            first = work(0)
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
    """What has a lock and threads."""

    lock: threading.Lock
    owner: int  #: the thread that has the lock, where it is taken
    torn: bool  #: whether this process was forked in the middle of a call

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
    for one in list(_forkables):
        # a call that this very thread is in (a signal handler forks) does not end before the fork
        own = one.lock.locked() and one.owner == threading.get_ident()
        _held.append((one, not own and one.lock.acquire(timeout=FORK_PATIENCE)))


def _after_fork_in_parent() -> None:
    for one, held in _held:
        if held:
            one.lock.release()
    _held.clear()
    _one_fork.release()


def _after_fork_in_child() -> None:
    for one, held in _held:
        one.torn = one.torn or not held
        one.lock = threading.Lock()
        one.renew()
    _held.clear()
    _one_fork.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
