"""Who stands in the middle of two hosts: passes frames on, loses and reorders some, forges others,
and writes down what the hosts sent.

    middle.py ONE OTHER CAPTURE LOSS REORDER FORGE

Prints ``ready``; on SIGTERM one JSON object of what it did.
"""

import heapq
import json
import random
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

ETH_P_ALL = 3
AO = 29


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def open_port(name):
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    port.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    port.bind((name, ETH_P_ALL))
    membership = struct.pack("IHH8s", socket.if_nametoindex(name), 1, 0, b"")
    port.setsockopt(263, 1, membership)  # PACKET_ADD_MEMBERSHIP, promiscuous
    port.setblocking(False)
    return port


def tcp_at(frame):
    """Where TCP begins in a frame; 0 where it is none."""
    if frame[12:14] == b"\x08\0" and frame[23] == 6:
        return 14 + (frame[14] & 15) * 4
    if frame[12:14] == b"\x86\xdd" and frame[20] == 6:
        return 54
    return 0


def mended(frame):
    """The frame with a right TCP checksum (and IPv4 header checksum)."""
    frame = bytearray(frame)
    at = tcp_at(frame)
    if frame[12:14] == b"\x08\0":
        end = 14 + int.from_bytes(frame[16:18], "big")
        frame[24:26] = b"\0\0"
        frame[24:26] = checksum(bytes(frame[14:at])).to_bytes(2, "big")
        addresses = bytes(frame[26:34])
    else:
        end = 54 + int.from_bytes(frame[18:20], "big")
        addresses = bytes(frame[22:54])
    frame[at + 16 : at + 18] = b"\0\0"
    pseudo = addresses + struct.pack(">II", end - at, 6)
    frame[at + 16 : at + 18] = checksum(pseudo + bytes(frame[at:end])).to_bytes(2, "big")
    return bytes(frame)


def forgeries(frame):
    """What a forger makes of a data segment that he sees: payload, RSTs, an ICMP error."""
    at = tcp_at(frame)
    other = bytearray(frame)
    other[-1] ^= 0xFF
    yield "payload", mended(other)
    header = (frame[at + 12] >> 4) * 4
    rst = bytearray(frame[: at + header])
    rst[at + 13] = 0x14
    size = len(rst) - 14
    if frame[12:14] == b"\x08\0":
        rst[16:18] = size.to_bytes(2, "big")
    else:
        rst[18:20] = (size - 40).to_bytes(2, "big")
    yield "rst", mended(rst)
    bare = bytearray(rst[: at + 20])
    bare[at + 12] = 5 << 4
    if frame[12:14] == b"\x08\0":
        bare[16:18] = (at + 20 - 14).to_bytes(2, "big")
    else:
        bare[18:20] = (20).to_bytes(2, "big")
    yield "bare_rst", mended(bare)
    # an ICMP error goes to who sent the segment
    back = frame[6:12] + frame[:6] + frame[12:14]
    if frame[12:14] == b"\x08\0":
        body = struct.pack(">BBHI", 3, 3, 0, 0) + frame[14 : 14 + 28]
        body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), 7, 0, 64, 1, 0)
        header += frame[30:34] + frame[26:30]
        header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
        yield "icmp", back + header + body
    else:
        body = struct.pack(">BBHI", 1, 4, 0, 0) + frame[14 : 14 + 60]
        addresses = frame[38:54] + frame[22:38]
        pseudo = addresses + struct.pack(">II", len(body), 58)
        body = body[:2] + checksum(pseudo + body).to_bytes(2, "big") + body[4:]
        yield "icmp", back + struct.pack(">IHBB", 6 << 28, len(body), 58, 64) + addresses + body


def main():
    one, other, capture, loss, reorder, forge = sys.argv[1:]
    loss, reorder, forge = float(loss), float(reorder), int(forge)
    rng = random.Random(1)
    ports = [open_port(one), open_port(other)]
    done = dict.fromkeys(("passed", "lost", "late", "largest"), 0)
    forged = {}
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    late = []
    seen = number = 0
    with Path(capture).open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1))
        print("ready", flush=True)
        while not stopping:
            ready, _, _ = select.select(ports, [], [], 0.001 if late else 0.2)
            for port in ready:
                to = ports[1 - ports.index(port)]
                for _ in range(200):
                    try:
                        frame, address = port.recvfrom(65536)
                    except BlockingIOError:
                        break
                    if address[2] == 4:  # PACKET_OUTGOING: our own
                        continue
                    now = time.time_ns()
                    at = tcp_at(frame)
                    if at:
                        size = len(frame)
                        file.write(struct.pack("<IIII", now // 10**9, now % 10**9, size, size))
                        file.write(frame)
                        done["largest"] = max(done["largest"], len(frame) - 14)
                    if at and rng.random() < loss:
                        done["lost"] += 1
                        continue
                    if at and rng.random() < reorder:
                        number += 1
                        heapq.heappush(late, (now + 1_000_000, number, to, frame))
                        done["late"] += 1
                        continue
                    done["passed"] += 1
                    send(to, frame)
                    data = at and len(frame) - at > 1000 and not frame[at + 13] & 2
                    if data:
                        seen += 1
                    if forge and data and seen % forge == 0:
                        for kind, made in forgeries(frame):
                            send(port if kind == "icmp" else to, made)
                            forged[kind] = forged.get(kind, 0) + 1
            while late and late[0][0] <= time.time_ns():
                _, _, to, frame = heapq.heappop(late)
                send(to, frame)
    print(json.dumps(done | {"forged": forged}), flush=True)


def send(port, frame):
    while True:
        try:
            port.send(frame)
        except BlockingIOError:
            select.select([], [port], [], 0.1)
        else:
            return


if __name__ == "__main__":
    main()
