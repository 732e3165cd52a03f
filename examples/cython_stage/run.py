"""Signed packets with a forged one among them, through the stage."""

import numpy as np
from stage import Stage

import tcpao_fast as ao

KEY = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2)
SYN = bytes.fromhex(
    "4500002800010000400666cd0a0000010a0000029c4000b3000003e80000000050020400f8260000"
)


def main() -> None:
    signed = ao.Engine([KEY]).sign(SYN, linktype=101).packet
    forged = signed[:-1] + bytes([signed[-1] ^ 1])
    packets = [signed, forged, SYN, signed]
    slots = np.zeros((len(packets), 2048), np.uint8)
    for slot, packet in zip(slots, packets, strict=True):
        slot[: len(packet)] = np.frombuffer(packet, np.uint8)
    offset = np.zeros(len(packets), np.int64)
    length = np.array([len(packet) for packet in packets])
    stage = Stage(ao.Engine([KEY]), linktype=101)
    kept = stage.keep(slots, offset, length)
    whole = [slots[i, offset[i] : offset[i] + length[i]].tobytes() for i in kept]
    print(f"kept {kept}, {sum(map(len, whole))} bytes")


if __name__ == "__main__":
    main()
