"""Packets of a network interface, out of a ring that the kernel fills (AF_PACKET, TPACKET_V3).

Nothing is copied: `Records` point into the ring, and a block goes back to the kernel when the next
one is asked for.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import select
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import numpy as np

from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.core.wire.records import Records
from tcpao_fast.core.wire.ring import give_back, is_ours, scan_block
from tcpao_fast.errors import CaptureError
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.addresses import Network

BLOCK_BYTES = 1 << 20
BLOCKS = 64
#: Milliseconds after which the kernel hands over a block that is not full.
RETIRE = 20

_ETH_P_ALL = 3
_SOL_PACKET = 263
_PACKET_ADD_MEMBERSHIP, _PACKET_RX_RING, _PACKET_STATISTICS = 1, 5, 6
_PACKET_VERSION = 10
_PACKET_MR_PROMISC = 1
_TPACKET_V3 = 2
_SO_ATTACH_FILTER = 26
#: ARPHRD numbers of ``/sys/class/net/*/type``, and link types as in pcap files.
_LINK_TYPES = {1: 1, 772: 1, 65534: 101, 512: 101, 768: 101, 776: 101, 778: 101, 823: 101}


def filter_for(keys: Iterable[MasterKey]) -> str:
    """A filter expression for the traffic of the keys' peers, and for segments with TCP options as
    long as an authentication option is.

    Parameters
    ----------
    keys : iterable of MasterKey

    Returns
    -------
    str
        As libpcap takes it.
    """
    signed = "tcp[12] & 0xf0 >= 0x90 or (ip6 proto 6 and ip6[52] & 0xf0 >= 0x90)"
    peers = set()
    for key in keys:
        ends = [one for one in (key.local, key.remote) if isinstance(one, Network)]
        if not ends:
            return "tcp or (ip6 proto 6) or (ip[6:2] & 0x3fff != 0) or ip6 proto 44"
        peers.add(" and ".join(f"net {one}" for one in ends))
    said = " or ".join(f"({one})" for one in sorted(peers))
    ours = "tcp or ip6 proto 6 or (ip[6:2] & 0x3fff != 0) or ip6 proto 44"
    return f"({signed}) or (({said}) and ({ours}))" if said else signed


class Interface:
    """Live packets of an interface.  Use it with ``with``.

    Parameters
    ----------
    name : str
        ``any`` is not taken: name each.
    packet_filter : str, optional
        As tcpdump takes it; the kernel applies it.

    Attributes
    ----------
    linktype : int
        As in pcap files.

    Raises
    ------
    CaptureError
        There is no such interface, or CAP_NET_RAW is missing.
    InvalidArgumentError, MissingExtraError
        Of the filter.
    """

    def __init__(self, name: str, packet_filter: str | None = None) -> None:
        self.name = name
        self.linktype = _link_type(name)
        self._dropped = self._freezes = self._seen = 0
        self._next = 0
        self._held = -1
        try:
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        except (OSError, AttributeError) as error:
            raise CaptureError(name, _reason(error)) from error
        try:
            # the filter first: what comes before it is bound is not ours
            if packet_filter is not None:
                self._attach(packet_filter)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V3)
            frame = 2048
            request = struct.pack(
                "=7I", BLOCK_BYTES, BLOCKS, frame, BLOCKS * (BLOCK_BYTES // frame), RETIRE, 0, 0
            )
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, request)
            self._ring = mmap.mmap(self._socket.fileno(), BLOCK_BYTES * BLOCKS)
            self._socket.bind((name, _ETH_P_ALL))
            index = socket.if_nametoindex(name)
            member = struct.pack("=IHH8s", index, _PACKET_MR_PROMISC, 0, b"")
            self._socket.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, member)
        except OSError as error:
            self._socket.close()
            raise CaptureError(name, _reason(error)) from error
        except BaseException:
            self._socket.close()
            raise

    def _attach(self, packet_filter: str) -> None:
        program = PacketFilter(packet_filter).instructions(self.linktype)
        memory = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("HL", len(program) // 8, ctypes.addressof(memory))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, described)

    def __enter__(self) -> Interface:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the ring, as soon as no `Records` point into it."""
        self._count()
        with contextlib.suppress(BufferError):  # records are still held: it goes with them
            self._ring.close()
        self._socket.close()

    def fileno(self) -> int:
        """For ``select``: a block is full, or long enough underway."""
        return self._socket.fileno()

    def give_back(self) -> None:
        """The block at hand goes back to the kernel: its records are of no use any more."""
        if self._held >= 0:
            give_back(self._ring, self._held * BLOCK_BYTES)
            self._held = -1

    def read(self) -> Records | None:
        """The packets of the next block, which the one before is given back for.

        Returns
        -------
        Records or None
            None: there is none now.
        """
        self.give_back()
        if not is_ours(self._ring, self._next * BLOCK_BYTES):
            return None
        self._held = self._next
        self._next = (self._next + 1) % BLOCKS
        start = self._held * BLOCK_BYTES
        offsets, lengths, times, wire_lengths, vlan = scan_block(self._ring, start, BLOCK_BYTES)
        first = self._seen + 1
        self._seen += len(offsets)
        return Records(
            self._ring, offsets, lengths, self.linktype, times, wire_lengths, False,
            np.arange(first, self._seen + 1), self.name, vlan=vlan,
        )  # fmt: skip

    def wait(self, seconds: float) -> bool:
        """Whether there is a block, after so many seconds at most."""
        if is_ours(self._ring, self._next * BLOCK_BYTES):
            return True
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _count(self) -> None:
        with contextlib.suppress(OSError):
            found = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 12)
            _, dropped, freezes = struct.unpack("=3I", found)
            self._dropped += dropped
            self._freezes += freezes

    @property
    def dropped(self) -> int:
        """How many packets the kernel had to drop, as the ring was full."""
        self._count()
        return self._dropped

    @property
    def seen(self) -> int:
        """How many packets were read."""
        return self._seen


def _link_type(name: str) -> int:
    try:
        kind = int(Path(f"/sys/class/net/{name}/type").read_text())
    except (OSError, ValueError):
        try:  # another namespace's /sys may be there
            socket.if_nametoindex(name)
        except OSError:
            raise CaptureError(name, "there is no such network interface") from None
        return 1
    return _LINK_TYPES.get(kind, 1)


def _reason(error: BaseException) -> str:
    if isinstance(error, AttributeError):
        return "live packets need Linux (AF_PACKET)"
    number = getattr(error, "errno", None)
    if number == errno.EPERM:
        return "not permitted: root or CAP_NET_RAW is needed"
    if number == errno.ENODEV:
        return "there is no such network interface"
    return getattr(error, "strerror", None) or str(error)
