"""sign, strip and sign_inplace on packets made to break them: lengths that cannot grow or shrink,
headers without end, buffers that others write to, records that overlap."""

import contextlib
import random
import struct
import threading
import time

import numpy as np
import pytest
from guard import GuardedPages
from wire import ACK, SYN, ao_option, ip_packet, records, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.wire.parse import parse

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
ETHERNET, RAW_IP = 1, 101
MD5_OPTION = b"\x01\x01\x13\x12" + bytes(16)


def key(algorithm="hmac-sha-1-96", **more):
    ids = {} if algorithm == "tcp-md5" else {"send_id": 1, "recv_id": 2}
    return ao.MasterKey(algorithm=algorithm, secret=b"secret", **ids, **more)


KEYS = [key(), key("tcp-md5")]


def unsigned(size=0, version=4):
    ends = (CLIENT, SERVER) if version == 4 else (("fd00::1", 40000), ("fd00::2", 179))
    return tcp_packet(*ends, SYN, 1000, payload=b"x" * size)


def signed(option, size=0):
    return tcp_packet(CLIENT, SERVER, SYN, 1000, payload=b"x" * size, options=option)


def snap(packet, length=None, ethertype=0x0800):
    llc = b"\xaa\xaa\x03\0\0\0" + struct.pack(">H", ethertype)
    size = len(llc + packet) if length is None else length
    return b"\x02" * 6 + b"\x04" * 6 + struct.pack(">H", size) + llc + packet


def pppoe(packet, length=None):
    size = len(packet) + 2 if length is None else length
    return (
        b"\x02" * 6 + b"\x04" * 6 + b"\x88\x64\x11\0\0\1" + struct.pack(">H", size) + b"\0\x21"
    ) + packet


def snaps(count, packet):
    chain = b""
    for i in range(count):
        last = b"\x08\0" if i == count - 1 else b"\x01\0"
        chain += b"\xaa\xaa\x03\0\0\0\x81\0" + b"\0\5" + last
    return b"\x02" * 6 + b"\x04" * 6 + b"\x01\0" + chain + packet


def gres(count, packet):
    for _ in range(count):
        ppp = struct.pack(">BBHHH", 0x11, 0, 1, len(packet) + 2, 0x21) + packet
        gre = struct.pack(">HHHH", 0x8000, 0x8864, 0, 0) + ppp
        packet = ip_packet("192.0.2.1", "192.0.2.2", gre, 47)
    return packet


def check_sound(before, result, linktype, chain):
    """What came out is just what went in, or signed (or stripped) with every byte still there."""
    assert len(result.lengths) == 1
    after = result.buffer.tobytes()
    if result.outcome[0] not in (ao.SignOutcome.signed, ao.SignOutcome.stripped):
        assert after == bytes(before)
        return
    old = parse(before, [0], [len(before)], linktype)[0]
    new = parse(after, [0], [len(after)], linktype)[0]
    assert new["kind"] == 1
    assert new["length"] - new["header_length"] == old["length"] - old["header_length"]
    if result.key is not None:
        found = ao.Engine(chain).verify(after, [0], [len(after)], linktype)
        assert found.verdict[0] in (ao.Verdict.good, ao.Verdict.md5_good)


@pytest.mark.parametrize("chain", KEYS, ids=lambda one: one.algorithm)
class TestLengths:
    def sign(self, frame, linktype, chain):
        result = ao.Engine([chain]).sign(frame, [0], [len(frame)], linktype)
        check_sound(frame, result, linktype, [chain])
        with_option = ao.strip(frame, [0], [len(frame)], linktype)
        check_sound(frame, with_option, linktype, None)
        return ao.SignOutcome(result.outcome[0]).name

    def test_8023_up_to_its_end(self, chain):
        """802.3 has lengths up to 1,500: what is more would be an EtherType."""
        for size in range(1400, 1453):
            frame = snap(unsigned(size))
            growth = 16 if chain.algorithm != "tcp-md5" else 20
            fits = 8 + 40 + size + growth <= 1500
            assert self.sign(frame, ETHERNET, chain) == ("signed" if fits else "too_long")

    def test_every_8023_length(self, chain):
        packet = unsigned(100)
        for length in range(1501):
            outcome = self.sign(snap(packet, length), ETHERNET, chain)
            if 0 < length < 8 + len(packet):
                assert outcome == "malformed"
            elif length <= 1480:
                assert outcome == "signed"

    def test_every_8023_length_stripped(self, chain):
        packet = signed(MD5_OPTION if chain.algorithm == "tcp-md5" else ao_option(1, 2), 5)
        for length in range(1501):
            frame = snap(packet, length)
            result = ao.strip(frame, [0], [len(frame)], ETHERNET)
            check_sound(frame, result, ETHERNET, None)
            lies = 0 < length < 8 + len(packet)
            assert (result.outcome[0] == ao.SignOutcome.malformed) == lies

    def test_pppoe(self, chain):
        packet = unsigned(100)
        for length in (0, 1, 19, 20, 41, 141, 142, 143, 65515, 65516, 65535):
            outcome = self.sign(pppoe(packet, length), ETHERNET, chain)
            lies = 0 < length < 142
            assert outcome == (
                "malformed" if lies else "too_long" if length > 65519 else "signed"
            ) or (length in (65516,) and outcome in ("signed", "too_long"))

    @pytest.mark.parametrize("version", [4, 6])
    def test_ip_near_its_end(self, chain, version):
        most = 65535 - (40 if version == 4 else 20)
        for size in range(most - 24, most + 1):
            self.sign(unsigned(size, version), RAW_IP, chain)

    @pytest.mark.parametrize("count", [1, 5, 7, 8, 9, 10, 19, 20, 21, 25, 60])
    @pytest.mark.parametrize("size", [0, 100])
    def test_headers_in_headers(self, chain, count, size):
        for frame, linktype in (
            (snaps(count, unsigned(size)), ETHERNET),
            (gres(count, unsigned(size)), RAW_IP),
        ):
            outcome = self.sign(frame, linktype, chain)
            if linktype == ETHERNET and count > 19:
                assert outcome == "too_many_headers"

    def test_authentication_headers_in_authentication_headers(self, chain):
        for count in (1, 8, 30, 5000):
            headers = b"\x33\1\0\0" + bytes(8)
            chained = headers * (count - 1) + b"\6\1\0\0" + bytes(8)
            frame = ip_packet("10.0.0.1", "10.0.0.2", chained + unsigned()[20:], 51)
            outcome = self.sign(frame, RAW_IP, chain)
            assert outcome == ("ipsec" if count <= 19 else "too_many_headers")


