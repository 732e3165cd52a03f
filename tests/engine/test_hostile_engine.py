"""State moves on proof alone, and what strangers send costs little: floods, forgeries, replays;
forks, interrupts, and memory."""

import itertools
import os
import random
import resource
import signal
import threading
import time

import numpy as np
import pytest
from wire import ACK, PSH, SYN, ao_option, handshake, ip_packet, pair, records, tcp_packet

import tcpao_fast as ao
import tcpao_fast.engine.engine
from tcpao_fast.core.wire.parse import parse
from tcpao_fast.engine.engine import STATE_PIECE, snapshot

RAW_IP = 101
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)


def any_key(**more):
    return ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2, **more)


def one(engine, packet, call="verify"):
    return getattr(engine, call)(packet, [0], [len(packet)], RAW_IP)


def verdict(engine, packet):
    return ao.Verdict(one(engine, packet).verdict[0]).name


def signed_ids(engine, packet):
    result = one(engine, packet, "sign")
    row = parse(*result, RAW_IP)[0]
    return int(row["key_id"]), int(row["rnext_key_id"])


class TestProof:
    def talk(self, isns=(100, 900), here=CLIENT, there=SERVER):
        return [
            tcp_packet(here, there, SYN, isns[0]),
            tcp_packet(there, here, SYN | ACK, isns[1], isns[0] + 1),
            tcp_packet(here, there, ACK, isns[0] + 1, isns[1] + 1),
        ]

    @pytest.mark.parametrize("how", ["signed", "unsigned", "md5"])
    @pytest.mark.parametrize("flags", [SYN, SYN | ACK])
    def test_a_forged_syn_turns_nothing_round(self, how, flags):
        gateway = ao.Engine([any_key()])
        gateway.sign(*records(self.talk()), RAW_IP)
        data = tcp_packet(CLIENT, SERVER, PSH | ACK, 101, 901, b"x")
        before = signed_ids(gateway, data), gateway.connections()[0]["client"]
        options = {"signed": ao_option(2, 1), "unsigned": b"", "md5": b"\1\1\x13\x12" + bytes(16)}
        for here, there in ((SERVER, CLIENT), (CLIENT, SERVER)):
            for seq in (5, 100, 900):
                packet = tcp_packet(here, there, flags, seq, 101, options=options[how])
                assert verdict(gateway, packet) != "good"
                assert (signed_ids(gateway, data), gateway.connections()[0]["client"]) == before

    def test_a_replay_does_not_change_what_is_signed(self):
        key = any_key()
        gateway, peer = ao.Engine([key]), ao.Engine([key])
        earlier = [*self.talk(), tcp_packet(SERVER, CLIENT, PSH | ACK, 901, 101, b"old")]
        old = gateway.sign(*records(earlier), RAW_IP)
        replayed = [bytes(old.buffer[a : a + n]) for a, n in zip(old.offsets, old.lengths,
                                                                 strict=True)]  # fmt: skip
        new = gateway.sign(*records(self.talk((50000, 70000))), RAW_IP)
        assert peer.verify(*new, RAW_IP).counts["good"] == 3
        rng = random.Random(1)
        for number in range(40):
            verdict(gateway, replayed[rng.randrange(4)])
            data = tcp_packet(CLIENT, SERVER, PSH | ACK, 50001 + number, 70001, b"x")
            assert verdict(peer, bytes(one(gateway, data, "sign").buffer)) == "good"

    def test_a_verified_handshake_of_another_port_use_does(self):
        """The port is used again, the other way round: client and server change places."""
        key = any_key(local="10.0.0.1", remote="10.0.0.2")
        a, b = pair(key)
        engine = ao.Engine([key])
        for packet in handshake(a, b):
            assert verdict(engine, packet) == "good"
        assert engine.connections()[0]["client"] == CLIENT
        a, b = pair(key, isns=(7000, 9000))
        b.position, a.position = 9000, 7000
        for packet in (b.send(SYN), a.send(SYN | ACK), b.send(ACK)):
            assert verdict(engine, packet) == "good"
        assert engine.connections()[0]["client"] == SERVER

    def test_fast_open_syn_ack_sent_again(self):
        """It acknowledges the SYN's data; the client's ISN is what the SYN said (RFC 7413)."""
        key = any_key()
        syn = tcp_packet(CLIENT, SERVER, SYN, 1000, payload=b"early data")
        answer = tcp_packet(SERVER, CLIENT, SYN | ACK, 5000, 1011)
        rest = [
            tcp_packet(CLIENT, SERVER, ACK, 1011, 5001),
            tcp_packet(SERVER, CLIENT, PSH | ACK, 5001, 1011, b"hello"),
        ]
        for order in (
            [syn, answer, answer, *rest],
            [syn, answer, rest[0], answer, rest[1]],
            [syn, answer, *rest, answer, answer],
        ):
            signed = ao.Engine([key]).sign(*records(order), RAW_IP)
            assert set(signed.counts) == {"signed"}
            found = ao.Engine([key]).verify(*signed, RAW_IP)
            assert found.counts["good"] == len(order)
            by_itself = ao.Engine([key])
            for at, length in zip(signed.offsets, signed.lengths, strict=True):
                assert verdict(by_itself, bytes(signed.buffer[at : at + length])) == "good"

    @pytest.mark.parametrize("isn", [1000, 0xFFFFFFFA])
    def test_a_capture_that_begins_at_a_fast_open_syn_ack(self, isn):
        """What the SYN carried is not known, so the client's ISN is not, and nothing is shown to be
        bad; with the SYN everything is good, behind a wrap of its ISN, too."""
        key = any_key()
        packets = [
            tcp_packet(CLIENT, SERVER, SYN, isn, payload=b"early data"),
            tcp_packet(SERVER, CLIENT, SYN | ACK, 5000, isn + 11),
            tcp_packet(CLIENT, SERVER, ACK, isn + 11, 5001),
            tcp_packet(SERVER, CLIENT, SYN | ACK, 5000, isn + 11),
            tcp_packet(SERVER, CLIENT, PSH | ACK, 5001, isn + 11, b"hello"),
        ]
        signed = ao.Engine([key]).sign(*records(packets), RAW_IP)
        assert set(signed.counts) == {"signed"}
        assert ao.Engine([key]).verify(*signed, RAW_IP).counts["good"] == 5
        late = [bytes(signed.buffer[a : a + n]) for a, n in zip(signed.offsets, signed.lengths,
                                                               strict=True)]  # fmt: skip
        engine = ao.Engine([key])
        assert [verdict(engine, one) for one in late[1:]] == ["missing_isn"] * 4
        # the SYN is found after all: now they are checked
        assert [verdict(engine, one) for one in late] == ["good"] * 5

    def test_a_syn_that_was_seen_says_the_isn(self):
        a, b = pair(any_key())
        engine = ao.Engine([ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"x", send_id=1,
                                         recv_id=2)])  # fmt: skip
        assert [verdict(engine, one) for one in handshake(a, b)] == ["bad_mac"] * 3
        assert [verdict(engine, one) for one in handshake(a, b)[1:]] == ["bad_mac"] * 2


