"""Why a MAC fails: a capture for each hypothesis, and the right sentence as the first answer."""

import base64
import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import reference
import wire
from click.testing import CliRunner
from wire import ACK, FIN, PSH, RST, SYN, pcap, tcp_packet

import tcpao_fast as ao
from tcpao_fast.cli.app import tcpao
from tcpao_fast.diagnose.cases import REASONS

CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
CLIENT6, SERVER6 = ("fd00::1", 40000), ("fd00::2", 179)
MSS = b"\x02\x04\x05\xb4"
SYN_OPTIONS = MSS + b"\x04\x02" + b"\x03\x03\x07" + b"\x01\x01\x01"
SECRET = b"correct horse battery"
KEY = ao.MasterKey(
    algorithm="hmac-sha-1-96", secret=SECRET, send_id=100, recv_id=200,
    local="10.0.0.1", remote="10.0.0.2", name="k",
)  # fmt: skip
KEY6 = replace(KEY, local="fd00::1", remote="fd00::2")


class Signer(wire.Peer):
    """Signs as `how` says: a function that gets (key, packet, isns, sne) and gives the MAC."""

    how = None

    def send(self, flags, payload=b"", **more):
        ip = super().send(flags, payload, **more)
        if self.how is None:
            return ip
        packet = reference.Packet.parse(ip)
        at = more.get("position", self.position - len(payload) - bool(flags & (SYN | FIN)))
        isns = self.isn, 0 if flags & (SYN | ACK) == SYN else self.peer.isn
        return wire.with_mac(ip, self.how(self.key, packet, isns, at >> 32))


def ends(key, how=None, isns=(1000, 5000), v6=False, server_key=None):
    a = Signer(key, CLIENT6 if v6 else CLIENT, SERVER6 if v6 else SERVER, isns[0])
    b = Signer(server_key or key, a.there, a.here, isns[1], local=False)
    a.connect(b)
    a.how = b.how = how
    return a, b


def session(a, b, data=3):
    """A handshake with the usual options, then data in both directions."""
    packets = [a.send(SYN, options=SYN_OPTIONS), b.send(SYN | ACK, options=SYN_OPTIONS)]
    packets.append(a.send(ACK))
    for _ in range(data):
        packets += [a.send(PSH | ACK, b"x" * 19), b.send(PSH | ACK, b"y" * 23)]
    return packets


@pytest.fixture
def diagnose(tmp_path):
    def diagnose(packets, *keys, **more):
        return ao.diagnose_capture(pcap(tmp_path / "x.pcap", packets), keys or [KEY], **more)

    return diagnose


@pytest.fixture
def first(diagnose):
    """The first finding; what is said of it holds for all."""

    def first(packets, *keys, **more):
        found = diagnose(packets, *keys, **more)
        assert found.exit_status in (1, 3) and found.findings
        one = found.findings[0]
        assert one.reason in REASONS
        assert one.packets and sum(one.counts.values()) and one.sentence.endswith(".")
        assert {one.client[0], one.server[0]} <= {"10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2"}
        for key in keys or [KEY]:
            text = key.secret.decode(errors="replace").strip()
            assert len(text) < 4 or text not in f"{one.sentence}{one.advice}"
        return one

    return first


def signed_with(**changes):
    return session(*ends(replace(KEY, **changes)))


