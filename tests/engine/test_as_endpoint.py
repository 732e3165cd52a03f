"""An engine that signs one side of connections, and verifies as that side."""

import numpy as np
import pytest
from wire import ACK, SYN, tcp_packet

import tcpao_fast as ao

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
RAW_IP = 101
KEY = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2)


class Side:
    """A host behind an engine that signs and verifies for it."""

    def __init__(self, here, there, threads=1):
        policy = ao.Policy(follow_rnext=True, as_endpoint=True)
        self.engine = ao.Engine([KEY], policy, threads)
        self.here, self.there = here, there

    def send(self, flags, seq, ack=0, payload=b""):
        done = self.engine.sign(
            tcp_packet(self.here, self.there, flags, seq, ack, payload), linktype=RAW_IP
        )
        assert done.outcome is ao.SignOutcome.signed, done
        return done.packet

    def receive(self, packet):
        return self.engine.verify(packet, linktype=RAW_IP).verdict.name


def connect(client, server, isns):
    """A connection between two sides; all that went either way, to be replayed."""
    there, back = [], []
    for flags, from_client, seq, ack, payload in (
        (SYN, True, isns[0], 0, b""),
        (SYN | ACK, False, isns[1], isns[0] + 1, b""),
        (ACK, True, isns[0] + 1, isns[1] + 1, b""),
        (ACK, True, isns[0] + 1, isns[1] + 1, b"hello"),
        (ACK, False, isns[1] + 1, isns[0] + 6, b"hello too"),
    ):
        sender, receiver, kept = (client, server, there) if from_client else (server, client, back)
        packet = sender.send(flags, seq, ack, payload)
        assert receiver.receive(packet) == "good"
        kept.append(packet)
    return there, back


@pytest.mark.parametrize("threads", [1, 3])
def test_an_earlier_connection_between_the_same_ports_is_over(threads):
    client, server = Side(CLIENT, SERVER, threads), Side(SERVER, CLIENT, threads)
    earlier = [connect(client, server, (1000 + 7777 * i, 900_000 + 3333 * i)) for i in range(6)]
    observer = ao.Engine([KEY])
    for there, back in earlier:
        assert observer.verify([*there, *back], linktype=RAW_IP).counts["good"] == 5
    there, back = connect(client, server, (500_000, 3_000_000))
    position = [500_006, 3_000_010]
    for old_there, old_back in earlier * 3:
        for packet in old_there[1:]:
            assert server.receive(packet) == "bad_mac"
        for packet in old_back:  # SYN-ACKs of SYNs that are long answered too
            assert client.receive(packet) == "bad_mac"
        server.receive(old_there[0])  # says all it needs: TCP challenges it
        # and the connection goes on both ways
        packet = client.send(ACK, position[0], position[1], b"x" * 10)
        position[0] += 10
        assert server.receive(packet) == "good"
        packet = server.send(ACK, position[1], position[0], b"y" * 20)
        position[1] += 20
        assert client.receive(packet) == "good"
    # what is sent again is good, as it is of this one
    assert [server.receive(one) for one in there[1:]] == ["good"] * 2
    assert [client.receive(one) for one in back] == ["good"] * 2


def test_the_state_carries_on_as_an_endpoint():
    client, server = Side(CLIENT, SERVER), Side(SERVER, CLIENT)
    old, _ = connect(client, server, (1000, 5000))
    connect(client, server, (90_000, 80_000))
    again = Side(SERVER, CLIENT)
    again.engine.import_state(server.engine.export_state(candidates=True))
    assert again.receive(client.send(ACK, 90_006, 80_010, b"on")) == "good"
    assert again.receive(old[2]) == "bad_mac"


def test_data_in_the_syn():
    """RFC 7413: the SYN-ACK acknowledges more than the SYN."""
    client, server = Side(CLIENT, SERVER), Side(SERVER, CLIENT)
    assert server.receive(client.send(SYN, 1000, 0, b"early")) == "good"
    assert client.receive(server.send(SYN | ACK, 5000, 1006)) == "good"
    assert server.receive(client.send(ACK, 1006, 5001)) == "good"


def test_a_handshake_sent_again():
    client, server = Side(CLIENT, SERVER), Side(SERVER, CLIENT)
    for _ in range(3):
        assert server.receive(client.send(SYN, 1000)) == "good"
    for _ in range(3):
        assert client.receive(server.send(SYN | ACK, 5000, 1001)) == "good"
    for _ in range(3):
        assert server.receive(client.send(ACK, 1001, 5001, b"x")) == "good"


def test_batches_say_the_same():
    client, server = Side(CLIENT, SERVER), Side(SERVER, CLIENT)
    old, _ = connect(client, server, (1000, 5000))
    connect(client, server, (90_000, 80_000))
    fresh = [client.send(ACK, 90_006 + i, 80_010, b"x") for i in range(20)]
    mixed = [packet for one in fresh for packet in (old[2], one, old[1])]
    found = server.engine.verify(mixed, linktype=RAW_IP)
    expected = np.tile([ao.Verdict.bad_mac, ao.Verdict.good, ao.Verdict.bad_mac], 20)
    assert found.verdict.tolist() == expected.tolist()