class TestState:
    def test_a_key_is_named_by_its_whole_identity(self):
        keys = [
            ao.MasterKey(algorithm="hmac-sha-1-96", secret=secret, send_id=1, recv_id=1,
                         local="10.0.0.9", remote=remote)
            for secret, remote in ((b"of A", "10.0.0.1"), (b"of B", "10.0.0.2"))
        ]  # fmt: skip
        me, peer = ("10.0.0.9", 40000), ("10.0.0.2", 179)
        gateway = ao.Engine(keys)
        opened = gateway.sign(*records(TestProof().talk(here=me, there=peer)), RAW_IP)
        far = ao.Engine(keys)
        assert far.verify(*opened, RAW_IP).counts["good"] == 3
        for candidates in (False, True):
            other = ao.Engine(keys)
            assert other.import_state(gateway.export_state(candidates=candidates)) == []
            assert other.connections()[0]["current_key"]["client"] == 1
            data = tcp_packet(me, peer, PSH | ACK, 101, 901, b"x")
            assert one(other, data, "sign").key[0] == 1
        state = gateway.export_state()
        assert "of B" not in str(state)
        # without that key, and with it under another identity
        for chain in ([keys[0]], [keys[0], ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"of B",
                                                        send_id=1, recv_id=1, local="10.0.0.9",
                                                        remote="10.0.0.2", name="n")]):  # fmt: skip
            other = ao.Engine(chain)
            said = other.import_state(state)
            assert len(said) == 1 and "10.0.0.2:179" in said[0] and "none of the keys" in said[0]
            assert other.connections()[0]["current_key"] == {"client": None, "server": None}
        # a state that has the IDs alone: two keys have them
        del state["keys"]
        other = ao.Engine(keys)
        assert "more than one key here has the IDs 1/1" in other.import_state(state)[0]


