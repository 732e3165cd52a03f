"""What people really have: captures of an independent generator, and the right answer to each."""

import numpy as np
import pytest
from samples import HERE

import tcpao_fast as ao

FIELD = HERE / "field"
NOTHING = None
#: Capture, key file, the reason, and what its sentence must say.
RIGHT = [
    ("aook", "ao", NOTHING, ()),
    ("enc_vxlan", "ao", NOTHING, ()),
    ("enc_erspan2", "ao", NOTHING, ()),
    ("enc_hdlc", "ao", NOTHING, ()),
    ("enc_mpls_lt", "ao", NOTHING, ()),
    ("enc_juniper_eth", "ao", NOTHING, ()),
    ("ao_k2secret", "ao2", "wrong_key_id", ("those of key k2", "10.0.0.9", "IDs 3/4")),
    ("ao_k2secret_id9", "ao2", "wrong_key_id", ("those of key k2", "no key has their KeyID 9")),
    ("md5otherpeerpw", "md5two_enc", "wrong_key_id", ("digests are those of key b", "10.0.0.9")),
    ("md5ok", "md5pfx", NOTHING, ()),
    ("md5ok", "md5pfx_r", NOTHING, ()),
    ("md5rotate_both", "md5", "secret_changed", ("packet #14", "packet #19")),
    ("md5rotate_both", "md5two", NOTHING, ()),
    ("aorotate_one", "ao", "secret_changed", ("packet #14", "10.0.0.1:40000")),
    ("md5unsignedsynack", "md5", "unsigned_peer", ("10.0.0.2:179 does not sign",)),
    ("md5silent", "md5", "no_answer", ("does not answer",)),
    ("plainonly", "md5", "unsigned_peer", ("do not sign",)),
    ("ao_window", "ao", "rewritten_header", ("window",)),
    ("aoblank", "ao", "rewritten_options", ("NOPs in a row",)),
    ("ao_rst_unsigned", "ao", "unsigned_reset", ("RSTs that are not signed",)),
    ("aolen4", "ao", "wrong_mac_length", ("no MAC",)),
    ("ao60", "ao", "wrong_secret", ("60 connections",)),
    ("eao253", "ao", "pre_standard_option", ("kind 253",)),
    ("md5otheraddr", "md5", "wrong_key_id", ("digests are those of key", "10.0.0.2")),
    ("md5rotate_both", "md5two_lt", "wrong_key_id", ("outside of its accept_lifetime",)),
    ("md5nat", "md5nat", "rewritten_address", ("from 192.168.1.10:23932",)),
    ("md5nat", "md5nat2", "rewritten_address", ("from 192.168.1.10:23932",)),
    ("md5nat", "md5nat3", "rewritten_address", ("from 192.168.1.10:23932",)),
    ("md5gro2", "md5", "offload", ("first 1440 of 2900 bytes",)),
    ("aogro", "ao", "offload", ("first 700 of 1400 bytes",)),
    ("ao_asa_both", "ao", "rewritten_header", ("#1, which is good, has sequence number 1000",)),
    ("aonat_both", "aonat", "rewritten_address", ("which is good, has source address 192.168.",)),
    ("aofrag_missing2", "ao", "truncated", ("fragments are missing", "10.0.0.1 to 10.0.0.2")),
    ("tfo_nosyn", "ao", "missing_handshake", ("begins at the SYN-ACK", "ISN 1000", "10 bytes")),
    ("e_ao_type7pasted", "e_ao_type7pasted", "secret_encoding", ("type 7",)),
    ("e_ao_typeprefix", "e_ao_typeprefix", "secret_encoding", ('"0"',)),
    ("e_ao_bom", "e_ao_bom", "secret_encoding", ("byte order mark",)),
    ("e_ao_nbsp", "e_ao_nbsp", "secret_encoding", ("no-break space",)),
    ("e_md5_b64nl", "e_md5_b64nl", "secret_encoding", ("base64",)),
    ("e_md5_capital", "e_md5_capital", "secret_encoding", ("first letter",)),
    ("e_ao_cut25", "e_ao_cut25", "secret_encoding", ("25 bytes",)),
]


