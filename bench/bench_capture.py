"""`verify_capture`: a pcap file in the page cache, from its path to a report."""

import numpy as np
import pytest
from traffic import Traffic, count_for

import tcpao_fast as ao
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records


@pytest.fixture
def capture(algorithm, size, connections, tmp_path):
    traffic = Traffic(algorithm, size, connections, count_for(size))
    path = tmp_path / "bench.pcap"
    with path.open("wb") as file:
        file.write(pcap_header(101, 65535, False, False))
        for buffer, offsets, lengths in (traffic.handshakes, traffic.segments):
            stamps = np.zeros(len(offsets), np.int64)
            file.write(pcap_records(buffer, offsets, lengths, lengths, stamps, False, False))
    return path, traffic


def test_verify_capture(per_item, capture, size):
    path, traffic = capture

    def round_():
        report = ao.verify_capture(path, [traffic.key])
        assert report.counts["good"] == report.segments

    per_item(round_, traffic.count + len(traffic.handshakes[1]), size)