def flood(count, seed, signed, version=4):
    """SYNs of as many strangers, as one buffer."""
    option = ao_option(1, 2)[:4] + b"\xaa" * 12 if signed else b""
    ends = (CLIENT, SERVER) if version == 4 else (("fd00::1", 40000), ("fd00::2", 179))
    packet = np.frombuffer(tcp_packet(*ends, SYN, 1, options=option), np.uint8)
    rng = np.random.default_rng(seed)
    rows = np.tile(packet, (count, 1))
    address, port = (slice(12, 16), 20) if version == 4 else (slice(16, 24), 40)
    rows[:, address] = rng.integers(1, 255, (count, address.stop - address.start))
    rows[:, port : port + 8] = rng.integers(1, 255, (count, 8))
    return rows.reshape(-1), np.arange(count) * len(packet), np.full(count, len(packet))


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("version", [4, 6])
def test_a_flood_costs_no_proved_connection(signed, threads, version):
    key = any_key()
    limit, live = 2000, 500
    engine = ao.Engine([key], max_connections=limit, threads=threads)
    signer = ao.Engine([key])
    server = SERVER if version == 4 else ("fd00::2", 179)
    name = "10.1.{}.{}" if version == 4 else "fd01::{:x}:{:x}"
    opening, data = [], []
    for i in range(live):
        client = (name.format(i >> 8, i & 255), 5000)
        opening += TestProof().talk(here=client, there=server)
        data.append(tcp_packet(client, server, PSH | ACK, 101, 901, b"x" * 19))
    opened = signer.sign(*records(opening), RAW_IP)
    assert engine.verify(*opened, RAW_IP).counts["good"] == 3 * live
    sent = signer.sign(*records(data), RAW_IP)
    for seed in range(8):
        engine.verify(*flood(10_000, seed, signed, version), RAW_IP)
        assert engine.verify(*sent, RAW_IP).counts["good"] == live
    assert len(engine.export_state()["connections"]) == live
    assert len(engine.connections()) <= limit + threads * 256


def test_a_flood_takes_little_memory():
    engine = ao.Engine([any_key()])  # a million connections
    engine.verify(*flood(1000, 99, True), RAW_IP)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(20):
        engine.verify(*flood(50_000, seed, True), RAW_IP)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert len(engine.connections()) == 1 << 18
    assert grown < 600_000  # kB; most of it is what `connections` gave


