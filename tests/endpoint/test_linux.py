"""Keys on real sockets, and our endpoints against the kernel's.

TCP-MD5 is in almost every kernel.  TCP-AO is in few yet: tests/kernel/ builds one and runs this
file in it; elsewhere those tests are skipped and say so.
"""

import ctypes
import hashlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import reference
import test_endpoint_calls
from ends import ACK, PSH, SYN, End, make_key, md5_key
from netns import KERNEL, KERNEL6, OURS, OURS6, Sniffer, Tun, in_namespace, keep
from wire import (
    ao_option,
    has_zero_checksum,
    records,
    start_of_tcp,
    tcp_packet,
    with_checksum,
    with_mac,
)

import tcpao_fast as ao
from tcpao_fast.endpoint import sockets as linux
from tcpao_fast.errors import LINUX_ERRNO

pytestmark = pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="Linux")

with_ao = pytest.mark.skipif(
    not linux.has_tcp_ao(),
    reason="this kernel has no TCP-AO; tests/kernel/run runs this file in one that has",
)


# -- what needs no TCP-AO in the kernel --------------------------------------------------------


@pytest.mark.parametrize(
    ("structure", "size"),
    [
        (linux.TcpAoAdd, 288),
        (linux.TcpAoDel, 144),
        (linux.TcpAoInfoOpt, 48),
        (linux.TcpAoGetsockopt, 304),
        (linux.TcpAoRepair, 16),
        (linux.TcpMd5Sig, 216),
    ],
)
def test_structures_have_the_kernels_sizes(structure, size):
    assert ctypes.sizeof(structure) == size


def test_structures_are_laid_out_as_in_linux_tcp_h(tmp_path):
    """Against the header itself, where this system's is new enough; TCPAO_FAST_LINUX_HEADERS names
    another include directory (of Debian's linux-libc-dev 6.12, unpacked, say)."""
    include = os.environ.get("TCPAO_FAST_LINUX_HEADERS", "/usr/include")
    header = f"{include}/linux/tcp.h"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if (
        compiler is None
        or not Path(header).exists()
        or "tcp_ao_add" not in Path(header).read_text()
    ):
        pytest.skip(f"no compiler, or {header} is older than TCP-AO")
    names = {
        "tcp_ao_add": linux.TcpAoAdd,
        "tcp_ao_del": linux.TcpAoDel,
        "tcp_ao_info_opt": linux.TcpAoInfoOpt,
        "tcp_ao_getsockopt": linux.TcpAoGetsockopt,
        "tcp_ao_repair": linux.TcpAoRepair,
        "tcp_md5sig": linux.TcpMd5Sig,
    }
    fields = [
        (struct, field[0])
        for struct, structure in names.items()
        for field in structure._fields_
        if len(field) == 2
    ]
    source = tmp_path / "offsets.c"
    source.write_text(
        "#include <linux/tcp.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void) {\n"
        + "\n".join(f'printf("%zu\\n", offsetof(struct {s}, {f}));' for s, f in fields)
        + "\nreturn 0; }\n"
    )
    command = [compiler, "-I", include, "-o", tmp_path / "offsets", source]
    subprocess.run(command, check=True)
    found = subprocess.run([tmp_path / "offsets"], capture_output=True, text=True, check=True)
    expected = [getattr(names[s], f).offset for s, f in fields]
    assert [int(line) for line in found.stdout.split()] == expected


def test_without_tcp_ao_in_the_kernel_one_clear_error():
    if linux.has_tcp_ao():
        pytest.skip("this kernel has TCP-AO")
    with socket.socket() as sock:
        for call in (
            lambda: linux.add_key(sock, make_key()),
            lambda: linux.delete_key(sock, make_key()),
            lambda: linux.info(sock),
            lambda: linux.set_info(sock, ao_required=True),
            lambda: linux.get_keys(sock),
            lambda: linux.repair_state(sock),
            lambda: linux.repair(sock, ao.RepairState(1, 2)),
        ):
            with pytest.raises(
                ao.KernelSupportError, match=r"has no TCP-AO; it needs Linux 6\.7"
            ) as e:
                call()
            assert e.value.errno == LINUX_ERRNO["ENOPROTOOPT"]


@pytest.mark.parametrize(
    ("key", "what"),
    [
        (make_key(remote_port=179), "has ports"),
        (make_key(send_lifetime=(None, None)), "has lifetimes"),
        (make_key(local_nat=True), "has NAT flags"),
        (make_key(secret=b"x" * 81), "81 bytes"),
        (make_key(remote="2001:db8::1"), "for IPv4"),
        (md5_key(remote="2001:db8::1"), "for IPv4"),
    ],
)
def test_what_linux_cannot_keep_is_refused_not_left_out(key, what):
    with socket.socket() as sock, pytest.raises(ao.InvalidRequestError, match=what):
        linux.add_key(sock, key)


def test_algorithms_that_linux_does_not_have():
    with socket.socket() as sock, pytest.raises(ao.NoSuchKeyError, match="no hmac-sha256-128"):
        linux.add_key(sock, make_key(algorithm="hmac-sha256-128"))


# -- TCP-MD5 -----------------------------------------------------------------------------------


def loopback(family, key, server_key, host):
    """A connection on loopback, with these keys: client, server, and everything that was sent."""
    sniffer = Sniffer()
    listener, client = keep(socket.socket(family)), keep(socket.socket(family))
    linux.add_key(listener, server_key)
    linux.add_key(client, key)
    listener.bind((host, 0))
    listener.listen()
    client.settimeout(5)
    client.connect(listener.getsockname()[:2])
    server = keep(listener.accept()[0])
    for _ in range(5):
        client.sendall(b"to the server" * 10)
        assert server.recv(4096)
        server.sendall(b"to the client")
        assert client.recv(4096)
    return client, server, sniffer


def verified(packets, keys):
    engine = ao.Engine(keys)
    out = engine.verify(*records(packets), linktype=101)
    return {name: count for name, count in out.counts.items() if count}


