"""`Engine.verify` and `Engine.sign`: from packet bytes to verdicts, and back."""

from traffic import Traffic, count_for

import tcpao_fast as ao


def test_verify(per_item, algorithm, size, connections):
    traffic = Traffic(algorithm, size, connections, count_for(size))
    engine = traffic.engine()
    per_item(lambda: traffic.verify(engine), traffic.count, size)


def test_verify_bare_acks(per_item, algorithm, connections):
    traffic = Traffic(algorithm, 0, connections, 16384)
    engine = traffic.engine()
    per_item(lambda: traffic.verify(engine), traffic.count, 56)


def test_verify_two_threads(per_item, algorithm):
    traffic = Traffic(algorithm, 1448, 1024, 16384)
    engine = traffic.engine(threads=2)
    per_item(lambda: traffic.verify(engine), traffic.count, 1448)


def test_new_connections(per_item, algorithm):
    """SYN, SYN-ACK and ACK of connections never seen before."""
    traffic = Traffic(algorithm, 0, 4096, 4096)

    def round_():
        result = ao.Engine([traffic.key]).verify(*traffic.handshakes, 101)
        assert result.counts["good"] == 3 * 4096

    per_item(round_, 4096, 0)


def test_sign(per_item, algorithm, size):
    traffic = Traffic(algorithm, size, 1024, count_for(size))
    bare = tuple(ao.strip(*traffic.segments, 101))
    engine = traffic.engine()
    per_item(lambda: engine.sign(*bare, 101), traffic.count, size)
