"""Many flows: shared out over threads, and with more traffic keys than are kept."""

import numpy as np
import pytest
import scale
from guard import GuardedPages
from test_fragments import fragment4
from wire import ACK, SYN, records, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.flow.tally import NOTHING_BAD, Tally
from tcpao_fast.engine.verdicts import BAD

COLUMNS = ("verdict", "key", "connection", "sne")


def ethernet(packet, vlan=None):
    tag = b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big")
    return bytes(12) + tag + (b"\x08\x00" if packet[0] >> 4 == 4 else b"\x86\xdd") + packet


def frames_of(buffer, offsets, lengths):
    data = bytes(buffer)
    return [data[at : at + n] for at, n in zip(offsets.tolist(), lengths.tolist(), strict=True)]


@pytest.fixture(scope="module")
def key():
    return scale.key("hmac-sha-1-96")


@pytest.fixture(scope="module")
def stream(key):
    """Frames and link types: 300 flows in every wrapping, with noise, forgeries and fragments."""
    rng = np.random.default_rng(5)
    signer = ao.Engine([key])
    opening = frames_of(*signer.sign(*scale.handshakes(0, 300), 101))
    data = frames_of(*signer.sign(*scale.data(rng.integers(0, 300, 1500), 40), 101))
    for i in rng.choice(len(data), 100, replace=False):
        data[i] = data[i][:-1] + bytes([data[i][-1] ^ 1])
    frames, linktypes = [], []
    for i, packet in enumerate(opening + data):
        client = packet[12:16] if packet[12:16] != b"\x0a\xff\x00\x01" else packet[16:20]
        wrapping = client[3] % 4
        parts = fragment4(packet, 24, number=i % 60000) if i % 97 == 0 else [packet]
        for part in parts:
            if wrapping == 0:
                frames.append(part)
                linktypes.append(101)
            else:
                frames.append(ethernet(part, None if wrapping == 1 else wrapping))
                linktypes.append(1)
        if i % 50 == 0:
            frames.append(rng.bytes(int(rng.integers(0, 90))))
            linktypes.append(int(rng.choice([1, 101])))
    return frames, np.array(linktypes, np.int32)


def verify(engine, stream, cut):
    frames, linktypes = stream
    found = [
        engine.verify(*records(frames[i : i + cut]), linktypes[i : i + cut], final=False)
        for i in range(0, len(frames), cut)
    ]
    found.append(engine.verify(b"", [], []))
    return found


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("cut", [10_000, 333])
def test_results_do_not_depend_on_threads(key, stream, threads, cut):
    alone, together = ao.Engine([key]), ao.Engine([key], threads=threads)
    expected, found = verify(alone, stream, cut), verify(together, stream, cut)
    for name in COLUMNS:
        for one, other in zip(expected, found, strict=True):
            assert (getattr(one, name) == getattr(other, name)).all(), name
    assert [one.counts for one in expected] == [one.counts for one in found]
    assert alone.counts == together.counts and alone.counts["good"] > 2000
    assert alone.counts["bad_mac"] >= 90
    assert alone.connections() == together.connections()
    assert alone.export_state() == together.export_state()


@pytest.mark.parametrize("threads", [2, 5])
def test_signing_does_not_depend_on_threads(key, threads):
    bare = scale.handshakes(0, 400)
    more = scale.data(np.arange(399, -1, -1), 100)
    alone, together = ao.Engine([key]), ao.Engine([key], threads=threads)
    for each in (bare, more):
        one, other = alone.sign(*each, 101), together.sign(*each, 101)
        assert bytes(one.buffer) == bytes(other.buffer)
        for name in ("offsets", "lengths", "outcome", "key", "connection"):
            assert (getattr(one, name) == getattr(other, name)).all(), name
        assert one.counts == other.counts
    assert alone.connections() == together.connections()


def test_signing_of_many_link_types_does_not_depend_on_threads(key, stream):
    bare = ao.strip(*records(stream[0]), stream[1])
    stamps = np.arange(len(stream[0]), dtype=np.int64)
    one, other = (
        ao.Engine([key], threads=threads).sign(*bare, stream[1], stamps, wire_lengths=bare.lengths)
        for threads in (1, 3)
    )
    assert bytes(one.buffer) == bytes(other.buffer) and one.counts == other.counts
    assert one.counts["signed"] > 1000
    assert (one.connection == other.connection).all()


