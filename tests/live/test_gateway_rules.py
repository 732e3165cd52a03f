"""What a gateway rules of packets, without a kernel: hostile ones, ICMP, MSS, rules for nft."""

import random
import subprocess

import hosts
import pytest
from samples import CAPTURES, Capture
from wire import ACK, RST, SYN, checksum, ip_packet, tcp_packet

import tcpao_fast as ao
from tcpao_fast.live.gateway import Gateway, lower_mss
from tcpao_fast.live.nfqueue import LOCAL_IN, LOCAL_OUT, Queued
from tcpao_fast.live.rules import Rules, RulesError, matches_of

HOST, PEER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
HOST6, PEER6 = ("fd00::1", 40000), ("fd00::2", 179)


def key(**more):
    fields = {"local": HOST[0], "remote": PEER[0]} | more
    return ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2, **fields)


def one(gateway, packet, hook):
    (ruling,) = gateway.rule([Queued(7, hook, packet)])
    assert ruling.number == 7
    return ruling


def test_whatever_comes_has_a_ruling():
    rng = random.Random(1)
    capture = Capture(CAPTURES / "v4-sha1.pcap")
    real = [ip for i in range(60) if (ip := capture.ip(i))]
    gateway = Gateway(capture.keys, left_alone=[(b"\x0a\0\0\1", 1, b"\x0a\0\0\2", 2)])
    for _ in range(300):
        packets = []
        for _ in range(rng.randrange(1, 20)):
            packet = bytearray(rng.choice([*real, b"", b"\x45", rng.randbytes(rng.randrange(100))]))
            for _ in range(rng.choice([0, 1, 3])):
                if packet:
                    packet[rng.randrange(min(len(packet), 80))] = rng.randrange(256)
            if rng.random() < 0.2:
                del packet[rng.randrange(len(packet) + 1) :]
            packets.append(bytes(packet))
        queued = [Queued(i, rng.choice([LOCAL_IN, LOCAL_OUT]), p) for i, p in enumerate(packets)]
        rulings = gateway.rule(queued)
        assert [ruling.number for ruling in rulings] == list(range(len(packets)))


def icmp(version, code, inner):
    if version == 4:
        body = bytes([3, code, 0, 0]) + bytes(4) + inner
        return ip_packet(
            "10.0.0.9", HOST[0], body[:2] + checksum(body).to_bytes(2, "big") + body[4:], 1
        )
    return ip_packet("fd00::9", HOST6[0], bytes([1, code, 0, 0]) + bytes(4) + inner, 58)


@pytest.mark.parametrize(
    ("version", "code", "dropped"),
    [(4, 0, False), (4, 1, False), (4, 2, True), (4, 3, True), (4, 4, True), (4, 13, False),
     (6, 0, False), (6, 1, True), (6, 3, False), (6, 4, True)],
)  # fmt: skip
def test_icmp_errors_that_linux_does_not_heed(version, code, dropped):
    ends = (HOST, PEER) if version == 4 else (HOST6, PEER6)
    ours = key() if version == 4 else key(local=HOST6[0], remote=PEER6[0])
    stranger = ("10.0.0.77", 179) if version == 4 else ("fd00::77", 179)
    sent = tcp_packet(*ends, ACK, 1, 1)
    for quoted in (sent[:28] if version == 4 else sent, sent):
        assert one(Gateway([ours]), icmp(version, code, quoted), LOCAL_IN).accept is not dropped
    other = tcp_packet(ends[0], stranger, ACK, 1, 1)
    assert one(Gateway([ours]), icmp(version, code, other), LOCAL_IN).accept
    assert one(Gateway([ours], accept_icmps=True), icmp(version, code, sent), LOCAL_IN).accept


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_not_signed(version):
    ends = (HOST, PEER) if version == 4 else (HOST6, PEER6)
    ours = key() if version == 4 else key(local=HOST6[0], remote=PEER6[0])
    gateway = Gateway([ours])
    for flags in (SYN, SYN | ACK, ACK, RST, RST | ACK):
        assert not one(gateway, tcp_packet(ends[1], ends[0], flags, 1, 1), LOCAL_IN).accept
    assert gateway.counts.dropped == {"ao_required": 5}
    stranger = ("10.0.0.77", 179) if version == 4 else ("fd00::77", 179)
    assert one(gateway, tcp_packet(stranger, ends[0], SYN, 1), LOCAL_IN).accept
    assert not one(
        Gateway([ours], ao_required=True), tcp_packet(stranger, ends[0], SYN, 1), LOCAL_IN
    ).accept
    # what cannot be signed stays here; open, it goes as it is
    lost = tcp_packet(*ends, ACK, 1, 1)
    assert not one(gateway, lost, LOCAL_OUT).accept
    ruling = one(Gateway([ours], fail_open=True), lost, LOCAL_OUT)
    assert ruling.accept and ruling.packet is None


