"""The same packets by every way in: one buffer, a ring, buffers each by itself, Arrow, one alone;
and rewritten in place as in a copy."""

import dataclasses
import mmap
import random

import numpy as np
import pyarrow as pa
import pytest
from samples import CAPTURES, Capture
from wire import ACK, SYN, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.wire.parse import parse_records

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
RAW_IP = 101
NAMES = ["v4-sha1", "v6-cmac-exclude", "wrap-v4-sha1", "rotate-v4", "md5-v4", "vlan"]
SAMPLES = [name for name in NAMES if (CAPTURES / f"{name}.pcap").exists()]
assert SAMPLES
KEY = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2)


@pytest.fixture(params=SAMPLES, scope="module")
def sample(request):
    """A real capture: its keys, its packets, and what is to be said of each."""
    capture = Capture(CAPTURES / f"{request.param}.pcap")
    with ao.CaptureReader(capture.path) as reader:
        (records,) = reader
    packets = [records.data(i) for i in range(len(records))]
    return capture.keys, packets, int(records.linktypes[0]), records.timestamps.copy()


def joined(packets):
    lengths = np.array([len(one) for one in packets], np.int64)
    return b"".join(packets), np.cumsum(lengths) - lengths, lengths


def columns(result):
    return [
        result.verdict.tolist(),
        result.key.tolist(),
        result.connection.tolist(),
        result.sne.tolist(),
    ]


def mapped(packet):
    memory = mmap.mmap(-1, max(1, len(packet)))
    memory[: len(packet)] = packet
    return memory


KINDS = [bytes, bytearray, memoryview, mapped, lambda packet: np.frombuffer(packet, np.uint8)]


class TestVerify:
    """Whatever the packets come in, the columns are the same."""

    def expected(self, sample):
        chain, packets, linktype, times = sample
        return columns(ao.Engine(chain).verify(*joined(packets), linktype, times))

    @pytest.mark.parametrize("threads", [1, 3])
    def test_list(self, sample, threads):
        chain, packets, linktype, times = sample
        mixed = [KINDS[i % len(KINDS)](one) for i, one in enumerate(packets)]
        found = ao.Engine(chain, threads=threads).verify(mixed, linktype=linktype, timestamps=times)
        assert columns(found) == self.expected(sample)
        assert columns(ao.Engine(chain).verify(tuple(mixed), None, None, linktype, times)) == (
            self.expected(sample)
        )
        assert (found.segments == parse_records(found.records)).all()
        assert [found.records.data(i) for i in range(len(packets))] == packets

    @pytest.mark.parametrize("threads", [1, 3])
    def test_ring(self, sample, threads):
        chain, packets, linktype, times = sample
        stride, headroom = 9216, 64
        ring = bytearray(stride * len(packets))
        slots = np.array(random.Random(1).sample(range(len(packets)), len(packets)))
        offsets = slots * stride + headroom
        for offset, packet in zip(offsets.tolist(), packets, strict=True):
            ring[offset : offset + len(packet)] = packet
        lengths = np.array([len(one) for one in packets])
        found = ao.Engine(chain, threads=threads).verify(ring, offsets, lengths, linktype, times)
        assert columns(found) == self.expected(sample)

    @pytest.mark.parametrize("threads", [1, 3])
    def test_one_by_one(self, sample, threads):
        chain, packets, linktype, times = sample
        engine = ao.Engine(chain, threads=threads)
        found = []
        for i, (packet, time) in enumerate(zip(packets, times.tolist(), strict=True)):
            kind = KINDS[i % len(KINDS)](packet) if packet else packet
            one = engine.verify(kind, linktype=linktype, timestamps=time)
            assert isinstance(one, ao.Verified) and one.verdict is ao.Verdict(one.verdict)
            found.append((int(one.verdict), one.key, one.connection, one.sne))
        assert [list(column) for column in zip(*found, strict=True)] == self.expected(sample)
        whole = ao.Engine(chain)
        whole.verify(*joined(packets), linktype, times)
        assert engine.counts == whole.counts

    @pytest.mark.parametrize(
        "kind",
        [pa.binary(), pa.large_binary(), pa.binary_view() if hasattr(pa, "binary_view") else None],
        ids=str,
    )
    def test_arrow(self, sample, kind):
        if kind is None:
            pytest.skip("this pyarrow has no binary views")
        chain, packets, linktype, times = sample
        expected = self.expected(sample)
        engine = ao.Engine(chain)
        assert (
            columns(engine.verify(pa.array(packets, kind), None, None, linktype, times)) == expected
        )
        half = len(packets) // 2
        chunks = pa.chunked_array([pa.array(packets[:half], kind), pa.array(packets[half:], kind)])
        assert (
            columns(ao.Engine(chain).verify(chunks, linktype=linktype, timestamps=times))
            == expected
        )
        sliced = pa.array([b"x", *packets, b"y" * 100], kind).slice(1, len(packets))
        assert (
            columns(ao.Engine(chain).verify(sliced, linktype=linktype, timestamps=times))
            == expected
        )

    def test_the_same_object_for_many_calls(self, sample):
        chain, packets, linktype, times = sample
        records = ao.Records(packets, linktype=linktype, timestamps=times)
        first = ao.Engine(chain).verify(records)
        room = ao.VerifyResult.room(len(packets) + 5)
        second = ao.Engine(chain, threads=2).verify(records, out=room)
        assert columns(first) == columns(second) == self.expected(sample)
        assert np.shares_memory(second.verdict, room.verdict)
        assert len(second.records.subset([2, 0])) == 2
        assert second.records.subset(np.array([2, 0])).data(1) == packets[0]


