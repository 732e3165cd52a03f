"""`mac_batch`: the naked MAC, by algorithm, message size and number of keys."""

import hmac

import numpy as np
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from traffic import count_for

import tcpao_fast as ao


def expected(algorithm, key, message):
    if algorithm == "hmac-sha-1-96":
        return hmac.digest(key, message, "sha1")
    mac = CMAC(AES(key))
    mac.update(message)
    return mac.finalize()


def messages(algorithm, size, keys):
    count = count_for(size)
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 256, (keys, 20 if algorithm == "hmac-sha-1-96" else 16), np.uint8)
    buffer = rng.integers(0, 256, count * size, np.uint8)
    offsets = np.arange(count, dtype=np.int64) * size
    index = (np.arange(count) % keys).astype(np.int32)
    return raw, buffer, offsets, np.full(count, size, np.int64), index


def test_mac_batch(per_item, algorithm, size, connections):
    raw, buffer, offsets, lengths, index = messages(algorithm, size, connections)
    keys = ao.TrafficKeys(algorithm, raw)
    macs = ao.mac_batch(keys, index, buffer, offsets, lengths)
    last = bytes(buffer[offsets[-1] :])
    assert bytes(macs[-1]) == expected(algorithm, bytes(raw[index[-1]]), last)
    per_item(lambda: ao.mac_batch(keys, index, buffer, offsets, lengths), len(offsets), size)


def test_library_in_a_loop(per_item, algorithm, size):
    """The peer: `hmac` or `cryptography` with a cached keyed context, a call a message."""
    raw, buffer, offsets, _, _ = messages(algorithm, size, 1)
    key = bytes(raw[0])
    parts = [bytes(buffer[at : at + size]) for at in offsets[:1024]]
    if algorithm == "hmac-sha-1-96":
        keyed = hmac.new(key, digestmod="sha1")

        def one(message):
            mac = keyed.copy()
            mac.update(message)
            return mac.digest()

    else:
        keyed = CMAC(AES(key))

        def one(message):
            mac = keyed.copy()
            mac.update(message)
            return mac.finalize()

    assert one(parts[0]) == expected(algorithm, key, parts[0])
    per_item(lambda: [one(message) for message in parts], len(parts), size)


def test_derive_traffic_keys(per_item, algorithm):
    contexts = np.random.default_rng(2).integers(0, 256, (4096, 20), np.uint8)
    per_item(lambda: ao.derive_traffic_keys(algorithm, b"bench", contexts), len(contexts), 20)
