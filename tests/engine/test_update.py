"""Engines that run for long: other keys while they run, connections forgotten, pickled and back."""

import pickle
import threading

import numpy as np
import pytest
from samples import CAPTURES, Capture
from wire import ACK, SYN, handshake, pair, tcp_packet

import tcpao_fast as ao

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
RAW_IP = 101
NAMES = ["rotation", "v4-cmac-16", "v6-sha1", "wrap-v4-sha1", "v4-sha256-mac16"]


def key(secret=b"secret", send_id=1, recv_id=2, **more):
    more = {"algorithm": "hmac-sha-1-96"} | more
    return ao.MasterKey(secret=secret, send_id=send_id, recv_id=recv_id, **more)


def packets_of(capture):
    with ao.CaptureReader(capture.path) as reader:
        (found,) = reader
    return [found.data(i) for i in range(len(found))], int(found.linktypes[0])


def split(found):
    """The packets of a `Rewritten`."""
    spans = zip(found.offsets.tolist(), found.lengths.tolist(), strict=True)
    return [found.buffer[start : start + size].tobytes() for start, size in spans]


def told(results, keys_then):
    """Verdict, connection, SNE and key (itself, not its number) of each record of some calls."""
    return [
        (verdict, connection, sne, keys[number].identity() if number >= 0 else None)
        for result, keys in zip(results, keys_then, strict=True)
        for verdict, connection, sne, number in zip(
            result.verdict.tolist(), result.connection.tolist(), result.sne.tolist(),
            result.key.tolist(), strict=True,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_the_same_keys_in_another_order_change_nothing(name, threads):
    """With others beside them, and at any place of a stream."""
    capture = Capture(CAPTURES / f"{name}.pcap")
    packets, linktype = packets_of(capture)
    others = [key(b"x", 200, 201), key(b"y", 202, 203, algorithm="aes-128-cmac-96")]
    expected = told([ao.Engine(capture.keys).verify(packets, linktype=linktype)], [capture.keys])
    for cut in (1, 3, len(packets) // 2, len(packets) - 2):
        engine = ao.Engine(capture.keys, threads=threads)
        first, before = engine.verify(packets[:cut], linktype=linktype), engine.keys
        changes = engine.update([*others, *reversed(capture.keys)])
        assert changes.added == tuple(others) and not changes.removed and not changes.replaced
        assert set(changes.kept) == set(capture.keys)
        second = engine.verify(packets[cut:], linktype=linktype)
        assert told([first, second], [before, engine.keys]) == expected
        total = sum(one.good + one.bad for one in engine.key_counters())
        assert total == sum(engine.counts[one] for one in ("good", "bad_mac"))


class TestUpdate:
    def engine(self, keys=None):
        """An engine that has seen a handshake under the first of its keys, and both peers."""
        keys = keys or [key()]
        client, server = pair(keys[0])
        engine = ao.Engine(keys)
        seen = engine.verify(list(handshake(client, server)), linktype=RAW_IP)
        assert seen.counts["good"] == 3
        return engine, client, server

    def verdict(self, engine, packet):
        return engine.verify(packet, linktype=RAW_IP).verdict.name

    def test_another_secret(self):
        engine, client, _ = self.engine()
        newer = key(b"newer")
        changes = engine.update([newer])
        assert changes.replaced == ((key(), newer),) and not changes.added and changes
        assert self.verdict(engine, client.send(ACK, b"old")) == "bad_mac"
        assert self.verdict(engine, client.send(ACK, b"new", key=newer)) == "good"
        # and on: an unsigned one is signed with it, under the ISNs that were proved
        plain = ao.strip(client.send(ACK, b"more"), linktype=RAW_IP).packet
        assert engine.sign(plain, linktype=RAW_IP).outcome is ao.SignOutcome.signed

    def test_another_name_is_the_same_key(self):
        engine, client, _ = self.engine([key(name="a")])
        named = key(name="b")
        assert not engine.update([named]).removed
        assert engine.connections()[0]["current_key"]["client"] == 0
        assert self.verdict(engine, client.send(ACK, b"x")) == "good"

    def test_removed_and_back(self):
        engine, client, _ = self.engine()
        changes = engine.update([key(b"other", 7, 8)])
        assert (changes.removed, changes.added) == ((key(),), (key(b"other", 7, 8),))
        (one,) = engine.connections()
        assert one["current_key"] == {"client": None, "server": None}
        assert self.verdict(engine, client.send(ACK, b"x")) == "key_not_found"
        assert not engine.update([key(b"other", 7, 8), key()]).removed
        assert self.verdict(engine, client.send(ACK, b"y")) == "good"

    def test_two_peers_with_the_same_ids_keep_their_own(self):
        """Which key signs after a reload is the connection's, whatever the order of the file."""
        keys = [
            key(secret, remote=peer) for secret, peer in ((b"a", "10.0.0.2"), (b"b", "10.0.0.3"))
        ]
        packets = []
        for peer in ("10.0.0.2", "10.0.0.3"):
            packets += [
                tcp_packet(CLIENT, (peer, 179), SYN, 1000),
                tcp_packet((peer, 179), CLIENT, SYN | ACK, 5000, 1001),
                tcp_packet(CLIENT, (peer, 179), ACK, 1001, 5001, b"hello"),
            ]
        engine = ao.Engine(keys)
        first = engine.sign(packets, linktype=RAW_IP)
        assert first.key.tolist() == [0, 0, 0, 1, 1, 1]
        engine.update(reversed(keys))
        again = engine.sign([packets[2], packets[5]], linktype=RAW_IP)
        assert again.key.tolist() == [1, 0]
        before = [
            first.buffer[o : o + n] for o, n in zip(first.offsets, first.lengths, strict=True)
        ]
        after = [again.buffer[o : o + n] for o, n in zip(again.offsets, again.lengths, strict=True)]
        assert (
            after[0].tobytes() == before[2].tobytes() and after[1].tobytes() == before[5].tobytes()
        )

    def test_what_cannot_be_taken_changes_nothing(self):
        engine, client, _ = self.engine()
        with pytest.raises(ao.KeyOverlapError):
            engine.update([key(), key(b"other")])
        with pytest.raises(ao.InvalidKeyError):
            engine.update([3])
        assert engine.keys == (key(),)
        assert self.verdict(engine, client.send(ACK, b"x")) == "good"

    def test_tcp_md5(self):
        md5 = ao.MasterKey(algorithm="tcp-md5", secret=b"one", remote="10.0.0.2")
        other = ao.MasterKey(algorithm="tcp-md5", secret=b"two", remote="10.0.0.2")
        engine = ao.Engine([md5])
        first = ao.Engine([md5]).sign(tcp_packet(CLIENT, SERVER, SYN, 1), linktype=RAW_IP).packet
        second = ao.Engine([other]).sign(tcp_packet(CLIENT, SERVER, SYN, 1), linktype=RAW_IP).packet
        assert self.verdict(engine, first) == "md5_good"
        engine.update([other])
        assert self.verdict(engine, first) == "md5_bad"
        assert self.verdict(engine, second) == "md5_good"
        engine.update([])
        assert self.verdict(engine, second) == "md5_unchecked"

    @pytest.mark.parametrize("algorithm", ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha512)"])
    def test_from_any_algorithm_to_any(self, algorithm):
        for other in ("hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)", "hmac(sha512)"):
            engine, client, _ = self.engine([key(algorithm=algorithm, mac_length=12)])
            newer = key(b"newer", algorithm=other, mac_length=12)
            for _ in range(3):
                engine.update([newer])
                assert self.verdict(engine, client.send(ACK, b"x", key=newer)) == "good"
                engine.update([client.key])
                assert self.verdict(engine, client.send(ACK, b"y")) == "good"

    def test_while_other_threads_verify(self):
        """Every call sees the old keys or the new ones, and all of a call the same."""
        engine, client, _ = self.engine([key(name="a"), key(b"b", 7, 8)])
        batch = [client.send(ACK, b"x" * 100) for _ in range(200)]
        stop, found = threading.Event(), []

        def verify():
            while not stop.is_set():
                found.append({*engine.verify(batch, linktype=RAW_IP).verdict.tolist()})
                found.append({int(engine.verify(batch[0], linktype=RAW_IP).verdict)})

        threads = [threading.Thread(target=verify) for _ in range(3)]
        for one in threads:
            one.start()
        for i in range(300):
            engine.update([key(b"b", 7, 8), key()] if i % 2 else [key(b"other", 1, 2)])
            assert set(engine.counts) and engine.snmp["TCPAOGood"] >= 3
        stop.set()
        for one in threads:
            one.join()
        assert {frozenset(one) for one in found} <= {frozenset({0}), frozenset({1})}


class TestForget:
    def filled(self, threads=1, count=50):
        engine = ao.Engine([key()], threads=threads)
        packets = [
            packet
            for i in range(count)
            for packet in (
                tcp_packet((f"10.0.1.{i}", 40000), SERVER, SYN, 1000),
                tcp_packet(SERVER, (f"10.0.1.{i}", 40000), SYN | ACK, 5000, 1001),
                tcp_packet((f"10.0.1.{i}", 40000), SERVER, ACK, 1001, 5001),
            )
        ]
        signed = ao.Engine([key()]).sign(packets, linktype=RAW_IP)
        whole = [
            signed.buffer[o : o + n] for o, n in zip(signed.offsets, signed.lengths, strict=True)
        ]
        assert engine.verify(whole, linktype=RAW_IP).counts["good"] == 3 * count
        return engine, whole

    @pytest.mark.parametrize("threads", [1, 3])
    def test_by_number(self, threads):
        engine, packets = self.filled(threads)
        assert engine.forget([3, 4, 4, 999, np.int64(5)]) == 3
        assert [one["id"] for one in engine.connections()][:5] == [0, 1, 2, 6, 7]
        found = engine.verify(packets[9:15], linktype=RAW_IP)
        assert found.connection.tolist() == [50, 50, 50, 51, 51, 51]
        assert engine.forget([]) == 0 and engine.forget(range(1000)) == 49
        assert engine.connections() == []
        assert engine.verify(packets, linktype=RAW_IP).counts["good"] == 150

    @pytest.mark.parametrize("threads", [1, 3])
    def test_idle_ones(self, threads):
        engine, packets = self.filled(threads)
        mark = engine.mark()
        engine.verify(packets[30:60], linktype=RAW_IP)
        engine.verify(packets[2], linktype=RAW_IP)
        assert engine.forget_idle(mark) == 39
        assert [one["id"] for one in engine.connections()] == [0, *range(10, 20)]
        assert engine.forget_idle(mark) == 0
        assert engine.forget_idle(engine.mark()) == 11

    @pytest.mark.parametrize("wrong", [None, 3, (), (1, 2), (-1,), ("x",)])
    def test_no_mark(self, wrong):
        with pytest.raises(ao.InvalidArgumentError, match="must be from mark"):
            ao.Engine([key()]).forget_idle(wrong)


class TestPickle:
    @pytest.mark.parametrize("threads", [1, 2])
    @pytest.mark.parametrize("name", NAMES)
    def test_an_engine_in_the_middle(self, name, threads):
        capture = Capture(CAPTURES / f"{name}.pcap")
        packets, linktype = packets_of(capture)
        cut = len(packets) // 2
        engine = ao.Engine(capture.keys, threads=threads)
        engine.verify(packets[:cut], linktype=linktype)
        with ao.pickled_secrets():
            open_text = pickle.dumps(engine)
        closed_text = pickle.dumps(engine)
        expected = engine.verify(packets[cut:], linktype=linktype)
        other = pickle.loads(open_text)
        assert (other.keys, other.threads) == (engine.keys, threads)
        found = other.verify(packets[cut:], linktype=linktype)
        assert found.verdict.tolist() == expected.verdict.tolist()
        assert found.sne.tolist() == expected.sne.tolist()
        for one in capture.keys:
            assert one.secret not in closed_text and one.secret in open_text
        waiting = pickle.loads(pickle.dumps(pickle.loads(closed_text)))
        for call in (
            lambda: waiting.verify(packets[0], linktype=linktype),
            lambda: waiting.sign(packets, linktype=linktype),
            lambda: waiting.connections(),
        ):
            with pytest.raises(ao.StateError, match="without its keys' secrets"):
                call()
        with pytest.raises(ao.StateError, match="came without its secret"):
            _ = waiting.keys[0].secret
        with pytest.raises(ao.StateError):
            ao.Engine(waiting.keys)
        waiting.update(capture.keys)
        found = waiting.verify(packets[cut:], linktype=linktype)
        assert found.verdict.tolist() == expected.verdict.tolist()

    def test_chains_and_keys(self):
        chain = ao.KeyChain([key(name="a")], accept_tolerance=5, notes=["read aloud"])
        other = pickle.loads(pickle.dumps(chain))
        assert other[0].identity() == chain[0].identity() and not other[0].has_secret
        assert (other.accept_tolerance, other.notes) == (5, ("read aloud",))
        with ao.pickled_secrets():
            again = pickle.loads(pickle.dumps(chain))
            assert again[0] == chain[0] and again[0].has_secret
        assert b"secret" not in pickle.dumps(chain[0])
        with pytest.raises(AttributeError, match="no attribute 'other'"):
            _ = chain[0].other
