"""Advice is in the words of the file that the keys are from."""

import re
from dataclasses import replace

import pytest
from wire import ACK, PSH, handshake, pair, pcap

import tcpao_fast as ao

STAMPS = b"\x08\x0a\0\0\0\x07\0\0\0\0\x01\x01"
KEY = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"the-secret", send_id=1, recv_id=2,
                   remote="10.0.0.2", exclude_options=True, name="k")  # fmt: skip
#: What is wrong, and what each format calls it.
FAULTS = {
    "options_coverage": {"exclude_options": False},
    "swapped_ids": {"send_id": 2, "recv_id": 1},
    "wrong_algorithm": {"algorithm": "aes-128-cmac-96"},
    "secret_encoding": {"secret": b"the-secret\n"},
    "wrong_mac_length": {"mac_length": 16},
}
FORMATS = {
    "cisco_xe": {
        "options_coverage": "`include-tcp-options`", "swapped_ids": "`send-id 2`",
        "wrong_algorithm": "`cryptographic-algorithm aes-128-cmac`",
        "secret_encoding": "key-string",
    },
    "cisco_xr": {
        "options_coverage": "include-tcp-options enable", "swapped_ids": "`SendID 2`",
        "wrong_algorithm": "AES-128-CMAC-96", "secret_encoding": "key-string",
    },
    "junos": {
        "options_coverage": "tcp-ao-option enabled", "swapped_ids": "send-id 2",
        "wrong_algorithm": "cryptographic-algorithm aes-128-cmac-96", "secret_encoding": "`secret`",
    },
    "bird": {
        "options_coverage": "", "swapped_ids": "`send id 2`",
        "wrong_algorithm": "`algorithm cmac aes128`", "secret_encoding": "`secret`",
    },
    "rfc8177": {
        "options_coverage": '"include-tcp-options": true', "swapped_ids": '"send-id": 2',
        "wrong_algorithm": '"crypto-algorithm"', "secret_encoding": '"keystring"',
    },
    "toml": {
        "options_coverage": "exclude_options = false", "swapped_ids": "send_id = 2",
        "wrong_algorithm": 'algorithm = "aes-128-cmac-96"', "secret_encoding": "secret_hex",
        "wrong_mac_length": "mac_length = 16",
    },
}  # fmt: skip
_NATIVE = re.compile(r"exclude_options|send_id|recv_id|mac_length|secret_hex|algorithm = ")


def session(path, key):
    a, b = pair(key)
    packets = handshake(a, b)
    for n in range(3):
        packets += [a.send(PSH | ACK, bytes([n]) * 30, options=STAMPS), b.send(ACK, options=STAMPS)]
    return pcap(path, packets, start=1_700_000_000)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("form", FORMATS)
def test_the_words_of_the_file(form, fault, tmp_path):
    native = tmp_path / "keys.toml"
    key = replace(KEY, exclude_options=False) if form == "bird" else KEY
    native.write_text(
        f'[[key]]\nname = "k"\nalgorithm = "{key.algorithm}"\nsecret = "the-secret"\nsend_id = 1\n'
        f'recv_id = 2\nremote = "10.0.0.2"\nexclude_options = {str(key.exclude_options).lower()}\n'
    )
    file = native
    if form != "toml":
        file = tmp_path / "keys.conf"
        file.write_text(ao.convert_keys(native, form).text)
    (mine,) = ao.load_keys(file)
    assert (mine.send_id, mine.recv_id, mine.exclude_options) == (1, 2, key.exclude_options)
    if (form, fault) in (("bird", "options_coverage"), ("rfc8177", "swapped_ids")):
        return  # BIRD covers them always; RFC 8177 names no peer, so IDs have no direction
    path = session(tmp_path / "one.pcap", replace(key, **FAULTS[fault]))
    (one,) = ao.diagnose_capture(path, [mine]).findings
    assert one.reason == fault
    assert FORMATS[form].get(fault, "12") in one.advice
    if form != "toml":
        assert not _NATIVE.search(one.advice + one.sentence), one.advice
