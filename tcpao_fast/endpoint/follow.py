"""Keeps a socket's keys in step with the lifetimes of a chain: rotation without a hand on it.

A new key is added when its accept lifetime begins.  When its send lifetime begins, it becomes
rnext_key, so that the peer is asked to sign with it; our own current_key follows when the peer asks
for it in turn, and at the latest when the old key's send lifetime ends.  The old key is deleted
when its accept lifetime ends.  The last key that there is stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import Any, Protocol

from tcpao_fast.endpoint import sockets
from tcpao_fast.errors import EndpointError, InvalidArgumentError, NoSuchKeyError
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.lifetimes import lifetime_ns

#: Seconds between looks, where nothing is to be expected: clocks can be set.
MOST_PAUSE = 60.0
#: Seconds until what the kernel refused is tried again.
RETRY = 1.0


class Calls(Protocol):
    """What is asked of a socket."""

    add_key: Callable[..., None]
    delete_key: Callable[..., None]
    set_info: Callable[..., None]
    info: Callable[..., Any]
    get_keys: Callable[..., Any]


class _OfSocket:
    """The calls of a real socket."""

    def __init__(self, sock: Any) -> None:
        self.add_key = partial(sockets.add_key, sock)
        self.delete_key = partial(sockets.delete_key, sock)
        self.set_info = partial(sockets.set_info, sock)
        self.info = partial(sockets.info, sock)
        self.get_keys = partial(sockets.get_keys, sock)


class _OfConnection:
    """The calls of a `Connection` or `Listener`, which names keys by their IDs."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint
        self.add_key = endpoint.add_key
        self.set_info = endpoint.set_info
        self.info = endpoint.info
        self.get_keys = endpoint.get_keys

    def delete_key(self, key: MasterKey, **more: Any) -> None:
        self._endpoint.delete_key(key.send_id, key.recv_id, peer=key.remote, vrf=key.vrf, **more)


def _covers(lifetime: Any, now: int, tolerance: float = 0) -> bool:
    first, last = lifetime_ns(lifetime)
    return first - tolerance <= now <= last + tolerance


def _bare(key: MasterKey) -> MasterKey:
    """A key as a kernel takes it: lifetimes are kept here."""
    return replace(key, send_lifetime=None, accept_lifetime=None, local=None)