class TestArguments:
    def test_arrow_of_other_types(self):
        engine = ao.Engine([KEY])
        with pytest.raises(ao.InvalidArgumentError, match="'l'; it must be binary"):
            engine.verify(pa.array([1, 2]))
        with pytest.raises(ao.InvalidArgumentError, match="a dictionary"):
            engine.verify(pa.array([b"a", b"a"]).dictionary_encode())
        with pytest.raises(ao.InvalidArgumentError, match="cannot be written to"):
            engine.sign_inplace(pa.array([b"a"]))

    def test_arrow_nulls_and_fixed_width(self):
        engine = ao.Engine([KEY])
        packet = tcp_packet(CLIENT, SERVER, SYN, 1)
        found = engine.verify(pa.array([None, packet, None, b""]), linktype=RAW_IP)
        assert [ao.Verdict(one).name for one in found.verdict] == [
            "not_tcp", "ao_required", "not_tcp", "not_tcp"]  # fmt: skip
        fixed = pa.array([packet, None, packet], pa.binary(len(packet)))
        assert engine.verify(fixed, linktype=RAW_IP).counts["ao_required"] == 2
        assert len(engine.verify(pa.array([], pa.binary())).verdict) == 0
        assert len(engine.verify(pa.chunked_array([], pa.binary())).verdict) == 0

    @pytest.mark.parametrize(
        ("arguments", "more", "message"),
        [
            ((["x"],), {}, "packet 0: buffer is a str"),
            (([b"x", 3],), {}, "packet 1: buffer is a int"),
            (("x",), {}, "buffer is a str"),
            ((np.zeros((2, 3), np.uint8),), {}, "one dimension"),
            ((np.array([None]),), {}, "one dimension"),
            ((b"x", [0]), {}, "both, or neither"),
            (([b"x"],), {"timestamps": [1, 2]}, "2 entries; it must have 1"),
            ((b"x",), {"timestamps": [1, 2]}, "timestamps is a list"),
            (
                (b"x",),
                {"timestamps": 1.5},
                "timestamps is a float; of one packet",
            ),
            ((b"x",), {"linktype": "Ethernet"}, "linktype is a str"),
            ((b"x",), {"linktype": -1}, "linktype is -1; it must be 0 to"),
            ((b"x",), {"wire_lengths": -1}, "wire_lengths is -1; it must be 0 to"),
            ((b"x",), {"vlan": 1 << 40}, "vlan is 1099511627776; it must be"),
            ((b"x",), {"vlan": 1 << 80}, "vlan is 1208925819614629174706176; it must be"),
            ((b"x",), {"out": ao.VerifyResult.room(1)}, "needs no out"),
            (([b"x", b"y"],), {"out": ao.VerifyResult.room(1)}, "room for 1 records"),
            (([b"x"],), {"out": 3}, "must be a VerifyResult"),
            (([b"x"],), {"vlan": [1 << 40]}, "it must be"),
        ],
    )
    def test_refused(self, arguments, more, message):
        with pytest.raises(ao.InvalidArgumentError, match=message):
            ao.Engine([KEY]).verify(*arguments, **more)

    def test_vlan_beside_the_packet(self):
        """A tag that a kernel hands over separately is the tag in the packet."""
        packet = b"\x02" * 12 + b"\x08\0" + tcp_packet(CLIENT, SERVER, SYN, 1)
        keys = [
            ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"a", send_id=1, recv_id=2, vrf=vlan)
            for vlan in (5, 6)
        ]
        tagged = packet[:12] + b"\x81\0\x20\x05" + packet[12:]
        inner = packet[:12] + b"\x81\0\x00\x06" + packet[12:]
        both = packet[:12] + b"\x88\xa8\x20\x05" + inner[12:]
        for threads in (1, 3):
            engine = ao.Engine(keys, threads=threads)
            found = engine.verify(
                [tagged, packet, packet, both, inner], vlan=[-1, 0x2005, 6, -1, 5]
            )
            ids = found.connection.tolist()
            assert ids[0] == ids[1] and ids[3] == ids[4] and len({*ids}) == 3
            assert found.segments["vlan"].tolist() == [5, 5, 6, 5 << 12 | 6, 5 << 12 | 6]
            assert engine.verify(packet, vlan=6).connection == ids[2]
            signed = engine.sign([tagged, packet], vlan=[-1, 5])
            assert signed.key.tolist() == [0, 0]
            assert engine.sign(packet, vlan=6).key == 1


