"""Look-ups among many keys: by the engine for new connections, by `KeyChain`, by endpoints.

The last are what Linux's selftest bench-lookups times: add, delete and connect, worst and random.
"""

import random
from ipaddress import ip_address

import pytest
from traffic import syns_from

import tcpao_fast as ao

COUNTS = pytest.mark.parametrize("keys", [1, 100, 10_000])
HERE = ("192.0.2.1", 179)


def peer(i):
    """An address of its own for each of up to 2^24 keys."""
    return f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"


def keys_for(count):
    return [
        ao.MasterKey(
            algorithm="hmac-sha-1-96",
            secret=b"secret",
            send_id=i % 256,
            recv_id=(i + 1) % 256,
            remote=peer(i),
        )
        for i in range(count)
    ]


def queries(count, number=1000):
    chosen = random.Random(1)
    return [chosen.randrange(count) for _ in range(number)]


@COUNTS
def test_engine_new_connections(per_item, keys):
    """SYNs of peers never seen before, each with a key of its own: look-up, derivation, MAC."""
    chain = ao.KeyChain(keys_for(keys))
    syns = syns_from([(peer(i), chain[i]) for i in queries(keys, 4096)], HERE)
    engine = []

    def setup():
        engine[:] = [ao.Engine(chain)]

    def round_():
        assert engine[0].verify(*syns, 101).counts["good"] == 4096

    per_item(round_, 4096, 0, setup=setup)


@COUNTS
def test_chain_to_accept(per_item, keys):
    chain = ao.KeyChain(keys_for(keys))
    asked = [((i + 1) % 256, (peer(i), 40000)) for i in queries(keys)]

    def round_():
        for key_id, there in asked:
            assert chain.to_accept(key_id, HERE, there) is not None

    per_item(round_, len(asked), 0)


@COUNTS
def test_scan(per_item, keys):
    """The peer: every key is asked in turn, addresses ready to compare."""
    chain = ao.KeyChain(keys_for(keys))
    asked = [((i + 1) % 256, ip_address(peer(i))) for i in queries(keys, 100)]

    def round_():
        for key_id, there in asked:
            assert next(k for k in chain if k.recv_id == key_id and there in k.remote)

    per_item(round_, len(asked), 0)


@COUNTS
def test_chain_made(per_item, keys):
    made = keys_for(keys)
    per_item(lambda: ao.KeyChain(made), keys, 0)


def listener_with(keys):
    listener = ao.Listener(HERE)
    for key in keys:
        listener.add_key(key)
    return listener


@COUNTS
def test_listener_add(per_item, keys):
    made = keys_for(keys)
    per_item(lambda: listener_with(made), keys, 0)


@COUNTS
@pytest.mark.parametrize("order", ["worst", "random", "asynchronous"])
def test_listener_delete(per_item, keys, order):
    """The key that was added first is the worst: the last of Linux's list."""
    made = keys_for(keys)
    left = []

    def setup():
        left[:] = [listener_with(made)]

    going = made if order == "worst" else random.Random(2).sample(made, keys)
    going = going[:100]

    def round_():
        for key in going:
            left[0].delete_key(
                key.send_id,
                key.recv_id,
                peer=key.remote,
                vrf=None,
                asynchronous=order == "asynchronous",
            )

    per_item(round_, len(going), 0, setup=setup)


@COUNTS
@pytest.mark.parametrize("order", ["worst", "random"])
def test_listener_syn(per_item, keys, order):
    """A signed SYN found, verified, and its handshake begun."""
    made = keys_for(keys)
    chosen = [0] * 100 if order == "worst" else queries(keys, 100)
    buffer, offsets, lengths = syns_from([(peer(i), made[i]) for i in chosen], HERE)
    view = memoryview(buffer)
    packets = [bytes(view[o : o + n]) for o, n in zip(offsets, lengths, strict=True)]
    listener = listener_with(made)

    def round_():
        for packet in packets:
            assert listener.process(packet).accepted

    per_item(round_, len(packets), 0)
