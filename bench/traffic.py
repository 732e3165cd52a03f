"""Signed traffic of any size and number of connections, for the suites."""

import ipaddress
import struct

import numpy as np

import tcpao_fast as ao

SIZES = (64, 256, 576, 1480, 9000)
CONNECTIONS = (1, 1024)
ALGORITHMS = ("hmac-sha-1-96", "aes-128-cmac-96")
#: Bytes of messages (or payload) a round, so that rounds of all sizes take alike.
VOLUME = 4 << 20


def count_for(size):
    return max(256, min(16384, VOLUME // size))


def packet(source, destination, flags, seq, ack, payload=b""):
    """A raw IPv4 packet; checksums are the signer's to fill in."""
    tcp = struct.pack(
        ">HHIIBBHHH", *source[1:], *destination[1:], seq, ack, 5 << 4, flags, 1024, 0, 0
    )
    total = 20 + len(tcp) + len(payload)
    header = struct.pack(">BBHHHBBH", 0x45, 0, total, 0, 0x4000, 64, 6, 0)
    addresses = (ipaddress.ip_address(end[0]).packed for end in (source, destination))
    return header + b"".join(addresses) + tcp + payload


class Traffic:
    """Signed segments of `connections` connections in turn, behind their handshakes.

    Attributes
    ----------
    handshakes, segments : tuple of (buffer, offsets, lengths)
        For an engine with link type 101.
    """

    def __init__(self, algorithm, payload, connections, count):
        self.key = ao.MasterKey(
            algorithm=algorithm, secret=b"bench", send_id=1, recv_id=2,
            local="10.0.0.0/8", remote="10.255.0.1",
        )  # fmt: skip
        server = ("10.255.0.1", 179)
        clients = [(f"10.0.{i >> 8}.{i & 255}", 40000) for i in range(connections)]
        opening = []
        for client in clients:
            opening += [
                packet(client, server, 2, 1000, 0),
                packet(server, client, 18, 5000, 1001),
                packet(client, server, 16, 1001, 5001),
            ]
        body = bytes(payload)
        data = [
            packet(
                clients[i % connections], server, 16, 1001 + i // connections * payload, 5001, body
            )
            for i in range(count)
        ]
        signer = ao.Engine([self.key])
        self.handshakes = tuple(signer.sign(*self._records(opening), 101))
        self.segments = tuple(signer.sign(*self._records(data), 101))
        self.count = count

    @staticmethod
    def _records(packets):
        lengths = np.array([len(one) for one in packets], np.int64)
        return b"".join(packets), np.cumsum(lengths) - lengths, lengths

    def engine(self, **options):
        """An engine that has seen the handshakes."""
        engine = ao.Engine([self.key], **options)
        result = engine.verify(*self.handshakes, 101)
        assert result.counts["good"] == len(self.handshakes[1])
        return engine

    def verify(self, engine):
        result = engine.verify(*self.segments, 101)
        assert result.counts["good"] == self.count
        return result


def syns_from(peers, server):
    """A signed SYN of each (address, its key as the server has it), from a port of its own."""
    packets = [
        packet((address, 1024 + i), server, 2, 1000, 0) for i, (address, _) in enumerate(peers)
    ]
    chain = {id(key): key for _, key in peers}.values()
    return tuple(ao.Engine(chain).sign(*Traffic._records(packets), 101))
