"""The command line ``tcpao``: one file a command, and nothing that the library does not offer."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from types import FrameType
from typing import NoReturn

import click

from tcpao_fast.cli.app import INTERRUPTED, ReaderGoneError, tcpao

FAULT = 70  #: EX_SOFTWARE of sysexits.h


class _Terminated(BaseException):
    """SIGTERM or SIGHUP: outputs are cleaned up on the way out."""

    def __init__(self, number: int) -> None:
        self.number = number


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated(number)


def main() -> None:
    """Run ``tcpao``; the console script."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _terminate)
    _dump_no_core()
    _open_standard_streams()
    # numpy starts a thread a core for linear algebra, which nothing here uses: 60 ms of CPU time
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    status = 0
    try:
        status = _run()
        sys.stdout.flush()
    except (BrokenPipeError, ReaderGoneError):
        _end_by(getattr(signal, "SIGPIPE", signal.SIGTERM))
    except OSError as error:
        _forget_output()
        if status != 2:  # else an error is told already
            with contextlib.suppress(OSError):  # it was standard error, perhaps
                click.echo(f"tcpao: standard output: {error.strerror or error}", err=True)
        status = 2
    except _Terminated as ended:
        _end_by(ended.number)
    except Exception:
        # a fault of ours: never the status that says that a segment is bad
        traceback.print_exc()
        status = FAULT
    sys.exit(status)


def _run() -> int:
    try:
        result = tcpao.main(prog_name="tcpao", standalone_mode=False)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 2
    except click.ClickException as error:
        error.show()
        return 2
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    return result if isinstance(result, int) else 0


def _dump_no_core() -> None:
    """A core file would hold the keys."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _open_standard_streams() -> None:
    """Where a standard stream is closed, no file may get its number.

    What is written to standard output then, or read from standard input, is an error (as in GNU's
    tools: the null device, open for the other direction); messages are dropped.
    """
    for number, name, direction in (
        (0, "stdin", os.O_WRONLY),
        (1, "stdout", os.O_RDONLY),
        (2, "stderr", os.O_WRONLY),
    ):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, direction)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        mode = "r" if number == 0 else "w"
        setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _forget_output() -> None:
    """Whoever read our output has seen enough: keep the interpreter from complaining at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end_by(number: int) -> NoReturn:
    """End as if the signal had not been caught, so that the shell sees it."""
    _forget_output()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise SystemExit(128 + number)
