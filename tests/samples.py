"""The captures and vectors that the tests have, and where they are."""

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

import tcpao_fast as ao

HERE = Path(__file__).parent
CAPTURES = HERE / "captures"
VECTORS = HERE / "vectors"
#: Not ours to give away: used where the workplace has it beside the project.
CISCO = HERE.parent.parent / "shared" / "captures" / "cisco-bgp.pcap"

ALGORITHMS = {"sha1": "hmac-sha-1-96", "cmac": "aes-128-cmac-96", "sha256": "hmac(sha256)"}


@dataclass
class Capture:
    """A real capture with its keys, read without the package."""

    path: Path

    @cached_property
    def description(self):
        return json.loads(self.path.with_suffix(".json").read_text())

    @cached_property
    def keys(self):
        keys = [
            ao.MasterKey(
                algorithm=ALGORITHMS[key["alg"]],
                secret=bytes.fromhex(key["secret_hex"]),
                send_id=key["client_sndid"],
                recv_id=key["client_rcvid"],
                local=key["client"],
                remote=key["server"],
                mac_length=key["maclen"],
                exclude_options=key["exclude"],
            )
            for key in self.description["keys"]
        ]
        md5 = self.description.get("sockets", {}).get("md5")
        if md5:
            first = self.description["keys"][0]
            keys.append(
                ao.MasterKey(
                    algorithm="tcp-md5",
                    secret=md5["key"].encode(),
                    local=first["client"],
                    remote=first["server"],
                    remote_port=md5["server_port"],
                )
            )
        return ao.KeyChain(keys)

    @cached_property
    def data(self):
        return self.path.read_bytes()

    @cached_property
    def linktype(self):
        return struct.unpack("<I", self.data[20:24])[0]

    @cached_property
    def records(self):
        """Buffer, offsets, lengths."""
        at, offsets, lengths = 24, [], []
        while at < len(self.data):
            length = struct.unpack("<I", self.data[at + 8 : at + 12])[0]
            offsets.append(at + 16)
            lengths.append(length)
            at += 16 + length
        return self.data, np.array(offsets), np.array(lengths)

    def frame(self, i):
        _, offsets, lengths = self.records
        return self.data[offsets[i] : offsets[i] + lengths[i]]

    def ip(self, i):
        """Record i from its IP header on, or None if it is not TCP over IP."""
        frame = self.frame(i)
        at = {1: 14, 276: 20}[self.linktype]
        kind = frame[12:14] if self.linktype == 1 else frame[:2]
        if kind == b"\x81\x00":
            kind, at = frame[16:18], 18
        ip = frame[at:]
        if kind == b"\x08\x00" and ip[9] == 6:
            return ip
        return ip if kind == b"\x86\xdd" and ip[6] == 6 else None


ALL_CAPTURES = [Capture(path) for path in sorted(CAPTURES.glob("*.pcap"))]
if CISCO.exists():
    ALL_CAPTURES.append(Capture(CISCO))
