"""Packets that the kernel hands to a program and waits for: Linux's NFQUEUE, over netlink.

Only what a gateway needs of ``nfnetlink_queue.h``: many packets at a time in, many verdicts at a
time out, a changed packet with its verdict.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tcpao_fast.errors import TcpAoError

_NETLINK_NETFILTER = 12
_SOL_NETLINK, _NETLINK_NO_ENOBUFS = 270, 5
_SO_RCVBUFFORCE = 33
_QUEUE = 3 << 8  # NFNL_SUBSYS_QUEUE
_PACKET, _VERDICT, _CONFIG = _QUEUE, _QUEUE | 1, _QUEUE | 2
_NLMSG_ERROR = 2
_REQUEST, _ACK = 1, 4
_BIND, _UNBIND = 1, 2
_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN, _CFG_MASK, _CFG_FLAGS = 1, 2, 3, 4, 5
_COPY_PACKET = 2
_FLAG_FAIL_OPEN = 1
_ATTR_HEADER, _ATTR_VERDICT, _ATTR_INDEV, _ATTR_OUTDEV, _ATTR_PAYLOAD = 1, 2, 5, 6, 10
_DROP, _ACCEPT = 0, 1
_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr and nfgenmsg, whose last field is big endian
_ATTR = struct.Struct("=HH")
_PACKET_HEADER = struct.Struct(">IHB")
_VERDICT_HEADER = struct.Struct(">II")

#: Bytes of packets that the kernel may keep for us at a time.
RECEIVE_BUFFER = 32 << 20
#: Packets that it may keep.
QUEUE_LENGTH = 16384
#: Where it counts what it had to drop.
COUNTERS = Path("/proc/net/netfilter/nfnetlink_queue")

#: The hooks of netfilter that packets come from.
LOCAL_IN, LOCAL_OUT = 1, 3


class QueueError(TcpAoError):
    """A queue cannot be had, or the kernel refuses a request."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A packet that waits for its verdict.

    Attributes
    ----------
    number : int
        The kernel's number of it.
    hook : int
        `LOCAL_IN` or `LOCAL_OUT`, as of netfilter.
    packet : bytes
        From its IP header on.
    """

    number: int
    hook: int
    packet: bytes


@dataclass(frozen=True, slots=True)
class Ruling:
    """What becomes of a packet that waits.

    Attributes
    ----------
    number : int
    accept : bool
    packet : bytes or None
        Other bytes in its place.
    """

    number: int
    accept: bool
    packet: bytes | None = None


def _attribute(kind: int, data: bytes) -> bytes:
    return _ATTR.pack(4 + len(data), kind) + data + bytes(-len(data) % 4)


def _message(kind: int, flags: int, queue: int, body: bytes) -> bytes:
    header = _HEADER.pack(
        _HEADER.size + len(body), kind, flags, 0, 0, socket.AF_UNSPEC, 0, socket.htons(queue)
    )
    return header + body


class PacketQueue:
    """One queue of NFQUEUE.  Use it with ``with``.

    Parameters
    ----------
    number : int
        As the rules have it (``--queue-num``).
    fail_open : bool
        Whether packets pass when the queue is full; else they are dropped.

    Raises
    ------
    QueueError
        The kernel has no NFQUEUE, another program has the queue, or this one lacks CAP_NET_ADMIN.
    """

    def __init__(self, number: int, *, fail_open: bool = False) -> None:
        self.number = number
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER
            )
        except OSError as error:
            raise QueueError(
                f"NFQUEUE: {error.strerror}: Linux with netfilter is needed"
            ) from error
        try:
            self._socket.bind((0, 0))
            with contextlib.suppress(OSError):  # more than the limit needs CAP_NET_ADMIN
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
            # what does not fit is dropped and counted; it is no error of whoever reads next
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_NO_ENOBUFS, 1)
            self._configure(_CFG_CMD, struct.pack(">BxH", _BIND, 0))
            self._configure(_CFG_PARAMS, struct.pack(">IB", 0xFFFF, _COPY_PACKET))
            self._configure(_CFG_MAXLEN, struct.pack(">I", QUEUE_LENGTH))
            if fail_open:
                self._ask(
                    _attribute(_CFG_MASK, struct.pack(">I", _FLAG_FAIL_OPEN))
                    + _attribute(_CFG_FLAGS, struct.pack(">I", _FLAG_FAIL_OPEN))
                )
        except OSError as error:
            self._socket.close()
            raise self._refused(error) from error
        self._socket.setblocking(False)

    def _refused(self, error: OSError) -> QueueError:
        reasons = {
            errno.EPERM: "not permitted: root or CAP_NET_ADMIN is needed",
            errno.EBUSY: "another program has it",
            errno.EINVAL: "this kernel has no NFQUEUE (nfnetlink_queue)",
            errno.ENOENT: "this kernel has no NFQUEUE (nfnetlink_queue)",
            errno.EOPNOTSUPP: "this kernel has no NFQUEUE (nfnetlink_queue)",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        if error.errno == errno.EPERM and self._counters() is not None:
            reason = "another program has it"  # the kernel has the same answer for that
        return QueueError(f"queue {self.number}: {reason}")

    def _configure(self, kind: int, data: bytes) -> None:
        self._ask(_attribute(kind, data))

    def _ask(self, body: bytes) -> None:
        self._socket.send(_message(_CONFIG, _REQUEST | _ACK, self.number, body))
        while True:
            answer = self._socket.recv(65536)
            kind, code = struct.unpack_from("=4xH10xi", answer)
            if kind == _NLMSG_ERROR:
                if code:
                    raise OSError(-code, os.strerror(-code))
                return

    def __enter__(self) -> PacketQueue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it: what waits is dropped by the kernel."""
        self._socket.close()

    def fileno(self) -> int:
        """For ``select`` and the like: there are packets."""
        return self._socket.fileno()

    def receive(self, most: int = 256) -> list[Queued]:
        """The packets that wait, up to so many; none is an empty list.

        Parameters
        ----------
        most : int

        Returns
        -------
        list of Queued
        """
        found: list[Queued] = []
        receive = self._socket.recv
        try:
            while len(found) < most:
                _read(receive(1 << 17), found)
        except BlockingIOError:
            pass
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise self._refused(error) from error
        return found

    def rule(self, rulings: Iterable[Ruling]) -> None:
        """Tell the kernel what becomes of packets.

        Parameters
        ----------
        rulings : iterable of Ruling
        """
        waiting: list[bytes] = []
        size = 0
        for one in rulings:
            verdict = _VERDICT_HEADER.pack(_ACCEPT if one.accept else _DROP, one.number)
            body = _attribute(_ATTR_VERDICT, verdict)
            if one.packet is not None:
                body += _attribute(_ATTR_PAYLOAD, one.packet)
            message = _message(_VERDICT, _REQUEST, self.number, body)
            if size + len(message) > 1 << 16 and waiting:
                self._send(waiting)
                waiting, size = [], 0
            waiting.append(message)
            size += len(message)
        if waiting:
            self._send(waiting)

    def _send(self, messages: list[bytes]) -> None:
        try:
            self._socket.send(b"".join(messages))
        except BlockingIOError:
            for one in messages:
                self._socket.setblocking(True)
                try:
                    self._socket.send(one)
                finally:
                    self._socket.setblocking(False)

    def dropped(self) -> int:
        """How many packets the kernel had to drop, as the queue or the socket was full."""
        counters = self._counters()
        return 0 if counters is None else counters[5] + counters[6]

    def _counters(self) -> list[int] | None:
        """The kernel's line on this queue; None where there is none."""
        with contextlib.suppress(OSError, ValueError):
            for line in COUNTERS.read_text().splitlines():
                columns = [int(one) for one in line.split()]
                if len(columns) > 6 and columns[0] == self.number:
                    return columns
        return None


def _read(data: bytes, found: list[Queued]) -> None:
    """The packets in what one read gave."""
    at, end = 0, len(data)
    while at + 20 <= end:
        length, kind = struct.unpack_from("=IH", data, at)
        if length < 20 or at + length > end:
            return
        if kind == _PACKET:
            number, hook, packet = 0, -1, b""
            place, stop = at + 20, at + length
            while place + 4 <= stop:
                size, attribute = _ATTR.unpack_from(data, place)
                if size < 4:
                    break
                if attribute == _ATTR_HEADER:
                    number, _, hook = _PACKET_HEADER.unpack_from(data, place + 4)
                elif attribute == _ATTR_PAYLOAD:
                    packet = data[place + 4 : place + size]
                place += size + 3 & ~3
            if hook >= 0:
                found.append(Queued(number, hook, packet))
        at += length + 3 & ~3