@pytest.mark.parametrize("threads", [2, 5])
def test_signing_in_place_does_not_depend_on_threads(key, threads):
    signed = ao.Engine([key]).sign(*scale.handshakes(0, 400), 101)
    buffers = []
    for n in (1, threads):
        blank = signed.buffer.copy()
        for at, length in zip(signed.offsets, signed.lengths, strict=True):
            blank[at + length - 12 : at + length] = 0
        result = ao.Engine([key], threads=n).sign_inplace(
            blank, signed.offsets, signed.lengths, 101
        )
        assert result.counts == {"signed": 1200}
        buffers.append((bytes(blank), result.connection.tolist()))
    assert buffers[0] == buffers[1]
    assert buffers[0][0] == bytes(signed.buffer)


@pytest.mark.parametrize("threads", [2, 3])
def test_signing_calls_of_every_size_and_way_in_turns(key, threads):
    """What the threads keep from a call does not show in the next one."""
    rng = np.random.default_rng(threads)
    sizes = [0, 1, 2, 255, 256, 257, 511, 3000, 700, 3, 5000]
    alone, together = ao.Engine([key]), ao.Engine([key], threads=threads)
    opening, signer = scale.handshakes(0, 300), ao.Engine([key])
    for engine in (alone, together, signer):
        assert engine.sign(*opening, 101).counts == {"signed": 900}
    for way in ("copy", "option", "room") * 12:
        count = int(rng.choice(sizes))
        buffer, offsets, lengths = scale.data(rng.integers(0, 330, count), int(rng.integers(0, 99)))
        found = []
        for engine in (alone, together):
            if way == "copy":
                done = engine.sign(buffer, offsets, lengths, 101, make_room=bool(count % 2))
                found.append((done, bytes(done.buffer), done.offsets, done.lengths))
            elif way == "option":
                signed = signer.sign(buffer, offsets, lengths, 101)
                mutable = signed.buffer.copy()
                done = engine.sign_inplace(mutable, signed.offsets, signed.lengths, 101)
                found.append((done, bytes(mutable)))
            else:
                stride = int(lengths.max(initial=0)) + 40
                ring = np.zeros((count, stride), np.uint8)
                ring[:, 40:] = buffer.reshape(count, stride - 40)
                at = np.arange(count) * stride + 40
                done = engine.sign_inplace(ring.reshape(-1), at, lengths, 101, headroom=40)
                found.append((done, bytes(ring), done.offsets, done.lengths))
        (one, *expected), (other, *given) = found
        for a, b in zip(expected, given, strict=True):
            assert a == b if isinstance(a, bytes) else (a == b).all(), (way, count)
        for name in ("outcome", "key", "connection"):
            assert (getattr(one, name) == getattr(other, name)).all(), (way, count, name)
        assert one.counts == other.counts
    assert alone.connections() == together.connections()


def test_headers_that_move_look_like_others_to_no_thread():
    """Moved by 16 bytes, what was a destination address is read as the beginning of an IPv4 header,
    and the port behind it as a fragment's offset: a thread that looks then sees another flow."""
    key = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"moved", send_id=1, recv_id=1)
    rng = np.random.default_rng(1)
    server = ("69.1.0.40", 0xC000)
    clients = [(f"10.0.0.{n}", 2000 + n) for n in range(1, 200)]
    opening = [
        tcp_packet(*ends, *more)
        for client in clients
        for ends, more in (
            ((client, server), (SYN, 0x5FFFF)),
            ((server, client), (SYN | ACK, 77, 0x60000)),
        )
    ]
    kinds = [tcp_packet(one, server, ACK, 0x60000, 78) for one in clients]
    data = [kinds[n] for n in rng.integers(0, len(kinds), 20_000)]

    def signed(threads):
        engine, found = ao.Engine([key], threads=threads), []
        for packets in (opening, data):
            memory = np.zeros((len(packets), 60), np.uint8)
            memory[:, 20:] = np.frombuffer(b"".join(packets), np.uint8).reshape(-1, 40)
            at = np.arange(len(packets)) * 60 + 20
            lengths = np.full(len(packets), 40)
            done = engine.sign_inplace(memory.reshape(-1), at, lengths, 101, headroom=20)
            found.append((done.counts, bytes(memory)))
        return found

    expected = signed(1)
    assert expected[1][0] == {"signed": len(data)}
    for _ in range(300):
        assert signed(2) == expected


def test_state_goes_to_the_shard_of_its_flow(key, stream):
    alone, together = ao.Engine([key]), ao.Engine([key], threads=4)
    verify(alone, stream, 10_000)
    together.import_state(alone.export_state())
    assert together.export_state() == alone.export_state()
    again = together.verify(*records(stream[0]), stream[1])
    assert again.counts["good"] == alone.counts["good"]


