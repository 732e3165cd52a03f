"""What is written in any format is read back equal, or the difference was said: over all pairs."""

from dataclasses import fields
from datetime import datetime, timedelta, timezone
from random import Random
from types import ModuleType

import pytest
from click.testing import CliRunner

import tcpao_fast as ao
from tcpao_fast.cli.app import tcpao
from tcpao_fast.keys import files as key_files
from tcpao_fast.keys.files import WRITTEN, convert_keys, entries
from tcpao_fast.keys.files.toml import write_toml

UTC = timezone.utc
#: What tells keys apart beside their names, which most formats have none of.
COMPARED = [
    field.name for field in fields(ao.MasterKey) if field.name not in ("name", "form", "secret")
]


def any_key(random, number):
    """A key as somebody might have it; without a name its IDs say which."""
    v6 = random.random() < 0.3
    remote = random.choice(
        [None, "10.0.0.2", "10.0.0.2", "10.0.0.3", "10.1.0.0/16"]
        if not v6 else ["2001:db8::2", "2001:db8::/32"]
    )  # fmt: skip
    local = random.choice([None, None, "2001:db8::1" if v6 else "10.0.0.1"])
    common = {
        "secret": random.choice([b"plain%d" % number, b'quo"te %d' % number,
                                 bytes([number, 0, 255]), "größe%d".encode() % number]),
        "remote": remote, "local": local if remote else None,
        "remote_port": random.choice([None, None, None, 179, (1000, 2000)]),
        "vrf": random.choice([None, None, None, 7, "RED"]),
    }  # fmt: skip
    if number == 0 and random.random() < 0.7:
        return ao.MasterKey(algorithm="tcp-md5", **common)
    start = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=random.choice([0, 0, 31]))
    lifetime = random.choice([None, None, (start, None), (start, start + timedelta(days=30)),
                              (None, start)])  # fmt: skip
    return ao.MasterKey(
        algorithm=random.choice(["hmac-sha-1-96", "hmac-sha-1-96", "aes-128-cmac-96",
                                 "hmac(sha256)", "hmac-sha256-128"]),
        send_id=2 * number, recv_id=2 * number + 1,
        exclude_options=random.random() < 0.5,
        mac_length=random.choice([None, None, 12, 16]),
        send_lifetime=lifetime,
        accept_lifetime=random.choice([lifetime, None]),
        local_nat=random.random() < 0.05,
        **common,
    )  # fmt: skip


def any_chain(seed):
    random = Random(seed)
    keys = [any_key(random, number) for number in range(random.randint(1, 6))]
    tolerance = random.choice([0, 0, 300])
    return ao.KeyChain(keys, accept_tolerance=tolerance)


def written(tmp_path, chain):
    path = tmp_path / "keys.toml"
    path.write_text(write_toml(chain).text)
    assert list(ao.load_keys(path)) == list(chain)
    return path


def differences(key, again):
    """In what a key that was read back is another."""
    return [name for name in COMPARED if getattr(key, name) != getattr(again, name)]


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("seed", range(60))
def test_there_and_back(form, seed, tmp_path):
    chain = any_chain(seed)
    path = written(tmp_path, chain)
    there = tmp_path / "there"
    conversion = convert_keys(path, form)
    there.write_text(conversion.text)
    lost = "\n".join(conversion.lost)
    try:
        again = list(ao.load_keys(there, form))
    except ao.KeyFileError as error:
        # nothing was carried: each key was named
        assert conversion.written == 0, error
        again = []
    names = [key.name for key in again if key.name is not None]
    assert len(set(names)) == len(names), "a name is there twice"
    for key in chain:
        same = [one for one in again if (one.secret, one.send_id) == (key.secret, key.send_id)]
        said = f"{key.label}" in lost
        if not same:
            assert said, f"{key} is not in {form}, and nothing says so: {lost}"
            continue
        for one in same:
            assert said or not differences(key, one), (differences(key, one), lost)
    known = {key.secret for key in chain}
    assert all(one.secret in known for one in again)
    assert conversion.written <= len(chain)


@pytest.mark.parametrize("source", WRITTEN)
@pytest.mark.parametrize("target", WRITTEN)
def test_every_pair(source, target, tmp_path):
    """What a format has carried once, the way through another changes no further without a word."""
    for seed in range(6):
        first, second = tmp_path / "first", tmp_path / "second"
        conversion = convert_keys(written(tmp_path, any_chain(seed)), source)
        if conversion.written == 0:
            continue
        first.write_text(conversion.text)
        chain = ao.load_keys(first, source)
        through = convert_keys(first, target, source)
        second.write_text(through.text)
        lost = "\n".join(through.lost)
        try:
            again = list(ao.load_keys(second, target))
        except ao.KeyFileError:
            assert through.written == 0
            again = []
        for key in chain:
            same = [one for one in again if (one.secret, one.send_id) == (key.secret, key.send_id)]
            if not same or any(differences(key, one) for one in same):
                assert key.label in lost, (key, [differences(key, one) for one in same], lost)


def test_what_a_format_carries_is_known_by_name():
    """A word that is misspelt in a declaration would be lost without a word."""
    names = {*entries.STATEMENTS, entries.TOLERANCE}
    declared = [
        value
        for module in vars(key_files).values() if isinstance(module, ModuleType)
        for name, value in vars(module).items() if name.startswith("_CARRIES")
    ]  # fmt: skip
    assert len(declared) >= 8
    assert all(one <= names for one in declared)


def test_junos_start_times_are_unique(tmp_path):
    """Junos refuses two keys of a chain that begin at one time."""
    keys = [
        ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"x%d" % n, send_id=n, recv_id=n,
                     remote="10.0.0.2")
        for n in range(5)
    ]  # fmt: skip
    text = convert_keys(written(tmp_path, ao.KeyChain(keys)), "junos").text
    starts = [line.split("start-time ")[1] for line in text.splitlines() if "start-time" in line]
    assert len(set(starts)) == len(starts) == 5


@pytest.mark.parametrize("form", [form for form in WRITTEN if form not in ("toml", "oneline")])
def test_the_exit_status_says_whether_a_key_was_left_out(form, tmp_path):
    """Also where none is left."""
    good = ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"x", send_id=1, recv_id=2,
                        remote="10.0.0.2", mac_length=12)  # fmt: skip
    if form == "frr":
        good = ao.MasterKey(algorithm="tcp-md5", secret=b"x", remote="10.0.0.2")
    bad = ao.MasterKey(algorithm="hmac-sha256-128", secret=b"y", send_id=3, recv_id=4,
                       remote="10.0.0.2")  # fmt: skip
    for keys, status in (([good], 0), ([good, bad], 1), ([bad], 1)):
        path = written(tmp_path, ao.KeyChain(keys))
        command = ["keys", "convert", str(path), str(tmp_path / "out"), "--to", form]
        run = CliRunner().invoke(tcpao, command)
        assert run.exit_code == status, run.output
