"""TCP-AO in a few plain lines over `hmac` and `cryptography`: what the engine is checked against.

Written from RFC 5925 and RFC 5926 and sharing nothing with the package.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC


def cmac(key, message):
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def prf(algorithm, key, message):
    if algorithm == "aes-128-cmac-96":
        return cmac(key, message)
    name = {"hmac-sha-1-96": "sha1", "hmac(sha256)": "sha256", "hmac-sha256-128": "sha256"}
    return hmac.digest(key, message, name.get(algorithm) or algorithm[5:-1])


def traffic_key(algorithm, secret, context):
    if algorithm == "hmac-sha256-128":
        return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), context + b"\x01", "sha256")
    if algorithm == "aes-128-cmac-96" and len(secret) != 16:
        secret = cmac(bytes(16), secret)
    bits = 8 * len(prf(algorithm, bytes(16), b""))
    return prf(algorithm, secret, b"\x01TCP-AO" + context + struct.pack(">H", bits))


@dataclass
class Packet:
    """A raw IP packet with TCP, taken apart."""

    source: bytes
    destination: bytes
    tcp: bytes

    @classmethod
    def parse(cls, ip):
        if ip[0] >> 4 == 4:
            end = struct.unpack(">H", ip[2:4])[0]
            return cls(ip[12:16], ip[16:20], ip[4 * (ip[0] & 15) : end])
        end = 40 + struct.unpack(">H", ip[4:6])[0]
        return cls(ip[8:24], ip[24:40], ip[40:end])

    @property
    def ports(self):
        return struct.unpack(">HH", self.tcp[:4])

    @property
    def seq(self):
        return struct.unpack(">I", self.tcp[4:8])[0]

    @property
    def ack(self):
        return struct.unpack(">I", self.tcp[8:12])[0]

    @property
    def flags(self):
        return self.tcp[13]

    @property
    def header_length(self):
        return self.tcp[12] >> 4 << 2

    def option(self, kind):
        """Offset and length of an option in the TCP header, or None."""
        at = 20
        while at < self.header_length and self.tcp[at] != 0:
            if self.tcp[at] == 1:
                at += 1
                continue
            if self.tcp[at] == kind:
                return at, self.tcp[at + 1]
            at += self.tcp[at + 1]
        return None

    @property
    def pseudo_header(self):
        if len(self.source) == 4:
            return self.source + self.destination + struct.pack(">HH", 6, len(self.tcp))
        return self.source + self.destination + struct.pack(">II", len(self.tcp), 6)

    def context(self, isn_source, isn_destination):
        return (
            self.source
            + self.destination
            + self.tcp[:4]
            + struct.pack(">II", isn_source, isn_destination)
        )

    def ao_message(self, sne, exclude):
        at, length = self.option(29)
        header = bytearray(self.tcp[: self.header_length])
        header[16:18] = bytes(2)
        header[at + 4 : at + length] = bytes(length - 4)
        if exclude:
            header = header[:20] + header[at : at + length]
        payload = self.tcp[self.header_length :]
        return struct.pack(">I", sne) + self.pseudo_header + bytes(header) + payload

    def md5_digest(self, secret):
        header = self.tcp[:16] + bytes(2) + self.tcp[18:20]
        payload = self.tcp[self.header_length :]
        return hashlib.md5(self.pseudo_header + header + payload + secret).digest()


def mac(key, packet, isn_source, isn_destination, sne):
    """The MAC that a `MasterKey`-like object gives a packet with a TCP-AO option."""
    derived = traffic_key(key.algorithm, key.secret, packet.context(isn_source, isn_destination))
    return prf(key.algorithm, derived, packet.ao_message(sne, key.exclude_options))


class Reference:
    """Verifies packets one by one, believing every SYN: good enough for honest captures."""

    def __init__(self, keys):
        self.keys = keys
        self.isns = {}
        self.position = {}

    def verdict(self, ip):
        packet = Packet.parse(ip)
        me = (packet.source, packet.ports[0])
        peer = (packet.destination, packet.ports[1])
        matching = [key for key in self.keys if self._matches(key, packet)]
        if packet.option(19):
            keys = [key for key in matching if key.algorithm == "tcp-md5"]
            if not keys:
                return "md5_unchecked"
            at, _ = packet.option(19)
            right = packet.md5_digest(keys[0].secret) == packet.tcp[at + 2 : at + 18]
            return "md5_good" if right else "md5_bad"
        matching = [key for key in matching if key.algorithm != "tcp-md5"]
        if not packet.option(29):
            return "ao_required" if matching else "unsigned"
        at, length = packet.option(29)
        syn, ack = packet.flags & 2, packet.flags & 16
        if syn:
            self.isns[me, peer] = packet.seq
            self.position[me, peer] = packet.seq
        if syn and ack:
            self.isns[peer, me] = packet.ack - 1 & 0xFFFFFFFF
            self.position.setdefault((peer, me), packet.ack - 1 & 0xFFFFFFFF)
        key = next(
            (key for key in matching if self._key_id(key, packet) == packet.tcp[at + 2]), None
        )
        if key is None:
            return "key_not_found"
        if (me, peer) not in self.isns or ((peer, me) not in self.isns and not syn):
            return "missing_isn"
        destination = 0 if syn and not ack else self.isns[peer, me]
        low = self.position[me, peer] & 0xFFFFFFFF
        step = (packet.seq - low + 2**31) % 2**32 - 2**31
        position = self.position[me, peer] + step
        expected = mac(key, packet, self.isns[me, peer], destination, position >> 32)
        if expected[: key.mac_length] != packet.tcp[at + 4 : at + length]:
            return "bad_mac"
        self.position[me, peer] = max(self.position[me, peer], position)
        return "good"

    @staticmethod
    def _forward(key, packet):
        return key.local.network_address.packed == packet.source

    def _matches(self, key, packet):
        ends = {key.local.network_address.packed, key.remote.network_address.packed}
        if ends != {packet.source, packet.destination}:
            return False
        ports = key.remote_port
        remote = packet.ports[1 if self._forward(key, packet) else 0]
        return ports is None or ports[0] <= remote <= ports[1]

    def _key_id(self, key, packet):
        return key.send_id if self._forward(key, packet) else key.recv_id
