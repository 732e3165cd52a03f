"""Hosts of the test's own: network namespaces, with veth between them."""

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import time

import pytest

_numbers = itertools.count()

#: Sends the packets that come on standard input, each behind its length of 4 bytes.
_SENDER = """
import socket, struct, sys
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((sys.argv[1], 0))
data = sys.stdin.buffer.read()
at = 0
while at < len(data):
    (size,) = struct.unpack_from(">I", data, at)
    out.send(data[at + 4 : at + 4 + size])
    at += 4 + size
"""


#: What leaves is whole, as on a wire: checksums and segments are not left to a card.
_NO_OFFLOAD = """
import ctypes, fcntl, socket, struct, sys
with socket.socket() as control:
    for what in (0x17, 0x1F, 0x24):  # ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO
        value = ctypes.create_string_buffer(struct.pack("=II", what, 0))
        request = struct.pack("=16sQ8x", sys.argv[1].encode(), ctypes.addressof(value))
        try:
            fcntl.ioctl(control, 0x8946, request)
        except OSError:
            pass
"""


def require(*tools):
    """Skip, and say why, where namespaces or tools are not to be had."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("network namespaces need Linux and root")
    for tool in ("ip", *tools):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not here; .ci/run installs it")
    done = subprocess.run(["ip", "netns", "add", probe := _name("probe")], capture_output=True)
    if done.returncode:
        pytest.skip(f"no network namespaces here: {done.stderr.decode().strip()}")
    subprocess.run(["ip", "netns", "del", probe], check=True)


def _name(what):
    return f"ao{os.getpid()}-{what}{next(_numbers)}"


class Host:
    """A namespace."""

    def __init__(self, what):
        self.name = _name(what)
        self.prefix = ["ip", "netns", "exec", self.name]
        self.interface = None
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self("ip", "link", "set", "lo", "up")
        self("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0", check=False)

    def __call__(self, *command, check=True, **more):
        """Run a command there; what it prints."""
        more = {"capture_output": True, "text": True, "timeout": 120} | more
        done = subprocess.run([*self.prefix, *map(str, command)], **more)
        if check and done.returncode:
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, *command, **more):
        """Start a command there."""
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | more
        return subprocess.Popen([*self.prefix, *map(str, command)], **more)

    def python(self, code, *arguments, **more):
        return self(sys.executable, "-c", code, *arguments, **more)

    def send(self, packets):
        """Put frames on the wire."""
        data = b"".join(len(one).to_bytes(4, "big") + one for one in packets)
        self.python(_SENDER, self.interface, input=data, text=False)

    def wait_for_closed(self, seconds=60):
        """Until each of its TCP connections is over: whoever lost the last ACK sends on."""
        deadline = time.time() + seconds
        while True:
            # a kernel without IPv6 has no tcp6
            said = self("cat", "/proc/net/tcp", "/proc/net/tcp6", check=False)
            assert "local_address" in said
            rows = [line.split() for line in said.splitlines() if "local_address" not in line]
            if all(row[3] in ("06", "0A") for row in rows):  # TIME_WAIT, LISTEN
                return
            assert time.time() < deadline, rows
            time.sleep(0.05)

    def close(self):
        for pid in self_pids(self.name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)


def self_pids(name):
    done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True)
    return [int(one) for one in done.stdout.split()]


def connect(one, other, mtu=1500):
    """A veth between two hosts; the names of its ends there."""
    ends = [f"v{os.getpid() % 100000}x{next(_numbers)}" for _ in range(2)]
    one("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1], "netns", other.name)
    for host, end in zip((one, other), ends, strict=True):
        host("ip", "link", "set", end, "mtu", mtu, "up")
        host.interface = end
        host.python(_NO_OFFLOAD, end)
    return ends


@contextlib.contextmanager
def several(*names):
    """Hosts, which go again at the end."""
    made = []
    try:
        for name in names:
            made.append(Host(name))
        yield made
    finally:
        for host in made:
            host.close()


@contextlib.contextmanager
def pair():
    """Two hosts with a wire between them, without addresses."""
    with several("a", "b") as (one, other):
        for host in (one, other):
            host("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", check=False)
        connect(one, other)
        yield one, other
