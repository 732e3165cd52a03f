"""What commands that run for long share: how they end, events, key files that change, metrics."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any

from tcpao_fast.errors import InvalidArgumentError, MissingExtraError, TcpAoError
from tcpao_fast.keys import KeyChain
from tcpao_fast.live.sessions import as_line

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopper:
    """Ctrl-C, SIGTERM and SIGHUP end a loop instead of the process.  Use it with ``with``.

    Attributes
    ----------
    stopped : bool
        Whether one has come.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._before: dict[int, Any] = {}
        self._read, self._write = os.pipe()

    def __enter__(self) -> Stopper:
        for name in _ENDING:
            number = getattr(signal, name, None)
            # what a parent has set to be ignored stays so: nohup
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        os.close(self._read)
        os.close(self._write)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the loop, from any thread."""
        if not self.stopped:
            self.stopped = True
            os.write(self._write, b"x")

    def wait(self, readable: Sequence[Any], seconds: float) -> list[Any]:
        """Which of these can be read, after so many seconds at most; none when it is to end."""
        found, _, _ = select.select([*readable, self._read], [], [], max(0.0, seconds))
        return [] if self.stopped else [one for one in found if one is not self._read]


class KeyFiles:
    """Key files, read again when they have changed.

    Parameters
    ----------
    paths : sequence of str
    load : callable
        Gives the keys of all files.
    """

    def __init__(self, paths: Sequence[str], load: Callable[[], KeyChain]) -> None:
        self._paths = paths
        self._load = load
        self._seen = self._stamps()

    def _stamps(self) -> list[tuple[int, int, int] | None]:
        stamps: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                found = Path(path).stat()
            except OSError:
                stamps.append(None)
            else:
                stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
        return stamps

    def changed(self) -> KeyChain | None:
        """The keys, where a file is another than before; None where none is.

        Raises
        ------
        TcpAoError
            A file cannot be read, or has mistakes: whoever asks goes on with the keys it has. It is
            said once for each change.
        """
        stamps = self._stamps()
        if stamps == self._seen or None in stamps:  # None: an editor replaces it just now
            return None
        self._seen = stamps
        return self._load()


class EventLog:
    """Events as lines of JSON, to a stream, where there is one.

    Parameters
    ----------
    stream : text stream, optional
    """

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream
        self.last: dict[str, Any] | None = None
        self.count = 0

    def __call__(self, event: dict[str, Any]) -> None:
        """Note an event."""
        self.last = event
        self.count += 1
        if self._stream is not None:
            self._stream.write(as_line(event) + "\n")
            self._stream.flush()


@contextlib.contextmanager
def metrics_server(
    address: str | None, collect: Callable[[], Iterable[tuple[str, str, Mapping[str, float]]]]
) -> Iterator[None]:
    """Serve metrics to Prometheus while the context lasts.

    Parameters
    ----------
    address : str, optional
        ``ADDR:PORT``; without one nothing is served.
    collect : callable
        Gives (name, help, values by the value of the label ``kind``), whenever they are asked for;
        a value under the empty label has none.

    Yields
    ------
    None

    Raises
    ------
    MissingExtraError
        prometheus-client is not here.
    InvalidArgumentError
        The address is none, or cannot be had.
    """
    if address is None:
        yield
        return
    try:
        from prometheus_client import CollectorRegistry, start_http_server
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
        from prometheus_client.registry import Collector
    except ImportError as error:
        raise MissingExtraError(
            "metrics need prometheus-client: pip install 'tcpao-fast[live]'"
        ) from error
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise InvalidArgumentError(f"metrics are served on ADDR:PORT, not on {address!r}")

    class Numbers(Collector):
        def collect(self) -> Iterator[Any]:
            for name, text, values in collect():
                gauge = not name.endswith("_total")
                kind = GaugeMetricFamily if gauge else CounterMetricFamily
                labels = [] if set(values) == {""} else ["kind"]
                family = kind(name, text, labels=labels)
                for label, value in values.items():
                    family.add_metric([label] if labels else [], value)
                yield family

    registry = CollectorRegistry()
    registry.register(Numbers())
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), registry)
    except OSError as error:
        raise InvalidArgumentError(f"metrics on {address}: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def warn(text: str) -> None:
    """A line on standard error."""
    sys.stderr.write(f"tcpao: warning: {text}\n")


def reloaded(files: KeyFiles, use: Callable[[KeyChain], object]) -> bool:
    """Take changed key files over, or say why not; whether there are other keys now."""
    try:
        chain = files.changed()
        if chain is None:
            return False
        use(chain)
    except TcpAoError as error:
        warn(f"{error}; going on with the keys before")
        return False
    return True
