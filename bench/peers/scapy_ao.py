"""End to end with scapy's TCP-AO functions (scapy.contrib.tcpao), traffic keys cached."""

from __future__ import annotations

import struct

from peers import Contestant, UnavailableError

MOST = 128


def contestants(work):
    try:
        from scapy.contrib.tcpao import TCPAOAlg_CMAC_AES, TCPAOAlg_HMAC_SHA1, calc_tcpao_mac
        from scapy.layers.inet import IP, TCP
    except ImportError:
        raise UnavailableError(
            "scapy with TCP-AO is not installed: pip install 'scapy>=2.5'"
        ) from None
    algorithm = TCPAOAlg_HMAC_SHA1() if work.algorithm == "hmac-sha-1-96" else TCPAOAlg_CMAC_AES()
    keys = dict(zip(work.flows, (bytes(key) for key in work.traffic_keys), strict=True))
    frames = work.frames(MOST)

    def run():
        good = 0
        for frame in frames:
            packet = IP(frame)
            key = keys[(frame[12:16], frame[16:20], *struct.unpack(">HH", frame[20:24]))]
            found = next(value.mac for name, value in packet[TCP].options if name == "AO")
            good += calc_tcpao_mac(packet, algorithm, key)[: len(found)] == found
        return good

    return [Contestant("scapy", run, len(frames))]
