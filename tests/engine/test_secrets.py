"""Many secrets at once, against one at a time; and files of them."""

import hashlib
import hmac
import io
import random

import numpy as np
import pytest
import reference
from wire import ACK, PSH, ao_option, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.engine.candidates import Statement, fitting
from tcpao_fast.engine.secrets import LINES, LONGEST, Secrets, read_secrets

LENGTHS = [1, 8, 15, 16, 17, 20, 31, 32, 63, 64, 65, 80, 81, 128, 200]


def some_secrets(longest=200):
    random.seed(len(LENGTHS))
    return [random.randbytes(n) for n in LENGTHS if n <= longest for _ in range(2)]


@pytest.mark.parametrize(
    "algorithm",
    ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)", "hmac-sha256-128", "hmac(sha512)"],
)
@pytest.mark.parametrize("size", [20, 44])
def test_traffic_keys_are_those_of_one_at_a_time(algorithm, size):
    secrets = some_secrets()
    which = np.array(random.sample(range(len(secrets)), len(secrets)))
    contexts = np.frombuffer(random.randbytes(size * len(which)), np.uint8).reshape(-1, size)
    found = Secrets.of(secrets).traffic_keys(algorithm, which, contexts)
    for at, context, key in zip(which, contexts, found, strict=True):
        assert (key == ao.derive_traffic_keys(algorithm, secrets[at], context[None, :])[0]).all()


def test_hmac_and_cmac_are_those_of_the_reference():
    context = bytes(range(20))
    secrets = some_secrets()
    for algorithm, name, bits in (("hmac-sha-1-96", "sha1", 160), ("hmac(sha256)", "sha256", 256)):
        rows = np.frombuffer(context * len(secrets), np.uint8).reshape(-1, 20)
        found = Secrets.of(secrets).traffic_keys(algorithm, np.arange(len(secrets)), rows)
        text = b"\x01TCP-AO" + context + bits.to_bytes(2, "big")
        for secret, key in zip(secrets, found, strict=True):
            assert bytes(key) == hmac.digest(secret, text, name)


@pytest.mark.parametrize("one_message", [True, False])
def test_tcp_md5_digests(one_message):
    secrets = some_secrets(80)
    messages = [random.randbytes(random.randrange(40, 200)) for _ in secrets]
    messages = messages[:1] if one_message else messages
    found = Secrets.of(secrets).digests(np.arange(len(secrets)), messages)
    for n, secret in enumerate(secrets):
        text = messages[0 if one_message else n]
        assert bytes(found[n]) == hashlib.md5(text + secret).digest()


@pytest.mark.parametrize("name", ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)"])
def test_fitting_has_all_secrets_and_all_else_at_once(name):
    secrets = [b"x" * 16, b"another", b"y" * 24, b"", b"z" * 100, b"y" * 16]
    key = ao.MasterKey(algorithm=name, secret=b"y" * 16, send_id=1, recv_id=2)
    packet = tcp_packet(("10.0.0.1", 4), ("10.0.0.2", 179), PSH | ACK, 9, 5, b"data",
                        ao_option(1, 2))  # fmt: skip
    mac = reference.mac(key, reference.Packet.parse(packet), 3, 4, 0)[:12]
    segment = ParsedSegment(packet)
    statements = [
        Statement(segment, algorithm, secret, *isns, sne)
        for algorithm in (name, "no such algorithm", "tcp-md5")
        for secret in secrets
        for isns in ((3, 4), (4, 3))
        for sne in (0, 1)
    ]
    (at,) = fitting(statements, mac)
    one = statements[at]
    assert (one.algorithm, one.secret, one.isn_source, one.sne) == (name, b"y" * 16, 3, 0)


class TestFiles:
    @pytest.mark.parametrize("size", [1, 2, 7, 100, 1 << 22])
    def test_lines(self, size):
        text = (
            b"one\r\n\n two \n\r\nthree\0x\n"
            + b"l" * LONGEST
            + b"\n"
            + b"l" * 300
            + b"\n\xff\nlast"
        )
        found = list(read_secrets(io.BytesIO(text), size))
        secrets = [one.secret(at) for one in found for at in range(len(one))]
        lines = [int(line) for one in found for line in one.lines]
        assert secrets == [b"one", b" two ", b"three\0x", b"l" * LONGEST, b"\xff", b"last"]
        assert lines == [1, 3, 5, 6, 8, 9]
        for one in found:
            for row, length in zip(one.rows, one.lengths, strict=True):
                assert not row[length:].any()

    def test_nothing(self):
        for text in (b"", b"\n", b"\n\n\r\n"):
            assert sum(map(len, read_secrets(io.BytesIO(text)))) == 0

    def test_many_lines(self):
        text = b"".join(b"%d\n" % n for n in range(2 * LINES + 5))
        found = list(read_secrets(io.BytesIO(text), 1 << 16))
        assert max(map(len, found)) <= LINES
        assert sum(map(len, found)) == 2 * LINES + 5
        assert [int(one.lines[0]) for one in found][-1] > LINES
        assert all(one.secret(0) == b"%d" % (one.lines[0] - 1) for one in found)

    def test_an_endless_line_is_not_kept(self):
        class Endless(io.RawIOBase):
            left = 64

            def read(self, size=-1):
                self.left -= 1
                return b"x" * size if self.left > 0 else b"\nlast\n" if self.left == 0 else b""

        found = [one for one in read_secrets(Endless(), 1 << 10) if len(one)]
        assert [one.secret(0) for one in found] == [b"last"] and found[0].lines[0] == 2

    def test_secrets_are_not_shown(self):
        assert "hidden" not in repr(Secrets.of([b"hidden"]))