@pytest.mark.parametrize(
    ("family", "host", "remote"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "127.0.0.1", "127.0.0.0/8"),
        (socket.AF_INET, "127.0.0.1", None),
        (socket.AF_INET6, "::1", "::1"),
        (socket.AF_INET6, "::1", "::/64"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_tcp_md5_of_the_kernel_is_md5_good(family, host, remote):
    key = md5_key(remote=remote)

    def work():
        client, server, sniffer = loopback(family, key, key, host)
        client.close()
        server.close()
        return sniffer.packets()

    packets = in_namespace(work)
    counts = verified(packets, [replace(key, remote=None)])
    assert counts == {"md5_good": len(packets)} and len(packets) >= 13
    assert set(verified(packets, [md5_key(secret=b"another")])) == {"md5_bad"}


def test_tcp_md5_keys_of_the_kernel_go_away():
    def work():
        with socket.socket() as sock:
            key = md5_key(remote="127.0.0.1")
            linux.add_key(sock, key)
            linux.delete_key(sock, key)
            with pytest.raises(ao.NoSuchKeyError):
                linux.delete_key(sock, key)

    in_namespace(work)


# -- our endpoints against the kernel's, over a TUN device --------------------------------------


class Wire:
    """Our end of a connection with the kernel."""

    def __init__(self, tun, end):
        self.tun, self.end = tun, end
        self.outcomes = []

    def send(self, *arguments, **named):
        packet = self.end.send(*arguments, **named)
        self.tun.write(packet)
        return packet

    def receive(self, timeout=5):
        """The outcome of the kernel's next packet; None where none comes."""
        packet = self.tun.read(timeout)
        if packet is None:
            return None
        outcome = self.end.receive(packet)
        self.outcomes.append(outcome)
        return outcome

    def receive_all(self):
        found = []
        while (outcome := self.receive(timeout=0.3)) is not None:
            found.append(outcome)
        return found


def dialled(tun, our_keys, kernel_keys, port=7000):
    """We connect to a listening socket of the kernel: our side, and the accepted socket."""
    listener = keep(socket.socket())
    listener.bind((KERNEL, port))
    listener.listen()
    listener.settimeout(5)
    for key in kernel_keys:
        linux.add_key(listener, key)
    here, there = (OURS, 40000), (KERNEL, port)
    connection = ao.Connection(here)
    for key in our_keys:
        connection.add_key(key)
    connection.connect(there, isn=0xFFFFFF00)
    wire = Wire(tun, End(connection, here, there, 0xFFFFFF00))
    wire.send(SYN, options=bytes([2, 4, 5, 0xB4]))
    outcome = wire.receive()
    assert outcome is not None and outcome.accepted, outcome
    wire.send(ACK)
    server = keep(listener.accept()[0])
    server.settimeout(5)
    return wire, server


def chat(wire, server, rounds=3):
    """Data both ways; everything the kernel sends is accepted."""
    for i in range(rounds):
        wire.send(ACK | PSH, b"from us %d" % i)
        assert server.recv(4096) == b"from us %d" % i
        server.sendall(b"from the kernel")
        outcomes = wire.receive_all()
        assert outcomes and all(outcome.accepted for outcome in outcomes), outcomes
        wire.send(ACK)


def test_our_connection_speaks_tcp_md5_with_the_kernel():
    def work():
        tun = Tun()
        key = md5_key(remote=KERNEL)
        wire, server = dialled(tun, [key], [md5_key(remote=OURS)])
        chat(wire, server)
        server.close()
        assert all(outcome.verdict is ao.Verdict.md5_good for outcome in wire.outcomes)
        return len(wire.outcomes)

    assert in_namespace(work) >= 4


def test_our_listener_speaks_tcp_md5_with_the_kernel():
    def work():
        tun = Tun()
        wire, client = answered(tun, [md5_key(remote=KERNEL)], [md5_key(remote=OURS)])
        chat(wire, client)
        client.close()
        assert wire.receive().verdict is ao.Verdict.md5_good

    in_namespace(work)


def answered(tun, our_keys, kernel_keys, port=7001):
    """The kernel connects to our listener: our side, and the kernel's socket."""
    here = (OURS, port)
    listener = ao.Listener(here)
    for key in our_keys:
        listener.add_key(key)
    client = keep(socket.socket())
    client.bind((KERNEL, 41000))
    for key in kernel_keys:
        linux.add_key(client, key)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.connect(here)
    wire = Wire(tun, End(listener, here, (KERNEL, 41000), 7))
    outcome = wire.receive()
    assert outcome is not None and outcome.accepted, outcome
    wire.send(SYN | ACK, options=bytes([2, 4, 5, 0xB4]))
    outcome = wire.receive()
    assert outcome is not None and outcome.accepted, outcome
    wire.end.endpoint = listener.accept()
    client.settimeout(5)
    return wire, client


KEYS = [
    make_key(10, 20, remote=KERNEL),
    make_key(11, 21, remote=KERNEL, algorithm="aes-128-cmac-96", secret=b"short"),
    make_key(12, 22, remote=KERNEL, secret=b"third", mac_length=16, exclude_options=True),
    make_key(13, 23, remote=KERNEL, algorithm="hmac(sha256)", secret=b"y" * 80, mac_length=5),
    make_key(14, 24, remote=KERNEL, algorithm="aes-128-cmac-96", secret=b"0123456789abcdef"),
]


def kernels(key):
    """A key of ours as the kernel has it."""
    of_peer = OURS6 if key.remote.version == 6 else OURS
    return replace(key.mirrored(), local=None, remote=of_peer)


def over_ipv6(key):
    return replace(key, remote=KERNEL6)


@with_ao
@pytest.mark.parametrize("key", KEYS, ids=lambda key: f"{key.algorithm}-{key.mac_length}")
@pytest.mark.parametrize("opens", [dialled, answered])
def test_our_endpoints_speak_tcp_ao_with_the_kernel(key, opens):
    """With an ISN close to the wrap where we connect, so that our SNE steps on the way."""

    def work():
        tun = Tun()
        wire, sock = opens(tun, [key], [kernels(key)])
        chat(wire, sock)
        wire.send(ACK | PSH, b"z" * 400)
        assert len(sock.recv(4096)) == 400
        wire.receive_all()
        chat(wire, sock)
        ours, theirs = wire.end.endpoint.info(), linux.info(sock)
        assert ours.counters.bad == theirs.counters.bad == 0
        assert (theirs.current, theirs.rnext) == (ours.rnext, ours.current)
        kernel_key = linux.get_keys(sock)[0]
        assert kernel_key.counters.good == theirs.counters.good
        assert (kernel_key.key.send_id, kernel_key.key.recv_id) == (key.recv_id, key.send_id)
        return wire.end.endpoint

    endpoint = in_namespace(work)
    endpoint.repair_mode = True
    if opens is dialled:
        assert endpoint.repair_state().snd_sne == 1


@with_ao
def test_rotation_with_the_kernel():
    """Each side asks the other through every key, and follows when it is asked."""

    def work():
        tun = Tun()
        wire, sock = dialled(tun, KEYS, [kernels(key) for key in KEYS])
        ours = wire.end.endpoint
        for key in [*KEYS, *KEYS[::-1]]:
            ours.set_info(rnext=key.recv_id)
            chat(wire, sock, 2)
            assert linux.info(sock).current == key.recv_id
            linux.set_info(sock, rnext=key.send_id)
            chat(wire, sock, 2)
            assert ours.info().current == key.send_id
            ours.set_info(current=KEYS[0].send_id)  # flaps back
            chat(wire, sock, 1)
            assert ours.info().current == key.send_id
        counters = linux.info(sock).counters
        assert counters.bad == counters.key_not_found == ours.info().counters.bad == 0
        assert {info.key.recv_id: info.counters.bad for info in linux.get_keys(sock)} == {
            key.send_id: 0 for key in KEYS
        }

    in_namespace(work)


@with_ao
def test_what_the_kernel_makes_of_bad_segments():
    """Its counters and ours, after the same forged segments in both directions."""

    def work():
        tun = Tun()
        key = KEYS[0]
        wire, sock = dialled(tun, [key], [kernels(key)])
        ours = wire.end.endpoint
        chat(wire, sock)
        before = linux.info(sock).counters

        def handmade(option):
            here, there = (OURS, 40000), (KERNEL, 7000)
            return tcp_packet(here, there, ACK, wire.end.next, wire.end.expected, b"", option)

        forged = {
            "bad": [handmade(ao_option(10, 20)), handmade(ao_option(10, 20, 8))],
            "key_not_found": [handmade(ao_option(77, 20))],
            "ao_required": [handmade(b"")],
        }
        for packets in forged.values():
            for packet in packets:
                tun.write(packet)
        wire.receive_all()
        after = linux.info(sock).counters
        moved = {
            name: getattr(after, name) - getattr(before, name)
            for name in ("good", "bad", "key_not_found", "ao_required")
        }
        assert moved == {"good": 0, "bad": 2, "key_not_found": 1, "ao_required": 1}
        # the same to an endpoint of ours, from the other side
        mirror = ao.Connection((KERNEL, 7000))
        mirror.add_key(kernels(key))
        mirror.repair_mode = True
        mirror.connect((OURS, 40000))
        ours.repair_mode = True
        state = ours.repair_state()
        mirror.repair(
            ao.RepairState(state.rcv_isn, state.snt_isn, 0, 0, state.rcv_nxt, state.snd_una)
        )
        for packets in forged.values():
            for packet in packets:
                assert not mirror.process(packet).accepted
        found = mirror.info().counters
        assert (found.good, found.bad, found.key_not_found, found.ao_required) == (0, 2, 1, 1)
        chat(wire, sock)

    in_namespace(work)


@with_ao
def test_a_connection_moves_from_the_kernel_to_us():
    """TCP_AO_REPAIR read from a real socket carries on here: whatever it signs is good."""

    def work():
        tun = Tun()
        wire, sock = dialled(tun, [KEYS[0]], [kernels(KEYS[0])])
        chat(wire, sock)
        sock.setsockopt(socket.IPPROTO_TCP, linux.TCP_REPAIR, 1)
        state = linux.repair_state(sock)
        wire.end.endpoint.repair_mode = True
        ours = wire.end.endpoint.repair_state()
        assert (state.snt_isn, state.rcv_isn) == (ours.rcv_isn, ours.snt_isn)
        assert (state.snd_sne, state.rcv_sne) == (ours.rcv_sne, ours.snd_sne)
        linux.repair(sock, state)
        twin = ao.Connection((KERNEL, 7000))
        twin.add_key(kernels(KEYS[0]))
        twin.repair_mode = True
        twin.connect((OURS, 40000))
        twin.repair(replace(state, snd_una=ours.rcv_nxt, rcv_nxt=ours.snd_una))
        twin.repair_mode = False
        other = End(twin, (KERNEL, 7000), (OURS, 40000), ours.rcv_nxt)
        other.expected = wire.end.next & 0xFFFFFFFF
        wire.end.endpoint.repair_mode = False
        assert wire.end.receive(other.send(ACK | PSH, b"on and on")).accepted
        assert other.receive(wire.end.send(ACK | PSH, b"and on")).accepted

    in_namespace(work)


@with_ao
def test_resets_of_the_kernel_are_signed():
    def work():
        tun = Tun()
        wire, sock = dialled(tun, [KEYS[0]], [kernels(KEYS[0])])
        chat(wire, sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        outcomes = wire.receive_all()
        assert outcomes and all(outcome.verdict is ao.Verdict.good for outcome in outcomes)
        assert wire.end.endpoint.state is ao.State.CLOSED

    in_namespace(work)


# -- the calls, against the kernel's answers ----------------------------------------------------


class RealSocket:
    """A socket with the methods of `Connection` and `Listener`."""

    def __init__(self, sock):
        self.sock = sock

    def add_key(self, key, **chosen):
        linux.add_key(self.sock, key, **chosen)

    def delete_key(self, send_id=None, recv_id=None, *, peer=..., vrf=..., **others):
        key = md5_key(remote=peer) if send_id is None else make_key(send_id, recv_id)
        known = "10.0.0.2" if peer is ... else peer
        key = replace(key, remote=known, vrf=None if vrf is ... else vrf)
        linux.delete_key(self.sock, key, **others)

    def set_info(self, **arguments):
        linux.set_info(self.sock, **arguments)

    def info(self):
        return linux.info(self.sock)

    def get_keys(self, **arguments):
        return linux.get_keys(self.sock, **arguments)

    def repair_state(self):
        return linux.repair_state(self.sock)

    def repair(self, state):
        linux.repair(self.sock, state)

    def connect(self, remote):
        self.sock.setblocking(False)
        try:
            self.sock.connect(remote)
        except BlockingIOError:
            pass
        except OSError as error:
            raise linux.EndpointError("connect", error.errno) from None

    @property
    def repair_mode(self):
        return None

    @repair_mode.setter
    def repair_mode(self, on):
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, linux.TCP_REPAIR, int(on))
        except OSError as error:
            raise linux.EndpointError("TCP_REPAIR", error.errno) from None


def real_closed():
    sock = keep(socket.socket())
    sock.bind(("10.0.0.1", 0))
    return RealSocket(sock)


def real_listening():
    sock = keep(socket.socket())
    sock.bind(("10.0.0.2", 0))
    sock.listen()
    return RealSocket(sock)


def real_pair(*keys):
    listener = real_listening()
    client = real_closed()
    for key in keys:
        listener.add_key(replace(key.mirrored(), local=None, remote="10.0.0.1"))
        client.add_key(key)
    client.sock.settimeout(5)
    if keys:
        client.set_info(current=100, rnext=200)
    client.sock.connect(listener.sock.getsockname())
    keep(listener.sock.accept()[0])
    return client


def real_established():
    return real_pair(make_key(remote="10.0.0.2"), make_key(5, 6, remote="10.0.0.2"))


def real_unsigned():
    return real_pair()


#: Rows whose call the kernel does not have, or answers in another way, and why.
NOT_THE_KERNELS = {
    "not this endpoint's side": "an MKT of Linux has no local side",
    "no key at all": "a question of Python's types",
    "required, no key, RFC 5925": "another policy than Linux's",
    "required, no key": "the policy of an endpoint that has no key yet",
    "TCP-MD5 where TCP-AO is required": "the same",
    "TCP-AO and TCP-MD5 for the peer": "no call leads there",
    "signed before connect": "not a call of the kernel's",
    "no handshake to sign for": "not a call of the kernel's",
    "two keys with those IDs": "the kernel's call always names the peer",
    "an ID that is none": "a byte is always an ID",
    "a peer that is none": "a question of Python's types",
    "reserved value of a flag": "a bit is always a flag",
    "counters that are none": "a question of Python's types",
    "not a state": "a question of Python's types",
    "an ISN that is none": "a question of Python's types",
    "a SEQ that is none": "a question of Python's types",
    "twice": "TCP's own error",
    "another VRF": "there is no VRF device with that number",
}
#: Filters that `linux.get_keys` does not offer.
OTHER_FILTERS = ("all and", "current and address", "current and SendID", "rnext and")


REAL = {
    getattr(test_endpoint_calls, name): globals()[f"real_{name}"]
    for name in ("closed", "listening", "established", "unsigned")
}


@with_ao
@pytest.mark.parametrize(
    ("make", "call", "number"),
    [
        pytest.param(make, call, number, id=f"{table}: {row}")
        for table in ("ADD_KEY", "DELETE_KEY", "SET_INFO", "GET_KEYS", "REPAIR", "CONNECT")
        for row, make, call, number in getattr(test_endpoint_calls, table)
        if row not in NOT_THE_KERNELS and not row.startswith(OTHER_FILTERS)
    ],
)
def test_the_kernel_refuses_what_we_refuse(make, call, number, monkeypatch):
    for ours, real in REAL.items():
        monkeypatch.setattr(test_endpoint_calls, ours.__name__, real)

    def work():
        endpoint = REAL.get(make, make)() if make else None
        with pytest.raises(ao.TcpAoError) as caught:
            call(endpoint)
        return caught.value.errno

    assert in_namespace(work) == LINUX_ERRNO[number]


# -- the twin beside the kernel: the same segments, the same state and counters -------------------

#: ``tcpi_state`` of ``TCP_INFO`` (``include/net/tcp_states.h``).
STATES = [
    None, "ESTABLISHED", "SYN-SENT", "SYN-RECEIVED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT",
    "CLOSED", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING",
]  # fmt: skip


def netstat():
    """The namespace's TCP-AO counters."""
    names, values = [
        line.split()[1:]
        for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()
        if line.startswith("TcpExt:")
    ]
    found = dict(zip(names, map(int, values), strict=True))
    return {name: found.get(name, 0) for name in ("TCPAOGood", "TCPAOBad", "TCPAOKeyNotFound",
                                                  "TCPAORequired")}  # fmt: skip


class Shadow(Wire):
    """A wire whose other end has a twin: a `Listener` with the kernel's keys, which is given all
    that the kernel is given, and signs what the kernel sends."""

    def __init__(self, tun, end, twin):
        super().__init__(tun, end)
        self.twin = twin

    def give(self, packet):
        self.tun.write(packet)
        self.twin.process(packet)

    def send(self, *arguments, **named):
        packet = self.end.send(*arguments, **named)
        self.give(packet)
        return packet

    def take(self, timeout=0.3):
        """What the kernel sends next, which the twin signs to the same bytes."""
        packet = self.tun.read(timeout)
        if packet is None:
            return None
        bare = bytes(ao.strip(*records([packet]), 101).buffer)
        at = start_of_tcp(packet)
        if packet[at + 13] & RST and self.twin.state is ao.State.SYN_SENT:
            # the peer's ISN is not known: Linux signs such a RST with a traffic key that it has not
            # derived (tcp_ao_prepare_reset)
            with pytest.raises(ao.NotConnectedError):
                self.twin.sign(bare)
        elif packet[at + 13] & RST and self.twin.state is ao.State.LISTEN:
            # Linux signs with the key of the other direction: docs/linux.md
            with suppress(ao.NotConnectedError):
                self.twin.sign(bare)
        else:
            assert self.twin.sign(bare)[at:].hex() == packet[at:].hex()
        return packet

    def moved(self, do, timeout=0.3):
        """What a step moves in the kernel's counters and in the twin's."""
        while self.take(0) is not None:  # what the kernel has sent again in the meantime
            pass
        before, own = netstat(), dict(self.twin.snmp)
        do()
        while self.take(timeout) is not None:
            pass
        after = netstat()
        kernel = {name: after[name] - before[name] for name in after if after[name] != before[name]}
        here = self.twin.snmp
        return kernel, {name: here[name] - own[name] for name in after if here[name] != own[name]}


def shadowed(tun, key, *more, syn_data=b""):
    """A connection to a listening socket of the kernel, with its twin: the wire, and the socket."""
    is_ipv6 = key.remote.version == 6
    kernel, ours = (KERNEL6, OURS6) if is_ipv6 else (KERNEL, OURS)
    listener = keep(socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET))
    listener.bind((kernel, 7000))
    listener.listen()
    listener.settimeout(5)
    twin = ao.Listener((kernel, 7000))
    here, there = (ours, 40000), (kernel, 7000)
    connection = ao.Connection(here)
    for one in (*more, key):  # the last that is added is the first that is used
        linux.add_key(listener, kernels(one))
        twin.add_key(kernels(one))
        connection.add_key(one)
    connection.connect(there, isn=1000)
    wire = Shadow(tun, End(connection, here, there, 1000), twin)
    wire.send(SYN, syn_data, options=bytes([2, 4, 5, 0xB4]))
    packet = wire.take(5)
    assert packet is not None and wire.end.receive(packet).accepted
    return wire, listener


def state_of(sock):
    return STATES[sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]]


