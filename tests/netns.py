"""Real sockets without disturbing the host: a network namespace for one thread, and a TUN device
in it whose other side is the test."""

import ctypes
import fcntl
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFDSTADDR = 0x8914, 0x8916, 0x8918
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
IFF_UP = 1

_kept = []


def keep(thing):
    """Something to close when `in_namespace` ends."""
    _kept.append(thing)
    return thing


#: The kernel's address on the TUN device, and the test's.
KERNEL, OURS = "198.18.0.1", "198.18.0.2"
KERNEL6, OURS6 = "fd00:198::1", "fd00:198::2"


def in_namespace(work):
    """Run `work()` in a thread with a network namespace of its own; what it returns."""
    box = {}

    def run():
        libc = ctypes.CDLL(None, use_errno=True)
        try:
            if libc.unshare(CLONE_NEWNET) != 0:
                box["skip"] = f"no network namespace here: {os.strerror(ctypes.get_errno())}"
                return
            for name, address in (("lo", "127.0.0.1"), ("lo:1", "10.0.0.1"), ("lo:2", "10.0.0.2")):
                set_address(name, address)
            box["result"] = work()
        except BaseException as error:  # handed to the test's own thread
            box["error"] = error
        finally:
            while _kept:
                _kept.pop().close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if "skip" in box:
        pytest.skip(box["skip"])
    if "error" in box:
        raise box["error"]
    return box["result"]


def _ifreq(name, data):
    return struct.pack("16s24s", name.encode(), data)


def _sockaddr(address):
    return struct.pack("=HH4s", socket.AF_INET, 0, socket.inet_aton(address))


def set_address(name, address, peer=None):
    """Give an interface an address, and bring it up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFADDR, _ifreq(name, _sockaddr(address)))
        if peer is not None:
            fcntl.ioctl(control, SIOCSIFDSTADDR, _ifreq(name, _sockaddr(peer)))
        fcntl.ioctl(control, SIOCSIFFLAGS, _ifreq(name.split(":")[0], struct.pack("=H", IFF_UP)))


def set_address6(name, address, prefix=64):
    """Give an interface an IPv6 address."""
    index = socket.if_nametoindex(name)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
        packed = socket.inet_pton(socket.AF_INET6, address)
        fcntl.ioctl(control, SIOCSIFADDR, struct.pack("=16sIi", packed, prefix, index))


def wait_for_address6(address):
    """Until the kernel lets it be used: even without duplicate address detection that takes a
    moment."""
    for _ in range(200):
        with socket.socket(socket.AF_INET6) as probe:
            try:
                probe.bind((address, 0))
            except OSError:
                time.sleep(0.01)
            else:
                return


class Tun:
    """A TUN device between the kernel (`KERNEL`, `KERNEL6`) and the test (`OURS`, `OURS6`)."""

    def __init__(self):
        try:
            self.fd = os.open("/dev/net/tun", os.O_RDWR)
        except OSError as error:
            pytest.skip(f"no /dev/net/tun here: {error.strerror}")
        keep(self)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
        set_address("tun0", KERNEL, OURS)
        if Path("/proc/net/if_inet6").exists():
            Path("/proc/sys/net/ipv6/conf/tun0/accept_dad").write_text("0")
            set_address6("tun0", KERNEL6)
            wait_for_address6(KERNEL6)

    def write(self, packet):
        os.write(self.fd, packet)

    def read(self, timeout=5):
        """The next TCP packet that the kernel sends; None when there is none in time."""
        while select.select([self.fd], [], [], timeout)[0]:
            packet = os.read(self.fd, 65536)
            if packet[9 if packet[0] >> 4 == 4 else 6] == 6:
                return packet
        return None

    def close(self):
        os.close(self.fd)


class Sniffer:
    """What goes over an interface of the namespace, once a packet."""

    def __init__(self, interface="lo"):
        self.socket = keep(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(3)))
        self.socket.bind((interface, 0))

    def packets(self, wait=0.2):
        """The IP packets that arrived so far."""
        found = []
        while select.select([self.socket], [], [], wait)[0]:
            packet, address = self.socket.recvfrom(65536)
            if address[2] == socket.PACKET_HOST:
                found.append(packet)
        return found