class TestKeys:
    def test_wrong_secret(self, first):
        one = first(signed_with(secret=b"something else"))
        assert one.reason == "wrong_secret" and one.counts == {"bad_mac": 9}
        assert "none of" in one.sentence and one.tried > 1000

    def test_another_vrf(self, first):
        one = first(session(*ends(KEY)), replace(KEY, vrf=7))
        assert one.reason == "wrong_key_id" and one.counts == {"key_not_found": 9}
        assert "is for VRF 7; the connection is in no VLAN" in one.sentence
        assert "vrf = 0" in one.advice

    def test_tcp_md5_in_the_key_file_alone(self, first):
        md5 = ao.MasterKey(algorithm="tcp-md5", secret=SECRET, remote="10.0.0.2", name="old")
        one = first(session(*ends(KEY)), md5)
        assert one.reason == "tcp_md5" and one.counts == {"key_not_found": 9}
        assert "signed with TCP-AO (KeyID 100, 200)" in one.sentence and "old" in one.sentence

    def test_cut_segments_of_no_key(self, first):
        other = replace(KEY, remote="10.7.7.7")
        one = first([packet[:-4] for packet in session(*ends(KEY))], other)
        assert one.reason == "wrong_key_id" and one.counts == {"key_not_found": 6}
        assert "they were not captured completely, so nothing could be tried" in one.sentence

    def test_forged_segments_of_a_good_connection(self, first):
        a, b = ends(KEY)
        packets = session(a, b)
        a.key = replace(KEY, secret=b"guessed")
        one = first([*packets, a.send(RST)])
        assert one.reason == "wrong_secret" and one.counts == {"bad_mac": 1}
        assert "yet 5 segments from there are good" in one.sentence
        assert "the secret is most likely correct" in one.advice

    @pytest.mark.parametrize("v6", [False, True])
    @pytest.mark.parametrize("excluded", [False, True])
    def test_options_coverage(self, first, excluded, v6):
        key = replace(KEY6 if v6 else KEY, exclude_options=excluded)
        one = first(session(*ends(key, v6=v6)), replace(key, exclude_options=not excluded))
        assert one.reason == "options_coverage"
        assert "in both directions" in one.sentence and "include-tcp-options" in one.advice

    def test_options_coverage_of_one_side(self, first):
        a, b = ends(KEY, server_key=replace(KEY, exclude_options=True))
        one = first(session(a, b))
        assert one.reason == "options_coverage" and "from 10.0.0.2:179" in one.sentence
        # segments without other options have the same MAC only where there is no padding
        assert set(one.counts) == {"bad_mac"}

    @pytest.mark.parametrize(
        ("stated", "actual"),
        [
            ("hmac-sha-1-96", "aes-128-cmac-96"),
            ("aes-128-cmac-96", "hmac-sha-1-96"),
            ("hmac-sha-1-96", "hmac(sha256)"),
            ("hmac-sha-1-96", "hmac-sha256-128"),
            ("aes-128-cmac-96", "hmac(sha512)"),
        ],
    )
    def test_wrong_algorithm(self, first, stated, actual):
        packets = signed_with(algorithm=actual, mac_length=12)
        one = first(packets, replace(KEY, algorithm=stated))
        assert one.reason == "wrong_algorithm"
        assert f"signed with {actual}" in one.sentence

    @pytest.mark.parametrize(
        ("stated", "actual"),
        [("hmac(sha256)", "hmac-sha256-128"), ("hmac-sha256-128", "hmac(sha256)")],
    )
    def test_wrong_kdf(self, first, stated, actual):
        packets = signed_with(algorithm=actual, mac_length=16)
        one = first(packets, replace(KEY, algorithm=stated, mac_length=16))
        assert one.reason == "wrong_kdf" and f"as in {actual}" in one.sentence

    @pytest.mark.parametrize("length", [8, 16, 20])
    def test_wrong_mac_length(self, first, length):
        one = first(signed_with(mac_length=length)) if length < 20 else None
        if one is None:  # beside all SYN options 20 bytes do not fit
            a, b = ends(replace(KEY, mac_length=20))
            one = first([a.send(SYN), b.send(SYN | ACK), a.send(ACK), a.send(ACK, b"x")])
        assert one.reason == "wrong_mac_length"
        assert f"have {length} bytes" in one.sentence and f"mac_length = {length}" in one.advice

    def test_swapped_ids(self, first):
        one = first(signed_with(send_id=200, recv_id=100))
        assert one.reason == "swapped_ids" and one.counts == {"key_not_found": 9}

    def test_right_secret_under_another_key_id(self, first):
        one = first(signed_with(send_id=7, recv_id=8))
        assert one.reason == "wrong_key_id"
        assert "KeyID 7" in one.sentence and "whose KeyID in this direction is 100" in one.sentence

    def test_the_key_of_another_connection(self, first):
        other = replace(KEY, local="10.9.9.1", remote="10.9.9.2", name="elsewhere")
        one = first(signed_with(), other)
        assert one.reason == "wrong_key_id" and "elsewhere" in one.sentence
        assert "which is for 10.9.9.1 and 10.9.9.2" in one.sentence

    def test_an_unknown_key_id(self, first):
        one = first(signed_with(send_id=7, recv_id=8, secret=b"other"))
        assert one.reason == "wrong_key_id" and "KeyID 7, 8, for which no key" in one.sentence

    def test_the_secrets_of_two_keys_exchanged(self, first):
        second = replace(KEY, send_id=101, recv_id=201, secret=b"another one", name="second")
        one = first(signed_with(secret=b"another one"), KEY, second)
        assert one.reason == "wrong_key_id" and "those of key second" in one.sentence

    def test_a_key_that_was_not_to_be_accepted_then(self, first):
        from datetime import datetime, timezone

        late = (datetime(2026, 1, 1, tzinfo=timezone.utc), None)
        one = first(signed_with(), replace(KEY, accept_lifetime=late))
        assert one.reason == "wrong_key_id" and "accept_lifetime" in one.advice

    def test_two_faults_at_once(self, first):
        one = first(signed_with(exclude_options=True, secret=SECRET + b"\n"))
        assert one.reason == "options_coverage"
        assert "do not cover the other TCP options" in one.sentence
        assert "newline" in one.sentence

    def test_another_key_id_and_coverage(self, diagnose):
        """Segments without other options have the KeyID against them alone."""
        found = diagnose(signed_with(exclude_options=True, send_id=3, recv_id=4)).findings
        assert [one.reason for one in found] == ["wrong_key_id", "options_coverage"]
        assert all("KeyID 3" in one.sentence for one in found)
        assert sum(one.counts["key_not_found"] for one in found) == 9

    @pytest.mark.parametrize("length", [3, 4, 5])
    def test_short_macs(self, first, length):
        packets = session(*ends(replace(KEY, mac_length=length, exclude_options=True)), 4)
        one = first(packets, replace(KEY, mac_length=length))
        assert one.reason == "options_coverage"


