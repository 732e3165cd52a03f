"""Signed traffic of any size and number of connections, for the suites."""

import ipaddress
import struct

import numpy as np

import tcpao_fast as ao
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records

SIZES = (64, 256, 576, 1480, 9000)
CONNECTIONS = (1, 1024)
ALGORITHMS = ("hmac-sha-1-96", "aes-128-cmac-96")
#: Bytes of messages (or payload) a round, so that rounds of all sizes take alike.
VOLUME = 4 << 20


#: The key of `Traffic` as a file, for `hmac-sha-1-96` and IPv4.
KEY_FILE = """[[key]]
algorithm = "hmac-sha-1-96"
secret = "bench"
send_id = 1
recv_id = 2
local = "10.0.0.0/8"
remote = "10.255.0.1"
"""


def count_for(size):
    return max(256, min(16384, VOLUME // size))


def write_capture(path, parts):
    """Write records, (buffer, offsets, lengths) a part, as a pcap file of raw IP without times;
    where they are in it: (offsets, lengths)."""
    at, offsets, lengths = 24, [], []
    with path.open("wb") as file:
        file.write(pcap_header(101, 65535, False, False))
        for buffer, starts, sizes in parts:
            stamps = np.zeros(len(starts), np.int64)
            file.write(pcap_records(buffer, starts, sizes, sizes, stamps, False, False))
            offsets.append(at + 16 * (np.arange(len(starts)) + 1) + np.cumsum(sizes) - sizes)
            lengths.append(sizes)
            at = int(offsets[-1][-1] + sizes[-1])
    return np.concatenate(offsets), np.concatenate(lengths)


def packet(source, destination, flags, seq, ack, payload=b"", options=b""):
    """A raw IP packet of the addresses' version; checksums are the signer's to fill in."""
    size = 20 + len(options)
    tcp = struct.pack(
        ">HHIIBBHHH", *source[1:], *destination[1:], seq, ack, size << 2, flags, 1024, 0, 0
    )
    tcp += options + payload
    ends = [ipaddress.ip_address(end[0]) for end in (source, destination)]
    if ends[0].version == 6:
        header = struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64)
    else:
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0)
    return header + b"".join(end.packed for end in ends) + tcp


class Traffic:
    """Signed segments of `connections` connections in turn, behind their handshakes.

    Parameters
    ----------
    version : {4, 6}
    options : bytes
        Other TCP options, before the TCP-AO option.
    link : bytes
        What stands before the IP packet.

    Attributes
    ----------
    handshakes, segments : tuple of (buffer, offsets, lengths)
        For an engine with link type `linktype`.
    """

    def __init__(
        self, algorithm, payload, connections, count, version=4, options=b"", link=b"", **key
    ):
        self.linktype = 1 if link else 101
        locals_, remote = ("10.0.0.0/8", "10.255.0.1") if version == 4 else ("fd00::/16", "fd01::1")
        self.key = ao.MasterKey(
            algorithm=algorithm, secret=b"bench", send_id=1, recv_id=2,
            local=locals_, remote=remote, **key,
        )  # fmt: skip
        server = (remote, 179)
        near = "10.0." if version == 4 else "fd00::10.0."
        clients = [(f"{near}{i >> 8}.{i & 255}", 40000) for i in range(connections)]
        opening = []
        for client in clients:
            opening += [
                packet(client, server, 2, 1000, 0),
                packet(server, client, 18, 5000, 1001),
                packet(client, server, 16, 1001, 5001),
            ]
        body = bytes(payload)
        if options:  # `sign` puts its option first: this one is there already, to be filled in
            options += bytes((29, 16, 1, 2)) + bytes(12)
        data = [
            packet(
                clients[i % connections], server, 16,
                1001 + i // connections * payload, 5001, body, options,
            )
            for i in range(count)
        ]  # fmt: skip
        signer = ao.Engine([self.key])
        self.handshakes = self._framed(signer.sign(*self._records(opening), 101), link)
        self.plain = self._records([link + one for one in data])
        if options:
            whole = bytearray(b"".join(data)), *self._records(data)[1:]
            signer.sign_inplace(*whole, 101)
            signed = whole
        else:
            signed = signer.sign(*self._records(data), 101)
        self.segments = self._framed(signed, link)
        self.count = count

    @classmethod
    def _framed(cls, records, link):
        buffer, offsets, lengths = records
        if not link:
            return tuple(records)
        whole = bytes(buffer)
        pairs = zip(offsets.tolist(), lengths.tolist(), strict=True)
        return cls._records([link + whole[at : at + size] for at, size in pairs])

    @staticmethod
    def _records(packets):
        lengths = np.array([len(one) for one in packets], np.int64)
        return b"".join(packets), np.cumsum(lengths) - lengths, lengths

    def engine(self, **options):
        """An engine that has seen the handshakes."""
        engine = ao.Engine([self.key], **options)
        result = engine.verify(*self.handshakes, self.linktype)
        assert result.counts["good"] == len(self.handshakes[1])
        return engine

    def verify(self, engine):
        result = engine.verify(*self.segments, self.linktype)
        assert result.counts["good"] == self.count
        return result


def syns_from(peers, server):
    """A signed SYN of each (address, its key as the server has it), from a port of its own."""
    packets = [
        packet((address, 1024 + i), server, 2, 1000, 0) for i, (address, _) in enumerate(peers)
    ]
    chain = {id(key): key for _, key in peers}.values()
    return tuple(ao.Engine(chain).sign(*Traffic._records(packets), 101))