def filled_in(packet, option, mac):
    """The packet with a MAC of 12 bytes in the option that begins so, and its checksum right."""
    at = packet.index(option) + 4
    return with_checksum(packet[:at] + mac[:12] + packet[at + 12 :])


def by_hand(wire, key, option, flags=ACK, **more):
    """What we would sign with options that no stack should send."""
    end = wire.end
    packet = tcp_packet(end.here, end.there, flags, end.next, end.expected, b"",
                        ao_option(key.send_id, key.recv_id) + option, **more)  # fmt: skip
    isns = end.isn, end.endpoint._rcv_isn
    mac = reference.mac(key, reference.Packet.parse(packet), *isns, 0)
    return filled_in(packet, bytes([29, 16, key.send_id, key.recv_id]), mac)


FIN, RST = 1, 4
#: What is sent on an established connection; the state that both then have.
ODD = {
    "RST inside of the window": (lambda w, k: w.end.send(RST | ACK, position=w.end.next + 10), 1),
    "RST before the window": (lambda w, k: w.end.send(RST | ACK, position=w.end.next - 50), 1),
    "RST far behind it": (lambda w, k: w.end.send(RST | ACK, position=w.end.next + (1 << 28)), 1),
    "RST at RCV.NXT": (lambda w, k: w.end.send(RST | ACK), 7),
    "FIN behind a gap": (lambda w, k: w.end.send(FIN | ACK, position=w.end.next + 100), 1),
    "FIN with an ACK of what was never sent": (
        lambda w, k: w.end.send(FIN | ACK, ack=w.end.expected + 5000), 1),
    "FIN": (lambda w, k: w.end.send(FIN | ACK), 8),
    "no ACK": (lambda w, k: w.end.send(PSH, b"x"), 1),
    "SYN again": (lambda w, k: w.end.send(SYN, position=1000), 1),
    "SYN-ACK": (lambda w, k: w.end.send(SYN | ACK, position=1000), 1),
    "broken option in the last four bytes": (
        lambda w, k: by_hand(w, k, bytes([8, 0, 1, 1])), 1),
    "broken option before them": (lambda w, k: by_hand(w, k, bytes([8, 0, 1, 1, 1, 1, 1, 1])), 1),
    "two bytes of an option alone": (
        lambda w, k: tcp_packet(w.end.here, w.end.there, ACK, w.end.next, w.end.expected, b"",
                                bytes([1, 1, 29, 2])), 1),
}  # fmt: skip