SECRETS = {
    "newline": (SECRET + b"\n", "with a newline"),
    "crlf": (SECRET + b"\r\n", "carriage return"),
    "blank": (SECRET + b" ", "with a blank"),
    "hex as text": (SECRET.hex().encode(), "written in hexadecimal"),
    "HEX as text": (SECRET.hex().upper().encode(), "uppercase hexadecimal"),
    "0x": (b"0x" + SECRET.hex().encode(), "with 0x"),
    "base64": (base64.b64encode(SECRET), "base64"),
    "capitals": (SECRET.upper(), "uppercase"),
    "quotes": (b'"' + SECRET + b'"', "quotation marks"),
    "cut": (SECRET[:16], "truncated to 16"),
}


class TestSecrets:
    @pytest.mark.parametrize("name", SECRETS)
    def test_as_the_other_side_has_it(self, first, name):
        secret, what = SECRETS[name]
        one = first(signed_with(secret=secret))
        assert one.reason == "secret_encoding" and what in one.sentence

    @pytest.mark.parametrize("name", ["newline", "blank", "hex as text", "0x", "base64"])
    def test_as_the_key_file_has_it(self, first, name):
        one = first(signed_with(), replace(KEY, secret=SECRETS[name][0]))
        assert one.reason == "secret_encoding"

    def test_zero_byte(self, first):
        """HMAC pads its key with zero bytes, so it is the same there; CMAC is not."""
        key = replace(KEY, algorithm="aes-128-cmac-96")
        one = first(session(*ends(replace(key, secret=SECRET + b"\0"))), key)
        assert one.reason == "secret_encoding" and "a zero byte" in one.sentence

    @pytest.mark.parametrize(
        ("here", "there", "what"),
        [
            ("it's-so", "it\u2019s-so", "typographic"),
            ("plain", "\u201cplain\u201d", "in curly quotation marks"),
            ("\u201cplain\u201d", "plain", "without its curly"),
            ("one-two", "one\u2013two", "typographic"),
            ("$9$LbHX-wg4Z", "lc", "Junos $9$"),
        ],
    )
    def test_what_word_processors_and_routers_make_of_it(self, first, here, there, what):
        one = first(signed_with(secret=there.encode()), replace(KEY, secret=here.encode()))
        assert one.reason == "secret_encoding" and what in one.sentence

    def test_wrong_case_of_hexadecimal(self, first):
        text = SECRET.hex().encode()
        one = first(signed_with(secret=text.upper()), replace(KEY, secret=text))
        assert one.reason == "secret_encoding" and "uppercase" in one.sentence

    @pytest.mark.parametrize(
        ("secret", "made"),
        [
            (b"short", b"short".ljust(16, b"\0")),
            (SECRET, SECRET[:16]),
            (b"0123456789abcdef", reference.cmac(bytes(16), b"0123456789abcdef")),
        ],
    )
    def test_cmac_key_length(self, first, secret, made):
        key = replace(KEY, algorithm="aes-128-cmac-96", secret=secret)
        one = first(session(*ends(replace(key, secret=made))), key)
        if secret == SECRET:  # cut after 16 is also what a form does to any secret
            assert one.reason in ("cmac_key_length", "secret_encoding")
            assert "16" in one.sentence
        else:
            assert one.reason == "cmac_key_length" and "RFC 5926" in one.sentence

    def test_no_more_is_said_than_a_segment_shows(self, diagnose):
        # the same fault of the secret on both connections, options on the first alone
        both = replace(KEY, secret=SECRET.upper(), exclude_options=True)
        packets = session(*ends(both))
        a = Signer(replace(KEY, secret=SECRET.upper()), ("10.0.0.1", 40001), SERVER, 77)
        b = Signer(a.key, SERVER, a.here, 88, local=False)
        a.connect(b)
        packets += [a.send(SYN), b.send(SYN | ACK), a.send(ACK)]
        reasons = {one.client[1]: one.reason for one in diagnose(packets).findings}
        assert reasons == {40000: "options_coverage", 40001: "secret_encoding"}

    def test_tcp_md5_beside_tcp_ao(self, diagnose):
        # what was wrong with a TCP-AO key is not said of a TCP-MD5 one
        md5 = ao.MasterKey(algorithm="tcp-md5", secret=SECRET, remote="10.0.0.2", remote_port=22)
        packets = session(*ends(replace(KEY, secret=SECRET.upper(), exclude_options=True)))
        there = ("10.0.0.2", 22)
        ip = tcp_packet(CLIENT, there, SYN, 1000, options=b"\x13\x12" + bytes(16) + b"\1\1")
        digest = reference.Packet.parse(ip).md5_digest(SECRET.upper())
        at = ip.index(b"\x13\x12") + 2
        packets.append(ip[:at] + digest + ip[at + 16 :])
        found = diagnose(packets, KEY, md5).findings
        reasons = {one.server[1]: one.reason for one in found}
        assert reasons == {179: "options_coverage", 22: "secret_encoding"}

    def test_tcp_md5(self, first):
        key = ao.MasterKey(algorithm="tcp-md5", secret=SECRET, local="10.0.0.1", remote="10.0.0.2")
        ip = tcp_packet(CLIENT, SERVER, SYN, 1000, options=b"\x13\x12" + bytes(16) + b"\1\1")
        digest = reference.Packet.parse(ip).md5_digest(SECRET + b"\n")
        at = ip.index(b"\x13\x12") + 2
        one = first([ip[:at] + digest + ip[at + 16 :]], key)
        assert one.reason == "secret_encoding" and "newline" in one.sentence


