"""Candidates for a secret against one segment, and `hmac` or `hashlib` in a loop beside it.

For TCP-AO a candidate costs a key derivation and a MAC, both under a key that nothing else uses.
"""

import hashlib
import hmac
import io

import numpy as np
import pytest
from traffic import packet

import tcpao_fast as ao
from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.diagnose.secret_search import matching_rows
from tcpao_fast.engine.candidates import Statement
from tcpao_fast.engine.secrets import LINES, read_secrets

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
ALGORITHMS = pytest.mark.parametrize("name", ["hmac-sha-1-96", "aes-128-cmac-96", "tcp-md5"])


def words(count):
    rng = np.random.default_rng(7)
    letters = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789", np.uint8)
    return [bytes(rng.choice(letters, rng.integers(6, 25))) for _ in range(count)]


def segment(name, secret):
    key = ao.MasterKey(algorithm=name, secret=secret,
                       **({} if name == "tcp-md5" else {"send_id": 1, "recv_id": 2}))  # fmt: skip
    bare = packet(CLIENT, SERVER, 2, 1000, 0)
    signed = ao.Engine([key]).sign(bare, [0], [len(bare)], 101)
    return ParsedSegment(bytes(signed.buffer))


@ALGORITHMS
def test_candidates(per_item, name):
    secrets = words(LINES)
    found = segment(name, secrets[-1])
    statement = Statement(found, name, b"", 1000, 0)
    (batch,) = read_secrets(io.BytesIO(b"\n".join([*secrets, b""])))

    def search():
        batch.__dict__.pop("_prfs", None)  # prepared once a batch
        return [at for _, at in matching_rows(batch, [statement], found.mac)]

    assert search() == [LINES - 1]
    per_item(search, LINES, 0)


@ALGORITHMS
def test_library_in_a_loop(per_item, name):
    """The peer: the least that Python can do for a candidate."""
    if name == "aes-128-cmac-96":
        pytest.skip("hmac and hashlib have no CMAC")
    secrets = words(1024)
    found = segment(name, secrets[-1])
    statement = Statement(found, name, b"", 1000, 0)
    text = statement.message()
    if name == "tcp-md5":

        def search():
            return [s for s in secrets if hashlib.md5(text + s).digest() == found.mac]
    else:
        kdf = b"\x01TCP-AO" + statement.context() + (160).to_bytes(2, "big")

        def search():
            return [
                s for s in secrets
                if hmac.digest(hmac.digest(s, kdf, "sha1"), text, "sha1")[:12] == found.mac
            ]  # fmt: skip

    assert search() == secrets[-1:]
    per_item(search, len(secrets), 0)