@pytest.mark.parametrize(("name", "keys", "reason", "said"), RIGHT)
def test_the_right_answer(name, keys, reason, said):
    chain = ao.load_keys(FIELD / f"{keys}.toml")
    found = ao.diagnose_capture(FIELD / f"{name}.pcap", chain)
    assert [one.reason for one in found.findings] == ([] if reason is None else [reason])
    for one in found.findings:
        assert all(words in one.sentence for words in said), one.sentence
        for key in chain:  # no secret is ever shown
            assert key.secret.decode(errors="replace") not in one.sentence + one.advice
    undecided = {"truncated", "missing_isn", "md5_unchecked"}
    doubtful = all(set(one.counts) <= undecided for one in found.findings)
    assert found.exit_status == (0 if reason is None else 3 if doubtful else 1)


def test_the_order_of_tcp_md5_keys_does_not_matter():
    """The longest prefix comes first, as in Linux, then every other key of the peer."""
    keys = list(ao.load_keys(FIELD / "md5two.toml"))
    for chain in (keys, keys[::-1]):
        report = ao.verify_capture(FIELD / "md5rotate_both.pcap", chain)
        assert report.counts["md5_good"] == 23


def test_one_typed_character(tmp_path):
    """A secret with one character wrong is found, and where it is wrong, not what it is."""
    right = next(iter(ao.load_keys(FIELD / "ao.toml")))
    for wrong in (right.secret[:-1], right.secret[:2] + b"%" + right.secret[3:]):
        key = ao.MasterKey(
            algorithm=right.algorithm, secret=wrong, send_id=right.send_id, recv_id=right.recv_id,
            local=right.local, remote=right.remote, name="k",
        )  # fmt: skip
        (one,) = ao.diagnose_capture(FIELD / "aook.pcap", [key]).findings
        assert one.reason == "secret_encoding"
        assert "in one character" in one.sentence, one.sentence


@pytest.mark.parametrize("length", [16, 20, 80])
def test_a_zero_padded_tcp_md5_key(length, tmp_path):
    right = next(iter(ao.load_keys(FIELD / "md5.toml")))
    padded = ao.MasterKey(algorithm="tcp-md5", secret=right.secret.ljust(length, b"\0"))
    bare, signed = tmp_path / "bare.pcap", tmp_path / "signed.pcap"
    ao.strip_capture(FIELD / "md5otheraddr.pcap", bare)
    ao.sign_capture(bare, signed, [padded])
    key = ao.MasterKey(algorithm="tcp-md5", secret=right.secret)
    (one,) = ao.diagnose_capture(signed, [key]).findings
    assert one.reason == "secret_encoding" and f"zero bytes to {length}" in one.sentence


@pytest.mark.parametrize("capture_name", ["aook", "md5ok"])
@pytest.mark.parametrize(
    ("field", "at", "data"),
    [("window", 14, b"\x12\x34"), ("urgent pointer", 18, b"\0\x07"), ("ECN", 13, None)],
)
def test_changed_headers(capture_name, field, at, data, tmp_path):
    """A device on the path changes a field in every segment of the client."""
    from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records

    keys = ao.load_keys(FIELD / ("ao.toml" if capture_name == "aook" else "md5pfx.toml"))
    with ao.CaptureReader(FIELD / f"{capture_name}.pcap") as reader:
        (records,) = reader
        rows = ao.Engine(keys).verify(records).segments
        frames = []
        for i, row in enumerate(rows):
            frame = bytearray(records.data(i))
            if row["destination_port"] == 179:
                place = int(row["tcp_offset"]) + at
                new = data or bytes([frame[place] ^ 0xC0])
                frame[place : place + len(new)] = new
            frames.append(bytes(frame))
        lengths = np.array([len(one) for one in frames])
        where = b"".join(frames), np.cumsum(lengths) - lengths, lengths
        path = tmp_path / "changed.pcap"
        path.write_bytes(
            pcap_header(int(records.linktypes[0]), 65535, False, False)
            + bytes(pcap_records(*where, lengths, records.timestamps, False, False))
        )
    (one,) = ao.diagnose_capture(path, keys).findings
    assert one.reason == "rewritten_header" and f"signed with {field}" in one.sentence
    assert "from 10.0.0.1:40000" in one.sentence