@with_ao
@pytest.mark.parametrize("name", ODD)
def test_the_twin_follows_what_the_kernel_accepts(name):
    """``tcp_validate_incoming``, ``tcp_ack``, ``tcp_parse_auth_options``: state and counters after
    one odd segment, and what the kernel answers, byte for byte."""
    make, state = ODD[name]

    def work():
        wire, listener = shadowed(Tun(), KEYS[0])
        wire.send(ACK)
        sock = keep(listener.accept()[0])
        twin = wire.twin = wire.twin.accept()
        assert state_of(sock) == twin.state.value == "ESTABLISHED"
        packet = make(wire, KEYS[0])
        kernel, ours = wire.moved(lambda: wire.give(packet))
        assert kernel == ours, name
        assert state_of(sock) == twin.state.value == STATES[state]

    in_namespace(work)


@with_ao
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("RST", lambda w, k: w.end.send(RST)),
        ("FIN", lambda w, k: w.end.send(FIN)),
        ("ACK of something else", lambda w, k: w.end.send(ACK, ack=w.end.expected + 7)),
        ("SYN again", lambda w, k: w.end.send(SYN, position=1000)),
        ("SYN-ACK", lambda w, k: w.end.send(SYN | ACK, position=1000)),
        ("unsigned SYN", lambda w, k: tcp_packet(w.end.here, w.end.there, SYN, 1000)),
        ("SYN with TCP-MD5", lambda w, k: tcp_packet(
            w.end.here, w.end.there, SYN, 1000, 0, b"", bytes([19, 18]) + bytes(16) + b"\1\1")),
        ("unsigned ACK", lambda w, k: tcp_packet(
            w.end.here, w.end.there, ACK, w.end.next, w.end.expected)),
    ],
)  # fmt: skip
def test_the_twin_counts_in_a_handshake_as_the_kernel_does(name, make):
    """``tcp_inbound_ao_hash`` and ``tcp_check_req``."""

    def work():
        wire, _ = shadowed(Tun(), KEYS[0])
        packet = make(wire, KEYS[0])
        before, own = netstat(), dict(wire.twin.snmp)
        wire.give(packet)
        after = netstat()
        kernel = {n: after[n] - before[n] for n in after if after[n] != before[n]}
        ours = {n: wire.twin.snmp[n] - own[n] for n in after if wire.twin.snmp[n] != own[n]}
        assert kernel == ours, name

    in_namespace(work)


