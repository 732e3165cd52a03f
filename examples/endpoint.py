"""Linux's TCP-AO sockets without the sockets: two endpoints, a handshake, and a forged segment."""

import struct

import tcpao_fast as ao

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
key = ao.MasterKey(
    algorithm="hmac-sha-1-96", secret=b"example", send_id=1, recv_id=2, remote=SERVER[0]
)


def packet(source: tuple[str, int], destination: tuple[str, int], *numbers: int) -> bytes:
    """A TCP segment in IPv4, from sequence number, acknowledgement and flags."""
    seq, ack, flags = numbers
    ports = source[1], destination[1]
    tcp = struct.pack(">HHIIBBHHH", *ports, seq, ack, 5 << 4, flags, 65535, 0, 0)
    addresses = b"".join(bytes(map(int, end[0].split("."))) for end in (source, destination))
    return struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + addresses + tcp


client, listener = ao.Connection(CLIENT), ao.Listener(SERVER)
client.add_key(key)
listener.add_key(key.mirrored())

client.connect(SERVER)
listener.process(client.sign(packet(CLIENT, SERVER, 1000, 0, 0x02)))
client.process(listener.sign(packet(SERVER, CLIENT, 5000, 1001, 0x12)))
listener.process(client.sign(packet(CLIENT, SERVER, 1001, 5001, 0x10)))
server = listener.accept()
assert server is not None

good = client.sign(packet(CLIENT, SERVER, 1001, 5001, 0x10))
forged = good[:-1] + bytes([good[-1] ^ 1])
print(server.process(good).verdict.name, server.process(forged).reason)
print({name: count for name, count in listener.snmp.items() if count})
