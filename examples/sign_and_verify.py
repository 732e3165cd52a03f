"""Sign raw IP packets in bulk with one engine and verify them with another."""

import struct

import numpy as np

import tcpao_fast as ao

RAW_IP = 101
key = ao.MasterKey(
    algorithm="hmac-sha-1-96",
    secret=b"example",
    send_id=1,
    recv_id=2,
    local="10.0.0.1",
    remote="10.0.0.2",
)


def packet(seq: int, ack: int, flags: int, payload: bytes = b"", *, reply: bool = False) -> bytes:
    """A TCP segment in IPv4; `sign` computes the checksums."""
    ends = [(b"\x0a\0\0\1", 40000), (b"\x0a\0\0\2", 179)]
    (source, source_port), (destination, destination_port) = ends[::-1] if reply else ends
    tcp = struct.pack(
        ">HHIIBBHHH", source_port, destination_port, seq, ack, 5 << 4, flags, 65535, 0, 0
    )
    length = 20 + len(tcp) + len(payload)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, length, 0, 0, 64, 6, 0) + source + destination
    return ip + tcp + payload


syn, ack = 0x02, 0x10
packets = [
    packet(1000, 0, syn),
    packet(5000, 1001, syn | ack, reply=True),
    packet(1001, 5001, ack),
    *(packet(1001 + 100 * i, 5001, ack, bytes(100)) for i in range(1000)),
]
lengths = np.array([len(one) for one in packets])
offsets = np.cumsum(lengths) - lengths

signed = ao.Engine([key]).sign(b"".join(packets), offsets, lengths, RAW_IP)
print(signed.counts)

buffer, offsets, lengths = signed
result = ao.Engine([key]).verify(buffer, offsets, lengths, RAW_IP)
print({name: count for name, count in result.counts.items() if count})
