"""`tcpao keys check`: what may be wrong with keys that are formally right."""

import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import pytest
from ends import make_key, md5_key
from samples import CAPTURES

import tcpao_fast as ao
from tcpao_fast.keys.lint import RULES, Severity, lint

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
SECRET = bytes(range(40, 72))  # nothing to say of it


def sound(send_id=1, recv_id=2, **changes):
    return make_key(send_id, recv_id, **{"secret": SECRET, **changes})


def other(number, **changes):
    """Another sound key, with IDs and secret of its own."""
    return sound(
        10 + number, 20 + number, secret=bytes(range(80 + number, 112 + number)), **changes
    )


def found(*keys, now=NOON):
    """The findings but for notes, as (severity, rule, keys)."""
    return [
        (one.severity.value, one.rule, one.keys)
        for one in lint(ao.KeyChain(keys), now)
        if one.severity is not Severity.note
    ]


CASES = [
    ("unequal_lifetimes", "warning", [sound(form="cisco_xr", accept_lifetime=(NOON - HOUR, None),
                                            send_lifetime=(NOON - HOUR, NOON + HOUR))], (0,)),
    ("long_secret", "problem", [sound(form="bird", secret=bytes(range(40, 121)))], (0,)),
    ("never_matches", "problem", [sound(remote="0.0.0.0")], (0,)),
    ("never_matches", "problem", [sound(local="ff02::1")], (0,)),
    ("never_matches", "problem", [sound(remote_port=0)], (0,)),
    ("blank_in_secret", "warning", [sound(secret=SECRET + b"\n")], (0,)),
    ("blank_in_secret", "warning", [sound(secret=b" " + SECRET)], (0,)),
    ("blank_in_secret", "warning", [sound(secret=SECRET + b"\0")], (0,)),
    ("hex_as_text", "warning", [sound(secret=b"00112233445566778899aabbccddeeff")], (0,)),
    ("hex_as_text", "warning", [sound(secret=b"0x00112233445566778899AABB")], (0,)),
    ("short_secret", "warning", [sound(secret=b"hello world")], (0,)),
    ("short_secret", "warning", [sound(secret=b"aabb" * 8)], (0,)),
    ("mac_length", "warning", [sound(mac_length=7)], (0,)),
    ("mac_length", "warning", [sound(mac_length=17)], (0,)),
    ("lifetimes", "warning", [sound(send_lifetime=(None, NOON - HOUR),
                                    accept_lifetime=(None, NOON - HOUR / 2))], (0,)),
    ("lifetimes", "warning", [sound(accept_lifetime=(NOON - HOUR, None))], (0,)),
    ("lifetimes", "warning", [sound(send_lifetime=(NOON, NOON + HOUR),
                                    accept_lifetime=(NOON, NOON + HOUR / 2))], (0,)),
    ("gaps", "warning", [sound(send_lifetime=(NOON, NOON + HOUR)),
                         other(1, send_lifetime=(NOON + 2 * HOUR, None))], (0, 1)),
    ("gaps", "warning", [sound(send_lifetime=(NOON + 2 * HOUR, NOON + 3 * HOUR)),
                         other(1, send_lifetime=(None, NOON + HOUR))], (1, 0)),
    ("both_kinds", "warning", [sound(remote="10.0.0.0/8"),
                               md5_key(remote="10.1.0.0/16", secret=SECRET)],
     (0, 1)),
    ("same_secret", "warning", [sound(), sound(3, 4), other(1)], (0, 1)),
    ("md5_rotation", "warning", [md5_key(secret=SECRET), md5_key(secret=SECRET[::-1])], (0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "severity", "keys", "numbers"), CASES, ids=[f"{i}-{c[0]}" for i, c in enumerate(CASES)]
)
def test_rules(rule, severity, keys, numbers):
    assert (severity, rule, numbers) in found(*keys)
    for one in lint(ao.KeyChain(keys), NOON):
        assert "hello world" not in one.what + one.advice
        assert one.what and one.advice


def test_every_rule_has_a_case_and_says_what_it_is_for():
    notes = {"options_coverage", "kdf_by_name", "linux_algorithms"}
    assert {case[0] for case in CASES} | notes == {rule.__name__ for rule in RULES}
    assert all(rule.__doc__ for rule in RULES)


@pytest.mark.parametrize(
    "keys",
    [
        [sound()],
        [sound(), other(1)],
        [sound(remote="10.0.0.1"), sound(remote="10.0.0.2")],  # one secret, never one connection
        [sound(remote="10.0.0.1"), md5_key(remote="10.0.0.2", secret=SECRET)],
        [sound(send_lifetime=(NOON, NOON + HOUR)), other(1, send_lifetime=(NOON + HOUR, None))],
        [sound(send_lifetime=(NOON, None)), other(1, send_lifetime=(NOON + HOUR, NOON + 2 * HOUR))],
        [sound(remote="10.0.0.1", send_lifetime=(NOON, NOON + HOUR)),
         other(1, remote="10.0.0.2", send_lifetime=(NOON + 5 * HOUR, None))],
        [sound(remote="0.0.0.0/0"), sound(algorithm="aes-128-cmac-96", remote="2001:db8::/32")],
        [],
    ],
)  # fmt: skip
def test_sound_keys(keys):
    assert found(*keys) == []


def test_notes():
    notes = lint(
        ao.KeyChain([sound(), sound(3, 4, algorithm="hmac(sha256)", exclude_options=True)])
    )
    texts = [f"{one.what} {one.advice}" for one in notes if one.severity is Severity.note]
    assert any("are covered Cisco and Junos exclude" in text for text in texts)
    assert any("are not covered Linux, BIRD and Arista cover" in text for text in texts)
    assert any("hmac(sha256) derives traffic keys with Linux's KDF" in text for text in texts)


def test_problems_come_first():
    severities = [
        one.severity for one in lint(ao.KeyChain([sound(secret=b"x"), other(1, remote="0.0.0.0")]))
    ]
    assert severities == sorted(severities, key=list(Severity).index)
    assert severities[0] is Severity.problem and severities[-1] is Severity.note


def tcpao(*arguments):
    command = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)


