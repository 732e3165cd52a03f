"""Every kernel against `hmac`, `hashlib` and `cryptography`: lengths, lanes, page ends."""

import hashlib
import hmac
import itertools
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
import reference
from guard import GuardedPages

import tcpao_fast as ao
from tcpao_fast.core.mac import mac


def kmac256(key, message):
    from Cryptodome.Hash import KMAC256  # sanitizers refuse how it loads its library

    return KMAC256.new(key=key, data=message, mac_len=16).digest()


ALGORITHMS = {
    "hmac-sha-1-96": ("hmac-sha1", 20, lambda k, m: hmac.digest(k, m, "sha1")),
    "aes-128-cmac-96": ("aes-128-cmac", 16, reference.cmac),
    "hmac(sha256)": ("hmac-sha256", 32, lambda k, m: hmac.digest(k, m, "sha256")),
    "tcp-md5": ("md5", 24, lambda k, m: hashlib.md5(m + k).digest()),
    "hmac(sha512)": ("hmac-sha512", 64, lambda k, m: hmac.digest(k, m, "sha512")),
    "kmac256-128": (
        "kmac256",
        32,
        kmac256,
    ),
    "hmac(sha384)": (None, 48, lambda k, m: hmac.digest(k, m, "sha384")),
}
CASES = [
    (algorithm, kernel)
    for algorithm, (name, _, _) in ALGORITHMS.items()
    # "best" is all that the table has together: the first, and what suits what it leaves over;
    # sorted, as which is quickest can differ between the processes of one run
    for kernel in ([*sorted(mac.available()[name]), "best"] if name else ["library"])
]
LENGTHS = sorted(
    {*range(301)}
    | {
        block * n + d
        for block in (16, 64, 128, 136)
        for n in (8, 23, 64, 144, 576)
        for d in (-9, -8, -1, 0, 1)
    }
)


@pytest.fixture(params=CASES, ids=lambda case: "-".join(case))
def case(request):
    """An algorithm with one of its kernels in use."""
    algorithm, kernel = request.param
    if kernel != "library":
        mac.force_kernels("" if kernel == "best" else kernel)
    yield algorithm, ALGORITHMS[algorithm][1], ALGORITHMS[algorithm][2]
    mac.force_kernels(os.environ.get("TCPAO_FAST_KERNELS", ""))


def raw_keys(count, length):
    return np.frombuffer(random.Random(count).randbytes(count * length), np.uint8).reshape(
        count, length
    )


def check(case, lengths, misalign=0):
    algorithm, key_length, expected = case
    rng = random.Random(len(lengths))
    keys = raw_keys(37, key_length)
    index = [rng.randrange(37) for _ in lengths]
    buffer = rng.randbytes(sum(lengths) + misalign)
    lengths = np.array(lengths, np.int64)
    offsets = misalign + np.cumsum(lengths) - lengths
    prepared = ao.TrafficKeys(algorithm, keys)
    macs = ao.mac_batch(prepared, index, buffer, offsets, lengths)
    for i, (offset, length) in enumerate(zip(offsets, lengths, strict=True)):
        message = buffer[offset : offset + length]
        assert bytes(macs[i]) == expected(bytes(keys[index[i]]), message), (i, length)
        assert prepared.mac(index[i], message) == bytes(macs[i]), (i, length)


def test_every_length_in_one_batch(case):
    lengths = list(LENGTHS)
    random.Random(1).shuffle(lengths)
    check(case, lengths)


@pytest.mark.parametrize("count", range(34))
def test_every_lane_count(case, count):
    check(case, [40 + 7 * i for i in range(count)])


@pytest.mark.parametrize("misalign", range(1, 17, 3))
def test_misaligned(case, misalign):
    check(case, [0, 1, 63, 64, 65, 128, 129, 1000, 1480], misalign)


def test_more_messages_than_a_chunk(case):
    check(case, [random.Random(i).randrange(200) for i in range(2500)])


def test_nothing_behind_the_buffer_is_read(case):
    algorithm, key_length, expected = case
    keys = raw_keys(1, key_length)
    prepared = ao.TrafficKeys(algorithm, keys)
    pages = GuardedPages()
    for length in LENGTHS:
        if length > pages.size:
            continue
        message = random.Random(length).randbytes(length)
        view = pages.ending_with(message)
        macs = ao.mac_batch(prepared, [0], view, [0], [length])
        assert bytes(macs[0]) == expected(bytes(keys[0]), message), length


