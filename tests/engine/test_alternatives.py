"""Keys that share their IDs: of VRFs with the same addresses, or readings of one configuration.
MACs decide which is meant."""

from dataclasses import replace

import numpy as np
import pytest
from wire import ACK, FIN, PSH, RST, SYN, pair, records

import tcpao_fast as ao

RAW_IP = 101


def key(secret, **changes):
    fields = {"algorithm": "hmac-sha-1-96", "send_id": 1, "recv_id": 2, **changes}
    return ao.MasterKey(secret=secret, **fields)


def talk(key_, isns=(1000, 5000)):
    """A connection that is signed with a key throughout."""
    a, b = pair(key_, isns=isns)
    packets = [a.send(SYN), b.send(SYN | ACK), a.send(ACK)]
    for _ in range(5):
        packets += [a.send(ACK | PSH, b"there"), b.send(ACK | PSH, b"and back")]
    return [*packets, a.send(FIN | ACK), b.send(RST | ACK)]


NAMED = [key(b"red", vrf="RED"), key(b"blue", vrf="BLUE"), key(b"global")]


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("threads", [1, 2])
def test_the_key_of_the_right_vrf_is_found_and_named(which, threads):
    packets = talk(NAMED[which])
    result = ao.Engine(NAMED, threads=threads).verify(*records(packets), RAW_IP)
    assert result.counts["good"] == len(packets)
    assert set(result.key.tolist()) == {which}


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_verdicts_do_not_depend_on_cuts(size):
    """Two VRFs' connections between the same ends, one after the other."""
    packets = [*talk(NAMED[1]), *talk(NAMED[0], isns=(70000, 9)), *talk(NAMED[2], isns=(5, 6))]
    whole = ao.Engine(NAMED).verify(*records(packets), RAW_IP)
    engine = ao.Engine(NAMED)
    parts = [
        engine.verify(*records(packets[at : at + size]), RAW_IP)
        for at in range(0, len(packets), size)
    ]
    assert np.concatenate([part.verdict for part in parts]).tolist() == whole.verdict.tolist()
    assert np.concatenate([part.key for part in parts]).tolist() == whole.key.tolist()
    third = len(packets) // 3
    assert whole.key.tolist() == [1] * third + [0] * third + [2] * third


def test_what_no_key_gives_stays_bad():
    packets = talk(key(b"another"))
    result = ao.Engine(NAMED).verify(*records(packets), RAW_IP)
    assert result.counts["good"] == 0 and result.counts["bad_mac"]


def test_readings_of_one_key():
    plain = key(b"x", reading="options covered")
    other = replace(plain, exclude_options=True, reading="options left out")
    for used in (plain, other):
        packets = talk(used)
        result = ao.Engine([plain, other]).verify(*records(packets), RAW_IP)
        assert result.counts["good"] == len(packets)
    with pytest.raises(ao.KeyOverlapError):
        ao.KeyChain([plain, replace(other, reading=None)])


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [("A", "B", False), ("A", "A", True), ("A", None, False), ("A", 3, False), (3, None, True)],
)
def test_overlaps_by_vrf(one, other, overlap):
    keys = [key(b"x", vrf=one), key(b"y", vrf=other)]
    assert keys[0].overlaps(keys[1]) == overlap
    if overlap:
        with pytest.raises(ao.KeyOverlapError):
            ao.KeyChain(keys)
    else:
        assert len(ao.KeyChain(keys)) == 2


def test_an_endpoint_knows_vrfs_by_number():
    with pytest.raises(ao.InvalidRequestError, match="by name"):
        ao.Listener(("10.0.0.2", 179)).add_key(NAMED[0])


@pytest.mark.parametrize("form", ["toml", "oneline"])
def test_files_carry_names_and_readings(form, tmp_path):
    from tcpao_fast.keys.files import convert_keys
    from tcpao_fast.keys.files.toml import write_toml

    keys = [key(b"red", vrf="RED one"), key(b"b", vrf="B", reading="as it is"), key(b"g", vrf=7)]
    path, again = tmp_path / "keys.toml", tmp_path / "again"
    path.write_text(write_toml(ao.KeyChain(keys)).text)
    again.write_text(convert_keys(path, form).text)
    assert list(ao.load_keys(again, form)) == keys
