"""Packets made by hand: TCP over IP, signed by the reference implementation."""

import ipaddress
import struct

import numpy as np
import reference

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ip_packet(source, destination, payload, protocol=6):
    source, destination = (ipaddress.ip_address(a) for a in (source, destination))
    if source.version == 4:
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0x4000, 64, protocol, 0)
        header += source.packed + destination.packed
        return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload
    header = struct.pack(">IHBB", 6 << 28, len(payload), protocol, 64)
    return header + source.packed + destination.packed + payload


def tcp_packet(source, destination, flags, seq, ack=0, payload=b"", options=b"", window=1024):
    """A raw IP packet; `source` and `destination` are (address, port)."""
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4 << 4
    tcp = struct.pack(
        ">HHIIBBHHH",
        source[1],
        destination[1],
        seq % 2**32,
        ack % 2**32,
        offset,
        flags,
        window,
        0,
        0,
    )
    tcp += options + payload
    packet = reference.Packet(
        ipaddress.ip_address(source[0]).packed, ipaddress.ip_address(destination[0]).packed, tcp
    )
    value = checksum(packet.pseudo_header + tcp)
    return ip_packet(source[0], destination[0], tcp[:16] + struct.pack(">H", value) + tcp[18:])


def start_of_tcp(packet):
    return 20 if packet[0] >> 4 == 4 else 40


def with_checksum(packet):
    """The packet with the checksum that its TCP segment should have."""
    at = start_of_tcp(packet) + 16
    packet = packet[:at] + bytes(2) + packet[at + 2 :]
    whole = reference.Packet.parse(packet)
    value = checksum(whole.pseudo_header + whole.tcp)
    return packet[:at] + struct.pack(">H", value) + packet[at + 2 :]


def has_zero_checksum(packet):
    """Whether Linux takes a segment for one of its own, and its MAC for a wrong one: one of 65,536
    (``tcp_ao_hash_pseudoheader``; docs/linux.md)."""
    at = start_of_tcp(packet) + 16
    return packet[at : at + 2] == bytes(2)


def ao_option(key_id, rnext_key_id, mac_length=12):
    option = bytes([29, 4 + mac_length, key_id, rnext_key_id]) + bytes(mac_length)
    return option + b"\x01" * (-len(option) % 4)


def with_mac(ip, mac):
    """The packet with the leftmost bytes of `mac` in its TCP-AO option."""
    packet = reference.Packet.parse(ip)
    at, length = packet.option(29)
    start = len(ip) - len(packet.tcp) + at + 4
    return ip[:start] + mac[: length - 4] + ip[start + length - 4 :]


class Peer:
    """One end of a connection that signs what it sends with the reference implementation."""

    def __init__(self, key, here, there, isn, local=True):
        self.key, self.here, self.there, self.isn, self.local = key, here, there, isn, local
        self.position = isn
        self.peer = None

    def connect(self, peer):
        self.peer, peer.peer = peer, self

    def send(self, flags, payload=b"", *, position=None, options=b"", ack=None, key=None):
        """A signed packet at `position` (64 bits), or at the next one, which it then moves."""
        key = key or self.key
        at = self.position if position is None else position
        ids = (key.send_id, key.recv_id) if self.local else (key.recv_id, key.send_id)
        if ack is None:
            ack = self.peer.position if flags & ACK else 0
        ip = tcp_packet(
            self.here,
            self.there,
            flags,
            at,
            ack,
            payload,
            ao_option(*ids, key.mac_length) + options,
        )
        destination = 0 if flags & (SYN | ACK) == SYN else self.peer.isn
        mac = reference.mac(key, reference.Packet.parse(ip), self.isn, destination, at >> 32)
        if position is None:
            self.position += len(payload) + bool(flags & SYN) + bool(flags & FIN)
        return with_mac(ip, mac)


def pair(key, client=("10.0.0.1", 40000), server=("10.0.0.2", 179), isns=(1000, 5000)):
    """Client and server that share a key; the client is its local side."""
    a = Peer(key, client, server, isns[0])
    b = Peer(key, server, client, isns[1], local=False)
    a.connect(b)
    return a, b


def handshake(a, b):
    return [a.send(SYN), b.send(SYN | ACK), a.send(ACK)]


def records(packets):
    """Buffer, offsets and lengths of packets, for the engine (link type 101)."""
    lengths = np.array([len(packet) for packet in packets], np.int64)
    offsets = np.cumsum(lengths) - lengths
    return b"".join(packets), offsets, lengths


def pcap(path, packets, linktype=101, start=1000):
    """A capture in nanoseconds, a packet a second."""
    data = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, linktype)
    for number, packet in enumerate(packets):
        data += struct.pack("<IIII", start + number, number, len(packet), len(packet)) + packet
    path.write_bytes(data)
    return path