@pytest.mark.parametrize("policy", [ao.Policy.linux(), ao.Policy.rfc5925()])
@pytest.mark.parametrize("option", [ao_option(2, 1), MD5_OPTION], ids=["ao", "md5"])
@pytest.mark.parametrize("length", [0, 1, 19, 20, 60, 1500])
def test_endpoints(policy, option, length):
    """A listener and a connection that take a packet whose lengths lie."""
    inner = tcp_packet(CLIENT, SERVER, SYN, 1000, payload=b"hi", options=option)
    frame = ip_packet("10.0.0.1", "10.0.0.2", b"\0\0\x65\x58" + snap(inner, length), 47)
    for keys in ([], [key(local="10.0.0.2", remote="10.9.9.9")]):
        listener = ao.Listener(SERVER, policy=policy)
        for one in keys:
            listener.add_key(one)
        for packet in (inner, frame, frame[:-1], frame[:60]):
            listener.process(packet)
            ao.Connection(SERVER, policy=policy).process(packet)


@contextlib.contextmanager
def meanwhile(write, writers=1):
    """`write()` over and over in other threads."""
    stop = threading.Event()

    def disturb():
        while not stop.is_set():
            write()

    threads = [threading.Thread(target=disturb) for _ in range(writers)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        stop.set()
        for one in threads:
            one.join()


class TestMemoryThatChanges:
    """Whatever another thread writes meanwhile: no crash, and verdicts of the enumeration."""

    def frames(self):
        rng = random.Random(3)
        packets = []
        for port in range(600):
            here = ("10.0.0.1", 1024 + port)
            option = (ao_option(1, 2), MD5_OPTION, b"")[port % 3]
            packets.append(tcp_packet(here, SERVER, SYN, port, payload=b"d" * 20, options=option))
            packets.append(ip_packet("10.1.1.1", "10.1.1.2", snap(packets[-1])[14:], 47))
            packets.append(gres(2, packets[-2]))
        rng.shuffle(packets)
        return records(packets)

    @pytest.mark.parametrize("work", ["verify", "sign", "sign_inplace", "strip"])
    @pytest.mark.parametrize("threads", [1, 3])
    def test_buffer(self, work, threads):
        data, offsets, lengths = self.frames()
        buffer = np.frombuffer(bytearray(data), np.uint8)
        good, noise = buffer.copy(), []
        rng = np.random.default_rng(5)
        for share in (0.02, 0.3, 1):
            bad = good.copy()
            where = rng.random(len(bad)) < share
            bad[where] = rng.integers(0, 256, int(where.sum()), np.uint8)
            noise.append(bad)
        noise.append(np.where(rng.random(len(good)) < 0.2, 0xFF, good).astype(np.uint8))

        def disturb():
            for bad in noise:
                np.copyto(buffer, bad)
                np.copyto(buffer, good)

        with meanwhile(disturb, writers=2):
            engine = ao.Engine(KEYS, threads=threads)
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                if work == "strip":
                    outcome = ao.strip(buffer, offsets, lengths, RAW_IP).outcome
                    assert set(outcome.tolist()) <= set(ao.SignOutcome)
                elif work == "verify":
                    found = engine.verify(buffer, offsets, lengths, RAW_IP)
                    assert set(found.verdict.tolist()) <= set(ao.Verdict)
                    assert found.key.max() < len(KEYS) and found.key.min() >= -1
                else:
                    outcome = getattr(engine, work)(buffer, offsets, lengths, RAW_IP).outcome
                    assert set(outcome.tolist()) <= set(ao.SignOutcome)

    def test_offsets(self):
        packet = signed(ao_option(1, 2))
        data, offsets, lengths = records([packet] * 5000)
        engine = ao.Engine(KEYS)
        good, bad = offsets.copy(), np.full(len(offsets), 1 << 40)

        def disturb():
            offsets[:] = bad
            offsets[:] = good

        with meanwhile(disturb):
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                with contextlib.suppress(ao.InvalidArgumentError):
                    engine.verify(data, offsets, lengths, RAW_IP)

    @pytest.mark.parametrize("algorithm", ["hmac-sha-1-96", "aes-128-cmac-96", "tcp-md5"])
    def test_key_index(self, algorithm):
        keys = ao.TrafficKeys(algorithm, np.ones((2, 16), np.uint8))
        count = 200_000
        index, lengths = np.zeros(count, np.int32), np.full(count, 40, np.int64)
        offsets, data = 40 * np.arange(count), bytes(40 * count)
        one = ao.mac_batch(keys, [0], data, [0], [40])

        def disturb():
            index[:] = 2**31 - 1
            index[:] = -(2**31)
            index[:] = 0

        with meanwhile(disturb):
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                with contextlib.suppress(ao.InvalidArgumentError):
                    assert (ao.mac_batch(keys, index, data, offsets, lengths) == one).all()

    def test_arguments_that_change_each_other(self):
        packet = signed(ao_option(1, 2))
        data = bytearray(packet * 100)
        offsets, lengths = np.zeros(100, np.int64), np.full(100, len(packet), np.int64)

        class Evil:
            def __index__(self):
                offsets[:] = 1 << 40
                return RAW_IP

        # what was checked is what is used
        found = ao.Engine(KEYS).verify(data, offsets, lengths, Evil())
        assert (found.verdict == ao.Verdict.bad_mac).all()

        class Liar(np.ndarray):
            def __len__(self):
                return 10**9

        offsets[:] = 0
        found = ao.Engine(KEYS).verify(data, offsets.view(Liar), lengths, RAW_IP)
        assert len(found.verdict) == 100


class TestOverlap:
    def test_in_place_records_must_not_share_bytes(self):
        packet = tcp_packet(CLIENT, SERVER, SYN, 1000, options=ao_option(1, 2))
        data = bytearray(packet * 3)
        size = len(packet)
        engine = ao.Engine(KEYS)
        for offsets in ([0, 0, 0], [0, size - 1, 2 * size], [2 * size, 0, size // 2]):
            before = bytes(data)
            with pytest.raises(ao.InvalidArgumentError, match=r"records \d and \d overlap"):
                engine.sign_inplace(data, offsets, [size] * 3, RAW_IP)
            assert data == before
        # side by side in any order, and empty ones anywhere, are fine
        engine.sign_inplace(data, [2 * size, 0, size, 5], [size, size, size, 0], RAW_IP)

    def test_reading_them_is_fine(self):
        packet = signed(ao_option(1, 2))
        found = ao.Engine(KEYS).verify(packet, [0] * 100, [len(packet)] * 100, RAW_IP)
        assert len(found.verdict) == 100


@pytest.mark.parametrize("seed", range(4))
def test_mutations_come_out_sound(seed):
    """Bits flipped all over packets in all kinds of headers: signed and stripped packets hold all
    their bytes, others are as they were; nothing beyond the record is read."""
    rng = random.Random(seed)
    pages = GuardedPages(2)
    frames = [
        (snap(unsigned(60)), ETHERNET), (pppoe(unsigned(60)), ETHERNET),
        (gres(2, unsigned(60)), RAW_IP),
        (unsigned(60, 6), RAW_IP), (snap(signed(ao_option(1, 2), 9)), ETHERNET),
        (pppoe(signed(MD5_OPTION, 9)), ETHERNET), (gres(3, signed(ao_option(1, 2), 9)), RAW_IP),
        (snaps(3, signed(MD5_OPTION, 9)), ETHERNET),
        (tcp_packet(CLIENT, SERVER, ACK, 5, 6), RAW_IP),
    ]  # fmt: skip
    for _ in range(1500):
        frame, linktype = frames[rng.randrange(len(frames))]
        data = bytearray(frame)
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.choice([0, 1, 255, rng.randrange(256)])
        view = pages.ending_with(bytes(data))
        where = ([0], [len(data)], linktype)
        check_sound(bytes(data), ao.Engine(KEYS).sign(view, *where), linktype, KEYS)
        check_sound(bytes(data), ao.strip(view, *where), linktype, None)
        ao.Engine(KEYS).sign_inplace(view, *where)
