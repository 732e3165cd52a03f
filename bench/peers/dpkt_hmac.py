"""End to end as one would write it with dpkt: parse, assemble, `hmac` with cached contexts."""

from __future__ import annotations

import struct

from peers import Contestant, UnavailableError
from peers.python_loop import keyed_contexts, mac_with

MOST = 1024


def contestants(work):
    try:
        import dpkt
    except ImportError:
        raise UnavailableError("dpkt is not installed: pip install dpkt") from None
    frames = work.frames(MOST)
    mac = mac_with(work.algorithm)
    keyed = dict(zip(work.flows, keyed_contexts(work.algorithm, work.traffic_keys), strict=True))

    def run():
        good = 0
        for frame in frames:
            ip = dpkt.ip.IP(frame)
            tcp = ip.data
            header = tcp.off * 4
            raw = bytearray(bytes(tcp)[:header])
            raw[16:18] = b"\0\0"
            for kind, value in dpkt.tcp.parse_opts(tcp.opts):
                if kind == 29:
                    at = bytes(raw).index(b"\x1d" + bytes([len(value) + 2]) + value, 20)
                    raw[at + 4 : at + 2 + len(value)] = bytes(len(value) - 2)
                    found = value[2:]
            length = len(raw) + len(tcp.data)
            message = (
                struct.pack(">I", 0) + ip.src + ip.dst + struct.pack(">HH", 6, length)
                + bytes(raw) + tcp.data
            )  # fmt: skip
            context = keyed[ip.src, ip.dst, tcp.sport, tcp.dport]
            good += mac(context, message)[: len(found)] == found
        return good

    return [Contestant("dpkt and hmac", run, len(frames))]