@with_ao
@pytest.mark.parametrize("flags", [ACK, ACK | PSH, RST])
@pytest.mark.parametrize(
    "key",
    [KEYS[0], over_ipv6(KEYS[0]), KEYS[1], KEYS[3]],
    ids=["hmac-sha-1-96", "ipv6", "aes-128-cmac-96", "hmac(sha256)"],
)
def test_linux_takes_a_checksum_of_zero_for_its_own_segment(key, flags):
    """It hashes the addresses the other way round then (``tcp_ao_hash_pseudoheader``); 0xFFFF, the
    same sum and what signing here writes, it takes for what it is."""
    key = replace(key, exclude_options=True)

    def work():
        wire, listener = shadowed(Tun(), key)
        wire.send(ACK)
        keep(listener.accept()[0])
        wire.twin = wire.twin.accept()
        end, position = wire.end, wire.end.next + (flags == RST)
        filler = bytes([253, 4, 0, 0])  # an option that no MAC covers, for a checksum as wanted
        options = ao_option(key.send_id, key.recv_id, key.mac_length) + filler
        ack = 0 if flags == RST else end.expected
        packet = tcp_packet(end.here, end.there, flags, position, ack, b"data", options)
        isns = end.isn, wire.twin._snt_isn
        packet = with_mac(packet, reference.mac(key, reference.Packet.parse(packet), *isns, 0))
        at = start_of_tcp(packet) + 16
        is_good = {}
        for wanted in (0, 1, 0x1234, 0xFFFF):
            there = packet.index(filler) + 2
            now = int.from_bytes(with_checksum(packet)[at : at + 2], "big")
            more = ((now - wanted) % 0xFFFF).to_bytes(2, "big")
            given = with_checksum(packet[:there] + more + packet[there + 2 :])
            assert int.from_bytes(given[at : at + 2], "big") == wanted % 0xFFFF
            given = given[:at] + wanted.to_bytes(2, "big") + given[at + 2 :]
            kernel, ours = wire.moved(lambda given=given: wire.give(given), 0.02)
            assert ours == {"TCPAOGood": 1}
            is_good[wanted] = kernel == {"TCPAOGood": 1}
            assert is_good[wanted] or kernel == {"TCPAOBad": 1}
        assert is_good == {0: False, 1: True, 0x1234: True, 0xFFFF: True}

    in_namespace(work)