def unsigned(chain, packets, linktype):
    """The packets without their options."""
    return [ao.strip(one, linktype=linktype).packet for one in packets]


class TestSign:
    def copies(self, chain, packets, linktype, **more):
        buffer, offsets, lengths = engine_sign(chain, packets, linktype, **more)
        return [bytes(buffer[o : o + n]) for o, n in zip(offsets, lengths, strict=True)]

    @pytest.mark.parametrize("threads", [1, 3])
    def test_every_way_gives_the_same_packets(self, sample, threads):
        chain, packets, linktype, _ = sample
        plain = unsigned(chain, packets, linktype)
        expected = self.copies(chain, plain, linktype)
        engine = ao.Engine(chain, threads=threads)
        assert [engine.sign(one, linktype=linktype).packet for one in plain] == expected
        out = ao.Rewritten.room(len(plain), sum(map(len, plain)) + 40 * len(plain))
        into = ao.Engine(chain, threads=threads).sign(plain, linktype=linktype, out=out)
        assert np.shares_memory(into.buffer, out.memory[0])
        assert into.buffer.tobytes() == b"".join(expected)
        roomy = [bytearray(b"\xaa" * 40 + one + b"\xbb" * 7) for one in plain]
        records = ao.Records(roomy, linktype=linktype, writable=True, headroom=40, tailroom=7)
        done = ao.Engine(chain, threads=threads).sign_inplace(records)
        placed = zip(roomy, done.offsets.tolist(), done.lengths.tolist(), strict=True)
        assert [bytes(one[o : o + n]) for one, o, n in placed] == expected
        assert [records.data(i) for i in range(len(records))] == expected
        for one, start in zip(roomy, done.offsets.tolist(), strict=True):
            assert one[:start] == b"\xaa" * start and one[-7:] == b"\xbb" * 7
        # and back, in the same records
        again = ao.strip_inplace(records)
        assert [records.data(i) for i in range(len(records))] == plain
        assert again.offsets.tolist() == [40] * len(plain)

    def test_a_ring_in_place(self, sample):
        chain, packets, linktype, _ = sample
        plain = unsigned(chain, packets, linktype)
        expected = self.copies(chain, plain, linktype)
        stride = 64 + max(map(len, plain))
        ring = np.zeros(stride * len(plain), np.uint8)
        offsets = np.arange(len(plain)) * stride + 64
        for offset, one in zip(offsets, plain, strict=True):
            ring[offset : offset + len(one)] = np.frombuffer(one, np.uint8)
        lengths = np.array([len(one) for one in plain])
        done = ao.Engine(chain).sign_inplace(ring, offsets, lengths, linktype, headroom=64)
        found = [ring[o : o + n].tobytes() for o, n in zip(done.offsets, done.lengths, strict=True)]
        assert found == expected
        # a payload has not moved, and what the caller said is not written to
        assert (done.offsets + done.lengths == offsets + lengths).all()
        assert offsets.tolist() == (np.arange(len(plain)) * stride + 64).tolist()

    def test_where_there_is_no_headroom(self):
        packet = tcp_packet(CLIENT, SERVER, SYN, 1)
        data = tcp_packet(CLIENT, SERVER, SYN, 1, payload=b"payload")
        expected = ao.Engine([KEY]).sign(packet, linktype=RAW_IP).packet
        tail = bytearray(packet + bytes(16))
        done = ao.Engine([KEY]).sign_inplace([tail], linktype=RAW_IP, tailroom=16)
        assert (done.offsets[0], bytes(tail)) == (0, expected)
        for one, room in (
            (packet, {"tailroom": 15}),
            (packet, {"headroom": 15}),
            (data, {"tailroom": 16}),
        ):
            before = bytes(room.get("headroom", 0)) + one + bytes(room.get("tailroom", 0))
            memory = bytearray(before)
            done = ao.Engine([KEY]).sign_inplace([memory], linktype=RAW_IP, **room)
            assert ao.SignOutcome(done.outcome[0]) is ao.SignOutcome.no_room
            assert memory == before

    def test_lengths_on_the_wire_follow(self):
        packet = tcp_packet(CLIENT, SERVER, SYN, 1)
        packet = packet[:2] + b"\0\0" + packet[4:]  # as segmentation offload leaves it
        wire = np.array([len(packet)])
        memory = bytearray(bytes(40) + packet)
        more = {"linktype": RAW_IP, "wire_lengths": wire, "writable": True, "headroom": 40}
        records = ao.Records([memory], **more)
        ao.Engine([KEY]).sign_inplace(records)
        assert (records.wire_lengths[0], wire[0]) == (len(packet) + 16, len(packet))
        assert ao.Engine([KEY]).verify(records).counts["good"] == 1

    def test_padding_behind_a_packet_stays_behind_it(self):
        frame = b"\x02" * 12 + b"\x08\0" + tcp_packet(CLIENT, SERVER, SYN, 1) + b"padding"
        expected = ao.Engine([KEY]).sign(frame).packet
        assert expected.endswith(b"padding")
        for room in ({"headroom": 20}, {"tailroom": 20}):
            memory = bytearray(
                bytes(room.get("headroom", 0)) + frame + bytes(room.get("tailroom", 0))
            )
            done = ao.Engine([KEY]).sign_inplace([memory], **room)
            start, size = done.offsets[0], done.lengths[0]
            assert bytes(memory[start : start + size]) == expected

    def test_overlap_counts_the_room(self):
        packet = tcp_packet(CLIENT, SERVER, SYN, 1)
        memory = bytearray(bytes(40) + packet + packet + bytes(40))
        offsets, lengths = np.array([40, 40 + len(packet)]), np.full(2, len(packet))
        with pytest.raises(ao.InvalidArgumentError, match="headroom and tailroom counted"):
            ao.Engine([KEY]).sign_inplace(memory, offsets, lengths, RAW_IP, headroom=40)
        with pytest.raises(ao.InvalidArgumentError, match="not inside the buffer"):
            ao.Engine([KEY]).sign_inplace(memory, offsets, lengths, RAW_IP, headroom=41)
        with pytest.raises(ao.InvalidArgumentError, match="fewer than its headroom"):
            ao.Engine([KEY]).sign_inplace([bytearray(3)], headroom=2, tailroom=2)
        for wrong in (-1, 1 << 40, "x", None, 1.5):
            with pytest.raises(ao.InvalidArgumentError):
                ao.Engine([KEY]).sign_inplace([bytearray(3)], headroom=wrong)


