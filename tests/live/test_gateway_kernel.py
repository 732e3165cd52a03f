"""The gateway's rules on one side, a kernel's own TCP-AO (or TCP-MD5) on the other.

TCP-MD5 is in almost every kernel; tests/kernel/run runs this file in one that has TCP-AO too.
"""

import os
import socket
from types import SimpleNamespace

import pytest
from ends import ACK, PSH, SYN, End, make_key, md5_key
from netns import KERNEL, KERNEL6, OURS, OURS6, Tun, in_namespace, keep

from tcpao_fast.endpoint import sockets as linux
from tcpao_fast.live.gateway import Gateway
from tcpao_fast.live.nfqueue import LOCAL_IN, LOCAL_OUT, Queued

pytestmark = pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="Linux")
AO = [
    pytest.param(
        algorithm,
        marks=pytest.mark.skipif(
            not linux.has_tcp_ao(),
            reason="this kernel has no TCP-AO; tests/kernel/run runs this file in one that has",
        ),
    )
    for algorithm in ("hmac-sha-1-96", "aes-128-cmac-96")
]


class Unaware:
    """A host that knows nothing of TCP-AO, behind a gateway: what `End` takes for its endpoint."""

    def __init__(self, gateway):
        self.gateway = gateway

    def sign(self, packet):
        (ruling,) = self.gateway.rule([Queued(1, LOCAL_OUT, packet)])
        assert ruling.accept and ruling.packet is not None
        return ruling.packet

    def process(self, packet):
        (ruling,) = self.gateway.rule([Queued(1, LOCAL_IN, packet)])
        return SimpleNamespace(accepted=ruling.accept, packet=ruling.packet)


def option_kinds(packet):
    tcp = packet[20 if packet[0] >> 4 == 4 else 40 :]
    at, end, kinds = 20, (tcp[12] >> 4) * 4, {}
    while at < end and tcp[at]:
        size = 1 if tcp[at] == 1 else tcp[at + 1]
        kinds[tcp[at]] = tcp[at + 2 : at + size]
        at += size
    return kinds


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("algorithm", ["tcp-md5", *AO])
def test_a_host_without_speaks_with_a_kernel_that_has(algorithm, version):
    here, there = (OURS, KERNEL) if version == 4 else (OURS6, KERNEL6)
    if algorithm == "tcp-md5":
        ours, theirs = md5_key(remote=there), md5_key(remote=here)
    else:
        ours = make_key(1, 2, algorithm=algorithm, local=here, remote=there)
        theirs = make_key(2, 1, algorithm=algorithm, remote=here)

    def work():
        tun = Tun()
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        listener = keep(socket.socket(family))
        listener.bind((there, 7000))
        listener.listen()
        listener.settimeout(5)
        linux.add_key(listener, theirs)
        gateway = Gateway([ours])
        end = End(Unaware(gateway), (here, 40000), (there, 7000), 0xFFFFFF00)
        tun.write(end.send(SYN, options=bytes([2, 4, 5, 0xB4])))
        answer = tun.read(5)
        outcome = end.receive(answer)
        assert outcome.accepted
        # the kernel's own MSS leaves no room for our option: the host is told one that does
        before, after = (
            int.from_bytes(option_kinds(one)[2], "big") for one in (answer, outcome.packet)
        )
        assert before - after == (20 if algorithm == "tcp-md5" else 16)
        assert not {19, 29} & option_kinds(outcome.packet).keys()
        tun.write(end.send(ACK))
        server = keep(listener.accept()[0])
        server.settimeout(5)
        for i in range(20):
            tun.write(end.send(ACK | PSH, b"from us %d" % i))
            assert server.recv(4096) == b"from us %d" % i
            server.sendall(b"from the kernel" * i or b"x")
            while (packet := tun.read(0.2)) is not None:
                assert end.receive(packet).accepted
            tun.write(end.send(ACK))
        server.close()
        while (packet := tun.read(0.2)) is not None:
            assert end.receive(packet).accepted
        return gateway.counts

    counts = in_namespace(work)
    assert counts.signed >= 42 and counts.verified >= 21 and not counts.dropped