class TestFragments:
    def fragment(self, ident, offset, more, data, source="10.0.0.1"):
        packet = bytearray(ip_packet(source, "10.0.0.2", data))
        packet[4:6] = ident.to_bytes(2, "big")
        packet[6:8] = (offset // 8 | (0x2000 if more else 0)).to_bytes(2, "big")
        return bytes(packet)

    @pytest.mark.parametrize("what", ["empty", "tiny", "one", "backwards", "shuffled", "same"])
    def test_in_linear_time_and_bounded_memory(self, what):
        count = 40_000
        if what == "empty":
            packets = [self.fragment(i & 0xFFFF, 8, False, b"", f"11.0.{i >> 16}.1")
                       for i in range(count)]  # fmt: skip
        elif what == "tiny":
            packets = [self.fragment(i & 0xFFFF, 8, True, b"8 bytes.") for i in range(count)]
        elif what == "same":
            packets = [self.fragment(7, 8, True, b"8 bytes.")] * count
        else:
            offsets = list(range(8, 65520, 8))
            if what == "backwards":
                offsets.reverse()
            if what == "shuffled":
                random.Random(1).shuffle(offsets)
            parts = [self.fragment(7, offset, True, b"8 bytes.") for offset in offsets]
            packets = (parts * 5)[:count]
        engine = ao.Engine([any_key()])
        stream = records(packets)
        began = time.process_time()
        engine.verify(*stream, RAW_IP, final=False)
        spent = time.process_time() - began
        assert spent < 2, spent  # 50 us each; a quadratic one takes minutes

    def test_too_long_when_joined(self):
        """Its parts are in order, and together more than an IPv4 length can say."""
        engine = ao.Engine([any_key()])
        parts = [self.fragment(5, offset, offset < 65000, b"x" * min(1000, 65512 - offset))
                 for offset in range(0, 65512, 1000)]  # fmt: skip
        assert engine.verify(*records(parts), RAW_IP).counts["truncated"] in (0, 1)


class TestProcess:
    @pytest.mark.parametrize("threads", [1, 3])
    @pytest.mark.parametrize("busy", [False, True])
    def test_fork(self, threads, busy):
        packet = tcp_packet(CLIENT, SERVER, SYN, 1, options=ao_option(1, 2))
        engine = ao.Engine([any_key()], threads=threads)
        many = records([packet] * 20_000)
        engine.verify(*many, RAW_IP)
        stop = threading.Event()

        def work():
            while not stop.is_set():
                engine.verify(*many, RAW_IP)

        worker = threading.Thread(target=work)
        if busy:
            worker.start()
            time.sleep(0.1)
        try:
            child = os.fork()
            if child == 0:
                found = one(engine, packet)
                os._exit(0 if found.verdict[0] == ao.Verdict.bad_mac else 7)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid:
                    break
                time.sleep(0.01)
            else:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                pytest.fail("the child hangs")
            assert os.waitstatus_to_exitcode(status) == 0
        finally:
            stop.set()
            if busy:
                worker.join()
        assert one(engine, packet).verdict[0] == ao.Verdict.bad_mac

    # the handler may raise inside somebody's callback of the garbage collector
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("work", ["verify", "sign", "sign_inplace"])
    def test_interrupts(self, work):
        """A signal handler raises at any moment: the next call finds everything at rest."""

        class StopError(Exception):
            pass

        def handler(*_):
            raise StopError

        options = b"" if work == "sign" else ao_option(1, 2)
        rng = random.Random(2)
        packets = [
            tcp_packet(("10.0.0.1", rng.randrange(1, 65536)), SERVER, SYN, i, options=options,
                       payload=b"d" * 400)
            for i in range(6000)
        ]  # fmt: skip
        data, offsets, lengths = records(packets)
        buffer = np.frombuffer(bytearray(data), np.uint8)
        engine = ao.Engine([any_key()], threads=3, max_connections=1 << 12)
        call = getattr(engine, work)
        call(buffer, offsets, lengths, RAW_IP)
        old = signal.signal(signal.SIGALRM, handler)
        interrupted = 0
        try:
            until = time.monotonic() + 60
            while interrupted < 50 and time.monotonic() < until:
                try:
                    signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.00001, 0.02))
                    call(buffer, offsets, lengths, RAW_IP)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except StopError:
                    interrupted += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
        assert interrupted == 50
        assert len(engine.verify(buffer, offsets, lengths, RAW_IP).verdict) == len(packets)

    def test_export_leaves_the_lock_to_others(self, monkeypatch):
        """It is taken for small parts of the table; between two connections calls go on."""
        engine = ao.Engine([any_key()])
        for seed in range(3):
            engine.verify(*flood(60_000, seed, True), RAW_IP)
        pieces = []

        def piece(connections, first, proved, start, end):
            pieces.append((start, end))
            return snapshot(connections, first, proved, start, end)

        monkeypatch.setattr(tcpao_fast.engine.engine, "snapshot", piece)
        began = time.process_time()
        assert engine.export_state()["connections"] == []
        assert time.process_time() - began < 0.5
        assert len(pieces) > 3
        for (start, end), (following, _) in itertools.pairwise(pieces):
            assert end - start <= STATE_PIECE and following == end
        packet = tcp_packet(CLIENT, SERVER, SYN, 1)
        found = 0
        for found, _ in enumerate(engine.state_records(candidates=True), 1):
            if found % 1000 == 1:
                one(engine, packet)  # would wait for ever if it were not to be had
        assert found >= 180_000


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "what"),
        [
            ({"linktype": [2**32 + 101]}, "linktype"),
            ({"linktype": np.array([2**32 + 101])}, "linktype"),
            ({"linktype": -1}, "linktype"),
            ({"linktype": 2**31}, "linktype"),
            ({"linktype": "1"}, "linktype"),
            ({"linktype": 1.9}, "linktype"),
            ({"timestamps": [2**63]}, "timestamps"),
            ({"timestamps": np.array([2**64 - 1], np.uint64)}, "timestamps"),
            ({"wire_lengths": [-1]}, "wire_lengths"),
            ({"wire_lengths": [2**32 + 40]}, "wire_lengths"),
            ({"offsets": np.array([2**64 - 1], np.uint64)}, "offsets"),
            ({"lengths": [2**64]}, "lengths"),
            ({"buffer": np.zeros(8, object)}, "buffer"),
            ({"buffer": np.zeros((4, 4), np.uint8)[:, ::2]}, "buffer"),
        ],
    )
    @pytest.mark.parametrize("work", ["verify", "sign", "sign_inplace"])
    def test_numbers_that_do_not_fit(self, arguments, what, work):
        usual = {"buffer": bytearray(64), "offsets": [0], "lengths": [40], "linktype": RAW_IP}
        with pytest.raises(ao.InvalidArgumentError, match=what):
            getattr(ao.Engine([any_key()]), work)(**{**usual, **arguments})

    def test_others(self):
        keys = ao.TrafficKeys("hmac-sha-1-96", np.zeros((2, 20), np.uint8))
        for index in (np.array([2**32]), np.array([2**32 + 1], np.uint64), [2**31]):
            with pytest.raises(ao.InvalidArgumentError, match="key_index"):
                ao.mac_batch(keys, index, b"abc", [0], [3])
        for secret in (5, [1, 2], "text", None):
            with pytest.raises(ao.InvalidArgumentError, match="secret"):
                ao.derive_traffic_keys("hmac-sha-1-96", secret, np.zeros((1, 20), np.uint8))
        with pytest.raises(ao.InvalidArgumentError, match="without NUL"):
            ao.verify_capture("none", [any_key()], packet_filter="\0tcp")
        for search in (-1, 10**12, "x", True):
            with pytest.raises(ao.InvalidArgumentError, match="search_isn"):
                ao.verify_capture("none", [any_key()], search_isn=search)
        for path in (None, 5, b"x", [None]):
            with pytest.raises(ao.InvalidArgumentError, match="path"):
                ao.verify_capture(path, [any_key()])
        for options in ({"policy": "x"}, {"trace": "x"}, {"threads": True}):
            with pytest.raises(ao.InvalidArgumentError):
                ao.Engine([any_key()], **options)