def reading(**how):
    """A MAC with other ISNs or another SNE."""

    def made(key, packet, isns, sne):
        isns = how.get("isns", lambda isns, packet: isns)(isns, packet)
        sne = how.get("sne", lambda sne: sne)(sne)
        return reference.mac(key, packet, *isns, sne)

    return made


class TestNumbers:
    def test_sne_off_by_one(self, first):
        one = first(session(*ends(KEY, reading(sne=lambda sne: sne + 1))))
        assert one.reason == "sne" and "SNE 1 instead of 0" in one.sentence

    def test_wrap_not_seen(self, first):
        a, b = ends(KEY, reading(sne=lambda sne: 0), isns=(2**32 - 60, 5000))
        one = first(session(a, b, 8))
        assert one.reason == "sne" and "wrap was not counted" in one.sentence
        assert "from 10.0.0.1:40000" in one.sentence

    def test_isn_ffffffff(self, first):
        a, b = ends(KEY, reading(sne=lambda sne: 0), isns=(2**32 - 1, 5000))
        one = first(session(a, b))
        assert one.reason == "sne" and "0xFFFFFFFF" in one.sentence and "Linux" in one.sentence

    def test_swapped_isns(self, first):
        def swap(isns, packet):
            return isns if packet.flags & SYN else isns[::-1]

        one = first(session(*ends(KEY, reading(isns=swap))))
        assert one.reason == "isn" and "ISNs swapped" in one.sentence

    def test_peers_isn_zero_on_a_non_syn(self, first):
        one = first(session(*ends(KEY, reading(isns=lambda isns, packet: (isns[0], 0)))))
        assert one.reason == "isn" and "0 instead of the peer's ISN" in one.sentence

    def test_own_isn_plus_one(self, first):
        one = first(session(*ends(KEY, reading(isns=lambda isns, packet: (isns[0] + 1, isns[1])))))
        assert one.reason == "isn" and "their own ISN + 1" in one.sentence

    def test_rst_of_a_linux_listener(self, first):
        a, b = ends(KEY)
        packets = [a.send(SYN, options=SYN_OPTIONS), b.send(SYN | ACK), a.send(ACK)]

        def wrong(key, packet, isns, sne):
            other = SimpleNamespace(source=packet.destination, destination=packet.source)
            ports = packet.tcp[2:4] + packet.tcp[:2]
            context = other.source + other.destination + ports
            context += (1000).to_bytes(4, "big") + bytes(4)
            derived = reference.traffic_key(key.algorithm, key.secret, context)
            return reference.prf(key.algorithm, derived, packet.ao_message(sne, False))

        b.how = wrong
        packets.append(b.send(RST | ACK, ack=1001))
        one = first(packets)
        assert one.reason == "isn" and "as Linux does on a listening socket" in one.sentence
        assert one.counts == {"bad_mac": 1} and one.packets == (4,)

    def test_late_segments_of_an_earlier_connection(self, diagnose):
        old = session(*ends(KEY, isns=(70_000, 80_000)), 1)
        # the engine knows both: nothing is wrong
        assert not diagnose([*old, *session(*ends(KEY)), old[-1]]).findings

    def test_the_checksum_that_linux_drops(self, first):
        a, b = ends(KEY)
        packets = session(a, b, 1)
        for number in range(65536):  # a payload whose checksum becomes 0
            position = a.position
            ip = a.send(PSH | ACK, number.to_bytes(2, "big"), position=position)
            at = 4 * (ip[0] & 15)
            body = reference.Packet.parse(ip)
            tcp = ip[at:]
            value = wire.checksum(body.pseudo_header + tcp[:16] + bytes(2) + tcp[18:])
            if value == 0:
                break
        else:
            pytest.fail("no payload gives the checksum 0")
        ip = ip[: at + 16] + bytes(2) + ip[at + 18 :]
        one = first([*packets, ip, ip, ip])
        assert one.reason == "rewritten_address" and "0x0000" in one.sentence
        assert one.counts == {"good": 3}

    def test_the_isn_that_linux_drops(self, first):
        a, b = ends(KEY, isns=(2**32 - 1, 5000))
        packets = session(a, b, 0)
        data = a.send(PSH | ACK, b"hello")
        one = first([*packets, data, data])
        assert one.reason == "sne" and "Linux uses SNE 0" in one.sentence


