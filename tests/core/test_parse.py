"""Link types, tunnels, extension headers, broken headers; and never a byte beyond the record."""

import ipaddress
import random
import struct

import numpy as np
import pytest
from guard import GuardedPages
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import ACK, SYN, ao_option, handshake, ip_packet, pair, records, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.wire.parse import LINK_TYPES, parse, parse_records
from tcpao_fast.core.wire.records import Records

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
MACS = bytes(range(12))
OUTER4 = ("192.0.2.1", "192.0.2.2")
OUTER6 = ("2001:db8::1", "2001:db8::2")


def u16(*values):
    return struct.pack(f">{len(values)}H", *values)


def ethertype(ip):
    return u16(0x0800 if ip[0] >> 4 == 4 else 0x86DD)


def ethernet(ip):
    return MACS + ethertype(ip) + ip


def sll(ip):
    return u16(0, 1, 6) + bytes(8) + ethertype(ip) + ip


def sll2(ip):
    return ethertype(ip) + bytes(18) + ip


def gre(ip, flags=0, extra=b""):
    return ip_packet(*OUTER4, u16(flags) + ethertype(ip) + extra + ip, 47)


def pppoe(ip):
    protocol = 0x21 if ip[0] >> 4 == 4 else 0x57
    return MACS + u16(0x8864) + b"\x11\0" + u16(1, len(ip) + 2, protocol) + ip


def mpls(ip):
    return MACS + u16(0x8847) + bytes([0, 1, 0, 64]) + bytes([0, 2, 1, 64]) + ip


def snap(ip):
    return MACS + u16(len(ip) + 8) + b"\xaa\xaa\x03\0\0\0" + ethertype(ip) + ip


def ppp_protocol(ip):
    return u16(0x21 if ip[0] >> 4 == 4 else 0x57)


WRAPPINGS = {
    "raw IP": (101, lambda ip: ip),
    "raw IP 12": (12, lambda ip: ip),
    "raw IP 14": (14, lambda ip: ip),
    "BSD loopback": (0, lambda ip: struct.pack("<I", 2) + ip),
    "OpenBSD loopback": (108, lambda ip: struct.pack(">I", 24) + ip),
    "Ethernet": (1, ethernet),
    "802.1Q": (1, lambda ip: MACS + u16(0x8100, 0x6005) + ethertype(ip) + ip),
    "QinQ": (1, lambda ip: MACS + u16(0x88A8, 7, 0x8100, 5) + ethertype(ip) + ip),
    "old QinQ": (1, lambda ip: MACS + u16(0x9100, 7, 0x8100, 5) + ethertype(ip) + ip),
    "SNAP": (1, snap),
    "trailer": (1, lambda ip: ethernet(ip) + b"trailer and FCS"),
    "SLL": (113, sll),
    "SLL with VLAN": (113, lambda ip: sll(ip)[:-len(ip) - 2] + u16(0x8100, 5) + ethertype(ip) + ip),
    "SLL2": (276, sll2),
    "PPP": (9, lambda ip: b"\xff\x03" + ppp_protocol(ip) + ip),
    "PPP without address": (9, lambda ip: ppp_protocol(ip) + ip),
    "PPPoE": (1, pppoe),
    "MPLS": (1, mpls),
    "IP in IP": (101, lambda ip: ip_packet(*OUTER4, ip, 4 if ip[0] >> 4 == 4 else 41)),
    "IP in IPv6": (101, lambda ip: ip_packet(*OUTER6, ip, 4 if ip[0] >> 4 == 4 else 41)),
    "GRE": (101, gre),
    "GRE with key and sequence": (101, lambda ip: gre(ip, 0x3000, bytes(8))),
    "GRE with checksum": (101, lambda ip: gre(ip, 0x8000, bytes(4))),
    "Ethernet in GRE": (
        101,
        lambda ip: ip_packet(*OUTER4, u16(0, 0x6558) + ethernet(ip), 47),
    ),
    "MPLS in GRE": (
        101,
        lambda ip: ip_packet(*OUTER4, u16(0, 0x8847) + bytes([0, 1, 1, 64]) + ip, 47),
    ),
    "four deep": (
        1,
        lambda ip: ethernet(ip_packet(*OUTER4, gre(WRAPPINGS["IP in IPv6"][1](ip)), 4)),
    ),
}  # fmt: skip


