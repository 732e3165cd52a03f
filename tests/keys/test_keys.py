"""MasterKey and KeyChain: what they accept, what they refuse, and that secrets stay in."""

import pickle
import traceback
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Network, ip_address

import numpy as np
import pytest
from wire import handshake, pair, records

import tcpao_fast as ao

GOOD = {"algorithm": "hmac-sha-1-96", "secret": b"hush-hush", "send_id": 1, "recv_id": 2}
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


def make(**changes):
    return ao.MasterKey(**{**GOOD, **changes})


def test_defaults():
    key = make(local="10.0.0.1", remote="10.0.0.0/24", remote_port=179)
    assert key.mac_length == 12 and not key.exclude_options
    assert key.local == IPv4Network("10.0.0.1/32")
    assert key.remote_port == (179, 179)
    assert make(algorithm="hmac-sha256-128").mac_length == 16


def test_addresses():
    assert make(local=ip_address("fd00::1")).version == 6
    assert make(local="::ffff:10.0.0.1").local == IPv4Network("10.0.0.1/32")
    assert make(remote="::ffff:10.0.0.0/120").remote == IPv4Network("10.0.0.0/24")


@pytest.mark.parametrize(
    ("changes", "field", "what"),
    [
        ({"algorithm": "rot13"}, "algorithm", "unknown"),
        ({"algorithm": 5}, "algorithm", "text"),
        ({"secret": b""}, "secret", "empty"),
        ({"secret": "text"}, "secret", "bytes"),
        ({"send_id": None}, "send_id", "missing"),
        ({"send_id": 256}, "send_id", "0 to 255"),
        ({"recv_id": -1}, "recv_id", "0 to 255"),
        ({"recv_id": True}, "recv_id", "0 to 255"),
        ({"local": "10.0.0.1/24"}, "local", "host bits"),
        ({"local": "10.0.0.256"}, "local", "does not appear"),
        ({"remote": 7}, "remote", "address or a prefix"),
        ({"local": "10.0.0.1", "remote": "fd00::1"}, "remote", "IP version"),
        ({"local_port": 65536}, "local_port", "within 0 to 65535"),
        ({"remote_port": (5, 4)}, "remote_port", "range"),
        ({"remote_port": "179"}, "remote_port", "range"),
        ({"mac_length": 0}, "mac_length", "1 to 20"),
        ({"mac_length": 21}, "mac_length", "1 to 20"),
        ({"algorithm": "hmac(sha512)", "mac_length": 37}, "mac_length", "1 to 36"),
        ({"exclude_options": 1}, "exclude_options", "true or false"),
        ({"name": ""}, "name", "not empty"),
        ({"vrf": -1}, "vrf", "0 to"),
        ({"send_lifetime": (NOON, NOON - timedelta(1))}, "send_lifetime", "ends before"),
        ({"send_lifetime": (datetime(2026, 1, 1), None)}, "send_lifetime", "time zone"),
        ({"accept_lifetime": NOON}, "accept_lifetime", "pair"),
        (
            {"send_lifetime": (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), None)},
            "send_lifetime",
            "before the year 1",
        ),
        ({"algorithm": "tcp-md5"}, "send_id", "no key IDs"),
    ],
)
def test_refused(changes, field, what):
    with pytest.raises(ao.InvalidKeyError) as caught:
        make(**changes)
    assert any(f == field and what in w for f, w in caught.value.problems), caught.value.problems


def test_every_mistake_is_told_at_once():
    with pytest.raises(ao.InvalidKeyError) as caught:
        make(send_id=300, recv_id=None, mac_length=99, local="x", secret=b"")
    assert {field for field, _ in caught.value.problems} == {
        "send_id", "recv_id", "mac_length", "local", "secret",
    }  # fmt: skip


def test_tcp_md5_key():
    key = ao.MasterKey(algorithm="tcp-md5", secret=b"x" * 80)
    assert key.mac_length == 16 and key.is_tcp_md5
    with pytest.raises(ao.InvalidKeyError, match="80"):
        ao.MasterKey(algorithm="tcp-md5", secret=b"x" * 81)


def test_secrets_stay_in():
    key = make()
    chain = ao.KeyChain([key])
    engine = ao.Engine(chain)
    for thing in (key, chain, engine, engine.export_state()):
        assert "hush" not in repr(thing) and GOOD["secret"].hex() not in repr(thing)
    for thing in (key, chain, engine):
        assert b"hush" not in pickle.dumps(thing)
    try:
        make(send_id=300)
    except ao.InvalidKeyError:
        assert "hush" not in traceback.format_exc()


def test_frozen():
    with pytest.raises(AttributeError):
        make().send_id = 5


class TestOverlap:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"recv_id": 9}),
            ({}, {"send_id": 9}),
            ({"remote": "10.0.0.0/8"}, {"remote": "10.1.0.0/16"}),
            ({"remote": "10.0.0.0/8"}, {"local": "10.1.0.0/16"}),
            ({"remote_port": (1, 100)}, {"remote_port": (100, 200)}),
            ({"vrf": 5}, {}),
            ({}, {"remote": "fd00::1"}),
        ],
    )
    def test_refused(self, one, other):
        with pytest.raises(ao.KeyOverlapError, match="one connection can match both"):
            ao.KeyChain([make(**one), make(**other)])

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({}, {"send_id": 8, "recv_id": 9}),
            ({"remote": "10.0.0.0/16"}, {"remote": "10.1.0.0/16"}),
            ({"remote": "10.0.0.1"}, {"remote": "fd00::1"}),
            ({"remote_port": (1, 99)}, {"remote_port": (100, 200)}),
            ({"vrf": 5}, {"vrf": 6}),
            ({}, {"algorithm": "tcp-md5", "send_id": None, "recv_id": None}),
        ],
    )
    def test_allowed(self, one, other):
        assert len(ao.KeyChain([make(**one), make(**other)])) == 2

    def test_only_keys(self):
        with pytest.raises(ao.InvalidKeyError, match="not a MasterKey"):
            ao.KeyChain(["key"])

    def test_ten_thousand_keys(self):
        keys = [
            make(remote=f"10.{i >> 8}.{i & 255}.1", send_id=i % 256, recv_id=i % 256)
            for i in range(10000)
        ]
        assert len(ao.KeyChain(keys)) == 10000