def rewritten(change):
    """What left the sender signed, and was changed on the way."""
    return [change(packet) for packet in session(*ends(KEY))]


class TestSeveralReasons:
    def test_each_is_counted_by_itself(self, diagnose):
        """A clamped MSS in the SYN, and a forged segment behind it."""
        a, b = ends(KEY)
        packets = [packet.replace(MSS, b"\x02\x04\x05\x50") for packet in session(a, b)]
        a.key = replace(KEY, secret=b"guessed")
        found = diagnose([*packets, a.send(RST)]).findings
        assert {one.reason: one.counts for one in found} == {
            "rewritten_options": {"bad_mac": 2},  # one of each direction
            "wrong_secret": {"bad_mac": 1},
        }


class TestMiddleboxes:
    def test_source_address(self, first):
        """10.0.0.9 stands behind a NAT with the address 10.0.0.1."""
        inside = replace(KEY, local="10.0.0.9")
        a = Signer(inside, ("10.0.0.9", 40000), SERVER, 1000)
        b = Signer(inside, SERVER, a.here, 5000, local=False)
        a.connect(b)
        packets = [
            packet.replace(bytes([10, 0, 0, 9]), bytes([10, 0, 0, 1]), 1)
            for packet in session(a, b)
        ]
        one = first(packets, replace(KEY, local="10.0.0.1"), replace(inside, send_id=1, recv_id=2))
        assert one.reason == "rewritten_address"
        assert "10.0.0.9:40000" in one.sentence and "RFC 6978" in one.advice

    def test_source_port(self, first):
        a, b = ends(KEY)
        packets = session(a, b)

        def other_port(packet):
            old, new = (40000).to_bytes(2, "big"), (61234).to_bytes(2, "big")
            at = 20 if packet[12:16] == bytes([10, 0, 0, 1]) else 22
            assert packet[at : at + 2] == old
            return packet[:at] + new + packet[at + 2 :]

        one = first([other_port(packet) for packet in packets])
        assert one.reason == "rewritten_address" and "10.0.0.1:40000" in one.sentence

    def test_nat_flags(self, first):
        def hidden(key, packet, isns, sne):
            source = packet.source == bytes([10, 0, 0, 1])
            zero = SimpleNamespace(
                source=bytes(4) if source else packet.source,
                destination=packet.destination if source else bytes(4),
            )
            ports = packet.tcp[:4]
            ports = bytes(2) + ports[2:] if source else ports[:2] + bytes(2)
            context = zero.source + zero.destination + ports
            context += b"".join(isn.to_bytes(4, "big") for isn in isns)
            derived = reference.traffic_key(key.algorithm, key.secret, context)
            text = packet.ao_message(sne, False)
            text = text[:4] + zero.source + zero.destination + text[12:16] + ports + text[20:]
            return reference.prf(key.algorithm, derived, text)

        one = first(session(*ends(KEY, hidden)))
        assert one.reason == "rewritten_address" and "local_nat" in one.advice

    def test_clamped_mss(self, first):
        one = first(rewritten(lambda packet: packet.replace(MSS, b"\x02\x04\x05\x50")))
        assert one.reason == "rewritten_options" and "MSS 1460" in one.sentence
        assert one.counts == {"bad_mac": 2} and one.packets == (1, 2)

    def test_sack_permitted_overwritten(self, first):
        one = first(rewritten(lambda packet: packet.replace(MSS + b"\x04\x02", MSS + b"\1\1")))
        assert one.reason == "rewritten_options" and "SACK permitted" in one.sentence

    def test_other_order(self, first):
        def turned(packet):
            at = packet.find(SYN_OPTIONS)
            if at < 0:
                return packet
            other = b"\x03\x03\x07" + b"\x04\x02" + MSS + b"\1\1\1"
            return packet[:at] + other + packet[at + len(SYN_OPTIONS) :]

        one = first(rewritten(turned))
        assert one.reason == "rewritten_options" and "reordered" in one.sentence

    def test_trailing_nops_put_in(self, first):
        def padded(packet):
            if SYN_OPTIONS not in packet:
                return packet
            longer = bytearray(packet + b"\1\1\1\1")
            longer[2:4] = len(longer).to_bytes(2, "big")
            longer[32] += 0x10
            return bytes(longer)

        one = first(rewritten(padded))
        assert one.reason == "rewritten_options"

    def test_cisco_ios_xe_leaves_trailing_nops_out(self, first):
        def shorter(key, packet, isns, sne):
            derived = reference.traffic_key(key.algorithm, key.secret, packet.context(*isns))
            text = packet.ao_message(sne, False)
            end = 16 + packet.header_length
            left = 3 if packet.flags & SYN else 0
            return reference.prf(key.algorithm, derived, text[: end - left] + text[end:])

        one = first(session(*ends(KEY, shorter)))
        assert one.reason == "rewritten_options" and "IOS XE" in one.sentence

    def test_merged_by_receive_offload(self, first):
        a, b = ends(KEY)
        packets = session(a, b, 1)
        parts = [a.send(PSH | ACK, bytes([n]) * 1448) for n in range(3)]
        merged = parts[0] + b"".join(part[-1448:] for part in parts[1:])
        merged = merged[:2] + len(merged).to_bytes(2, "big") + merged[4:]
        one = first([*packets, merged])
        assert one.reason == "offload" and "first 1448 of 4344 bytes" in one.sentence
        assert one.counts == {"bad_mac": 1} and one.packets == (6,)

    def test_the_same_mac_again_and_again(self, first):
        a, b = ends(KEY)
        packets = session(a, b, 1)
        burst = [a.send(PSH | ACK, bytes([n]) * 1448) for n in range(4)]
        mac = reference.Packet.parse(burst[0])
        at, length = mac.option(29)
        copied = mac.tcp[at + 4 : at + length]
        burst = [burst[0], *(wire.with_mac(packet, copied[::-1]) for packet in burst[1:])]
        one = first([*packets, *burst])
        assert one.reason == "offload" and "same MAC" in one.sentence and "TCP_REPAIR" in one.advice