class Follower:
    """Follows a chain on one socket; see `follow`.

    Attributes
    ----------
    keys : tuple of MasterKey
        What is on the socket now.
    problem : EndpointError or None
        What the kernel said no to at last; it is tried again.
    """

    def __init__(
        self,
        calls: Calls,
        chain: Iterable[MasterKey],
        local: tuple[str, int],
        remote: tuple[str, int] | None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._calls = calls
        self._local, self._remote = local, remote
        self._clock = clock or (lambda: datetime.now(timezone.utc))
        self._installed: dict[MasterKey, MasterKey] = {}
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._task: asyncio.Task[None] | None = None
        self.problem: EndpointError | None = None
        self._sender: MasterKey | None = None
        self.update(chain)
        self._take_over()

    @property
    def keys(self) -> tuple[MasterKey, ...]:
        """What is on the socket now."""
        return tuple(self._installed)

    def update(self, chain: Iterable[MasterKey]) -> None:
        """Follow another chain from here on; `step` makes it so.

        Parameters
        ----------
        chain : KeyChain, or iterable of MasterKey
        """
        self._chain = chain if isinstance(chain, KeyChain) else KeyChain(chain)
        self._wake.set()

    def _wanted(self) -> list[MasterKey]:
        """The keys that the socket may have, whatever the time."""
        if self._remote is None:
            return list(self._chain)
        found: list[MasterKey] = []
        for tcp_md5 in (False, True):
            found += self._chain.matching(self._local, self._remote, tcp_md5=tcp_md5)
        return found

    def _take_over(self) -> None:
        """Know the chain's keys that are there: an accepted socket has those of its listener."""
        try:
            there = {(one.key.send_id, one.key.recv_id) for one in self._calls.get_keys()}
        except EndpointError:
            return  # none, or no TCP-AO in the kernel: `step` says so
        for key in self._wanted():
            if (key.send_id, key.recv_id) in there:
                self._installed[key] = key

    def step(self) -> float:
        """Do what is due now.

        Returns
        -------
        float
            Seconds until something will be due; 60 at most.
        """
        with self._lock:
            now = int(self._clock().timestamp() * 1e9)
            wanted = self._wanted()
            tolerance = self._chain.accept_tolerance * 1e9
            valid = [
                one
                for one in wanted
                if _covers(one.accept_lifetime, now, tolerance) or _covers(one.send_lifetime, now)
            ]
            self.problem = None
            for key in valid:
                if key not in self._installed:
                    self._try(self._add, key)
            self._choose(valid, now)
            if valid:  # the last ones stay, whatever their lifetimes say
                for key in [one for one in self._installed if one not in valid]:
                    self._try(self._delete, key)
            if self.problem is not None:
                return RETRY
            return self._pause(wanted, now, tolerance)

    def _try(self, what: Callable[[MasterKey], None], key: MasterKey) -> None:
        try:
            what(key)
        except EndpointError as error:
            self.problem = error

    def _add(self, key: MasterKey) -> None:
        if key.is_tcp_md5:  # one a peer: the one that may send now is it
            others = [one for one in self._installed if one.is_tcp_md5 and one.remote == key.remote]
            for one in others:
                del self._installed[one]
        self._calls.add_key(_bare(key))
        self._installed[key] = key

    def _delete(self, key: MasterKey) -> None:
        sender = self._sender
        more = {}
        if sender is not None and not key.is_tcp_md5 and self._remote is not None:
            more = {"current": sender.send_id, "rnext": sender.recv_id}
        elif self._remote is None and not key.is_tcp_md5:
            more = {"asynchronous": True}
        with contextlib.suppress(NoSuchKeyError):  # somebody else has
            self._calls.delete_key(_bare(key), **more)
        self._installed.pop(key, None)

    def _choose(self, valid: list[MasterKey], now: int) -> None:
        """Which key signs, and which the peer is asked for."""
        sending = [
            one
            for one in valid
            if not one.is_tcp_md5 and one in self._installed and _covers(one.send_lifetime, now)
        ]
        if not sending or self._remote is None:
            return
        newest = max(sending, key=lambda one: lifetime_ns(one.send_lifetime)[0])
        self._sender = newest
        try:
            known = self._calls.info()
            change: dict[str, int | None] = {}
            if known.rnext != newest.recv_id:
                change["rnext"] = newest.recv_id
            if known.current not in [one.send_id for one in sending]:
                change["current"] = newest.send_id
            if change:
                self._calls.set_info(**change)
        except EndpointError as error:
            self.problem = error

    @staticmethod
    def _pause(wanted: list[MasterKey], now: int, tolerance: float) -> float:
        """Until a lifetime begins or ends."""

        def moments() -> Iterator[float]:
            for key in wanted:
                first, last = lifetime_ns(key.accept_lifetime)
                yield from (first - tolerance, last + tolerance)
                yield from lifetime_ns(key.send_lifetime)

        ahead = [(one - now) / 1e9 for one in moments() if one >= now]
        return min([MOST_PAUSE, *(one + 0.001 for one in ahead)])

    # -- by itself: in a thread, or as a task of asyncio ----------------------------------------

    def __enter__(self) -> Follower:
        self.step()
        self._thread = threading.Thread(target=self._run, name="tcpao-follow", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._ended:
            pause = self.step()
            self._wake.wait(pause)
            self._wake.clear()

    async def __aenter__(self) -> Follower:
        self.step()
        self._task = asyncio.create_task(self._run_async())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._ended = True
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run_async(self) -> None:
        while True:
            await asyncio.sleep(min(self.step(), 1.0))

    def close(self) -> None:
        """Follow no longer; the socket's keys stay as they are."""
        self._ended = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()


def follow(
    sock: Any,
    chain: Iterable[MasterKey],
    *,
    local: tuple[str, int] | None = None,
    remote: tuple[str, int] | None = None,
    clock: Callable[[], datetime] | None = None,
) -> Follower:
    """Keep a socket's keys in step with the lifetimes of a chain.

    Rotation goes as RFC 5925 section 7.5 and Linux have it: a key is added when it may be accepted,
    the peer is asked to sign with it (RNextKeyID) when it may send, current_key follows the peer's
    request, or the end of the old key's send lifetime; the old key is deleted when it may not be
    accepted any more. The last valid keys stay when no other is.

    Parameters
    ----------
    sock : socket.socket, or Connection
        TCP, connected or to be connected (then with `remote`), or listening: a listening socket has
        all keys that are valid.
    chain : KeyChain, or iterable of MasterKey
    local, remote : (address, port), optional
        The socket's own, if not given.
    clock : callable, optional
        Gives the time with time zone; the system's.

    Returns
    -------
    Follower
        ``with`` runs it in a thread, ``async with`` as a task of asyncio; or call `Follower.step`.

    Raises
    ------
    InvalidArgumentError
        Neither an address nor a socket that has one.

    Examples
    --------
    >>> with tcpao_fast.linux.follow(sock, chain):
    ...     serve(sock)
    """
    calls: Any = _OfConnection(sock) if hasattr(sock, "add_key") else _OfSocket(sock)
    if local is None:
        if not hasattr(sock, "getsockname"):
            raise InvalidArgumentError("local is needed where there is no socket")
        local = sock.getsockname()[:2]
    if remote is None and hasattr(sock, "getpeername"):
        with contextlib.suppress(OSError):  # listening
            remote = sock.getpeername()[:2]
    assert local is not None
    return Follower(calls, chain, local, remote, clock)
