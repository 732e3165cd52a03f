"""Scapy's packets, signed and verified as packets."""

import pytest
from samples import CAPTURES, Capture

scapy = pytest.importorskip("scapy.all", reason="scapy is not here: pip install scapy")

import tcpao_fast as ao  # noqa: E402
from tcpao_fast.integrations import scapy as ours  # noqa: E402

KEY = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"secret", send_id=1, recv_id=2)
SYN = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 2))]


class Mine(scapy.Packet):
    name = "Mine"
    fields_desc = [scapy.ByteField("a", 7)]  # noqa: RUF012 (scapy's way)


def shapes():
    tcp = {"sport": 40000, "dport": 179, "seq": 1000}
    v4, v6 = scapy.IP(src="10.0.0.1", dst="10.0.0.2"), scapy.IPv6(src="fd00::1", dst="fd00::2")
    yield "plain", scapy.Ether() / v4 / scapy.TCP(flags="S", **tcp)
    yield "options", scapy.Ether() / v4 / scapy.TCP(flags="S", options=SYN, **tcp)
    yield "odd", v4 / scapy.TCP(flags="S", options=[("WScale", 7)], **tcp) / b"data"
    yield "v6", scapy.Ether() / v6 / scapy.TCP(flags="S", **tcp) / b"x"
    yield "vlan", scapy.Ether() / scapy.Dot1Q(vlan=5) / v4 / scapy.TCP(flags="S", **tcp)
    yield "own layer", scapy.Ether() / v4 / scapy.TCP(flags="S", **tcp) / Mine(a=3)
    yield "tunnel", v4 / scapy.GRE() / v6 / scapy.TCP(flags="S", **tcp) / b"inner"
    fields = {"ttl": 5, "id": 77, "len": 45, "tos": 4}
    yield (
        "set",
        scapy.IP(src="10.0.0.1", dst="10.0.0.2", **fields)
        / scapy.TCP(flags="S", dataofs=5, **tcp)
        / b"12345",
    )


@pytest.mark.parametrize("md5", [False, True])
@pytest.mark.parametrize(("name", "packet"), [*shapes()])
def test_signed_and_stripped(name, packet, md5):
    key = ao.MasterKey(algorithm="tcp-md5", secret=b"x") if md5 else KEY
    before = bytes(packet)
    packet.time = 1700000000.5
    done = ours.sign(ao.Engine([key]), packet)
    assert bytes(packet) == before and type(done) is type(packet)
    expected = ao.Engine([key]).sign(before, linktype=ours.linktype_of(packet)).packet
    assert bytes(done) == expected
    assert ours.outcome_of(done) is ao.SignOutcome.signed and ours.outcome_of(packet) is None
    assert done.time == packet.time
    assert [layer.__name__ for layer in done.layers()] == [
        layer.__name__ for layer in packet.layers()
    ]
    verdict = ours.verify(ao.Engine([key]), done).verdict
    assert verdict in (ao.Verdict.good, ao.Verdict.md5_good)
    assert bytes(ours.strip_packets(done)) == before
    if name == "own layer":
        assert done[Mine].a == 3
    if name == "set":
        assert (done.ttl, done.id, done.len) == (5, 77, 45 + len(expected) - len(before))
    if name == "plain":  # what was left to scapy stays so
        assert done[scapy.IP].len is None and done[scapy.TCP].chksum is None


def test_lists_and_captures(tmp_path):
    capture = Capture(CAPTURES / "v4-sha1.pcap")
    packets = scapy.rdpcap(str(capture.path), 120)
    result = ours.verify(ao.Engine(capture.keys), packets)
    segments = sum(scapy.TCP in one for one in packets)
    assert result.counts["good"] == segments > 100
    plain = ours.strip_packets(packets)
    assert ours.verify(ao.Engine(capture.keys), plain).counts["ao_required"] == segments
    again = ours.sign(ao.Engine(capture.keys), plain)
    assert ours.verify(ao.Engine(capture.keys), again).counts["good"] == segments
    path = tmp_path / "signed.pcap"
    with scapy.PcapWriter(str(path)) as writer:
        writer.write(list(ours.signed(ao.Engine(capture.keys), plain)))
    assert ao.verify_capture(path, capture.keys).counts["good"] == segments
    with scapy.PcapReader(str(capture.path)) as reader:
        assert ao.verify_capture(ours.capture_of(reader), capture.keys).counts["good"] == 444
    for source in (packets, iter(packets)):
        report = ao.verify_capture(ours.capture_of(source), capture.keys)
        assert report.counts["good"] == segments
    assert ao.verify_capture(ours.capture_of([]), capture.keys).records == 0
    assert len(ours.verify(ao.Engine([KEY]), []).verdict) == 0


def test_what_cannot_be_signed_comes_back_as_it_is():
    packet = scapy.Ether() / scapy.ARP()
    done = ours.sign(ao.Engine([KEY]), packet)
    assert bytes(done) == bytes(packet) and ours.outcome_of(done) is ao.SignOutcome.not_tcp
    for wrong in (b"bytes", None, 3):
        with pytest.raises((ao.InvalidArgumentError, TypeError)):
            ours.sign(ao.Engine([KEY]), [wrong])
    with pytest.raises(ao.InvalidArgumentError, match="begin with TCP"):
        ours.sign(ao.Engine([KEY]), scapy.TCP())
