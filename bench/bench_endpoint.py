"""Endpoints, which take one packet at a time: `Connection.sign` and `process`, and `hmac` alone.

`hmac.digest` over what the MACs cover, with traffic keys at hand, is the least that Python can do
for a packet: parsing, key look-up, SNE, state and checksum come on top of it.
"""

import hmac

import pytest
from traffic import packet

import tcpao_fast as ao

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
COUNT = 1000
PAYLOADS = pytest.mark.parametrize("payload", [64, 1400], ids=lambda size: f"{size}B")


def connected():
    """Both ends of a connection, behind its handshake."""
    key = ao.MasterKey(
        algorithm="hmac-sha-1-96", secret=b"bench", send_id=1, recv_id=2, remote=SERVER[0]
    )
    client, listener = ao.Connection(CLIENT), ao.Listener(SERVER)
    client.add_key(key)
    listener.add_key(key.mirrored())
    client.connect(SERVER)
    assert listener.process(client.sign(packet(CLIENT, SERVER, 2, 1000, 0))).accepted
    assert client.process(listener.sign(packet(SERVER, CLIENT, 18, 5000, 1001))).accepted
    assert listener.process(client.sign(packet(CLIENT, SERVER, 16, 1001, 5001))).accepted
    return client, listener.accept()


def stream(payload):
    """What the client sends next, not signed yet."""
    body = bytes(payload)
    return [packet(CLIENT, SERVER, 24, 1001 + n * payload, 5001, body) for n in range(COUNT)]


@PAYLOADS
def test_sign(per_item, payload):
    packets, client = stream(payload), []

    def setup():
        client[:] = connected()[:1]

    def round_():
        for one in packets:
            client[0].sign(one)

    per_item(round_, COUNT, payload, setup=setup)


@PAYLOADS
def test_process(per_item, payload):
    packets, server = [], []

    def setup():
        client, other = connected()
        packets[:], server[:] = [client.sign(one) for one in stream(payload)], [other]

    def round_():
        for one in packets:
            assert server[0].process(one).accepted

    per_item(round_, COUNT, payload, setup=setup)


@PAYLOADS
def test_hmac_alone(per_item, payload):
    key, messages = bytes(20), [bytes(16) + one[20:] for one in stream(payload)]

    def round_():
        for one in messages:
            hmac.digest(key, one, "sha1")

    per_item(round_, COUNT, payload)