def described(packet, end):
    """What a segment is, in words for a test that fails."""
    tcp = packet[start_of_tcp(packet) :]
    seq, ack = struct.unpack_from(">II", tcp, 4)
    size = (tcp[12] >> 4) * 4
    numbers = f"SEQ next{seq - end.next:+d} ACK expected{ack - end.expected:+d}"
    return f"flags {tcp[13]:#x} {numbers} {len(tcp) - size} bytes, options {tcp[20:size].hex()}"


def any_segment(*arguments):
    """A segment as nobody would send it, that Linux takes for what it is."""
    while has_zero_checksum(packet := some_segment(*arguments)):
        pass
    return packet


def some_segment(random, end, key, peer_isn, own_isn):
    """A segment signed well, badly, or not at all; `own_isn` is what the kernel knows of ours."""
    flags = random.choice([ACK, ACK | PSH, ACK | FIN, RST, RST | ACK, SYN, SYN | ACK, 0, FIN, PSH])
    position = end.next + random.choice([0, 0, 0, 1, 5, -1, -7, 900, 5000, 1 << 20, -(1 << 20)])
    ack = end.expected + random.choice([0, 0, 0, 1, -1, 1000, -1000, 1 << 30])
    payload = b"p" * random.choice([0, 0, 1, 9, 100])
    options = random.choice([b"", b"", bytes([1, 1, 1, 1]), bytes([8, 0, 1, 1]),
                             bytes([8, 0, 1, 1, 1, 1, 1, 1]), bytes([29, 2, 1, 1])])  # fmt: skip
    how = random.choice(["good", "good", "good", "bad", "unsigned", "other key"])
    if how == "unsigned":
        return tcp_packet(end.here, end.there, flags, position, ack, payload, options)
    ids = (99, 98) if how == "other key" else (key.send_id, key.recv_id)
    packet = tcp_packet(end.here, end.there, flags, position, ack, payload,
                        ao_option(*ids) + options)  # fmt: skip
    isns = own_isn, peer_isn
    if flags & 0x12 == SYN:
        isns = position & 0xFFFFFFFF, 0
    elif own_isn is None:
        isns = position & 0xFFFFFFFF if flags & (SYN | RST) else 0, peer_isn
    mac = reference.mac(key, reference.Packet.parse(packet), *isns, 0)
    return filled_in(packet, bytes([29, 16, *ids]), bytes(12) if how == "bad" else mac)


def is_odd_in_syn_received(packet, peer_isn, own_isn):
    """What Linux takes otherwise (docs/linux.md): a RST is verified with its own SEQ for the ISN,
    all with SNE 0, and an ACK of the SYN's own number is enough."""
    seq, ack = struct.unpack_from(">II", packet, start_of_tcp(packet) + 4)
    flags = packet[start_of_tcp(packet) + 13]
    is_before = seq < own_isn or seq - own_isn >= 2**31
    return flags & RST or is_before or ack == peer_isn


def compared(random, wire, sock, key, number):
    """A random segment to the kernel and to its twin: counters, state and answers are the same.
    Whether the connection is still there."""
    twin = wire.twin
    if twin.state is ao.State.SYN_SENT:
        isns = twin._snt_isn, None
    else:
        isns = twin._snt_isn, twin._rcv_isn
    packet = any_segment(random, wire.end, key, *isns)
    if twin.state is ao.State.SYN_RECEIVED and is_odd_in_syn_received(packet, *isns):
        return True
    was = twin.state.value
    kernel, ours = wire.moved(lambda: wire.give(packet), 0.02)
    where = f"segment {number} in {was}: {described(packet, wire.end)}"
    assert kernel == ours, where
    assert state_of(sock) == twin.state.value, where
    return twin.state.value != "CLOSED"


#: Segments of each of the runs below; TCPAO_FAST_FUZZ=N makes N times as many runs.
SEGMENTS, RUNS = 25, int(os.environ.get("TCPAO_FAST_FUZZ", "1"))
FAMILIES = pytest.mark.parametrize("key", [KEYS[0], over_ipv6(KEYS[0])], ids=["ipv4", "ipv6"])


@with_ao
@FAMILIES
@pytest.mark.parametrize("seed", range(20 * RUNS))
def test_random_segments_beside_the_kernel(seed, key):
    """State and counters stay the same, segment by segment."""
    random = Random(seed)

    def work():
        wire, listener = shadowed(Tun(), key)
        wire.send(ACK)
        sock = keep(listener.accept()[0])
        wire.twin = wire.twin.accept()
        for number in range(SEGMENTS):
            if not compared(random, wire, sock, key, number):
                return

    in_namespace(work)


def requests():
    """Handshakes in progress (SYN-RECEIVED) in the namespace."""
    files = [Path("/proc/thread-self/net") / name for name in ("tcp", "tcp6")]
    lines = [line.split() for file in files for line in file.read_text().splitlines()[1:]]
    return sum(line[3] == "03" for line in lines)


@with_ao
@FAMILIES
@pytest.mark.parametrize("seed", range(10 * RUNS))
def test_random_segments_in_a_handshake_beside_the_kernel(seed, key):
    """SYN-RECEIVED: counters and answers, whether the handshake is still there, and whether it is
    complete; then on as above."""
    random = Random(seed)

    def work():
        wire, listener = shadowed(Tun(), key)
        listener.setblocking(False)
        twin = wire.twin
        (peer,) = twin._signed_requests
        sock = None
        for number in range(SEGMENTS):
            if sock is not None:
                if not compared(random, wire, sock, key, number):
                    return
                continue
            packet = any_segment(random, wire.end, key, wire.end.endpoint._rcv_isn, wire.end.isn)
            kernel, ours = wire.moved(lambda packet=packet: wire.give(packet), 0.02)
            where = f"segment {number} in SYN-RECEIVED: {described(packet, wire.end)}"
            assert kernel == ours, where
            try:
                sock = keep(listener.accept()[0])
            except BlockingIOError:
                assert twin.accept() is None, where
                there = twin._request(peer) is not None
                assert bool(requests()) == there, where
                if not there:
                    return
            else:
                wire.twin = twin.accept()
                assert wire.twin is not None, where
                assert state_of(sock) == wire.twin.state.value, where

    in_namespace(work)