class TestWithoutMacs:
    def test_tcp_md5_on_one_side(self, first):
        a, _ = ends(KEY)
        md5 = b"\x13\x12" + bytes(16) + b"\1\1"
        packets = [a.send(SYN), tcp_packet(SERVER, CLIENT, SYN | ACK, 5000, 1001, options=md5)]
        one = first(packets)
        assert one.reason == "tcp_md5"
        assert "10.0.0.2:179 signs with TCP-MD5, 10.0.0.1:40000 with TCP-AO" in one.sentence

    def test_unsigned_peer(self, first):
        a, _ = ends(KEY)
        packets = [a.send(SYN), tcp_packet(SERVER, CLIENT, SYN | ACK, 5000, 1001)]
        one = first(packets)
        assert one.reason == "unsigned_peer" and "10.0.0.2:179 does not sign" in one.sentence
        assert "10.0.0.1:40000 does" in one.sentence and one.packets == (2,)

    def test_one_segment_speaks_for_itself_alone(self, diagnose):
        """NOPs in one segment, an option of 4 bytes in another: others have other reasons."""
        a, b = ends(KEY)
        plain = [
            tcp_packet(SERVER, CLIENT, PSH | ACK, 5001 + n, 1001, b"y", options)
            for n, options in enumerate((b"\1" * 16, b"", b""))
        ]
        found = diagnose([a.send(SYN), b.send(SYN | ACK), a.send(ACK), *plain]).findings
        assert {one.reason: one.counts["ao_required"] for one in found} == {
            "rewritten_options": 1, "unsigned_peer": 3,
        }  # fmt: skip

    def test_one_option_without_a_mac(self, diagnose):
        a, b = ends(replace(KEY, secret=b"something else"))
        packets = session(a, b)
        empty = tcp_packet(CLIENT, SERVER, PSH | ACK, 1200, 5001, b"x", b"\x1d\x04\x64\xc8")
        found = diagnose([*packets, empty]).findings
        assert {one.reason: one.counts for one in found} == {
            "wrong_mac_length": {"bad_mac": 1}, "wrong_secret": {"bad_mac": 9},
        }  # fmt: skip

    def test_missing_handshake(self, first):
        found = first(session(*ends(KEY))[5:])
        assert found.reason == "missing_handshake" and "--search-isn" in found.advice

    def test_packets_before_the_handshake(self, first):
        """A capture that is out of order: its handshake is there, only later."""
        packets = session(*ends(KEY))
        found = first(packets[5:7] + packets[:5] + packets[7:])
        assert found.reason == "missing_handshake" and found.counts == {"missing_isn": 2}
        assert "2 signed segments stand before the handshake" in found.sentence
        assert "reordercap" in found.advice

    def test_some_segments_are_not_signed(self, first):
        """Forged ones, for example: the side itself does sign."""
        a, b = ends(KEY)
        packets = session(a, b)
        forged = tcp_packet(SERVER, CLIENT, PSH | ACK, b.position, a.position, b"forged")
        one = first([*packets, forged])
        assert one.reason == "unsigned_peer" and one.counts == {"ao_required": 1}
        assert "Some segments of 10.0.0.2:179 are not signed, although 4" in one.sentence
        assert "configure the key" not in one.advice

    def test_truncated(self, first, tmp_path):
        packets = session(*ends(KEY))
        data = bytearray(pcap(tmp_path / "whole", packets).read_bytes())
        cut = bytearray(data[:24])
        at = 24
        for packet in packets:
            cut += data[at : at + 8] + (min(68, len(packet))).to_bytes(4, "little")
            cut += data[at + 12 : at + 16] + packet[:68]
            at += 16 + len(packet)
        path = tmp_path / "cut.pcap"
        path.write_bytes(cut)
        (one,) = ao.diagnose_capture(path, [KEY]).findings
        assert one.reason == "truncated" and "tcpdump -s 0" in one.advice

    def test_two_options(self, first):
        option = wire.ao_option(100, 200)
        one = first([tcp_packet(CLIENT, SERVER, SYN, 1000, options=option + option[:4])])
        assert one.reason == "rewritten_options"

    def test_linux_never_answers_an_unknown_rnext_key_id(self, first):
        a, _ = ends(replace(KEY, recv_id=77))
        syn = a.send(SYN, position=1000)
        one = first([syn, syn, syn], KEY)
        assert one.reason == "wrong_key_id" and "RNextKeyID 77" in one.sentence
        assert one.counts == {"good": 3}

    def test_syns_that_nobody_answers(self, first):
        """What a capture shows where the peer has other keys: our own SYNs, all good."""
        a, _ = ends(KEY)
        syn = a.send(SYN, position=1000, options=SYN_OPTIONS)
        one = first([syn, syn, syn])
        assert one.reason == "no_answer" and one.counts == {"good": 3}
        assert "drops them in silence" in one.sentence and "TCPAOKeyNotFound" in one.advice

    def test_syn_acks_that_nobody_takes(self, first):
        a, b = ends(KEY)
        syn, answer = a.send(SYN), b.send(SYN | ACK, position=5000)
        one = first([syn, answer, answer, answer])
        assert one.reason == "no_answer" and "SYN-ACKs of 10.0.0.2:179" in one.sentence

    def test_a_syn_that_was_lost_once(self, diagnose):
        a, b = ends(KEY)
        syn = a.send(SYN, position=1000)
        a.position += 1
        assert not diagnose([syn, syn, b.send(SYN | ACK), a.send(ACK)]).findings


