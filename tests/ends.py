"""A TCP just large enough to drive `Listener` and `Connection` in tests."""

from wire import ACK, FIN, PSH, RST, SYN, tcp_packet

import tcpao_fast as ao

CLIENT = ("10.0.0.1", 40000)
SERVER = ("10.0.0.2", 179)
CLIENT6 = ("2001:db8::1", 40000)
SERVER6 = ("2001:db8::2", 179)

__all__ = ["ACK", "FIN", "PSH", "RST", "SYN"]  # with what is below


def make_key(send_id=100, recv_id=200, **changes):
    """A key as the client has it, for any address unless it is told."""
    fields = {"algorithm": "hmac-sha-1-96", "secret": b"a secret", **changes}
    return ao.MasterKey(send_id=send_id, recv_id=recv_id, **fields)


def md5_key(**changes):
    return ao.MasterKey(algorithm="tcp-md5", **{"secret": b"md5 secret", **changes})


class End:
    """One end: an endpoint with the SEQs of the TCP above it."""

    def __init__(self, endpoint, here, there, isn):
        self.endpoint, self.here, self.there = endpoint, here, there
        self.isn = isn
        self.next = isn  # 64-bit positions
        self.expected = 0

    def packet(self, flags, payload=b"", *, position=None, options=b"", ack=None):
        """An unsigned packet; the next one unless `position` says otherwise."""
        at = self.next if position is None else position
        if ack is None:
            ack = self.expected if flags & ACK else 0
        packet = tcp_packet(self.here, self.there, flags, at, ack, payload, options)
        if position is None:
            self.next += len(payload) + bool(flags & SYN) + bool(flags & FIN)
        return packet

    def send(self, flags=ACK, payload=b"", **arguments):
        """A packet as the endpoint sends it."""
        return self.endpoint.sign(self.packet(flags, payload, **arguments))

    def receive(self, packet, **arguments):
        outcome = self.endpoint.process(packet, **arguments)
        if outcome.accepted and outcome.packet:
            self.note(outcome.packet)
        return outcome

    def note(self, packet):
        """Follow SEQ as a TCP without gaps would."""
        at = 20 if packet[0] >> 4 == 4 else 40
        tcp = packet[at:]
        seq = int.from_bytes(tcp[4:8], "big")
        flags = tcp[13]
        length = len(tcp) - (tcp[12] >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
        if flags & SYN or seq == self.expected & 0xFFFFFFFF:
            self.expected = (seq + length) & 0xFFFFFFFF


def dial(client, listener, here=CLIENT, there=SERVER, isns=(1000, 5000)):
    """Handshake between an unconnected `Connection` and a `Listener`; both ends, or the outcome
    that ended it."""
    client.connect(there, isn=isns[0])
    a, b = End(client, here, there, isns[0]), End(listener, there, here, isns[1])
    for sender, receiver, flags in ((a, b, SYN), (b, a, SYN | ACK), (a, b, ACK)):
        outcome = receiver.receive(sender.send(flags))
        if not outcome.accepted:
            return outcome
    accepted = listener.accept()
    assert accepted is not None
    b.endpoint = accepted
    return a, b


def connected(key=None, *, policy=None, isns=(1000, 5000), here=CLIENT, there=SERVER, more=()):
    """Two ends of an established connection; keys are as the client has them."""
    listener = ao.Listener(there, policy=policy)
    client = ao.Connection(here, policy=policy)
    keys = [make_key() if key is None else key, *more]
    for one in keys:
        listener.add_key(one.mirrored())
    for one in reversed(keys):
        client.add_key(one)
    return dial(client, listener, here, there, isns)


def exchange(sender, receiver, payload=b"x" * 100):
    """A segment from one end to the other; the outcome."""
    return receiver.receive(sender.send(ACK | PSH, payload))