def test_an_error_in_one_thread_is_raised_and_does_not_hang(key):
    engine = ao.Engine([key], threads=3)

    def fail(thread):
        if thread == 2:
            raise RuntimeError("in a thread")

    with pytest.raises(RuntimeError, match="in a thread"):
        engine._pipeline.all_threads(fail, 10_000)
    assert engine.verify(*scale.handshakes(0, 2), 101).counts["ao_required"] == 6


@pytest.mark.parametrize("threads", [1, 2])
def test_nothing_behind_the_buffer_is_read(key, threads):
    """Frames of every length at the end of memory, for the look at the plainest headers too."""
    whole = frames_of(*ao.Engine([key]).sign(*scale.handshakes(0, 1), 101))[0]
    pages = GuardedPages()
    for linktype, frame in ((101, whole), (1, ethernet(whole)), (1, ethernet(whole, 5))):
        for length in range(len(frame) + 1):
            view = pages.ending_with(frame[:length])
            ao.Engine([key], threads=threads).verify(view, [0], [length], linktype)


@pytest.mark.parametrize("algorithm", ["aes-128-cmac-96", "hmac-sha-1-96", "hmac(sha512)"])
def test_more_traffic_keys_than_are_kept(algorithm):
    """20,000 connections with two keys each in tables that are too small for them: keys give way
    and are derived again, and no verdict changes."""
    count = 20_000
    master = scale.key(algorithm)
    signer = ao.Engine([master])
    opening = signer.sign(*scale.handshakes(0, count), 101)
    order = np.random.default_rng(3).permutation(count)
    rounds = [signer.sign(*scale.data(order, 10), 101) for _ in range(2)]
    engine = ao.Engine([master], max_connections=count)
    shard = engine._pipeline.shards[0]
    assert engine.verify(*opening, 101).counts["good"] == 3 * count
    for buffer, offsets, lengths in rounds:
        forged = np.array(buffer)
        bad = offsets[::7] + lengths[::7] - 1
        forged[bad] ^= 0x80
        result = engine.verify(forged, offsets, lengths, 101)
        assert result.counts["bad_mac"] == len(bad)
        assert result.counts["good"] == count - len(bad)
        assert (result.verdict[::7] == ao.Verdict.bad_mac).all()
    # 192 bytes a connection are kept for keys: not enough for SHA-512's midstates of both
    assert (shard.keys.evicted > 0) == (algorithm == "hmac(sha512)")
    assert shard.connections.count == count and shard.connections.evicted == 0


@pytest.mark.parametrize("kept", [8000, 2000])
def test_what_is_guessed_decides_nothing(kept):
    """With many connections rows are told theirs by the hash, before it is looked up.  A batch says
    what single segments say; and where connections have to be forgotten none gets another's."""
    count = 5000
    master = scale.key("aes-128-cmac-96")
    signer = ao.Engine([master], max_connections=8000)
    numbers = [np.repeat(np.arange(count), 3)]
    parts = [signer.sign(*scale.handshakes(0, count), 101)]
    random = np.random.default_rng(5)
    for _ in range(3):
        order = np.concatenate([random.permutation(count)[:3000], random.integers(0, 2000, 3000)])
        parts += [signer.sign(*scale.data(order, 4), 101)]
        parts += [signer.sign(*scale.handshakes(count, 700), 101)]
        numbers += [order, np.repeat(np.arange(count, count + 700), 3)]
        count += 700
    whole, single = (ao.Engine([master], max_connections=kept) for _ in range(2))
    whose = {}
    for (buffer, offsets, lengths), number in zip(parts, numbers, strict=True):
        told = whole.verify(buffer, offsets, lengths, 101)
        for id_, who in zip(told.connection.tolist(), number.tolist(), strict=True):
            assert whose.setdefault(id_, who) == who
        if kept < count:
            assert not told.counts["bad_mac"]
            continue
        for i, (at, size) in enumerate(zip(offsets.tolist(), lengths.tolist(), strict=True)):
            alone = single.verify(buffer[at : at + size], linktype=101)
            assert (told.verdict[i], told.connection[i]) == (alone.verdict, alone.connection)
    assert (whole._pipeline.shards[0].connections.evicted > 0) == (kept < count)


def test_a_place_that_was_guessed_and_given_up():
    """Within one batch new flows push out those that waited longest without proof, and then these
    come again: their places are others' by then."""
    engine = ao.Engine([scale.key("aes-128-cmac-96")], max_connections=2000)
    most = engine._pipeline.shards[0].connections.most_unproved
    number = np.arange(most)
    whose = {}
    for numbers in (number, np.concatenate([most + np.arange(250), number[:250]])):
        syns = scale.packets(
            numbers, np.ones(len(numbers), bool), 2, np.full(len(numbers), 1000),
            np.zeros(len(numbers), int), 0,
        )  # fmt: skip
        found = engine.verify(*syns, 101).connection.tolist()
        assert len(set(found)) == len(found)
        for id_, who in zip(found, numbers.tolist(), strict=True):
            assert whose.setdefault(id_, who) == who