class TestWholeCaptures:
    def test_no_false_alarm(self, capture):
        """What `verify` says is good has no findings; what is not good has the right one."""
        found = ao.diagnose_capture(capture.path, capture.keys)
        reasons = {
            "bad-and-unsigned": {
                "wrong_secret", "wrong_key_id", "unsigned_peer", "missing_handshake",
            },
            "rotation": {"wrong_key_id"},  # two segments of another test's connection
            "cisco-bgp": {"missing_handshake"},
        }  # fmt: skip
        assert {one.reason for one in found.findings} == reasons.get(capture.path.stem, set())
        bad = sum(found.report.counts[v.name] for v in ao.Verdict if v.name in TROUBLE)
        assert sum(sum(one.counts.values()) for one in found.findings) == bad

    def test_worst_first(self, diagnose):
        b = session(*ends(replace(KEY, secret=b"x")), 1)
        c = session(*ends(KEY))[3:]
        moved = [p[:20] + (40001).to_bytes(2, "big") + p[22:] if p[12:16] == bytes([10, 0, 0, 1])
                 else p[:22] + (40001).to_bytes(2, "big") + p[24:] for p in c]  # fmt: skip
        found = diagnose([*moved, *b]).findings
        assert [one.reason for one in found] == ["wrong_secret", "missing_handshake"]

    def test_many_connections_with_one_reason(self, diagnose):
        """Every connection gets its reason, in a few milliseconds each."""
        packets = []
        for number in range(300):
            a = Signer(replace(KEY, exclude_options=True), ("10.0.0.1", 10000 + number), SERVER, 1)
            b = Signer(a.key, SERVER, a.here, 5000, local=False)
            a.connect(b)
            packets += session(a, b, 1)
        begun = time.process_time()
        found = diagnose(packets)
        (one,) = found.findings  # one client and one server
        assert one.reason == "options_coverage" and one.connections == 300
        assert one.counts == {"bad_mac": found.report.counts["bad_mac"]}
        assert time.process_time() - begun < 60  # 1 s where this was written

    def test_many_connections_without_a_reason(self, diagnose):
        packets = []
        for number in range(600):
            a = Signer(replace(KEY, secret=b"x"), ("10.0.0.1", 10000 + number), SERVER, 1)
            a.connect(Signer(a.key, SERVER, a.here, 5000, local=False))
            packets.append(a.send(SYN))
        found = diagnose(packets).findings
        assert [(one.reason, one.connections) for one in found] == [("wrong_secret", 600)]
        assert "not tried in depth" not in found[0].sentence  # the first 200 were

    def test_findings_as_json(self, tmp_path):
        path = pcap(tmp_path / "x.pcap", signed_with(exclude_options=True))
        keys = tmp_path / "keys.toml"
        keys.write_text(
            '[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "correct horse battery"\n'
            'send_id = 100\nrecv_id = 200\nlocal = "10.0.0.1"\nremote = "10.0.0.2"\n'
        )
        run = CliRunner().invoke(tcpao, ["diagnose", str(path), "-k", str(keys), "--json"])
        (one,) = json.loads(run.stdout)
        assert run.exit_code == 1
        assert one["connection"] == {
            "client": "10.0.0.1:40000", "server": "10.0.0.2:179", "vrf": 0,
        }  # fmt: skip
        assert one["reason"] == "options_coverage"
        assert one["evidence"]["counts"] == {"bad_mac": 2}
        assert one["evidence"]["packets"] == [1, 2]  # the others have no option beside TCP-AO
        assert one["sentence"] and one["advice"]
        text = CliRunner().invoke(tcpao, ["diagnose", str(path), "-k", str(keys)])
        assert "options_coverage" in text.stdout and "Fix: set exclude_options" in text.stdout
        assert "correct horse" not in text.stdout + run.stdout

    def test_nothing_to_find(self, tmp_path, named_capture):
        capture = named_capture("wrap-v4-sha1")
        toml = capture.path.with_suffix(".toml")
        run = CliRunner().invoke(tcpao, ["diagnose", str(capture.path), "-k", str(toml)])
        assert run.exit_code == 0 and "No findings" in run.stdout
        run = CliRunner().invoke(tcpao, ["diagnose", str(capture.path), "-k", str(toml), "--json"])
        assert json.loads(run.stdout) == []


TROUBLE = {
    "bad_mac", "key_not_found", "ao_required", "malformed", "md5_bad",
    "missing_isn", "truncated", "md5_unchecked",
}  # fmt: skip


def test_every_reason_has_a_test():
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for reason in REASONS:
        assert f'"{reason}"' in text, reason