def test_replays_of_an_earlier_connection_are_dropped():
    here, there = Gateway([key()]), Gateway([key().mirrored()])

    def go(isns):
        sent = []
        for flags, out, seq, ack, data in (
            (SYN, True, isns[0], 0, b""),
            (SYN | ACK, False, isns[1], isns[0] + 1, b""),
            (ACK, True, isns[0] + 1, isns[1] + 1, b"hello"),
        ):
            ends = (HOST, PEER) if out else (PEER, HOST)
            first, second = (here, there) if out else (there, here)
            packet = one(first, tcp_packet(*ends, flags, seq, ack, data), LOCAL_OUT).packet
            assert one(second, packet, LOCAL_IN).accept
            sent.append((second, packet))
        return sent

    earlier = go((1000, 5000))
    go((700_000, 900_000))
    for gateway, packet in earlier[1:]:
        assert not one(gateway, packet, LOCAL_IN).accept


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(
    "options", [b"\2\4\5\xb4", b"\1\2\4\5\xb4\1\1\1", b"\1\1\1\2\4\5\xb4\0", b"\3\3\7\0", b"\2\7"]
)
def test_mss(version, options):
    ends = (HOST, PEER) if version == 4 else (HOST6, PEER6)
    packet = tcp_packet(*ends, SYN, 1, options=options)
    at = 20 if version == 4 else 40
    done = lower_mss(packet, 20)
    assert len(done) == len(packet)
    if b"\2\4\5\xb4" in options:
        assert done != packet and b"\2\4\5\xa0" in done
    pseudo = packet[12:20] if version == 4 else packet[8:40]
    pseudo += (len(done) - at).to_bytes(4, "big") + b"\0\0\0\6"
    assert checksum(pseudo + done[at:]) == 0
    assert lower_mss(tcp_packet(*ends, ACK, 1, 1, options=options), 20) == tcp_packet(
        *ends, ACK, 1, 1, options=options
    )


def test_rules_are_for_what_keys_are_for():
    keys = [
        key(), key(remote="10.1.0.0/16", remote_port=179), key(local=None, remote="fd00::/64"),
        ao.MasterKey(algorithm="tcp-md5", secret=b"x"),
    ]  # fmt: skip
    assert len(matches_of(keys)) == 5  # the last for both versions
    nft = Rules(keys, 3, tool="nft").text()
    assert "table inet tcpao3 {" in nft and "ip saddr 10.1.0.0/16" in nft
    assert "tcp sport 179 queue to 3" in nft and "ip6 daddr fd00::/64" in nft
    assert nft.count("{") == nft.count("}") == 3
    assert "queue flags bypass to 3" in Rules(keys, 3, tool="nft", fail_open=True).text()
    tables = Rules(keys, 3, tool="iptables", fail_open=True).text()
    assert "-d 10.1.0.0/16 --dport 179:179 -j NFQUEUE --queue-num 3 --queue-bypass" in tables
    assert "ip6tables -t mangle -A tcpao3-in -p tcp -s fd00::/64" in tables
    with pytest.raises(RulesError, match="not for 'pf'"):
        Rules(keys, 3, tool="pf")


@pytest.mark.parametrize("fail_open", [False, True])
def test_nft_takes_the_rules(fail_open):
    """Where the kernel cannot queue by nft, all but the queue."""
    hosts.require("nft")
    keys = [
        key(),
        key(remote="10.1.0.0/16", remote_port=179, local_port=(1000, 2000)),
        key(local=None, remote="fd00::/64"),
        ao.MasterKey(algorithm="tcp-md5", secret=b"x"),
    ]
    text = Rules(keys, 3, tool="nft", fail_open=fail_open).text()
    with hosts.several("n") as (host,):
        for one in (text, text.replace(" flags bypass", "").replace("queue to 3", "accept")):
            command = [*host.prefix, "nft", "-c", "-f", "-"]
            done = subprocess.run(command, input=one, capture_output=True, text=True)
            said = [line for line in done.stderr.splitlines() if "Error" in line]
            assert all("No such file" in line for line in said), done.stderr
            assert done.returncode == 0 or "queue" in one