class TestTally:
    KINDS = (np.int64, np.int64, np.uint8, np.int32, np.int64)

    def filled(self, tally):
        connection = np.array([0, -1, 2, 0, 2, 2])
        verdict = np.array([0, 11, 1, 0, 3, 0], np.uint8)
        mkts = np.array([4, -1, 1, 5, -1, 1], np.int32)
        times = np.array([100, 101, 90, 103, -1, 105])
        tally.add(np.arange(10, 16), connection, verdict, mkts, times)
        later = np.array([-1, 107])
        tally.add(np.arange(16, 18), np.array([7, 2]), verdict[2:4], mkts[2:4], later)
        return tally

    def test_adds_up(self):
        ids, counts, first_bad, keys, times = self.filled(Tally(BAD)).rows()
        assert ids.tolist() == [0, 2, 7]
        assert counts[0].tolist() == [2] + [0] * 12
        assert counts[1][[0, 1, 3]].tolist() == [2, 1, 1]
        assert counts[2][1] == 1
        assert first_bad.tolist() == [NOTHING_BAD, 12, 16]
        assert keys == [{4, 5}, {1, 5}, set()]
        assert times.tolist() == [[100, 103, -1], [90, 107, 90], [-1, -1, -1]]

    def test_nothing(self):
        tally = Tally(BAD)
        tally.add(*(np.zeros(0, kind) for kind in self.KINDS))
        assert len(tally.rows()[0]) == 0 and tally.other_connections == 0

    def test_those_without_a_good_segment_give_way(self):
        tally = self.filled(Tally(BAD, 2))
        ids, counts, *_ = tally.rows()
        assert ids.tolist() == [0, 2] and counts[1][0] == 2
        assert tally.other_connections == 1
        counts, first_bad, times = tally.others()
        assert counts.sum() == counts[1] == 1 and first_bad == 16
        assert times.tolist() == [-1, -1, -1]

    def test_a_flood_hides_none_that_is_good(self):
        tally = Tally(BAD, 300)
        rng = np.random.default_rng(4)
        total = 0
        for start in range(0, 100_000, 1000):
            ids = np.arange(start, start + 1000)
            verdict = np.where(ids % 1000 < 2, 0, rng.integers(1, 4, 1000)).astype(np.uint8)
            order = rng.permutation(1000)
            tally.add(ids[order], ids[order], verdict[order], np.zeros(1000, np.int32), ids)
            total += 1000
        ids, counts, *_ = tally.rows()
        good = ids[counts[:, 0] > 0]
        assert good.tolist() == [i for i in range(100_000) if i % 1000 < 2]
        assert len(ids) == 300 and tally.other_connections == total - 300
        assert counts.sum() + tally.others()[0].sum() == total

    def test_wrong_columns(self):
        good = (np.zeros(3, kind) for kind in self.KINDS)
        numbers, connection, verdict, key, times = good
        for wrong in (
            (numbers[:2], connection, verdict, key, times),
            (numbers, connection, verdict[:1], key, times),
            (numbers, connection, verdict, key[:0], times),
            (numbers, connection, verdict, key, times[:1]),
            (numbers, connection, verdict + np.uint8(200), key, times),
        ):
            with pytest.raises(ao.InvalidArgumentError):
                Tally(BAD).add(*wrong)
        with pytest.raises(ao.InvalidArgumentError):
            Tally(BAD, 0)


def test_connections_that_are_forgotten_are_reported(key, tmp_path, monkeypatch):
    """More connections than the engine remembers: each is in the report all the same."""
    from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records
    from tcpao_fast.jobs import verify as module

    signed = ao.Engine([key]).sign(*scale.handshakes(0, 300), 101)
    path = tmp_path / "many.pcap"
    stamps = np.zeros(900, np.int64)
    path.write_bytes(
        pcap_header(101, 65535, False, False)
        + bytes(pcap_records(*signed, signed.lengths, stamps, False, False))
    )
    monkeypatch.setattr("tcpao_fast.capture.reader.CHUNK_RECORDS", 30)
    monkeypatch.setattr(module, "Engine", lambda *args: ao.Engine(*args, max_connections=64))
    report = ao.verify_capture(path, [key])
    assert report.counts["good"] == 900
    assert len(report.connections) == 300
    assert all(one.counts == {"good": 3} for one in report.connections)