def opening(tun, key, port=7001):
    """A socket of the kernel that connects to us, with its twin, in SYN-SENT: wire and socket."""
    is_ipv6 = key.remote.version == 6
    kernel, ours = (KERNEL6, OURS6) if is_ipv6 else (KERNEL, OURS)
    client = keep(socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET))
    client.bind((kernel, 41000))
    linux.add_key(client, kernels(key))
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.connect((ours, port))
    twin = ao.Connection((kernel, 41000))
    twin.add_key(kernels(key))
    twin.connect((ours, port))
    end = End(None, (ours, port), (kernel, 41000), 5000)
    wire = Shadow(tun, end, twin)
    syn = wire.take(5)
    assert syn is not None
    end.expected = twin._snt_isn + 1
    return wire, client


@with_ao
@FAMILIES
@pytest.mark.parametrize("seed", range(20 * RUNS))
def test_random_segments_in_syn_sent_beside_the_kernel(seed, key):
    """A handshake that the kernel began, a simultaneous open among what may become of it."""
    random = Random(seed)

    def work():
        wire, client = opening(Tun(), key)
        for number in range(SEGMENTS):
            if not compared(random, wire, client, key, number):
                return

    in_namespace(work)


@with_ao
@FAMILIES
def test_fast_open_beside_the_kernel(key):
    """The connection is there with the SYN-ACK, and counts the last ACK itself
    (``tcp_fastopen_create_child``)."""

    def work():
        tun = Tun()
        # a server, without cookies, for every listener
        Path("/proc/sys/net/ipv4/tcp_fastopen").write_text(str(0x602))
        wire, listener = shadowed(tun, key, syn_data=b"early")
        sock = keep(listener.accept()[0])
        twin = wire.twin = wire.twin.accept()
        assert state_of(sock) == twin.state.value == "SYN-RECEIVED"
        assert sock.recv(100) == b"early"
        for step in (lambda: wire.send(ACK), lambda: wire.send(ACK | PSH, b"later")):
            kernel, ours = wire.moved(step)
            assert kernel == ours == {"TCPAOGood": 1}
            assert state_of(sock) == twin.state.value == "ESTABLISHED"
            assert linux.info(sock).counters == twin.info().counters
        assert twin.info().counters.good == 2

    in_namespace(work)


@with_ao
@pytest.mark.parametrize("algorithm", ["hmac(sha1)", "hmac(sha256)", "cmac(aes128)", "cmac(aes)",
                                       "hmac(sha512)", "hmac(md5)", "hmac(rmd160)"])  # fmt: skip
def test_algorithms_of_this_kernel(algorithm):
    """``tcp_ao_find_algo``: a kernel from 7.2 on takes four."""

    def work():
        release = tuple(map(int, os.uname().release.split("-")[0].split("+")[0].split(".")[:2]))
        key = make_key(algorithm=algorithm, secret=bytes(range(16)), remote="10.0.0.2")
        twin = ao.Connection(("10.0.0.1", 1), policy=ao.Policy.linux(*release))
        found = []
        for add in (lambda: linux.add_key(real_closed().sock, key), lambda: twin.add_key(key)):
            try:
                found.append(add())
            except ao.TcpAoError as error:
                found.append(error.errno)
        assert found[0] == found[1]

    in_namespace(work)


@with_ao
def test_a_challenge_ack_in_a_handshake_has_the_ids_of_the_segment_at_hand():
    """``tcp_v4_reqsk_send_ack``: the key that the segment asks for, and its KeyID as RNextKeyID."""

    def work():
        wire, _ = shadowed(Tun(), KEYS[0], KEYS[1])
        ours = wire.end.endpoint
        assert (ours.info().current, ours.info().rnext) == (10, 20)
        ours.set_info(rnext=21)  # another key is asked for, in a segment out of the window
        wire.send(ACK, position=wire.end.next + (1 << 20))
        answer = wire.take(5)
        assert answer is not None and ours.process(answer).key == KEYS[1]

    in_namespace(work)


@with_ao
@pytest.mark.parametrize("remote", [None, "127.0.0.0/8"])
def test_a_key_without_an_address_on_a_dual_stack_listener(remote):
    """The kernel takes it for an IPv6 key, and lets an unsigned IPv4 peer in; so does the twin."""

    def work():
        listener = keep(socket.socket(socket.AF_INET6))
        listener.bind(("::", 7000))
        listener.listen()
        key = make_key(remote=remote)
        twin = ao.Listener(("::", 7000))
        if remote is None:
            for add in (lambda: linux.add_key(listener, key), lambda: twin.add_key(key)):
                with pytest.warns(UserWarning, match="IPv6 peers alone"):
                    add()
        else:
            linux.add_key(listener, key)
            twin.add_key(key)
        client = keep(socket.socket())
        client.settimeout(1)
        try:
            client.connect(("127.0.0.1", 7000))
            let_in = True
        except TimeoutError:
            let_in = False
        syn = tcp_packet(("127.0.0.1", 40000), ("127.0.0.1", 7000), SYN, 1)
        assert let_in == twin.process(syn).accepted == (remote is None)

    in_namespace(work)


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.0.0.0/8", "::1", "::/1"])
def test_tcp_md5_keys_of_both_families_on_an_ipv6_socket(remote):
    """An IPv4 prefix has IPv4's length there (``tcp_v6_parse_md5_keys``)."""

    def work():
        sock = keep(socket.socket(socket.AF_INET6))
        key = md5_key(remote=remote)
        linux.add_key(sock, key)
        linux.delete_key(sock, key)

    in_namespace(work)


@pytest.mark.parametrize("key", [make_key(remote=OURS), md5_key(remote=OURS)])
def test_an_mptcp_socket_is_called_one(key):
    """What lacks the option is the socket's protocol, not the kernel."""
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
    except OSError as error:
        pytest.skip(f"no MPTCP here: {error.strerror}")
    with sock, pytest.raises(ao.KernelSupportError, match="the socket is MPTCP"):
        linux.add_key(sock, key)