@pytest.fixture(params=[("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")], ids=["IPv4", "IPv6"])
def ends(request):
    return tuple((address, port) for address, port in zip(request.param, (40000, 179), strict=True))


@pytest.mark.parametrize("wrapping", WRAPPINGS)
class TestWrappings:
    def key(self, ends, algorithm="hmac-sha-1-96"):
        return ao.MasterKey(
            algorithm=algorithm, secret=b"s", send_id=1, recv_id=2,
            local=ends[0][0], remote=ends[1][0],
        )  # fmt: skip

    def packets(self, ends, wrap):
        a, b = pair(self.key(ends), *ends)
        return [wrap(ip) for ip in (*handshake(a, b), a.send(ACK, b"x" * 201), b.send(ACK, b"y"))]

    def test_verify(self, ends, wrapping):
        linktype, wrap = WRAPPINGS[wrapping]
        assert linktype in LINK_TYPES
        result = ao.Engine([self.key(ends)]).verify(*records(self.packets(ends, wrap)), linktype)
        assert result.counts["good"] == 5

    def test_sign_and_strip(self, ends, wrapping):
        """Lengths and checksums all the way out: what comes back is what went in."""
        linktype, wrap = WRAPPINGS[wrapping]
        bare = ao.strip(*records(self.packets(ends, wrap)), linktype)
        assert bare.counts == {"stripped": 5}
        signed = ao.Engine([self.key(ends)]).sign(*bare, linktype)
        assert signed.counts == {"signed": 5}
        assert ao.Engine([self.key(ends)]).verify(*signed, linktype).counts["good"] == 5
        back = ao.strip(*signed, linktype)
        assert bytes(back.buffer) == bytes(bare.buffer)


def test_checksums_inside_and_out(tool, tmp_path):
    """tshark finds every IP, TCP and GRE checksum and length of signed tunnels right."""
    import subprocess

    key = TestWrappings().key((CLIENT, SERVER))
    for wrapping in ("GRE with checksum", "IP in IP", "IP in IPv6", "802.1Q", "PPPoE", "SNAP"):
        linktype, wrap = WRAPPINGS[wrapping]
        packets = TestWrappings().packets((CLIENT, SERVER), wrap)
        bare = ao.strip(*records(packets), linktype)
        signed = ao.Engine([key]).sign(*bare, linktype)
        path = tmp_path / "signed.pcap"
        body = b"".join(
            struct.pack("<IIII", i, 0, length, length)
            + bytes(signed.buffer[offset : offset + length])
            for i, (offset, length) in enumerate(zip(signed.offsets, signed.lengths, strict=True))
        )
        path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, linktype) + body)
        command = [
            tool("tshark"), "-r", path, "-n", "-T", "fields", "-e", "tcp.options.ao.keyid",
            "-e", "_ws.expert.message",
            "-o", "ip.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
        ]  # fmt: skip
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        fields = [line.split("\t") for line in lines.splitlines()]
        assert len(fields) == 5
        for _, expert in fields:
            for complaint in ("hecksum", "length", "alformed", "Bogus"):
                assert complaint not in expert, (wrapping, expert)


