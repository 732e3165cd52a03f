"""The engine's face: arguments, results, counters, threads, signing rules."""

import threading

import numpy as np
import pytest
from wire import ACK, FIN, RST, SYN, ao_option, handshake, pair, records, tcp_packet

import tcpao_fast as ao

RAW_IP = 101
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)


def talk(key, count=3):
    a, b = pair(key)
    packets = handshake(a, b)
    for i in range(count):
        packets += [a.send(ACK, bytes([i]) * 30), b.send(ACK)]
    return packets


def unsigned(packets):
    return ao.strip(*records(packets), RAW_IP)


def outcomes(result):
    return [ao.SignOutcome(code).name for code in result.outcome]


class TestVerify:
    def test_result(self, key):
        result = ao.Engine([key]).verify(*records(talk(key)), RAW_IP)
        assert result.verdict.dtype == np.uint8 and result.key.dtype == np.int32
        assert result.connection.dtype == np.int64 and result.sne.dtype == np.uint32
        assert result.counts == {
            **dict.fromkeys((v.name for v in ao.Verdict if v is not ao.Verdict.not_tcp), 0),
            "good": 9,
        }
        assert result.signed == 9

    def test_names(self):
        assert [v.name for v in ao.Verdict][:11] == [
            "good", "bad_mac", "key_not_found", "ao_required", "unsigned", "missing_isn",
            "truncated", "malformed", "md5_good", "md5_bad", "md5_unchecked",
        ]  # fmt: skip
        assert ao.Verdict.GOOD is ao.Verdict.good

    def test_counts_add_up_over_calls(self, key):
        engine = ao.Engine([key])
        for packet in talk(key):
            engine.verify(*records([packet]), RAW_IP)
        assert engine.counts["good"] == 9

    @pytest.mark.parametrize(
        "kind", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)]
    )
    def test_buffers(self, key, kind):
        buffer, offsets, lengths = records(talk(key))
        for columns in ((offsets, lengths), (list(offsets), lengths.astype(np.int32))):
            result = ao.Engine([key]).verify(kind(buffer), *columns, RAW_IP)
            assert result.counts["good"] == 9

    def test_link_type_a_record(self, key):
        packets = talk(key)
        packets[1::2] = [bytes(12) + b"\x08\x00" + packet for packet in packets[1::2]]
        types = np.array([RAW_IP, 1] * 5)[:9]
        assert ao.Engine([key]).verify(*records(packets), types).counts["good"] == 9

    def test_unsigned(self, key):
        packets = [
            tcp_packet(CLIENT, SERVER, SYN, 1),
            tcp_packet(("10.9.0.1", 1), SERVER, SYN, 1),
        ]
        assert ao.Engine([key]).verify(*records(packets), RAW_IP).counts == {
            **dict.fromkeys(ao.Engine([]).counts, 0), "ao_required": 1, "unsigned": 1,
        }  # fmt: skip
        strict = ao.Engine([key], policy=ao.Policy(ao_required=True))
        assert strict.verify(*records(packets), RAW_IP).counts["ao_required"] == 2

    def test_what_is_asked_first(self, key):
        """malformed, unsigned, key_not_found, truncated, missing_isn, MAC."""
        option = ao_option(100, 200)
        middle = tcp_packet(CLIENT, SERVER, ACK, 5, 5, b"x", option)
        unknown = tcp_packet(CLIENT, SERVER, ACK, 5, 5, b"x", ao_option(9, 9))
        broken = tcp_packet(CLIENT, SERVER, ACK, 5, 5, b"x", b"\x1d\x03\0\0" + option)
        buffer, offsets, lengths = records([broken, unknown, unknown, middle, middle])
        lengths = lengths.copy()
        lengths[[0, 1, 3]] -= 1
        result = ao.Engine([key]).verify(buffer, offsets, lengths, RAW_IP)
        assert [ao.Verdict(v).name for v in result.verdict] == [
            "malformed", "key_not_found", "key_not_found", "truncated", "missing_isn",
        ]  # fmt: skip

    def test_mac_of_another_length_is_bad(self, key):
        longer = ao.MasterKey(
            algorithm=key.algorithm, secret=key.secret, send_id=100, recv_id=200, mac_length=16
        )
        result = ao.Engine([longer]).verify(*records(talk(key)), RAW_IP)
        assert result.counts["bad_mac"] == 9

    @pytest.mark.parametrize("mac_length", [1, 4, 7, 12, 16, 20])
    def test_mac_lengths(self, mac_length):
        key = ao.MasterKey(
            algorithm="hmac-sha-1-96", secret=b"x", send_id=1, recv_id=2, local="10.0.0.1",
            remote="10.0.0.2", mac_length=mac_length,
        )  # fmt: skip
        packets = talk(key)
        assert ao.Engine([key]).verify(*records(packets), RAW_IP).counts["good"] == 9
        bare = unsigned(packets)
        signed = ao.Engine([key]).sign(*bare, RAW_IP)
        assert ao.Engine([key]).verify(*signed, RAW_IP).counts["good"] == 9
        assert bytes(ao.strip(*signed, RAW_IP).buffer) == bytes(bare.buffer)

    @pytest.mark.parametrize(
        "name",
        ["hmac(sha512)", "hmac(md5)", "hmac(sha224)", "hmac(sha3-256)", "kmac256-128", "cmac(aes)"],
    )
    def test_library_algorithms(self, name):
        key = ao.MasterKey(algorithm=name, secret=b"x" * 32, send_id=1, recv_id=2)
        bare = unsigned(talk(key_like(key)))
        signed = ao.Engine([key]).sign(*bare, RAW_IP)
        for threads in (1, 2):
            engine = ao.Engine([key], threads=threads)
            assert engine.verify(*signed, RAW_IP).counts["good"] == 9
        flipped = bytearray(signed.buffer)
        flipped[-1] ^= 1
        result = ao.Engine([key]).verify(flipped, signed.offsets, signed.lengths, RAW_IP)
        assert (result.counts["good"], result.counts["bad_mac"]) == (8, 1)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [({"threads": 0}, "threads is 0"), ({"max_connections": 1}, "max_connections is 1")],
    )
    def test_refused(self, arguments, message):
        with pytest.raises(ao.InvalidArgumentError, match=message):
            ao.Engine([], **arguments)

    def test_link_type_that_is_none(self, key):
        with pytest.raises(ao.InvalidArgumentError, match="linktype is 'ethernet'"):
            ao.Engine([key]).verify(b"", [], [], "ethernet")

    def test_called_from_several_threads(self, key):
        packets = talk(key, 200)
        engine = ao.Engine([key], threads=2)
        engine.verify(*records(packets[:3]), RAW_IP)
        rest = records(packets[3:])
        barrier = threading.Barrier(6)

        def work():
            barrier.wait()
            for _ in range(10):
                assert engine.verify(*rest, RAW_IP).counts["good"] == 400

        workers = [threading.Thread(target=work) for _ in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert engine.counts["good"] == 3 + 6 * 10 * 400


def key_like(key):
    """A key with the same IDs that the reference can sign with; its MACs do not matter."""
    return ao.MasterKey(
        algorithm="hmac-sha-1-96", secret=b"x", send_id=key.send_id, recv_id=key.recv_id,
        local="10.0.0.1", remote="10.0.0.2",
    )  # fmt: skip


class TestSign:
    def test_unpacks(self, key):
        buffer, offsets, lengths = ao.Engine([key]).sign(*unsigned(talk(key)), RAW_IP)
        assert buffer.dtype == np.uint8 and offsets.dtype == lengths.dtype == np.int64

    def test_is_what_the_reference_signs(self, key):
        """But for the place among the options, which here are none."""
        packets = talk(key)
        signed = ao.Engine([key]).sign(*unsigned(packets), RAW_IP)
        again = bytes(signed.buffer)
        for packet, offset, length in zip(packets, signed.offsets, signed.lengths, strict=True):
            ours = again[offset : offset + length]
            assert ours[:36] + ours[38:] == packet[:36] + packet[38:]

    def test_outcomes(self, key):
        other = ("10.7.0.1", 5)
        packets = [
            tcp_packet(CLIENT, SERVER, ACK, 5, 5),
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", b"\x02\x04\x05\xb4"),
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", b"\x01" * 28),
            tcp_packet(other, SERVER, SYN, 1),
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", ao_option(1, 1)),
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", b"\x1d\x01\0\0"),
            bytes(40),
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, bytes(65535 - 40)),
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"cut"),
        ]
        buffer, offsets, lengths = records(packets)
        lengths = lengths.copy()
        lengths[-1] -= 1
        result = ao.Engine([key]).sign(buffer, offsets, lengths, RAW_IP)
        assert outcomes(result) == [
            "missing_isn", "signed", "no_option_space", "no_key", "already_signed", "malformed",
            "not_tcp", "too_long", "truncated",
        ]  # fmt: skip
        for i, code in enumerate(result.outcome):
            ours = bytes(result.buffer[result.offsets[i] : result.offsets[i] + result.lengths[i]])
            same = ours == packets[i][: lengths[i]]
            assert same == (code != ao.SignOutcome.signed)
        assert sum(result.counts.values()) == len(packets)

    @pytest.mark.parametrize("md5", [False, True])
    @pytest.mark.parametrize("full", [0, 1])
    def test_a_connection_whose_handshake_has_no_room_is_left_unsigned(self, key, md5, full):
        """The peer has no signed connection, and would drop what is signed on it."""
        keys = [ao.MasterKey(algorithm="tcp-md5", secret=b"x")] if md5 else [key]
        nops = [b"", b""]
        nops[full] = b"\x01" * 28

        def opening(nops, isn):
            return [
                tcp_packet(CLIENT, SERVER, SYN, isn, 0, b"", nops[0]),
                tcp_packet(SERVER, CLIENT, SYN | ACK, 9, isn + 1, b"", nops[1]),
                tcp_packet(CLIENT, SERVER, ACK, isn + 1, 10, b"x"),
                tcp_packet(SERVER, CLIENT, ACK, 10, isn + 2),
                tcp_packet(CLIENT, SERVER, FIN | ACK, isn + 2, 10),
            ]

        engine = ao.Engine(keys)
        left = ["unsigned_handshake"] * 5
        left[full] = "no_option_space"
        left[:full] = ["signed"] * full
        result = engine.sign(*records(opening(nops, 1)), RAW_IP)
        assert outcomes(result) == left
        # the port is used again, or the same SYN comes again without what took the room
        for isn in (700, 1):
            result = engine.sign(*records(opening([b"", b""], isn)), RAW_IP)
            assert outcomes(result) == ["signed"] * 5
            assert engine.verify(*result, RAW_IP).counts["md5_good" if md5 else "good"] % 5 == 0

    def test_a_cut_syn_is_not_signed_nor_is_what_follows_it(self):
        packets = [
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"early"),
            tcp_packet(SERVER, CLIENT, SYN | ACK, 9, 7),
            tcp_packet(CLIENT, SERVER, ACK, 7, 10),
        ]
        buffer, offsets, lengths = records(packets)
        lengths[0] -= 1
        engine = ao.Engine([ao.MasterKey(algorithm="tcp-md5", secret=b"x")])
        assert outcomes(engine.sign(buffer, offsets, lengths, RAW_IP)) == [
            "truncated", "unsigned_handshake", "unsigned_handshake",
        ]  # fmt: skip

    @pytest.mark.parametrize("seen", [slice(0, None, 2), slice(1, None, 2)])
    def test_one_direction(self, key, seen):
        packets = talk(key, 5)
        packets = [packets[0], packets[1], packets[2], *packets[3:]]
        client = [p for p in packets if p[12:16] == bytes([10, 0, 0, 1])]
        server = [p for p in packets if p[12:16] == bytes([10, 0, 0, 2])]
        bare = unsigned(client if seen.start == 0 else server)
        signed = ao.Engine([key]).sign(*bare, RAW_IP)
        assert set(outcomes(signed)) == {"signed"}
        assert ao.Engine([key]).verify(*signed, RAW_IP).counts["good"] == len(bare.lengths)

    def test_data_in_the_syn(self, key):
        packets = [
            tcp_packet(CLIENT, SERVER, SYN, 100, 0, b"fast open"),
            tcp_packet(SERVER, CLIENT, SYN | ACK, 500, 110),
            tcp_packet(CLIENT, SERVER, ACK, 110, 501),
            tcp_packet(SERVER, CLIENT, ACK | FIN, 501, 110),
            tcp_packet(CLIENT, SERVER, RST, 110),
        ]
        signed = ao.Engine([key]).sign(*records(packets), RAW_IP)
        assert set(outcomes(signed)) == {"signed"}
        assert ao.Engine([key]).verify(*signed, RAW_IP).counts["good"] == 5

    def test_ids_follow_who_opened_the_connection(self):
        """A key for any address: the side that sent the SYN is its local side."""
        key = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"x", send_id=1, recv_id=2)
        named = key_like(key)
        signed = ao.Engine([key]).sign(*unsigned(talk(named)), RAW_IP)
        assert ao.Engine([named]).verify(*signed, RAW_IP).counts["good"] == 9

    def test_tcp_md5(self):
        key = ao.MasterKey(algorithm="tcp-md5", secret=b"x", remote="10.0.0.2", remote_port=179)
        bare = unsigned(talk(key_like(ao.MasterKey(
            algorithm="hmac-sha-1-96", secret=b"x", send_id=1, recv_id=2))))  # fmt: skip
        signed = ao.Engine([key]).sign(*bare, RAW_IP)
        assert ao.Engine([key]).verify(*signed, RAW_IP).counts["md5_good"] == 9
        assert ao.Engine([]).verify(*signed, RAW_IP).counts["md5_unchecked"] == 9
        wrong = ao.MasterKey(algorithm="tcp-md5", secret=b"y")
        assert ao.Engine([wrong]).verify(*signed, RAW_IP).counts["md5_bad"] == 9
        assert bytes(ao.strip(*signed, RAW_IP).buffer) == bytes(bare.buffer)

    def test_verify_and_sign_share_connections(self, key):
        """A gateway: what comes in is verified, what goes out is signed, by one engine."""
        a, b = pair(key)
        engine = ao.Engine([key])
        incoming, outgoing = handshake(a, b), None
        engine.verify(*records(incoming[:1]), RAW_IP)
        outgoing = unsigned([incoming[1]])
        assert engine.sign(*outgoing, RAW_IP).counts == {"signed": 1}
        assert engine.verify(*records(incoming[2:]), RAW_IP).counts["good"] == 1
        reply = engine.sign(*unsigned([b.send(ACK, b"reply")]), RAW_IP)
        assert (
            ao.Engine([key])
            .verify(*records([*incoming, bytes(reply.buffer)]), RAW_IP)
            .counts["good"]
            == 4
        )

    def test_many_incarnations_in_one_batch(self, key):
        """The same ports again and again: each segment gets its own connection's key."""
        packets = []
        for i in range(60):
            a, b = pair(key, isns=(i * 10**7 + 5, i * 2 * 10**7 + 9))
            packets += [*handshake(a, b), a.send(ACK, b"x"), b.send(ACK)]
        bare = unsigned(packets)
        signed = ao.Engine([key]).sign(*bare, RAW_IP)
        for i, packet in enumerate(packets):
            ours = bytes(signed.buffer[signed.offsets[i] : signed.offsets[i] + signed.lengths[i]])
            assert ours[40:] == packet[40:], i


