"""The keyed hash of the connection table: against AES-CBC and SipHash written down once more."""

import random
import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tcpao_fast.core.flow.connections import flow_hash

MASK = (1 << 64) - 1


def aes_hash(key, words):
    """The first 32 bits of CBC-MAC."""
    encryptor = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor()
    blocks = encryptor.update(struct.pack(f"<{len(words)}Q", *words))
    return struct.unpack("<I", blocks[-16:-12])[0]


def sip_hash(key, words):
    """SipHash-1-3 of whole words, whose count goes into the beginning."""

    def rotate(x, n):
        return (x << n | x >> (64 - n)) & MASK

    def turn():
        nonlocal a, b, c, d
        a = (a + b) & MASK
        b = rotate(b, 13) ^ a
        a = rotate(a, 32)
        c = (c + d) & MASK
        d = rotate(d, 16) ^ c
        a = (a + d) & MASK
        d = rotate(d, 21) ^ a
        c = (c + b) & MASK
        b = rotate(b, 17) ^ c
        c = rotate(c, 32)

    k0, k1 = struct.unpack("<2Q", key)
    a, b = k0 ^ 0x736F6D6570736575 ^ len(words), k1 ^ 0x646F72616E646F6D
    c, d = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    for word in words:
        d ^= word
        turn()
        a ^= word
    c ^= 0xFF
    for _ in range(3):
        turn()
    result = a ^ b ^ c ^ d
    return (result ^ result >> 32) & 0xFFFFFFFF


REFERENCE = {True: aes_hash, False: sip_hash}


@pytest.mark.parametrize("with_aes", [True, False])
def test_against_the_reference(with_aes):
    rng = random.Random(5)
    for count in (2, 6) * 20:
        key = rng.randbytes(16)
        words = [rng.getrandbits(64) for _ in range(count)]
        words[0] = min(words[0], MASK - 64)
        alone, many, has_aes = flow_hash(key, words, with_aes)
        reference = REFERENCE[has_aes]  # a CPU without AES says so
        assert has_aes <= with_aes
        assert alone == reference(key, words)
        assert many == [reference(key, [words[0] + i, *words[1:]]) for i in range(len(many))]


def check_shown(line):
    """What tests/emulated/under_linux.c printed of one hash."""
    name, *hashes = line.split()[1:]
    key = bytes(17 * i & 0xFF for i in range(16))
    words = [0x0123456789ABCDEF * (i + 1) & MASK for i in range(6)]
    reference = {"aes": aes_hash, "siphash": sip_hash}[name]
    many = [reference(key, [words[0] + i, words[1]]) for i in range(len(hashes) - 2)]
    assert [int(h) for h in hashes] == [reference(key, words[:2]), reference(key, words), *many]
    return name
