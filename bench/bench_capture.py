"""`verify_capture`: a pcap file in the page cache, from its path to a report."""

import pytest
from traffic import Traffic, count_for, write_capture

import tcpao_fast as ao


@pytest.fixture
def capture(algorithm, size, connections, tmp_path):
    traffic = Traffic(algorithm, size, connections, count_for(size))
    path = tmp_path / "bench.pcap"
    write_capture(path, (traffic.handshakes, traffic.segments))
    return path, traffic


def test_verify_capture(per_item, capture, size):
    path, traffic = capture

    def round_():
        report = ao.verify_capture(path, [traffic.key])
        assert report.counts["good"] == report.segments

    per_item(round_, traffic.count + len(traffic.handshakes[1]), size)