def engine_sign(chain, packets, linktype, **more):
    return ao.Engine(chain).sign(*joined(packets), linktype, **more)


def sum_is_right(packet):
    """Whether a raw IP packet's TCP checksum is right."""
    ip = np.frombuffer(packet, np.uint8).astype(np.int64)
    size, at = (4, 12) if packet[0] >> 4 == 4 else (16, 8)
    header = 20 if size == 4 else 40
    tcp = ip[header:]
    pseudo = ip[at : at + 2 * size]
    both = np.concatenate([pseudo, tcp, np.zeros(len(tcp) % 2, np.int64)])
    total = int((both[::2] * 256 + both[1::2]).sum()) + 6 + len(tcp)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


class TestChecksums:
    """Three ways to the same packet."""

    @pytest.mark.parametrize("version", [4, 6])
    @pytest.mark.parametrize("algorithm", ["hmac-sha-1-96", "aes-128-cmac-96", "tcp-md5"])
    def test_they_agree(self, version, algorithm):
        ends = (CLIENT, SERVER) if version == 4 else (("fd00::1", 40000), ("fd00::2", 179))
        ids = {} if algorithm == "tcp-md5" else {"send_id": 1, "recv_id": 2}
        key = ao.MasterKey(algorithm=algorithm, secret=b"secret", **ids)
        rng = random.Random(version)
        for size in (0, 1, 2, 3, 100, 1399):
            for _ in range(20):
                payload = rng.randbytes(size)
                options = rng.choice(
                    [b"", b"\x02\x04\x05\xb4", b"\x01\x01\x08\x0a" + rng.randbytes(8)]
                )
                packet = tcp_packet(
                    *ends, SYN, rng.getrandbits(32), payload=payload, options=options
                )
                assert sum_is_right(packet)
                full = ao.Engine([key]).sign(packet, linktype=RAW_IP).packet
                quick = (
                    ao.Engine([key]).sign(packet, linktype=RAW_IP, checksums="incremental").packet
                )
                assert sum_is_right(full) and sum_is_right(quick)
                how = "partial"
                partial = ao.Engine([key]).sign(packet, linktype=RAW_IP, checksums=how).packet
                tcp = 20 if version == 4 else 40
                assert full[: tcp + 16] + full[tcp + 18 :] == quick[: tcp + 16] + quick[tcp + 18 :]
                assert finished(partial, tcp) == full
                for how in ("full", "incremental"):
                    assert ao.strip(quick, linktype=RAW_IP, checksums=how).packet == packet
                half = ao.strip(full, linktype=RAW_IP, checksums="partial").packet
                assert finished(half, tcp) == packet

    @pytest.mark.parametrize("host", ["0.0.255.{}", "fd00::100:{}"])
    def test_a_partial_one_carries(self, host):
        """The addresses add up to nearly 65,535, so that the length behind them goes beyond."""
        for last in range(100, 256, 5):
            ends = (host.format(last), 40000), ("0.0.0.0" if "." in host else "::", 179)
            packet = tcp_packet(*ends, SYN, 1, payload=bytes(300))
            full, partial = (
                ao.Engine([KEY]).sign(packet, linktype=RAW_IP, checksums=how).packet
                for how in ("full", "partial")
            )
            assert sum_is_right(full)
            assert finished(partial, 20 if "." in host else 40) == full

    @pytest.mark.parametrize("room", [{}, {"headroom": 40}])
    @pytest.mark.parametrize("payload", [b"", b"abc", bytes(range(256)) * 5])
    @pytest.mark.parametrize("md5", [False, True])
    def test_in_place(self, room, payload, md5):
        """Each way, in the option that is there (with KeyIDs of no key) and in new room."""
        key, ids = KEY, {"send_id": 200, "recv_id": 201}
        if md5:
            key, ids = ao.MasterKey(algorithm="tcp-md5", secret=b"secret"), {}
        other = dataclasses.replace(key, secret=b"another", **ids)
        plain = tcp_packet(CLIENT, SERVER, SYN, 1, payload=payload)
        packet = plain if room else ao.Engine([other]).sign(plain, linktype=RAW_IP).packet
        expected = ao.Engine([key]).sign(plain, linktype=RAW_IP).packet
        assert sum_is_right(expected)
        for how in ("full", "incremental", "partial"):
            frame = bytearray(room.get("headroom", 0)) + packet
            done = ao.Engine([key]).sign_inplace([frame], linktype=RAW_IP, checksums=how, **room)
            assert done.counts == {"signed": 1}
            at = int(done.offsets[0])
            found = bytes(frame[at : at + int(done.lengths[0])])
            assert (finished(found, 20) if how == "partial" else found) == expected

    def test_a_wrong_one_stays_wrong(self):
        packet = bytearray(tcp_packet(CLIENT, SERVER, SYN, 1, payload=b"abc"))
        packet[36] ^= 1
        quick = (
            ao.Engine([KEY]).sign(bytes(packet), linktype=RAW_IP, checksums="incremental").packet
        )
        assert not sum_is_right(quick)
        back = ao.strip(quick, linktype=RAW_IP, checksums="incremental").packet
        assert back == bytes(packet)

    def test_names(self):
        for call in (ao.Engine([KEY]).sign, ao.strip, ao.Engine([KEY]).verify_and_strip):
            with pytest.raises(ao.InvalidArgumentError, match="'none'; it must be one of"):
                call(b"", checksums="none")


