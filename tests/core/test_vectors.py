"""Published test vectors: traffic key, MAC, and a verification from the packet's bytes."""

import json
from ipaddress import ip_network
from itertools import groupby

import numpy as np
import pytest
from reference import Packet
from samples import VECTORS
from wire import records

import tcpao_fast as ao
from tcpao_fast.core.batch.one import ParsedSegment

RAW_IP = 101

RFC9235 = json.loads((VECTORS / "rfc9235.json").read_text())
DRAFT = json.loads((VECTORS / "tcp_ao_algs_draft.json").read_text())
NAMES = {
    "HMAC-SHA-1-96": "hmac-sha-1-96",
    "AES-128-CMAC-96": "aes-128-cmac-96",
    "HMAC-SHA256-128": "hmac-sha256-128",
    "KMAC256-128": "kmac256-128",
}


def number(value):
    return int(value, 16) if isinstance(value, str) else value


def rfc9235():
    for v in RFC9235["vectors"]:
        from_client = v["sender"] == "client"
        yield {
            "id": v["section"],
            "algorithm": NAMES[v["algorithm"]],
            "secret": RFC9235["master_key"].encode(),
            "ids": (RFC9235["client_keyid"], RFC9235["server_keyid"]),
            "exclude": not v["covers_options"],
            "isns": (v["source_isn"], v["destination_isn"]),
            "traffic_key": bytes.fromhex(v["traffic_key_hex"]),
            "packet": bytes.fromhex(v["packet_hex"]),
            "mac": bytes.fromhex(v["mac_hex"]),
            "from_client": from_client,
        }


def draft():
    for v in DRAFT["vectors"]:
        from_client = v["direction"].startswith("client")
        isns = (number(v["client_isn"]), number(v["server_isn"]))
        if not from_client:
            isns = isns[::-1]
        packet = bytes.fromhex(v["packet"])
        if Packet.parse(packet).flags & 18 == 2:
            isns = (isns[0], 0)
        yield {
            "id": v["section"],
            "algorithm": NAMES[v["algorithm"]],
            "secret": bytes.fromhex(v["master_key_hex"]),
            "ids": (v["client_keyid"], v["server_keyid"]),
            "exclude": not v["include_options"],
            "isns": isns,
            "traffic_key": bytes.fromhex(v["traffic_key"]),
            "packet": packet,
            "mac": bytes.fromhex(v["mac"]),
            "from_client": from_client,
        }


ALL = [*rfc9235(), *draft()]


def master_key(v):
    packet = Packet.parse(v["packet"])
    ends = (packet.source, packet.destination)
    client, server = ends if v["from_client"] else ends[::-1]
    return ao.MasterKey(
        algorithm=v["algorithm"],
        secret=v["secret"],
        send_id=v["ids"][0],
        recv_id=v["ids"][1],
        local=ip_network(client),
        remote=ip_network(server),
        exclude_options=v["exclude"],
    )


def test_all_vectors_are_here():
    assert len(list(rfc9235())) == len(list(draft())) == 32


@pytest.mark.parametrize("v", ALL, ids=lambda v: v["id"])
def test_traffic_key(v):
    context = Packet.parse(v["packet"]).context(*v["isns"])
    keys = ao.derive_traffic_keys(
        v["algorithm"], v["secret"], np.frombuffer(context, np.uint8)[None, :]
    )
    assert bytes(keys[0]) == v["traffic_key"]


@pytest.mark.parametrize("v", ALL, ids=lambda v: v["id"])
def test_mac(v):
    text = ParsedSegment(v["packet"], RAW_IP).message(0, v["exclude"])
    keys = ao.TrafficKeys(v["algorithm"], np.frombuffer(v["traffic_key"], np.uint8)[None, :])
    macs = ao.mac_batch(keys, [0], text, [0], [len(text)])
    assert bytes(macs[0])[: len(v["mac"])] == v["mac"]


def conversations():
    """The vectors' connections: SYN, SYN-ACK and data of both sides, in order."""

    def connection(v):
        return v["algorithm"], v["exclude"], len(Packet.parse(v["packet"]).source)

    for _, group in groupby(sorted(ALL, key=connection), key=connection):
        yield list(group)


@pytest.mark.parametrize(
    "vectors", list(conversations()), ids=lambda group: f"{group[0]['id']}-{group[-1]['id']}"
)
def test_verify_from_packet_bytes(vectors):
    assert len(vectors) == 4
    engine = ao.Engine([master_key(vectors[0])])
    result = engine.verify(*records([v["packet"] for v in vectors]), RAW_IP)
    assert [ao.Verdict(code).name for code in result.verdict] == ["good"] * 4
    assert result.counts["good"] == 4 and (result.key == 0).all()