class TestHeaders:
    def one(self, ip, linktype=101):
        return parse(*records([ip]), linktype)[0]

    def test_fields(self):
        ip = tcp_packet(CLIENT, SERVER, SYN | ACK, 7, 9, b"abc", ao_option(1, 2))
        row = self.one(ip)
        assert (row["kind"], row["version"], row["auth"]) == (1, 4, 1)
        assert (row["source_port"], row["destination_port"], row["flags"]) == (40000, 179, 18)
        assert (row["seq"], row["ack"], row["length"]) == (7, 9, 20 + 16 + 3)
        assert (row["key_id"], row["rnext_key_id"]) == (1, 2)
        assert (row["auth_offset"], row["auth_length"], row["header_length"]) == (20, 16, 36)
        assert bytes(row["source"][:4]) == bytes([10, 0, 0, 1])
        assert (row["ip_offset"], row["tcp_offset"]) == (0, 20)

    @pytest.mark.parametrize(
        ("options", "kind", "auth"),
        [
            (b"", 1, 0),
            (b"\x01\x01\x01\x01", 1, 0),
            (b"\x00" + b"\x1d" * 3, 1, 0),
            (b"\x02\x04\x05\xb4" + ao_option(1, 2), 1, 1),
            (ao_option(1, 2) + b"\x01\x01\x00\x00", 1, 1),
            (b"\x1d\x04\x01\x02", 1, 1),
            (b"\x1d\x03\x01\x01", 3, None),
            (b"\x1d\x00\x01\x01", 3, None),
            (b"\x1d\x30\x01\x01", 3, None),
            (b"\x01\x01\x01\x1d", 3, None),
            (b"\x02\x01\x01\x01", 3, None),
            (b"\x02\x09\x01\x01", 3, None),
            (ao_option(1, 2, 4) + ao_option(1, 2, 4), 3, None),
            (ao_option(1, 2, 4) + b"\x13\x12" + bytes(16) + b"\x01\x01", 3, None),
            (b"\x13\x12" + bytes(16) + b"\x01\x01", 1, 2),
            (b"\x13\x10" + bytes(14), 3, None),
        ],
    )
    def test_options(self, options, kind, auth):
        row = self.one(tcp_packet(CLIENT, SERVER, ACK, 7, 9, b"", options))
        assert row["kind"] == kind
        if auth is not None:
            assert row["auth"] == auth

    @pytest.mark.parametrize("offset", range(16))
    def test_data_offset(self, offset):
        ip = bytearray(tcp_packet(CLIENT, SERVER, ACK, 7, 9, b"\x01" * 20))
        ip[32] = offset << 4
        assert self.one(bytes(ip))["kind"] == (1 if 5 <= offset <= 10 else 3)

    def test_cut(self):
        ip = tcp_packet(CLIENT, SERVER, ACK, 7, 9, b"payload", ao_option(1, 2))
        for length in range(len(ip)):
            row = self.one(ip[:length])
            expected = 0 if length < 20 else 2 if length < 56 else 1
            assert row["kind"] == expected, length

    def test_ipv4_options_and_source_route(self, key):
        """The last address of a source route is the one that the MAC covers."""
        a, _ = pair(key)
        plain = a.send(SYN)
        for route, left in ((131, True), (137, True), (131, False)):
            pointer = 4 if left else 8
            hop = ipaddress.ip_address("10.9.9.9").packed
            final = plain[16:20]
            option = bytes([route, 7, pointer]) + (final if left else hop) + b"\0"
            destination = hop if left else final
            total = len(plain) + 8
            ip = bytes([0x47, 0]) + u16(total) + plain[4:16] + destination + option + plain[20:]
            assert ao.Engine([key]).verify(*records([ip]), 101).counts["good"] == 1

    @pytest.mark.parametrize("headers", ["hop", "destination", "fragment", "ah", "all"])
    def test_ipv6_extension_headers(self, headers):
        ends = (("fd00::1", 40000), ("fd00::2", 179))
        key = TestWrappings().key(ends)
        plain = pair(key, *ends)[0].send(SYN)
        chain = {
            "hop": [(0, b"\x01\x04" + bytes(4))],
            "destination": [(60, b"\x01\x0c" + bytes(12))],
            "fragment": [(44, None)],
            "ah": [(51, None)],
        }
        chain["all"] = chain["hop"] + chain["destination"] + chain["fragment"] + chain["ah"]
        following, payload = 6, plain[40:]
        for protocol, body in reversed(chain[headers]):
            if protocol == 44:
                header = bytes([following, 0]) + bytes(6)
            elif protocol == 51:
                header = bytes([following, 4]) + bytes(22)
            else:
                header = bytes([following, (len(body) + 2) // 8 - 1]) + body
            payload, following = header + payload, protocol
        ip = plain[:4] + u16(len(payload)) + bytes([following, 64]) + plain[8:40] + payload
        assert ao.Engine([key]).verify(*records([ip]), 101).counts["good"] == 1

    @pytest.mark.parametrize("kind", [0, 2, 4])
    @pytest.mark.parametrize("left", [0, 1])
    def test_ipv6_routing_header(self, kind, left):
        """With segments left the final destination is in the header; type 4 is in reverse order."""
        ends = (("fd00::1", 40000), ("fd00::2", 179))
        key = TestWrappings().key(ends)
        plain = pair(key, *ends)[0].send(SYN)
        final = plain[24:40]
        hop = ipaddress.ip_address("fd00::99").packed
        addresses = [final] if kind == 2 else [hop, final] if kind == 0 else [final, hop]
        header = bytes([6, 2 * len(addresses), kind, left]) + bytes(4) + b"".join(addresses)
        destination = hop if left else final
        payload = header + plain[40:]
        ip = plain[:4] + u16(len(payload)) + bytes([43, 64]) + plain[8:24] + destination + payload
        assert ao.Engine([key]).verify(*records([ip]), 101).counts["good"] == 1

    def test_ipv6_home_address(self):
        ends = (("fd00::1", 40000), ("fd00::2", 179))
        key = TestWrappings().key(ends)
        plain = pair(key, *ends)[0].send(SYN)
        option = b"\x01\x02\0\0" + b"\xc9\x10" + plain[8:24]
        payload = bytes([6, 2]) + option + plain[40:]
        away = ipaddress.ip_address("fd00::77").packed
        ip = plain[:4] + u16(len(payload)) + bytes([60, 64]) + away + plain[24:40] + payload
        assert ao.Engine([key]).verify(*records([ip]), 101).counts["good"] == 1

    def test_total_length_of_segmentation_offload(self, key):
        """An IPv4 total length of 0 means: to the end of the frame."""
        a, _ = pair(key)
        ip = bytearray(a.send(SYN, b"data"))
        ip[2:4] = bytes(2)
        assert ao.Engine([key]).verify(*records([bytes(ip)]), 101).counts["good"] == 1
        buffer, offsets, lengths = records([bytes(ip)])
        cut = ao.Engine([key]).verify(buffer, offsets, lengths - 1, 101, wire_lengths=lengths)
        assert cut.counts["truncated"] == 1

    def test_not_tcp(self):
        udp = ip_packet("10.0.0.1", "10.0.0.2", bytes(20), 17)
        for frame, linktype in (
            (udp, 101),
            (b"", 1),
            (bytes(60), 1),
            (udp, 105),
            (b"\xff" * 90, 101),
        ):
            assert self.one(frame, linktype)["kind"] == 0

    def test_bottomless_nesting(self):
        ip = tcp_packet(CLIENT, SERVER, ACK, 7, 9)
        for _ in range(100):
            ip = ip_packet("10.0.0.1", "10.0.0.2", ip, 4)
        assert self.one(ip)["kind"] == 0

    def test_segment_in_a_cut_record_is_truncated(self, key):
        a, b = pair(key)
        packets = handshake(a, b)
        buffer, offsets, lengths = records([*packets, a.send(ACK, b"x" * 100)])
        lengths = lengths.copy()
        lengths[-1] -= 1
        result = ao.Engine([key]).verify(buffer, offsets, lengths, 101)
        assert [ao.Verdict(v).name for v in result.verdict] == ["good"] * 3 + ["truncated"]


SEEDS = [wrap(tcp_packet(CLIENT, SERVER, ACK, 7, 9, b"payload", ao_option(1, 2)))
         for _, wrap in WRAPPINGS.values()]  # fmt: skip


class TestNothingBeyondTheRecord:
    """Records that end at a page without access: an over-read would end the process."""

    pages = GuardedPages(1)

    def everything(self, data, linktype):
        key = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"s", send_id=1, recv_id=2)
        md5 = ao.MasterKey(algorithm="tcp-md5", secret=b"s")
        view = self.pages.ending_with(data)
        where = ([0], [len(data)], linktype)
        parse(view, *where)
        engine = ao.Engine([key, md5])
        engine.verify(view, *where)
        signed = ao.Engine([key, md5]).sign(view, *where)
        ao.strip(view, *where)
        ao.Engine([key]).sign_inplace(view, *where)
        assert signed.lengths[0] >= len(data)

    @settings(max_examples=400)
    @given(
        seed=st.sampled_from(SEEDS),
        linktype=st.sampled_from(sorted(LINK_TYPES)),
        changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
        cut=st.integers(0, 200),
    )
    def test_changed_packets(self, seed, linktype, changes, cut):
        data = bytearray(seed)
        for at, value in changes:
            data[at % len(data)] = value
        self.everything(bytes(data[: len(data) - cut % (len(data) + 1)]), linktype)

    @settings(max_examples=400)
    @given(data=st.binary(max_size=300), linktype=st.sampled_from(sorted(LINK_TYPES)))
    def test_noise(self, data, linktype):
        self.everything(data, linktype)

    def test_every_cut_of_every_wrapping(self):
        for linktype, wrap in WRAPPINGS.values():
            frame = wrap(tcp_packet(CLIENT, SERVER, ACK, 7, 9, b"payload", ao_option(1, 2)))
            for length in range(len(frame) + 1):
                self.everything(frame[:length], linktype)

    def test_much_noise(self):
        """A quick sweep: every byte of valid packets replaced by extremes."""
        rng = random.Random(5)
        for seed in SEEDS:
            for at in range(len(seed)):
                for value in (
                    0,
                    1,
                    4,
                    0x1D,
                    0x44,
                    0x45,
                    0x46,
                    0x7F,
                    0x80,
                    0xFF,
                    rng.randrange(256),
                ):
                    data = bytearray(seed)
                    data[at] = value
                    view = self.pages.ending_with(data)
                    parse(view, [0], [len(data)], 1)
                    parse(view, [0], [len(data)], 101)


class TestShortCut:
    """The short cut for the usual record finds what the parser finds, or leaves it alone."""

    def both(self, data, offsets, lengths, linktype, wire_lengths=None):
        where = Records(data, offsets, lengths, linktype, wire_lengths=wire_lengths)
        assert np.array_equal(parse_records(where), parse_records(where, in_full=True))

    def test_captures(self, capture):
        self.both(*capture.records, capture.linktype)

    def test_changed_captures(self, capture):
        """Each byte of the headers of a few records, and every cut of them."""
        rng = random.Random(7)
        data, offsets, lengths = capture.records
        for number in rng.sample(range(len(offsets)), min(6, len(offsets))):
            frame = data[offsets[number] : offsets[number] + lengths[number]]
            changed = []
            for at in range(min(len(frame), 94)):
                for value in (0, 1, 0x45, 0x46, 0xFF, frame[at] ^ 1 << rng.randrange(8)):
                    changed.append(frame[:at] + bytes([value]) + frame[at + 1 :])
            changed += [frame[:cut] for cut in range(len(frame))]
            for linktype in (capture.linktype, 1, 101):
                self.both(*records(changed), linktype)
                # cut by the snap length
                whole = np.full(len(changed), len(frame), np.int64)
                self.both(*records(changed), linktype, whole)

    @settings(max_examples=400)
    @given(
        seed=st.sampled_from(SEEDS),
        linktype=st.sampled_from([1, 101]),
        changes=st.lists(st.tuples(st.integers(0, 93), st.integers(0, 255)), max_size=6),
    )
    def test_changed_packets(self, seed, linktype, changes):
        data = bytearray(seed)
        for at, value in changes:
            data[at % len(data)] = value
        self.both(bytes(data), [0], [len(data)], linktype)


def test_arguments():
    with pytest.raises(ao.InvalidArgumentError, match="linktype has 2 entries"):
        parse(b"abc", [0], [3], np.array([1, 2]))
    with pytest.raises(ao.InvalidArgumentError, match="not inside"):
        parse(b"abc", [1], [3])


def usual_packets(rng, count):
    """IP packets as they are nearly always, and slightly not so: some bytes changed, or cut."""
    options = (b"", b"\1\1\x08\x0a" + bytes(8), bytes((29, 16, 1, 2)) + bytes(12),
               bytes((19, 18)) + bytes(16) + b"\0\0", b"\x02\x04\x05\xb4", bytes(4))  # fmt: skip
    for _ in range(count):
        chosen = b"".join(rng.choices(options, k=rng.randrange(4)))[:40]
        payload = rng.randbytes(rng.choice((0, 0, 1, 30)))
        version = rng.choice((4, 6))
        ends = (("10.0.0.1", 40000), ("10.0.0.2", 179))
        if version == 6:
            ends = (("fd00::1", 40000), ("fd00::2", 179))
        whole = bytearray(tcp_packet(*ends, rng.choice((2, 18, 16, 24)), 7, 9, payload, chosen))
        for _ in range(rng.choice((0, 0, 1, 2))):
            whole[rng.randrange(min(len(whole), 64))] = rng.choice((0, 4, 6, 20, 29, 0x45, 255))
        whole += bytes(rng.choice((0, 0, 6)))  # a trailer
        yield bytes(whole[: rng.choice((len(whole), len(whole), rng.randrange(len(whole) + 1)))])


def without_offsets(rows):
    return [[row[name].tolist() for name in rows.dtype.names if "offset" not in name
             or name == "auth_offset"] for row in rows]  # fmt: skip


def test_short_cut():
    """What is parsed at one go is what the long way finds: other link types go the long way."""
    rng = random.Random(7)
    packets = list(usual_packets(rng, 20_000))
    rows = parse(*records(packets), 101)
    assert without_offsets(rows) == without_offsets(parse(*records(packets), 12))
    assert {4, 6} <= set(rows["version"].tolist())
    assert {0, 1, 2} <= set(rows["auth"].tolist())
    head, kinds = bytes(12), (b"\x08\0", b"\x86\xdd", b"\x08\x06")
    tags = (b"", b"\x81\0\x20\7", b"\x88\xa8\0\1\x81\0\0\2")
    behind = [rng.choice(tags) + rng.choice(kinds) + one for one in packets]
    rows = parse(*records([head + one for one in behind]), 1)
    assert without_offsets(rows) == without_offsets(
        parse(*records([head + b"\0\0" + one for one in behind]), 113)
    )
    assert len(set(rows["vlan"].tolist())) > 2


def test_short_cut_signs_alike():
    """The headers around a segment are noted alike: lengths and checksums come out the same."""
    rng = random.Random(8)
    packets = list(usual_packets(rng, 4000))
    keys = [
        ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"s", send_id=1, recv_id=1, remote=remote)
        for remote in ("10.0.0.2", "fd00::2")
    ]
    signed = [ao.Engine(keys).sign(*records(packets), linktype) for linktype in (101, 12)]
    for one, other in zip(*signed, strict=True):
        assert np.array_equal(one, other)
    assert (signed[0].outcome == 0).sum() > 500