class TestMatching:
    """Which connections a key is for, through the engine."""

    def verdict(self, key, **where):
        signer = make(local="10.0.0.1", remote="10.0.0.2", send_id=1, recv_id=2)
        packets = handshake(*pair(signer, **where))
        result = ao.Engine([key]).verify(*records(packets), 101)
        assert len(set(result.verdict)) == 1
        return ao.Verdict(result.verdict[0]).name

    @pytest.mark.parametrize(
        "where",
        [
            {},
            {"local": "10.0.0.1"},
            {"remote": "10.0.0.2"},
            {"local": "10.0.0.0/31", "remote": "10.0.0.2/31"},
            {"local": "0.0.0.0/0", "remote": "8.0.0.0/5"},
            {"remote_port": 179},
            {"local_port": (30000, 50000), "remote_port": (100, 200)},
            {"vrf": 0},
        ],
    )
    def test_matches(self, where):
        assert self.verdict(make(**where)) == "good"

    @pytest.mark.parametrize(
        "where",
        [
            {"local": "10.0.0.3"},
            {"remote": "10.0.0.3/32"},
            {"local": "fd00::1"},
            {"remote": "10.0.0.3", "remote_port": 179},
            {"local": "10.0.0.1", "remote_port": 180},
            {"local": "10.0.0.1", "local_port": (1, 39999)},
            {"vrf": 7},
            {"local": "10.0.0.2", "remote": "10.0.0.1"},
        ],
    )
    def test_does_not_match(self, where):
        """The last one has the sides the wrong way round: then the IDs are the wrong ones."""
        assert self.verdict(make(**where)) == "key_not_found"

    def test_ids_that_mean_two_keys(self):
        """A KeyID may be one key's SendID and another's RecvID: then both are tried."""
        right = make(send_id=1, recv_id=2)
        decoy = make(send_id=2, recv_id=1, secret=b"other")
        for keys in ([right, decoy], [decoy, right]):
            packets = handshake(*pair(make(local="10.0.0.1", remote="10.0.0.2")))
            result = ao.Engine(keys).verify(*records(packets), 101)
            assert result.counts["good"] == 3
            assert {keys[i] for i in result.key} == {right}


class TestLifetimes:
    def ns(self, moment):
        return int(moment.timestamp()) * 10**9

    def test_accept(self):
        key = make(accept_lifetime=(NOON, NOON + timedelta(hours=1)))
        packets = handshake(*pair(make(local="10.0.0.1", remote="10.0.0.2")))
        hour = timedelta(hours=1)
        for moment, expected in (
            (NOON - timedelta(seconds=1), "key_not_found"),
            (NOON, "good"),
            (NOON + hour, "good"),
            (NOON + hour + timedelta(seconds=1), "key_not_found"),
        ):
            stamps = np.full(3, self.ns(moment))
            result = ao.Engine([key]).verify(*records(packets), 101, stamps)
            assert result.counts[expected] == 3
        assert ao.Engine([key]).verify(*records(packets), 101).counts["good"] == 3

    def test_never_ends(self):
        # as files write it that know no open end; beyond what 64 bits of nanoseconds hold
        last = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)
        first = datetime(1, 1, 1, tzinfo=timezone.utc)
        key = make(send_lifetime=(None, last), accept_lifetime=(first, last))
        packets = handshake(*pair(make(local="10.0.0.1", remote="10.0.0.2")))
        stamps = np.full(3, self.ns(NOON))
        for chain in ([key], ao.KeyChain([key], accept_tolerance=300)):
            result = ao.Engine(chain).verify(*records(packets), 101, stamps)
            assert result.counts["good"] == 3
        later = make(accept_lifetime=(last, None))
        for tolerance in (0, 300, float("inf")):
            result = ao.Engine(ao.KeyChain([later], accept_tolerance=tolerance)).verify(
                *records(packets), 101, stamps
            )
            assert result.counts["good"] == (3 if tolerance == float("inf") else 0)
        ends = ("10.0.0.1", 1000), ("10.0.0.2", 179)
        for now in (NOON, first, last):
            assert ao.KeyChain([key], clock=lambda now=now: now).to_send(*ends) is key

    def test_send(self):
        old = make(send_lifetime=(None, NOON))
        new = make(send_id=3, recv_id=4, send_lifetime=(NOON, None))
        packets = ao.strip(
            *records(handshake(*pair(make(local="10.0.0.1", remote="10.0.0.2")))), 101
        )
        for moment, expected in ((NOON - timedelta(1), 0), (NOON + timedelta(1), 1)):
            signed = ao.Engine([old, new]).sign(*packets, 101, np.full(3, self.ns(moment)))
            assert set(signed.key) == {expected}
