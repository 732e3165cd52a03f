"""Two ends' key files against each other."""

import itertools
import json
import subprocess
import sys
from datetime import datetime, timezone

import pytest

import tcpao_fast as ao
from tcpao_fast.keys.compare import compare_chains

TCPAO = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
A, B = "10.0.0.1", "10.0.0.2"


def key(**changes):
    usual = {"algorithm": "hmac-sha-1-96", "secret": b"a secret", "send_id": 1, "recv_id": 2,
             "remote": B, "name": "k"}  # fmt: skip
    return ao.MasterKey(**{**usual, **changes})


def other(one, **changes):
    """The other end's key: routers' files name the neighbor alone."""
    there = one.mirrored()
    usual = {
        "algorithm": there.algorithm, "secret": there.secret, "send_id": there.send_id,
        "recv_id": there.recv_id, "remote": A, "mac_length": there.mac_length,
        "exclude_options": there.exclude_options, "name": "far",
        "send_lifetime": there.send_lifetime, "accept_lifetime": there.accept_lifetime,
    }  # fmt: skip
    return ao.MasterKey(**{**usual, **changes})


def year(number):
    return datetime(number, 1, 1, tzinfo=timezone.utc)


def compared(mine, theirs, **more):
    return compare_chains(ao.KeyChain(mine), ao.KeyChain(theirs), **more)


