"""Connection state: what a handshake teaches, what proof moves, and what forgery does not."""

import json

import numpy as np
import pytest
from wire import (
    ACK,
    FIN,
    RST,
    SYN,
    Peer,
    ao_option,
    handshake,
    pair,
    records,
    tcp_packet,
    with_mac,
)

import tcpao_fast as ao

RAW_IP = 101


def verdicts(engine, packets):
    return [ao.Verdict(v).name for v in engine.verify(*records(packets), RAW_IP).verdict]


def one_by_one(engine, packets):
    return [verdicts(engine, [packet])[0] for packet in packets]


@pytest.fixture(params=[verdicts, one_by_one], ids=["batch", "one by one"])
def run(request):
    """Both ways must give the same: the batch is only faster."""
    return request.param


@pytest.fixture
def engine(key):
    return ao.Engine([key])


def forge(flags, seq, ack=0, payload=b"", source=("10.0.0.1", 40000), target=("10.0.0.2", 179)):
    """A segment by somebody who knows everything but the key."""
    ids = (100, 200) if source[0] == "10.0.0.1" else (200, 100)
    ip = tcp_packet(source, target, flags, seq, ack, payload, ao_option(*ids))
    return with_mac(ip, bytes(range(20)))


CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)


class TestForgery:
    """Forged segments leave a live connection verifying as before."""

    FORGERIES = (
        pytest.param([forge(SYN, 777)], id="SYN"),
        pytest.param([forge(SYN, n * 1000) for n in range(50)], id="many SYNs"),
        pytest.param([forge(SYN | ACK, 777, 1001, source=SERVER, target=CLIENT)], id="SYN-ACK"),
        pytest.param(
            [forge(SYN, 777), forge(SYN | ACK, 888, 778, source=SERVER, target=CLIENT)],
            id="handshake",
        ),
        pytest.param([forge(RST, 1001), forge(RST | ACK, 1001, 5001)], id="RST"),
        pytest.param([forge(ACK, 1001 + 2**31 - 10, 5001)], id="far ahead"),
        pytest.param([forge(ACK, 1001 - 2**30, 5001)], id="far behind"),
        pytest.param(
            [forge(ACK, 1001 + n * 2**30, 5001, b"x" * 100) for n in range(16)],
            id="round and round",
        ),
        pytest.param([forge(ACK | FIN, 1001, 5001)], id="FIN"),
        pytest.param([forge(ACK, 1, 1)], id="cookie"),
    )

    @pytest.mark.parametrize("forged", FORGERIES)
    def test_live_connection_goes_on(self, engine, key, run, forged):
        a, b = pair(key)
        assert run(engine, handshake(a, b)) == ["good"] * 3
        before = engine.export_state()
        assert run(engine, forged) == ["bad_mac"] * len(forged)
        assert engine.export_state() == before
        genuine = [a.send(ACK, b"x" * 1000), b.send(ACK), b.send(ACK, b"y" * 10), a.send(ACK)]
        assert run(engine, genuine) == ["good"] * 4

    @pytest.mark.parametrize("forged", FORGERIES)
    def test_mixed_into_one_batch(self, engine, key, forged):
        a, b = pair(key)
        packets, expected = handshake(a, b), ["good"] * 3
        for packet in forged:
            packets += [packet, a.send(ACK, b"data"), b.send(ACK)]
            expected += ["bad_mac", "good", "good"]
        assert verdicts(engine, packets) == expected

    def test_before_and_during_the_handshake(self, key, run):
        """Forged SYN and SYN-ACK between the genuine ones."""
        a, b = pair(key)
        syn, synack, ack = handshake(a, b)
        packets = [
            forge(SYN, 42),
            syn,
            *(forge(SYN, n) for n in range(20)),
            forge(SYN | ACK, 43, 1001, source=SERVER, target=CLIENT),
            synack,
            forge(ACK, 1001, 44),
            ack,
            a.send(ACK, b"data"),
        ]
        expected = ["bad_mac", "good", *["bad_mac"] * 21, "good", "bad_mac", "good", "good"]
        assert run(ao.Engine([key]), packets) == expected

    def test_forged_acks_do_not_spoil_a_handshake_seen_from_one_side(self, engine, key, run):
        a, b = pair(key)
        syn, _, ack = handshake(a, b)
        packets = [syn, forge(ACK, 1001, 12345), forge(ACK, 1001, 54321), ack, a.send(ACK, b"x")]
        # whether a segment behind a lone SYN is forged cannot be decided before its ISN is known
        expected = ["good", "missing_isn", "missing_isn", "good", "good"]
        assert run(engine, packets) == expected

    def test_replayed_syn_does_not_displace_the_live_connection(self, engine, key, run):
        a, b = pair(key)
        old = handshake(a, b)
        c, d = pair(key, isns=(900000, 800000))
        assert run(engine, old + handshake(c, d)) == ["good"] * 6
        assert run(engine, [old[0], c.send(ACK, b"x"), d.send(ACK), old[1], c.send(ACK)]) == (
            ["good"] * 5
        )

    def test_bit_flips_change_nothing(self, engine, key):
        a, b = pair(key)
        run = one_by_one
        assert run(engine, handshake(a, b)) == ["good"] * 3
        packet = a.send(ACK, b"payload!")
        before = engine.export_state()
        checksum = range(8 * 36, 8 * 38)  # the MAC covers it as zeros
        for bit in set(range(8 * 24, 8 * len(packet))) - set(checksum):  # from SEQ on
            flipped = bytearray(packet)
            flipped[bit // 8] ^= 1 << bit % 8
            assert run(engine, [bytes(flipped)])[0] != "good", bit
        assert engine.export_state() == before
        assert run(engine, [packet]) == ["good"]


class TestHandshakes:
    def test_retransmissions(self, engine, key, run):
        a, b = pair(key)
        syn, synack, ack = handshake(a, b)
        assert run(engine, [syn, syn, synack, syn, synack, ack, ack, synack]) == ["good"] * 8
        assert run(engine, [a.send(ACK, b"x"), syn, synack, b.send(ACK)]) == ["good"] * 4

    def test_ports_used_again_with_new_isns(self, engine, key, run):
        packets = []
        for isn in (1000, 2**31, 2**32 - 5, 7):
            a, b = pair(key, isns=(isn, (isn * 7) % 2**32))
            packets += [*handshake(a, b), a.send(ACK, b"x" * 20), b.send(ACK | FIN), a.send(ACK)]
        assert run(engine, packets) == ["good"] * len(packets)

    def test_segments_of_the_old_connection_still_verify_behind_a_new_handshake(
        self, engine, key, run
    ):
        a, b = pair(key)
        c, d = pair(key, isns=(10**9, 2 * 10**9))
        packets = [*handshake(a, b), *handshake(c, d), b.send(ACK, b"late"), c.send(ACK, b"new")]
        assert run(engine, packets) == ["good"] * 8

    def test_syn_retransmitted_with_another_isn(self, engine, key, run):
        a, _ = pair(key)
        c, d = pair(key, isns=(77777, 88888))
        assert run(engine, [a.send(SYN), *handshake(c, d), c.send(ACK, b"x")]) == ["good"] * 5

    def test_simultaneous_open(self, engine, key, run):
        a, b = pair(key)
        syn_a, syn_b = a.send(SYN), b.send(SYN)
        a.position, b.position = 1000, 5000
        a_acks = a.send(SYN | ACK, ack=5001)
        b_acks = b.send(SYN | ACK, ack=1001)
        packets = [syn_a, syn_b, a_acks, b_acks, a.send(ACK, b"x"), b.send(ACK, b"y")]
        assert run(engine, packets) == ["good"] * 6

    @pytest.mark.parametrize("ids", [(5, 5), (5, 7)])
    def test_self_connect(self, run, ids):
        """Both ends are one: what is sent is received, under the IDs seen from either side."""
        here = ("10.0.0.1", 4000)
        key, back = (
            ao.MasterKey(
                algorithm="hmac-sha-1-96", secret=b"s", send_id=s, recv_id=r, local="10.0.0.1",
                remote="10.0.0.1",
            )
            for s, r in (ids, ids[::-1])
        )  # fmt: skip
        me = Peer(key, here, here, 1000)
        me.connect(me)
        packets = [me.send(SYN)]
        me.position = 1000
        packets += [me.send(SYN | ACK, ack=1001), me.send(ACK, b"x", ack=1001)]
        packets.append(me.send(ACK, b"y", key=back))
        keys = [key] if ids[0] == ids[1] else [key, back]
        assert run(ao.Engine(keys), packets) == ["good"] * 4

    @pytest.mark.parametrize("side", ["client", "server"])
    def test_one_direction_only(self, engine, key, run, side):
        a, b = pair(key)
        packets = [*handshake(a, b)]
        for _ in range(5):
            packets += [a.send(ACK, b"q" * 50), b.send(ACK, b"r" * 70)]
        source = bytes([10, 0, 0, 1 if side == "client" else 2])
        mine = [packet for packet in packets if packet[12:16] == source]
        assert run(engine, mine) == ["good"] * len(mine)

    def test_syn_ack_lost(self, engine, key, run):
        a, b = pair(key)
        syn, _, ack = handshake(a, b)
        packets = [syn, ack, b.send(ACK, b"hello"), a.send(ACK)]
        assert run(engine, packets) == ["good"] * 4

    def test_syn_lost(self, engine, key, run):
        a, b = pair(key)
        _, synack, ack = handshake(a, b)
        assert run(engine, [synack, ack, a.send(ACK, b"x")]) == ["good"] * 3

    @pytest.mark.parametrize("payload", [b"", b"first request"])
    def test_syn_cookie(self, engine, key, run, payload):
        """The ACK that completes a handshake names both ISNs (SEQ - 1, ACK - 1)."""
        a, b = pair(key)
        handshake(a, b)
        packets = [a.send(ACK, payload), b.send(ACK, b"x"), a.send(ACK)]
        assert run(engine, packets) == ["good"] * 3

    def test_middle_of_a_connection(self, engine, key, run):
        a, b = pair(key)
        handshake(a, b)
        a.send(ACK, b"not captured")
        b.send(ACK, b"nor this")
        packets = [a.send(ACK, b"x"), b.send(ACK)]
        assert run(engine, packets) == ["missing_isn"] * 2
        assert run(engine, [forge(SYN, 1), *packets]) == ["bad_mac"] * 3

    def test_data_in_the_syn(self, engine, key, run):
        a, b = pair(key)
        packets = [a.send(SYN, b"fast open"), b.send(SYN | ACK), a.send(ACK), b.send(ACK)]
        assert run(engine, packets) == ["good"] * 4

    def test_vlans_are_apart(self, key):
        """The same addresses and ports in two VLANs are two connections."""
        packets, expected = [], []
        for vlan, isns in ((1, (1000, 2000)), (2, (3000, 4000))):
            a, b = pair(key, isns=isns)
            tag = bytes(12) + bytes([0x81, 0, 0, vlan, 8, 0])
            packets += [tag + packet for packet in (*handshake(a, b), a.send(ACK, b"x"))]
            expected += ["good"] * 4
        result = ao.Engine([key]).verify(*records(packets), 1)
        assert [ao.Verdict(v).name for v in result.verdict] == expected
        assert list(result.connection) == [0] * 4 + [1] * 4


class TestSequenceNumberExtension:
    def test_long_connection_wraps_more_than_once(self, engine, key, run):
        a, b = pair(key, isns=(2**32 - 1000, 5))
        packets = handshake(a, b)
        for step in range(1, 40):
            a.position = a.isn + 1 + step * 2**28
            packets += [a.send(ACK, b"x" * 100), b.send(ACK)]
        result = verdicts(engine, packets)
        assert result == ["good"] * len(packets)
        assert engine.connections()[0]["sne"] == {"client": 3, "server": 0}

    def test_retransmission_from_before_the_wrap(self, engine, key, run):
        a, b = pair(key, isns=(2**32 - 100, 5))
        packets = handshake(a, b)
        early = a.send(ACK, b"x" * 200)
        packets += [early, a.send(ACK, b"y" * 200), early, a.send(ACK, position=2**32 - 100)]
        assert run(engine, packets) == ["good"] * len(packets)

    @pytest.mark.parametrize("isns", [(0xFFFFFFFF, 5000), (1000, 0xFFFFFFFF), (0xFFFFFFFF,) * 2])
    def test_isn_of_all_ones(self, engine, key, run, isns):
        """The SYN takes the last number; data begins at SEQ 0 with SNE 1."""
        a, b = pair(key, isns=isns)
        packets = [*handshake(a, b), a.send(ACK, b"x"), b.send(ACK, b"y"), a.send(ACK)]
        assert run(engine, packets) == ["good"] * 6
        assert engine.connections()[0]["sne"] == {
            "client": int(isns[0] == 0xFFFFFFFF),
            "server": int(isns[1] == 0xFFFFFFFF),
        }

    def test_before_the_first_epoch_is_bad(self, engine, key, run):
        """At SNE 0 no segment can lie before SEQ 0."""
        a, b = pair(key, isns=(5, 5000))
        assert run(engine, handshake(a, b)) == ["good"] * 3
        early = a.send(ACK, b"x", position=2**32 - 10)
        assert run(engine, [early]) == ["bad_mac"]

    def test_keepalive(self, engine, key, run):
        a, b = pair(key, isns=(0xFFFFFFFF, 0xFFFFFFFF))
        packets = [*handshake(a, b), a.send(ACK, position=0xFFFFFFFF), b.send(ACK)]
        assert run(engine, packets) == ["good"] * 5

    def test_rst_does_not_move_the_anchor(self, engine, key, run):
        a, b = pair(key)
        packets = [*handshake(a, b), a.send(RST, position=1001 + 2**31 - 1), a.send(ACK, b"x")]
        assert run(engine, packets) == ["good"] * 5


class TestTable:
    def test_eviction_forgets_the_unproved_first(self, key):
        engine = ao.Engine([key], max_connections=64)
        a, b = pair(key)
        assert verdicts(engine, handshake(a, b)) == ["good"] * 3
        for port in range(1000, 3000):
            flood = forge(SYN, 5, source=("10.0.0.1", port))
            assert verdicts(engine, [flood]) == ["bad_mac"]
        assert verdicts(engine, [a.send(ACK, b"x"), b.send(ACK)]) == ["good"] * 2

    def test_many_connections_at_once(self, key):
        engine = ao.Engine([key])
        peers = [
            pair(key, client=("10.0.0.1", 1024 + i), isns=(i * 77777, i * 99999))
            for i in range(3000)
        ]
        packets = [packet for a, b in peers for packet in handshake(a, b)]
        assert engine.verify(*records(packets), RAW_IP).counts["good"] == 9000
        later = [a.send(ACK, b"x") for a, _ in reversed(peers)]
        result = engine.verify(*records(later), RAW_IP)
        assert result.counts["good"] == 3000
        assert list(result.connection) == list(range(2999, -1, -1))

    def test_more_connections_than_the_table_holds(self, key):
        engine = ao.Engine([key], max_connections=100)
        packets = []
        for i in range(1000):
            a, b = pair(key, client=("10.0.0.1", 1024 + i))
            packets += [*handshake(a, b), a.send(ACK, b"x")]
        result = engine.verify(*records(packets), RAW_IP)
        assert result.counts["good"] == 4000
        assert len(engine.connections()) <= 100
        assert len(np.unique(result.connection)) == 1000

    def test_smallest_table(self, key):
        engine = ao.Engine([key], max_connections=2)
        a, b = pair(key)
        assert verdicts(engine, [*handshake(a, b), a.send(ACK, b"x")]) == ["good"] * 4


class TestExport:
    def test_state_survives_json_and_another_engine(self, key):
        a, b = pair(key, isns=(2**32 - 50, 1))
        first = ao.Engine([key])
        packets = [*handshake(a, b), a.send(ACK, b"x" * 100), b.send(ACK)]
        assert verdicts(first, packets) == ["good"] * 5
        state = json.loads(json.dumps(first.export_state()))
        assert "secret" not in json.dumps(state)
        second = ao.Engine([key])
        second.import_state(state)
        assert second.export_state() == first.export_state()
        assert verdicts(second, [a.send(ACK, b"y"), b.send(ACK)]) == ["good"] * 2
        record = state["connections"][0]
        assert record["client"] == {
            "address": "10.0.0.1", "port": 40000, "isn": 2**32 - 50, "sne": 1, "seq": 51,
            "current_key": {"send_id": 100, "recv_id": 200}, "rnext_key_id": 200,
        }  # fmt: skip

    def test_kernel_repair_state_opens_a_capture_in_the_middle(self, named_capture):
        """What TCP_AO_REPAIR said of the socket makes segments without a handshake verify."""
        capture = named_capture("v4-sha1")
        sockets = capture.description["sockets"]
        repair = sockets["repair_client"]
        state = {
            "version": 1,
            "connections": [
                {
                    "vrf": 0,
                    "has_handshake": True,
                    "client": {
                        "address": "10.0.0.1", "port": sockets["client_port"],
                        "isn": repair["snt_isn"], "sne": repair["snd_sne"],
                        "seq": repair["snt_isn"], "current_key": None, "rnext_key_id": 0,
                    },
                    "server": {
                        "address": "10.0.0.2", "port": sockets["server_port"],
                        "isn": repair["rcv_isn"], "sne": repair["rcv_sne"],
                        "seq": repair["rcv_isn"], "current_key": None, "rnext_key_id": 0,
                    },
                }
            ],
        }  # fmt: skip
        buffer, offsets, lengths = capture.records
        engine = ao.Engine(capture.keys)
        late = slice(200, None)
        assert engine.verify(buffer, offsets[late], lengths[late]).counts["good"] == 0
        engine.import_state(state)
        counts = engine.verify(buffer, offsets[late], lengths[late]).counts
        assert counts["good"] == sum(counts.values()) > 200

    @pytest.mark.parametrize(
        "state",
        [
            {},
            {"version": 2, "connections": []},
            {"version": 1, "connections": [{}]},
            {"version": 1, "connections": 5},
            {"version": 1, "connections": [{"vrf": 0, "client": {"address": "x"}, "server": {}}]},
        ],
    )
    def test_what_is_no_state_is_refused(self, engine, state):
        with pytest.raises(ao.StateError, match="state"):
            engine.import_state(state)
        assert engine.export_state()["connections"] == []

    def test_anything_anywhere_in_a_state(self):
        """Whatever stands where: taken over, or refused with nothing taken over."""

        def places(value, path=()):
            yield path
            inner = value.items() if isinstance(value, dict) else ()
            for name, one in enumerate(value) if isinstance(value, list) else inner:
                yield from places(one, (*path, name))

        def replaced(value, path, new):
            if not path:
                return new
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[path[0]] = replaced(value[path[0]], path[1:], new)
            return copy

        key = ao.MasterKey(
            algorithm="hmac-sha-1-96", secret=b"a secret", send_id=1, recv_id=2,
            local="10.0.0.1", remote="10.0.0.2",
        )  # fmt: skip
        known = ao.Engine([key])
        known.verify(*records(handshake(*pair(key))), 101)
        state = json.loads(json.dumps(known.export_state(candidates=True)))
        refused = 0
        for path in places(state):
            for new in (
                None,
                [],
                {},
                "",
                "x",
                -1,
                2**70,
                True,
                0.5,
                float("nan"),
                [None],
                {"a": 1},
            ):
                fresh = ao.Engine([key])
                try:
                    fresh.import_state(replaced(state, path, new))
                except ao.StateError:
                    refused += 1
                    assert fresh.export_state()["connections"] == []
        assert refused > 100
