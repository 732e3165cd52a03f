"""Real captures: the kernel's and the routers' own segments verify, come back and go away again."""

from collections import Counter

import numpy as np
import pytest
import reference

import tcpao_fast as ao
from tcpao_fast.core.wire.parse import parse

EXPECTED = {
    "bad-and-unsigned": {
        "good": 34,
        "bad_mac": 6,
        "key_not_found": 3,
        "ao_required": 16,
        "missing_isn": 2,
        "md5_good": 48,
    },
    "cisco-bgp": {"good": 5, "missing_isn": 5},
    # two segments of a connection that an earlier test left behind carry another test's KeyID
    "rotation": {"good": 370, "key_not_found": 2},
    "any-sll2": {"good": 99},
    "ts-v4-cmac": {"good": 158},
    "ts-v4-sha1-exclude": {"good": 159},
    "v4-cmac-16": {"good": 451},
    "v4-cmac-5": {"good": 451},
    "v4-sha1": {"good": 444},
    "v4-sha1-mac16": {"good": 111},
    "v4-sha256-mac16": {"good": 111},
    "v6-cmac-exclude": {"good": 508},
    "v6-sha1": {"good": 457},
    "vlan": {"good": 99},
    "wrap-v4-sha1": {"good": 554},
}


def found(counts):
    return {name: count for name, count in counts.items() if count}


def verify(capture, keys=None, **options):
    return ao.Engine(keys or capture.keys, **options).verify(*capture.records, capture.linktype)


def test_verdicts(capture):
    assert found(verify(capture).counts) == EXPECTED[capture.path.stem]


def test_verdicts_are_those_of_a_plain_implementation(capture):
    plain = reference.Reference(capture.keys)
    result = verify(capture)
    for i, code in enumerate(result.verdict):
        ip = capture.ip(i)
        expected = "not_tcp" if ip is None else plain.verdict(ip)
        assert ao.Verdict(code).name == expected, f"record {i + 1}"


def test_good_segments_agree_with_the_kernels_own_count(capture):
    counters = capture.description.get("kernel_counters")
    if counters is None:
        pytest.skip(f"{capture.path.stem} has no kernel counters: it is not from Linux")
    kernel = sum(counters[side]["TCPAOGood"] for side in ("client", "server"))
    # segments in flight or for sockets already gone are captured but not counted; a connection
    # that began before the capture is counted but cannot be decided
    assert abs(verify(capture).counts["good"] - kernel) <= 5


def test_wrap_crosses_the_sequence_space(named_capture):
    capture = named_capture("wrap-v4-sha1")
    result = verify(capture)
    assert set(result.sne[result.verdict == ao.Verdict.good]) == {0, 1}
    rows = parse(*capture.records, capture.linktype)
    assert rows["seq"][result.sne == 1].max() < 2**31


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_verdicts_do_not_depend_on_how_the_stream_is_cut(capture, size):
    whole = verify(capture)
    engine = ao.Engine(capture.keys)
    buffer, offsets, lengths = capture.records
    parts = [
        engine.verify(buffer, offsets[i : i + size], lengths[i : i + size], capture.linktype)
        for i in range(0, len(offsets), size)
    ]
    for column in ("verdict", "key", "connection", "sne"):
        joined = np.concatenate([getattr(part, column) for part in parts])
        assert (joined == getattr(whole, column)).all(), column


@pytest.mark.parametrize("threads", [2, 3])
def test_verdicts_do_not_depend_on_threads(capture, threads):
    one, several = verify(capture), verify(capture, threads=threads)
    for column in ("verdict", "key", "connection", "sne"):
        assert (getattr(one, column) == getattr(several, column)).all(), column


def test_sign_inplace_gives_the_kernels_bytes(capture):
    buffer, offsets, lengths = capture.records
    before = verify(capture)
    signed = np.isin(before.verdict, (ao.Verdict.good, ao.Verdict.md5_good))
    rows = parse(buffer, offsets, lengths, capture.linktype)
    blank = bytearray(buffer)
    for i in np.flatnonzero(signed):
        skip = 4 if rows["auth"][i] == 1 else 2
        start = offsets[i] + rows["tcp_offset"][i] + rows["auth_offset"][i]
        end = start + rows["auth_length"][i]
        blank[start + skip : end] = bytes(end - start - skip)
        # the checksum goes too: it must come back as well
        checksum = offsets[i] + rows["tcp_offset"][i] + 16
        blank[checksum : checksum + 2] = bytes(2)
    assert bytes(blank) != buffer
    result = ao.Engine(capture.keys).sign_inplace(blank, offsets, lengths, capture.linktype)
    assert (result.outcome[signed] == ao.SignOutcome.signed).all()
    for i in np.flatnonzero(signed):
        assert blank[offsets[i] : offsets[i] + lengths[i]] == capture.frame(i), f"record {i + 1}"


def test_strip_after_sign_gives_the_original(capture):
    """The kernel's packets without their options are signed, verified, and stripped again."""
    plain = ao.strip(*capture.records, capture.linktype)
    assert not parse(*plain, capture.linktype)["auth"].any()
    signed = ao.Engine(capture.keys).sign(*plain, capture.linktype)
    verdicts = ao.Engine(capture.keys).verify(*signed, capture.linktype)
    counts = Counter(found(verdicts.counts))
    left = signed.counts.get("missing_isn", 0)
    assert counts["ao_required"] == left
    assert counts["good"] == signed.counts["signed"] > 0
    assert sum(counts.values()) == counts["good"] + left
    back = ao.strip(*signed, capture.linktype)
    assert bytes(back.buffer) == bytes(plain.buffer)
    assert (back.lengths == plain.lengths).all()


def test_signed_checksums_and_lengths_are_right(capture):
    plain = ao.strip(*capture.records, capture.linktype)
    signed = ao.Engine(capture.keys).sign(*plain, capture.linktype)
    rows = parse(*signed, capture.linktype)
    buffer = bytes(signed.buffer)
    for i in np.flatnonzero(signed.outcome == ao.SignOutcome.signed):
        ip = buffer[signed.offsets[i] : signed.offsets[i] + signed.lengths[i]]
        ip = ip[rows["ip_offset"][i] :]
        packet = reference.Packet.parse(ip)
        assert len(packet.tcp) == rows["length"][i]
        assert ones_complement_sum(packet.pseudo_header + packet.tcp) == 0xFFFF
        if ip[0] >> 4 == 4:
            assert ones_complement_sum(ip[: 4 * (ip[0] & 15)]) == 0xFFFF


def ones_complement_sum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_wrong_secret_is_bad_mac_and_not_missing_isn(capture):
    wrong = [
        ao.MasterKey(
            algorithm=key.algorithm,
            secret=key.secret + b"x",
            send_id=key.send_id,
            recv_id=key.recv_id,
            local=key.local,
            remote=key.remote,
            remote_port=key.remote_port,
            mac_length=key.mac_length,
            exclude_options=key.exclude_options,
        )
        for key in capture.keys
    ]
    right, result = verify(capture), verify(capture, wrong)
    assert result.counts["good"] == result.counts["md5_good"] == 0
    bad = right.counts["good"] + right.counts["bad_mac"]
    assert result.counts["bad_mac"] == bad