def test_what_matches():
    (one,) = compared([key()], [other(key())]).sessions
    assert one.verdict == "matches" and one.ends == f"{A} - {B}"
    assert one.keys[0].secret == "equal" and not one.keys[0].differences


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"secret": b"another"}, "secret", "the secrets differ"),
        ({"algorithm": "aes-128-cmac-96"}, "algorithm", "A has hmac-sha-1-96, B aes-128-cmac-96"),
        ({"send_id": 1, "recv_id": 2}, "ids", "not crossed"),
        ({"send_id": 7}, "ids", "B sends 7 and expects 1"),
        ({"mac_length": 16}, "mac_length", "12 bytes, B of 16"),
        ({"exclude_options": True}, "options", "A covers the other TCP options, B excludes them"),
        ({"accept_lifetime": (year(2020), year(2021)), "send_lifetime": None}, "lifetimes",
         "B does not always accept"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("turned", [False, True])
def test_each_difference_is_named(changes, field, said, turned):
    mine, theirs = [key()], [other(key(), **changes)]
    found = compared(theirs, mine) if turned else compared(mine, theirs)
    (one,) = found.sessions
    (difference,) = one.keys[0].differences
    assert difference.field == field
    assert turned or said in difference.what
    assert one.verdict == ("matches" if field == "lifetimes" else "differs")
    assert "a secret" not in str(found.as_dict()) and "another" not in str(found.as_dict())


def test_lifetimes_that_never_meet():
    early, late = (year(2020), year(2021)), (year(2022), year(2023))
    near = key(send_lifetime=early, accept_lifetime=early)
    far = other(key(), send_lifetime=late, accept_lifetime=late)
    (one,) = compared([near], [far]).sessions
    assert one.verdict == "differs"
    assert {d.what.split(" while")[0] for d in one.keys[0].differences} == {
        "B never accepts the key", "A never accepts the key",
    }  # fmt: skip


def test_rotation():
    """Keys are paired by what they have in common; one that is at one end only is said."""
    mine = [key(), key(send_id=3, recv_id=4, secret=b"second"),
            key(send_id=5, recv_id=6, secret=b"third")]  # fmt: skip
    for order in itertools.permutations(mine[:2]):
        (one,) = compared(mine, [other(each) for each in order]).sessions
        assert one.verdict == "partly"
        assert [pair.matches for pair in one.keys] == [True, True, False]
        assert one.keys[2].b is None


def test_tcp_md5_and_tcp_ao():
    md5 = ao.MasterKey(algorithm="tcp-md5", secret=b"x", remote=A)
    (one,) = compared([key()], [md5]).sessions
    assert one.keys[0].differences[0].what == "A uses TCP-AO, B uses TCP-MD5"
    same = ao.MasterKey(algorithm="tcp-md5", secret=b"x", remote=B)
    assert compared([same], [md5]).exit_status == 0


def test_many_neighbors():
    """Which of the neighbors the other end is, the secrets say, or the addresses that are given."""
    mine = [key(remote=f"10.0.0.{n}", secret=b"s%d" % n) for n in range(2, 9)]
    theirs = [other(mine[3]), other(key(), remote="10.9.9.9", secret=b"elsewhere")]
    found = compared(mine, theirs)
    matching = ("10.0.0.1 - 10.0.0.5", "matches")
    assert [(one.ends, one.verdict) for one in found.sessions] == [matching]
    # which of the others 10.9.9.9 may be, nothing tells: nothing is claimed of them
    assert len(found.doubtful) == 7 and not found.only_a and not found.only_b
    told = compared(mine, theirs, address_a=A, address_b="10.0.0.5")
    assert [(one.ends, one.verdict) for one in told.sessions] == [matching]
    assert len(told.only_a) == 6 and len(told.only_b) == 1 and told.exit_status == 0
    # nothing in common
    strange = compared(mine[:3], [other(key(), secret=b"q1", remote=f"10.9.9.{n}") for n in (1, 2)])
    assert not strange.sessions and len(strange.doubtful) == 5 and strange.exit_status == 3


def test_one_secret_for_all_neighbors():
    """It tells nothing: addresses have to."""
    mine = [key(remote=f"10.0.0.{n}") for n in (2, 3)]
    theirs = [other(key()), other(key(), remote="10.9.9.9")]
    found = compared(mine, theirs)
    assert not found.sessions and len(found.doubtful) == 4
    told = compared(mine, theirs, address_a=A, address_b=B)
    assert [(one.ends, one.verdict) for one in told.sessions] == [(f"{A} - {B}", "matches")]


def test_nothing_in_common():
    found = compared([key(local=A)], [other(key(), remote="192.0.2.1")])
    assert not found.sessions and found.exit_status == 3
    assert found.only_a == ("k (for 10.0.0.2)",)


def test_the_same_end():
    assert compared([key()], [key()], same_end=True).exit_status == 0
    (one,) = compared([key()], [key(secret=b"y")], same_end=True).sessions
    assert [d.field for d in one.keys[0].differences] == ["secret"]


class TestCommand:
    FILE = (
        "key chain K tcp\n key 1\n  send-id 1\n  recv-id 2\n  key-string {secret}\n"
        "  cryptographic-algorithm hmac-sha-1\n"
        "router bgp 1\n neighbor 10.0.0.2 remote-as 2\n neighbor 10.0.0.2 ao K\n"
    )
    TOML = (
        '[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "s3cret-here"\nsend_id = {ids[0]}\n'
        'recv_id = {ids[1]}\nremote = "10.0.0.1"\nexclude_options = true\n'
    )

    def run(self, tmp_path, *arguments, secret="s3cret-here", ids=(2, 1)):
        (tmp_path / "a.conf").write_text(self.FILE.format(secret=secret))
        (tmp_path / "b.toml").write_text(self.TOML.format(ids=ids))
        done = subprocess.run(
            [*TCPAO, "keys", "compare", "a.conf", "b.toml", *arguments], cwd=tmp_path,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "s3cret" not in done.stdout + done.stderr
        return done

    def test_text(self, tmp_path):
        done = self.run(tmp_path, ids=(1, 2))
        assert done.returncode == 1
        assert "10.0.0.1 - 10.0.0.2: does not match" in done.stdout
        assert "the IDs are not crossed" in done.stdout

    def test_json(self, tmp_path):
        done = self.run(tmp_path, "--json")
        (session,) = json.loads(done.stdout)["sessions"]
        assert session["keys"][0]["secret"] == "equal"
        assert done.returncode == (0 if session["verdict"] == "matches" else 1)

    def test_an_encrypted_secret(self, tmp_path):
        done = self.run(tmp_path, "--json", secret="6 QdYJTZPcFRRgAcLL")
        (session,) = json.loads(done.stdout)["sessions"]
        assert session["keys"][0]["secret"] == "unknown"

    def test_mistakes(self, tmp_path):
        assert self.run(tmp_path, "--address-a", "nonsense").returncode == 2
        (tmp_path / "c.toml").write_text("[[key]]\n")
        done = subprocess.run([*TCPAO, "keys", "compare", "a.conf", "c.toml"], cwd=tmp_path,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 2 and "c.toml" in done.stderr