def test_more_interfaces_than_anybody_has(tmp_path):
    import struct

    path = tmp_path / "many.pcapng"
    head = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20)
    path.write_bytes(head + interface * 65_536)
    ao.verify_capture(path, [any_key()])
    path.write_bytes(head + interface * 65_537)
    with pytest.raises(ao.CaptureError, match="more than 65,536 interfaces"):
        ao.verify_capture(path, [any_key()])


def test_a_capture_full_of_strangers(tmp_path):
    """Connections beyond those that are reported one by one are added up."""
    from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records
    from tcpao_fast.report import results as module

    count = module.MOST_REPORTED + 5000
    buffer, offsets, lengths = flood(count, 1, True)
    opened = ao.Engine([any_key()]).sign(*records(TestProof().talk()), RAW_IP)
    path = tmp_path / "flood.pcap"
    path.write_bytes(
        pcap_header(RAW_IP, 65535, False, False)
        + bytes(pcap_records(*opened, opened.lengths, np.zeros(3, np.int64), False, False))
        + bytes(pcap_records(buffer, offsets, lengths, lengths, np.zeros(count, np.int64), False,
                             False))
    )  # fmt: skip
    report = ao.verify_capture(path, [any_key()])
    assert len(report.connections) == module.MOST_REPORTED
    assert report.connections[0].counts == {"good": 3}
    others = report.others
    assert others.connections == report.counts["bad_mac"] + 1 - module.MOST_REPORTED
    assert others.counts == {"bad_mac": others.connections} and others.first_bad == 4
    assert report.as_dict()["others"]["connections"] == others.connections