def finished(packet, tcp):
    """What hardware makes of a partial checksum."""
    total = int.from_bytes(packet[tcp + 16 : tcp + 18], "big")
    rest = packet[tcp : tcp + 16] + b"\0\0" + packet[tcp + 18 :]
    rest += b"\0" * (len(rest) % 2)
    total += sum(int.from_bytes(rest[i : i + 2], "big") for i in range(0, len(rest), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    value = ~total & 0xFFFF or 0xFFFF
    return packet[: tcp + 16] + value.to_bytes(2, "big") + packet[tcp + 18 :]


class TestVerifyAndStrip:
    def test_good_ones_alone(self, sample):
        chain, packets, linktype, times = sample
        packets = list(packets)
        spoilt = len(packets) // 2
        packets[spoilt] = packets[spoilt][:-1] + bytes([packets[spoilt][-1] ^ 1])
        verified = ao.Engine(chain).verify(packets, linktype=linktype, timestamps=times)
        good = np.isin(verified.verdict, [ao.Verdict.good, ao.Verdict.md5_good])
        expected = [
            ao.strip(one, linktype=linktype).packet if fine else one
            for one, fine in zip(packets, good, strict=True)
        ]
        found, stripped = ao.Engine(chain).verify_and_strip(
            packets, linktype=linktype, timestamps=times
        )
        assert columns(found) == columns(verified)
        assert stripped.buffer.tobytes() == b"".join(expected)
        assert (stripped.outcome[~good] == ao.SignOutcome.not_good).all()
        memory = [bytearray(one) for one in packets]
        found, placed = ao.Engine(chain).verify_and_strip(
            memory, linktype=linktype, timestamps=times, inplace=True
        )
        assert columns(found) == columns(verified)
        spans = zip(memory, placed.offsets.tolist(), placed.lengths.tolist(), strict=True)
        assert [bytes(one[o : o + n]) for one, o, n in spans] == expected
        engine = ao.Engine(chain)
        one_by_one = [
            engine.verify_and_strip(one, linktype=linktype, timestamps=time)[1].packet
            for one, time in zip(packets, times.tolist(), strict=True)
        ]
        assert one_by_one == expected


def test_a_trace_has_the_events_of_one_packet():
    class Trace:
        def __init__(self):
            self.events = []

        def wants(self, name):
            return True

        def emit(self, event):
            self.events.append(event)

    trace = Trace()
    engine = ao.Engine([KEY], trace=trace)
    found = engine.verify(tcp_packet(CLIENT, SERVER, ACK, 1), linktype=RAW_IP, vlan=7, timestamps=5)
    assert found.verdict is ao.Verdict.ao_required
    assert [(one.name, one.vrf) for one in trace.events] == [("tcp_hash_ao_required", 7)]


def broken(rng, packets):
    """Packets with bytes changed, cut and doubled, as nobody sends them."""
    packet = bytearray(rng.choice(packets))
    for _ in range(rng.choice([0, 1, 1, 2, 8])):
        packet[rng.randrange(min(len(packet), 90))] = rng.choice(
            [0, 1, 4, 19, 29, 255, rng.randrange(256)]
        )
    kind = rng.random()
    if kind < 0.2:
        del packet[rng.randrange(len(packet)) :]
    elif kind < 0.3:
        packet += rng.randbytes(rng.randrange(60))
    return bytes(packet)


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "rotate-v4"])
def test_broken_packets_in_place_as_in_a_copy(name):
    """Whatever the packet: the same outcome, the same bytes, and not one beside its own memory."""
    capture = Capture(CAPTURES / f"{name}.pcap")
    rng = random.Random(name)
    frames = [capture.frame(i) for i in range(60)]
    linktype = capture.linktype
    plain = unsigned(capture.keys, frames, linktype)
    before = ao.Engine(capture.keys)
    before.sign(plain, linktype=linktype)
    state = before.export_state(candidates=True)

    def signer():
        """One that has seen nothing, or the whole conversation."""
        engine = ao.Engine(capture.keys)
        if step % 4 > 1:
            engine.import_state(state)
        return engine

    for step in range(2000):
        one = broken(rng, plain if step % 2 else frames)
        head, tail = rng.choice([(40, 0), (0, 40), (40, 40), (12, 3), (0, 0), (64, 1)])
        checksums = rng.choice(["full", "incremental", "partial"])
        more = {"make_room": bool(step % 3), "checksums": checksums}
        expected = signer().sign(one, linktype=linktype, **more)
        guard = bytes([0xA5]) * 16
        memory = bytearray(guard + bytes(head) + one + bytes(tail) + guard)
        window = memoryview(memory)[16 : len(memory) - 16]
        done = signer().sign_inplace(
            [window], linktype=linktype, headroom=head, tailroom=tail, **more
        )
        outcome = ao.SignOutcome(done.outcome[0])
        start, size = int(done.offsets[0]), int(done.lengths[0])
        assert memory[:16] == guard and memory[-16:] == guard
        if head or tail:
            if outcome is ao.SignOutcome.no_room:
                assert (start, size) == (head, len(one))
                assert expected.outcome.name in ("signed", "missing_isn")  # it is asked first
            else:
                assert outcome is expected.outcome
                assert bytes(window[start : start + size]) == expected.packet
        verdict = ao.Engine(capture.keys).verify(one, linktype=linktype)
        wide = ao.Engine(capture.keys).verify([one], linktype=linktype)
        assert verdict.verdict == wide.verdict[0] and verdict.sne == wide.sne[0]
        stripped = ao.strip(one, linktype=linktype)
        again = bytearray(one)
        placed = ao.strip_inplace([again], linktype=linktype)
        start, size = int(placed.offsets[0]), int(placed.lengths[0])
        assert placed.outcome[0] == stripped.outcome
        assert bytes(again[start : start + size]) == stripped.packet


def test_records_that_live_at_the_same_time_share_no_memory():
    """The memory of one that is gone is used for the next, whatever sizes they have."""
    rng = random.Random(3)
    buffer = rng.randbytes(100_000)
    kept = []
    for _ in range(200):
        count = rng.choice((0, 1, 5, 300, 1000, 4000, 70_000))
        offsets = np.arange(count) + rng.randrange(20_000)
        records = ao.Records(buffer, offsets, np.full(count, 2), 101)
        kept.append((records, offsets))
        if len(kept) > 3:
            kept.pop(rng.randrange(len(kept)))
        for one, at in kept:
            for row in (0, len(at) // 2, len(at) - 1) if len(at) else ():
                assert bytes(one.data(row)) == buffer[at[row] : at[row] + 2]