@pytest.mark.parametrize("length", [1, 19, 20, 63, 64, 65, 128, 131, 300])
@pytest.mark.parametrize("name", ["hmac-sha-1-96", "hmac(sha256)", "hmac(sha512)"])
def test_hmac_keys_of_any_length(name, length):
    keys = raw_keys(3, length)
    macs = ao.mac_batch(ao.TrafficKeys(name, keys), [0, 1, 2], b"abc", [0, 0, 0], [3, 3, 3])
    for key, found in zip(keys, macs, strict=True):
        assert bytes(found) == ALGORITHMS[name][2](bytes(key), b"abc")


def test_aes_key_schedule_of_every_lane():
    """Random keys, as many as are expanded side by side and some more."""
    for count in range(1, 40):
        keys = raw_keys(count, 16)
        macs = ao.mac_batch(
            ao.TrafficKeys("aes-128-cmac-96", keys),
            range(count),
            b"x" * 33,
            [0] * count,
            [33] * count,
        )
        for key, found in zip(keys, macs, strict=True):
            assert bytes(found) == reference.cmac(bytes(key), b"x" * 33)


def test_cmac_rfc4493():
    key = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
    text = bytes.fromhex(
        "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
        "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
    )
    keys = ao.TrafficKeys("aes-128-cmac-96", np.frombuffer(key, np.uint8)[None, :])
    macs = ao.mac_batch(keys, [0] * 4, text, [0] * 4, [0, 16, 40, 64])
    assert [bytes(m).hex() for m in macs] == [
        "bb1d6929e95937287fa37d129b756746",
        "070a16b46b4d4144f79bdd9dd04a287c",
        "dfa66747de9ae63030ca32611497c827",
        "51f0bebf7e3b9d92fc49741779363cfe",
    ]


class TestArguments:
    def keys(self):
        return ao.TrafficKeys("hmac-sha-1-96", np.zeros((2, 20), np.uint8))

    @pytest.mark.parametrize(
        ("index", "offsets", "lengths", "message"),
        [
            ([2], [0], [1], r"key_index\[0\] is 2; there are 2 keys"),
            ([-1], [0], [1], r"key_index\[0\] is -1"),
            ([0], [0], [11], "record 0 .* is not inside the buffer of 10 bytes"),
            ([0], [-1], [1], "is not inside"),
            ([0], [0], [-1], "is not inside"),
            ([0], [2**62], [2**62], "is not inside"),
            ([0, 0], [0], [1], "key_index has 2 entries; it must have 1"),
            ([0], [0], [1, 2], "lengths has 2 entries"),
            ([0], [[0]], [1], "offsets has 2 dimensions"),
            ([0], [0.5], [1], "offsets has dtype float64"),
        ],
    )
    def test_refused(self, index, offsets, lengths, message):
        with pytest.raises(ao.InvalidArgumentError, match=message):
            ao.mac_batch(self.keys(), index, bytes(10), offsets, lengths)

    def test_no_buffer(self):
        with pytest.raises(ao.InvalidArgumentError, match="buffer is a str"):
            ao.mac_batch(self.keys(), [0], "text", [0], [1])

    def test_buffer_types(self):
        data = bytes(range(100))
        expected = None
        for buffer in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
            macs = ao.mac_batch(self.keys(), [0], buffer, [10], np.array([50], np.int32))
            expected = bytes(macs[0]) if expected is None else expected
            assert bytes(macs[0]) == expected

    def test_strided_buffer(self):
        with pytest.raises(ao.InvalidArgumentError, match="contiguous"):
            ao.mac_batch(self.keys(), [0], memoryview(bytes(10))[::2], [0], [1])

    @pytest.mark.parametrize(
        ("algorithm", "shape", "message"),
        [
            ("aes-128-cmac-96", (1, 20), "have 16"),
            ("tcp-md5", (1, 81), "at most 80"),
        ],
    )
    def test_key_lengths(self, algorithm, shape, message):
        with pytest.raises(ao.InvalidArgumentError, match=message):
            ao.TrafficKeys(algorithm, np.zeros(shape, np.uint8))

    def test_key_dtype(self):
        with pytest.raises(ao.InvalidArgumentError, match="must be uint8"):
            ao.TrafficKeys("hmac-sha-1-96", np.zeros((1, 20)))

    def test_empty_batch(self):
        assert ao.mac_batch(self.keys(), [], b"", [], []).shape == (0, 20)

    def test_into_memory_that_is_there(self):
        for count in (0, 1, 3, 300, 300, 3):
            index, at = np.zeros(count, np.int32), np.arange(count, dtype=np.int64)
            where = (self.keys(), index, bytes(range(256)) * 2, at, np.full(count, 7))
            room = np.full((count + 1, 20), 0xAA, np.uint8)
            assert ao.mac_batch(*where, out=room[:count]).base is room
            assert (room[:count] == ao.mac_batch(*where)).all() and (room[count] == 0xAA).all()

    @pytest.mark.parametrize(
        ("out", "message"),
        [
            (np.zeros((2, 20), np.uint8), r"out is uint8\[2, 20\]; it must be uint8\[1, 20\]"),
            (np.zeros((1, 16), np.uint8), r"out is uint8\[1, 16\]"),
            (np.zeros(20, np.uint8), r"out is uint8\[20\]"),
            (np.zeros((1, 20), np.int8), r"out is int8\[1, 20\]"),
            (np.zeros((1, 40), np.uint8)[:, ::2], "contiguous and writable"),
            (np.frombuffer(bytes(20), np.uint8).reshape(1, 20), "contiguous and writable"),
            (bytearray(20), r"out is bytearray; it must be uint8\[1, 20\]"),
        ],
    )
    def test_memory_that_does_not_suit(self, out, message):
        with pytest.raises(ao.InvalidArgumentError, match=message):
            ao.mac_batch(self.keys(), [0], bytes(10), [0], [1], out=out)

    def test_memory_that_lies(self):
        """What is written to is what is there, whatever a subclass says of itself."""

        class Larger(np.ndarray):
            shape = property(lambda self: (1000, 20))

        out = np.zeros((1, 20), np.uint8).view(Larger)
        where = (
            np.zeros(1000, np.int32),
            bytes(10),
            np.zeros(1000, np.int64),
            np.ones(1000, np.int64),
        )
        with pytest.raises(ao.InvalidArgumentError, match=r"out is uint8\[1, 20\]; .*\[1000, 20\]"):
            ao.mac_batch(self.keys(), *where, out=out)

    def test_secrets_stay_in(self):
        keys = ao.TrafficKeys("hmac-sha-1-96", np.full((1, 20), 0x41, np.uint8))
        assert "A" * 4 not in repr(keys) and "65" not in repr(keys)
        with pytest.raises(TypeError, match="secret"):
            __import__("pickle").dumps(keys)