class TestSignInplace:
    def test_blank_ids_are_filled_in(self, key):
        packets = talk(key)
        blank = bytearray(b"".join(packets))
        _, offsets, lengths = records(packets)
        for offset in offsets:
            blank[offset + 42 : offset + 56] = bytes(14)
        result = ao.Engine([key]).sign_inplace(blank, offsets, lengths, RAW_IP)
        assert result.counts == {"signed": 9}
        for packet, offset in zip(packets, offsets, strict=True):
            ours = bytes(blank[offset : offset + len(packet)])
            # the packets made by hand have the checksum that they had before their MAC
            assert ours[:36] + ours[38:] == packet[:36] + packet[38:]

    def test_outcomes(self, key):
        packets = [
            tcp_packet(CLIENT, SERVER, SYN, 1),
            tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", ao_option(100, 200, 16)),
            tcp_packet(("10.7.0.1", 5), SERVER, SYN, 1, 0, b"", ao_option(100, 200)),
            tcp_packet(SERVER, CLIENT, ACK, 1, 77, b"", ao_option(100, 200)),
        ]
        buffer, offsets, lengths = records(packets)
        work = bytearray(buffer)
        result = ao.Engine([key]).sign_inplace(work, offsets, lengths, RAW_IP)
        assert outcomes(result) == ["no_option", "wrong_mac_length", "no_key", "missing_isn"]
        assert bytes(work) == buffer

    def test_read_only(self, key):
        with pytest.raises(ao.InvalidArgumentError, match="writable"):
            ao.Engine([key]).sign_inplace(*records(talk(key)), RAW_IP)
