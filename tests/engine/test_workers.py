"""The threads of a call: all of them end, whatever is raised in the caller's meanwhile."""

import pathlib
import random
import signal
import threading
import time

import pytest

from tcpao_fast.engine.workers import Workers


class StopError(Exception):
    pass


def test_everybody_does_a_part():
    workers = Workers(4)
    for _ in range(200):
        assert workers.run(lambda thread: thread * 2) == [0, 2, 4, 6]


def test_one_thread_is_the_callers():
    assert Workers(1).run(lambda thread: threading.get_ident()) == [threading.get_ident()]


@pytest.mark.parametrize("failing", [0, 2])
def test_an_error_comes_out_when_all_have_ended(failing):
    ended = []

    def work(thread):
        if thread == failing:
            raise StopError
        time.sleep(0.02)
        ended.append(thread)

    for _ in range(5):
        ended.clear()
        with pytest.raises(StopError):
            Workers(3).run(work)
        # where the caller's own part fails, those that have not begun are left out
        assert set(ended) <= {0, 1, 2} - {failing}
        before = list(ended)
        time.sleep(0.03)
        assert ended == before


def test_no_threads_to_be_had(monkeypatch):
    def refuse(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("_thread.start_new_thread", refuse)
    workers = Workers(3)
    assert workers.run(lambda thread: (thread, threading.get_ident())) == [
        (thread, threading.get_ident()) for thread in range(3)
    ]
    monkeypatch.undo()
    assert workers.run(lambda thread: thread) == [0, 1, 2]


def test_threads_end_with_their_workers():
    tasks = pathlib.Path("/proc/self/task")
    if not tasks.exists():
        pytest.skip("no /proc to count threads in")

    def native():
        return len(list(tasks.iterdir()))

    before = native()
    for _ in range(5):
        workers = Workers(6)
        workers.run(lambda thread: time.sleep(0.001))
    del workers
    until = time.monotonic() + 10
    while native() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert native() <= before


# the handler may raise inside somebody's callback of the garbage collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.parametrize("pause", [0.0, 0.0003])
def test_interrupted_at_any_step(pause):
    """Nothing is left locked, nobody still works, and every call that ends has all its results."""
    rng = random.Random(1)
    running = [0, 0, 0, 0]
    interrupted = calls = 0

    def handler(*_):
        raise StopError

    def work(thread):
        running[thread] = threading.get_ident()
        if thread and pause:
            time.sleep(pause)
        running[thread] = 0
        return thread

    old = signal.signal(signal.SIGALRM, handler)
    try:
        until = time.monotonic() + 60
        workers = Workers(4)
        while interrupted < 500 and time.monotonic() < until:
            try:
                try:
                    if rng.random() < 0.05:
                        workers = Workers(4)
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-6, 4e-4))
                    for _ in range(1000):  # the garbage collector may swallow what is raised
                        assert workers.run(work) == [0, 1, 2, 3]
                        calls += 1
                except StopError:
                    interrupted += 1
                    assert {*running} <= {0, threading.get_ident()}  # what was interrupted here
                    running[:] = [0] * 4
            except StopError:
                pass  # a signal that another thread was given can be handled late
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert interrupted == 500
    assert workers.run(work) == [0, 1, 2, 3]
    assert calls