class TestChoice:
    def run(self, value, what="active_kernels"):
        code = (
            f"import json, tcpao_fast.core.mac.mac as m; print(json.dumps(m.{what}())); m.kernels()"
        )
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "TCPAO_FAST_KERNELS": value},
            capture_output=True,
            text=True,
        )

    def test_portable_is_everywhere(self):
        done = self.run("portable")
        assert done.returncode == 0
        assert set(json.loads(done.stdout).values()) == {"portable"}

    def test_unknown(self):
        done = self.run("quantum")
        assert done.returncode != 0
        last = done.stderr.splitlines()[-1]
        assert "'quantum': this CPU has no such kernel; it has " in last and "portable" in last

    def test_quickest_is_first(self):
        for rows in mac.kernel_timings().values():
            costs = [row["brief_ns"] * row["full_ns"] for row in rows if row["brief_ns"]]
            # one that is less than a twentieth quicker stays where the table has it
            assert all(a < b * 1.06 for a, b in itertools.pairwise(costs))
            assert rows[0]["use"] == "all" or os.environ.get("TCPAO_FAST_KERNELS")

    def test_all_but_the_portable_are_timed_where_there_is_a_choice(self):
        done = self.run("", "kernel_timings")
        for rows in json.loads(done.stdout).values():
            *others, portable = rows
            assert portable["kernel"] == "portable" and portable["brief_ns"] is None
            for row in others if len(others) > 1 else []:
                assert (
                    0 < row["brief_ns"] < row["full_ns"] and row["brief_ns"] <= row["alone_ns"] * 2
                )

    def test_one_that_is_named_needs_no_timing(self):
        done = self.run("portable", "kernel_timings")
        for rows in json.loads(done.stdout).values():
            assert all(row["brief_ns"] is None for row in rows)

    def test_a_kernel_that_only_some_macs_have(self):
        """Where there is none of that name the best one stays."""
        for kernel in {name for names in ao.kernels().values() for name in names}:
            for mac_name, chosen in json.loads(self.run(kernel).stdout).items():
                names = ao.kernels()[mac_name]
                # without a measurement the first of the table stays
                assert chosen == kernel if kernel in names else chosen in names

    def test_listed(self):
        assert set(ao.kernels()) == set(mac.available())
        assert all(names[-1] == "portable" for names in ao.kernels().values())