def test_command_line(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(
        '[[key]]\nname = "edge"\nalgorithm = "hmac-sha-1-96"\nsecret = "hunter22"\n'
        "send_id = 1\nrecv_id = 2\n"
    )
    done = tcpao("keys", "check", path)
    assert done.returncode == 0 and done.stdout.splitlines()[0] == "1 key, no mistakes"
    assert "warning: key 1 (edge): the secret has 8 bytes" in done.stdout
    assert "note" not in done.stdout and "hunter22" not in done.stdout
    assert (
        "note: key 1 (edge): TCP options are covered"
        in tcpao("keys", "check", path, "--notes").stdout
    )
    assert tcpao("keys", "check", path, "--strict").returncode == 1
    rows = json.loads(tcpao("keys", "check", path, "--json").stdout)
    assert rows["keys"] == 1 and {one["rule"] for one in rows["findings"]} == {
        "short_secret",
        "options_coverage",
    }
    assert rows["findings"][0]["keys"] == [{"number": 1, "name": "edge"}]
    path.write_text(path.read_text() + 'remote = "0.0.0.0"\n')
    assert tcpao("keys", "check", path).returncode == 1
    assert tcpao("keys", "check", CAPTURES / "wrap-v4-sha1.toml", "--strict").returncode == 0


def test_tcp_md5_keys_that_differ_in_the_secret_alone():
    keys = [
        ao.MasterKey(algorithm="tcp-md5", secret=secret, remote="10.0.0.2")
        for secret in (b"old-secret", b"new-secret")
    ]
    found = [one for one in lint(ao.KeyChain(keys)) if "nothing but the secret" in one.what]
    assert len(found) == 1 and found[0].keys == (0, 1)
    lasting = (datetime(2020, 1, 1, tzinfo=timezone.utc), None)
    limited = ao.MasterKey(algorithm="tcp-md5", secret=b"new-secret", remote="10.0.0.2",
                           send_lifetime=lasting)  # fmt: skip
    assert not [one for one in lint(ao.KeyChain([keys[0], limited])) if "nothing but" in one.what]


@pytest.mark.parametrize(
    ("algorithm", "length", "noted"),
    [
        ("hmac-sha-1-96", 32, False), ("hmac(sha256)", 32, False), ("aes-128-cmac-96", 32, False),
        ("cmac(aes)", 16, False), ("cmac(aes)", 32, True), ("hmac(sha512)", 32, True),
        ("hmac-sha256-128", 32, True),
    ],
)  # fmt: skip
def test_algorithms_that_newer_kernels_do_not_take(algorithm, length, noted):
    key = sound(algorithm=algorithm, secret=SECRET[:length])
    rules = {one.rule for one in lint(ao.KeyChain([key])) if one.severity is Severity.note}
    assert ("linux_algorithms" in rules) == noted
