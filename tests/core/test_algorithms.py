"""Names, key derivation and MACs of each algorithm."""

import sys

import numpy as np
import pytest
import reference

import tcpao_fast as ao
from tcpao_fast.core.mac import algorithms


@pytest.mark.parametrize(
    ("name", "canonical", "default"),
    [
        ("hmac-sha-1-96", "hmac-sha-1-96", 12),
        ("HMAC-SHA-1-96", "hmac-sha-1-96", 12),
        ("hmac(sha1)", "hmac-sha-1-96", 12),
        ("cmac(aes128)", "aes-128-cmac-96", 12),
        ("hmac(sha256)", "hmac(sha256)", 12),
        ("hmac-sha256-128", "hmac-sha256-128", 16),
        ("kmac256-128", "kmac256-128", 16),
        ("hmac(sha512)", "hmac(sha512)", 12),
        ("hmac(sha3-256)", "hmac(sha3-256)", 12),
        ("hmac(md5)", "hmac(md5)", 12),
        ("cmac(aes)", "cmac(aes)", 12),
        ("tcp-md5", "tcp-md5", 16),
    ],
)
def test_names(name, canonical, default):
    found = algorithms.find(name)
    assert (found.name, found.default_mac_length) == (canonical, default)


@pytest.mark.parametrize("name", ["sha1", "hmac(nope)", "hmac()", "hmac(shake_128)", ""])
def test_unknown(name):
    with pytest.raises(ao.UnknownAlgorithmError, match="hmac"):
        algorithms.find(name)


def test_kmac_without_its_library(monkeypatch):
    algorithms.find.cache_clear()
    monkeypatch.setitem(sys.modules, "Cryptodome.Hash", None)
    with pytest.raises(ao.MissingExtraError, match=r"tcpao-fast\[kmac\]"):
        algorithms.find("kmac256-128")
    algorithms.find.cache_clear()


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 64, 65, 80, 200])
@pytest.mark.parametrize("size", [20, 44])
@pytest.mark.parametrize(
    "name",
    ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)", "hmac-sha256-128", "hmac(sha384)"],
)
def test_key_derivation(name, size, length):
    secret = bytes(range(length))
    contexts = np.random.default_rng(size).integers(0, 256, (70, size), np.uint8)
    found = ao.derive_traffic_keys(name, secret, contexts)
    for context, key in zip(contexts, found, strict=True):
        assert bytes(key) == reference.traffic_key(name, secret, bytes(context))


def test_the_two_sha256_differ_in_their_kdf():
    contexts = np.zeros((1, 20), np.uint8)
    one, other = (
        ao.derive_traffic_keys(name, b"x", contexts) for name in ("hmac(sha256)", "hmac-sha256-128")
    )
    assert (one != other).any()


def test_cmac_aes_takes_the_master_key_as_it_is():
    """With 16 bytes it is the RFC's algorithm; with more it is AES-192 or AES-256 in the KDF."""
    contexts = np.zeros((1, 20), np.uint8)
    for length in (16, 24, 32):
        secret = bytes(range(length))
        (found,) = ao.derive_traffic_keys("cmac(aes)", secret, contexts)
        expected = reference.cmac(secret, b"\x01TCP-AO" + bytes(20) + b"\0\x80")
        assert bytes(found) == expected
    rfc = ao.derive_traffic_keys("aes-128-cmac-96", bytes(range(16)), contexts)
    assert bytes(rfc[0]) == reference.cmac(bytes(range(16)), b"\x01TCP-AO" + bytes(20) + b"\0\x80")
    with pytest.raises(ao.InvalidKeyError, match=r"has 5 bytes; cmac\(aes\) takes 16, 24, 32"):
        ao.MasterKey(algorithm="cmac(aes)", secret=b"short", send_id=1, recv_id=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hmac-sha-1-96", b"x", np.zeros((1, 21), np.uint8)), r"uint8\[n, 20\]"),
        (("hmac-sha-1-96", b"x", np.zeros((1, 20))), r"uint8\[n, 20\]"),
        (("hmac-sha-1-96", b"", np.zeros((1, 20), np.uint8)), "secret is empty"),
        (("tcp-md5", b"x", np.zeros((1, 20), np.uint8)), "derives no traffic keys"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ao.InvalidArgumentError, match=message):
        ao.derive_traffic_keys(*arguments)