# -- long transfers -------------------------------------------------------------------------------

#: Megabytes each way; a long run takes TCPAO_FAST_TRANSFER=100.
TRANSFER = int(float(os.environ.get("TCPAO_FAST_TRANSFER", "1")) * 1e6)
SEGMENT, WINDOW = 1400, 60_000


class Stream:
    """Bytes that came, as their number and digest."""

    def __init__(self):
        self.size, self.digest = 0, hashlib.sha256()

    def take(self, data):
        self.size += len(data)
        self.digest.update(data)

    def __eq__(self, other):
        return self.size == other.size and self.digest.digest() == other.digest.digest()

    __hash__ = None


class Mover:
    """A TCP of ours that moves many bytes without loss: over a TUN device there is none, within the
    window that the kernel offers (it drops what it has no room for)."""

    def __init__(self, tun, connection, here, there, isn):
        self.tun, self.connection, self.here, self.there = tun, connection, here, there
        self.next, self.acknowledged, self.expected = isn, isn, 0  # 64-bit positions
        self.room = 0  # behind what was acknowledged; no end scales its windows
        self.received, self.bad, self.packets = Stream(), 0, 0

    def send(self, flags, payload=b"", options=b""):
        ack = self.expected if flags & ACK else 0
        packet = tcp_packet(
            self.here, self.there, flags, self.next, ack, payload, options, window=WINDOW
        )
        self.next += len(payload) + bool(flags & (SYN | FIN))
        self.tun.write(self.connection.sign(packet))
        self.packets += 1

    def receive(self, timeout=5.0):
        """Take the kernel's next packet; whether there was one."""
        packet = self.tun.read(timeout)
        if packet is None:
            return False
        outcome = self.connection.process(packet)
        self.packets += 1
        if not outcome.accepted or outcome.verdict is not ao.Verdict.good:
            self.bad += 1
            return True
        tcp = outcome.packet[start_of_tcp(outcome.packet) :]
        seq, ack = struct.unpack_from(">II", tcp, 4)
        payload = tcp[(tcp[12] >> 4) * 4 :]
        if tcp[13] & SYN:
            self.expected = seq + 1
        elif payload and seq == self.expected % 2**32:
            self.received.take(payload)
            self.expected += len(payload)
        ahead = (ack - self.acknowledged) % 2**32
        if tcp[13] & ACK and ahead < 2**31:
            self.acknowledged += ahead
            self.room = int.from_bytes(tcp[14:16], "big")
        return True

    def may_send(self, size):
        return self.next + size <= self.acknowledged + self.room


@with_ao
@pytest.mark.parametrize("over", ["ipv4", "ipv6"])
@pytest.mark.parametrize("algorithm", ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)"])
def test_long_transfers_across_the_wrap(algorithm, over):
    """Both ways at once, SEQ of both wrapping where the transfer is long enough: everything that
    either side signs is good for the other, and the SNEs end where the kernel's do."""

    def work():
        tun = Tun()
        kernel, ours = (KERNEL6, OURS6) if over == "ipv6" else (KERNEL, OURS)
        key = make_key(10, 20, algorithm=algorithm, secret=bytes(range(16)), remote=kernel)
        listener = keep(socket.socket(socket.AF_INET6 if over == "ipv6" else socket.AF_INET))
        listener.bind((kernel, 7000))
        listener.listen(4096)
        listener.settimeout(5)
        linux.add_key(listener, kernels(key))
        data = bytes(Random(1).randbytes(1 << 16))
        isn = 2**32 - TRANSFER // 2
        for port in range(20000, 20000 + 400):
            here, there = (ours, port), (kernel, 7000)
            connection = ao.Connection(here)
            connection.add_key(key)
            connection.connect(there, isn=isn)
            mover = Mover(tun, connection, here, there, isn)
            mover.send(SYN, options=bytes([2, 4, SEGMENT >> 8, SEGMENT & 255]))
            assert mover.receive()
            # the kernel chooses its own: one that wraps in the middle of a long transfer
            if TRANSFER < 50_000_000 or 2**32 - mover.expected < TRANSFER * 0.9:
                break
            mover.send(RST | ACK)
        mover.send(ACK)
        sock = keep(listener.accept()[0])
        while sock.getpeername()[1] != port:
            sock = keep(listener.accept()[0])
        sock.settimeout(60)
        arrived, errors = Stream(), []

        def guarded(do):
            def run():
                try:
                    do()
                except BaseException as error:
                    errors.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            return thread

        def sends():
            for _ in range(TRANSFER >> 16):
                sock.sendall(data)

        def receives():
            while arrived.size < TRANSFER >> 16 << 16:
                found = sock.recv(1 << 20)
                assert found
                arrived.take(found)

        threads = [guarded(sends), guarded(receives)]
        size = TRANSFER >> 16 << 16
        whole = Stream()
        for _ in range(TRANSFER >> 16):
            whole.take(data)
        twice = data * 2
        sent = 0
        began, idle = time.monotonic(), 0
        while sent < size or mover.acknowledged < mover.next or mover.received.size < size:
            was = mover.expected
            while sent < size and mover.may_send(length := min(SEGMENT, size - sent)):
                at = sent % len(data)
                mover.send(ACK | PSH, twice[at : at + length])
                sent += length
            had = mover.receive(0.2)
            while had and mover.receive(0):
                pass
            if mover.expected != was:
                mover.send(ACK)
            idle = 0 if had else idle + 1
            assert idle < 50 and not errors, (
                errors, sent, mover.acknowledged, mover.next, netstat(), linux.info(sock).counters
            )  # fmt: skip
        for thread in threads:
            thread.join(60)
        assert not errors and mover.bad == 0
        assert mover.received == whole and arrived == whole
        counters = linux.info(sock).counters
        assert counters.bad == counters.key_not_found == counters.ao_required == 0
        sock.setsockopt(socket.IPPROTO_TCP, linux.TCP_REPAIR, 1)
        state, connection.repair_mode = linux.repair_state(sock), True
        own = connection.repair_state()
        assert (state.rcv_sne, state.snd_sne) == (own.snd_sne, own.rcv_sne)
        wraps = own.snd_sne, own.rcv_sne
        assert wraps[0] == 1
        if TRANSFER >= 50_000_000:
            assert wraps[1] == 1
        print(
            f"{algorithm} {over}: {size} bytes each way, {mover.packets} packets, wraps "
            f"{wraps}, {time.monotonic() - began:.1f} s"
        )

    in_namespace(work)
