"""Key files of routers and daemons: read, converted to TOML and back, and what cannot be."""

import random
import stat
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

import tcpao_fast as ao
from tcpao_fast.cli.app import tcpao
from tcpao_fast.keys import files
from tcpao_fast.keys.files import convert_keys
from tcpao_fast.keys.obfuscation import from_type_7

SAMPLES = Path(__file__).parents[1] / "keyfiles"
FILES = sorted(path for path in SAMPLES.iterdir() if path.name != "README.md")
WRITTEN = [form for form in files.WRITTEN if form != "toml"]
UTC = timezone.utc


def day(month, number, hour=0, minute=0, second=0):
    return datetime(2026, month, number, hour, minute, second, tzinfo=UTC)


def key(**fields):
    return ao.MasterKey(**{"algorithm": "hmac-sha-1-96", "mac_length": 12, **fields})


def md5(secret, remote, name, **fields):
    return ao.MasterKey(algorithm="tcp-md5", secret=secret, remote=remote, name=name, **fields)


_FIRST = {"secret": b"first-secret", "send_id": 100, "recv_id": 200}
_SECOND = {
    "secret": b"second-secret", "send_id": 101, "recv_id": 201, "algorithm": "aes-128-cmac-96",
}  # fmt: skip
_XR_FIRST = {
    **_FIRST,
    "send_lifetime": (day(1, 1), day(6, 30, 23, 59, 59)),
    "accept_lifetime": (day(1, 1), None),
}
_XR_SECOND = {**_SECOND, "send_lifetime": (day(6, 1, 12), day(6, 2, 12))}
_J_FIRST = {**_FIRST, "send_lifetime": (day(1, 1), None), "local": "192.0.2.1"}
_J_SECOND = {
    **_SECOND,
    "send_lifetime": (
        datetime(2026, 6, 1, 1, 30, tzinfo=timezone(timedelta(hours=5, minutes=30))), None,
    ),
    "local": "192.0.2.1",
    "exclude_options": True,
}  # fmt: skip
_JUNOS = [
    md5(b"legacy-secret", "192.0.2.9", "neighbor 192.0.2.9"),
    key(name="upstream key 0 for 192.0.2.2", remote="192.0.2.2", **_J_FIRST),
    key(name="upstream key 0 for 192.0.2.3", remote="192.0.2.3", **_J_FIRST),
    key(name="upstream key 1 for 192.0.2.2", remote="192.0.2.2", **_J_SECOND),
    key(name="upstream key 1 for 192.0.2.3", remote="192.0.2.3", **_J_SECOND),
]


def readings(name, remote, **fields):
    """A key of which it is argued whether options are covered: both ways."""
    return [
        key(
            name=f"{name} ({said})", reading=said, remote=remote, exclude_options=left_out, **fields
        )
        for said, left_out in (("options covered", False), ("options left out", True))
    ]


EXPECTED = {
    "rfc8177.json": [
        key(
            name="edge key 1", secret=b"first secret of edge", send_id=10, recv_id=20,
            exclude_options=True, send_lifetime=(day(1, 1), day(7, 1)),
            accept_lifetime=(day(1, 1), day(7, 1)),
        ),
        key(
            name="edge key 2", secret=bytes(range(0, 256, 17)), send_id=11, recv_id=21,
            algorithm="aes-128-cmac-96", send_lifetime=(day(6, 1), None),
            accept_lifetime=(day(5, 1), day(5, 2)),
        ),
    ],
    "cisco_xr.cfg": [
        md5(b"legacy-secret", "192.0.2.9", "neighbor 192.0.2.9"),
        key(name="UPSTREAM key 1 for 192.0.2.2", remote="192.0.2.2", **_XR_FIRST),
        key(
            name="UPSTREAM key 1 for 2001:db8::2", remote="2001:db8::2", exclude_options=True,
            **_XR_FIRST,
        ),
        key(name="UPSTREAM key 2 for 192.0.2.2", remote="192.0.2.2", **_XR_SECOND),
        key(
            name="UPSTREAM key 2 for 2001:db8::2", remote="2001:db8::2", exclude_options=True,
            **_XR_SECOND,
        ),
    ],
    "cisco_xe.cfg": [
        md5(b"legacy-secret", "192.0.2.9", "neighbor 192.0.2.9"),
        key(name="UPSTREAM key 1 for 192.0.2.2", remote="192.0.2.2", **_XR_FIRST),
        *readings("UPSTREAM key 1 for 2001:db8::2", "2001:db8::2", **_XR_FIRST),
        *readings("UPSTREAM key 2 for 192.0.2.2", "192.0.2.2", **_SECOND),
        key(
            name="UPSTREAM key 2 for 2001:db8::2", remote="2001:db8::2", exclude_options=True,
            **_SECOND,
        ),
    ],
    "nx_os.cfg": [
        md5(b"legacy-secret", "192.0.2.9", "neighbor 192.0.2.9"),
        key(name="UPSTREAM key 7", remote="192.0.2.2", **_FIRST),
    ],
    "junos.conf": _JUNOS,
    "junos.set": _JUNOS,
    "bird.conf": [
        key(
            name="upstream key 1", secret=b"first { secret", send_id=1, recv_id=1,
            local="192.0.2.1", remote="192.0.2.2",
        ),
        key(
            name="upstream key 2", secret=b"\x00\x11\x22\xff", send_id=101, recv_id=201,
            local="192.0.2.1", remote="192.0.2.2", algorithm="aes-128-cmac-96",
        ),
        md5(b"legacy secret", "2001:db8::9", "old"),
    ],
    "frr.conf": [
        md5(b"legacy-secret", "192.0.2.2", "neighbor 192.0.2.2", local="192.0.2.1"),
        md5(b"other-secret", "2001:db8::2", "neighbor 2001:db8::2"),
        key(
            name="UPSTREAM key 1", secret=b"first secret", send_id=1, recv_id=1,
            send_lifetime=(day(1, 1), None),
        ),
    ],
    "gobgp.toml": [
        md5(b"legacy-secret", "192.0.2.2", "neighbor 192.0.2.2", local="192.0.2.1"),
    ],
    "gobgp.sh": [
        key(
            name="fabric key 0", secret=b"first secret", send_id=0, recv_id=10, remote="192.0.2.2"
        ),
        key(
            name="fabric key 1", secret=b"second secret", send_id=1, recv_id=11,
            remote="192.0.2.2", algorithm="aes-128-cmac-96", exclude_options=True,
        ),
        key(
            name="fabric key 2", secret=b"third secret", send_id=2, recv_id=12,
            remote="192.0.2.2", algorithm="hmac(sha256)",
        ),
    ],
    "oneline.txt": [
        key(
            name="edge-1", secret=b"first secret", send_id=100, recv_id=200, local="10.0.0.1",
            remote="10.0.0.0/24", remote_port=179,
        ),
        key(
            algorithm="aes-128-cmac-96", secret=b"\x00\x11\x22\x33", send_id=5, recv_id=6,
            remote="2001:db8::2", mac_length=16, exclude_options=True, vrf=42, remote_nat=True,
        ),
        key(
            algorithm="hmac-sha256-128", mac_length=16, secret=b"\0\1\2\3", send_id=7, recv_id=8,
            remote="192.0.2.0/25", local_port=(1000, 2000), send_lifetime=(day(1, 1), None),
            accept_lifetime=(
                datetime(2025, 12, 31, tzinfo=UTC), datetime(2026, 12, 31, tzinfo=UTC),
            ),
        ),
        md5(b"legacy", "192.0.2.200", None),
    ],
}  # fmt: skip
TOLERANCE = {
    "rfc8177.json": 300, "cisco_xr.cfg": 3600, "junos.conf": 60, "junos.set": 60, "oneline.txt": 300
}  # fmt: skip
NOTES = {
    "rfc8177.json": ["key 3 has no send-id"],
    "cisco_xr.cfg": ["OSPF-KEYS key 1 has no SendID", "taken as UTC"],
    "cisco_xe.cfg": [
        "accept-ao-mismatch has no place",
        "said for the key alone",
        "said for neighbor 192.0.2.2 alone",
        "taken as UTC",
    ],
    "junos.conf": ["isis key 0 is not for TCP-AO"],
    "bird.conf": ["preferred has no place", "deprecated has no place"],
    "frr.conf": ["key 2): cryptographic-algorithm md5", "no SendID and RecvID"],
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
class TestSamples:
    def test_read(self, path):
        chain = ao.load_keys(path)
        assert list(chain) == EXPECTED[path.name]
        assert chain.accept_tolerance == TOLERANCE.get(path.name, 0)

    def test_said_what_has_no_place(self, path):
        notes = "\n".join(convert_keys(path).notes)
        for note in NOTES.get(path.name, []):
            assert note in notes
        assert bool(notes) == (path.name in NOTES)

    def test_to_toml_and_back(self, path, tmp_path):
        there = tmp_path / "keys.toml"
        there.write_text(convert_keys(path).text)
        chain = ao.load_keys(there)
        assert list(chain) == EXPECTED[path.name]
        assert chain.accept_tolerance == TOLERANCE.get(path.name, 0)
        form = convert_keys(path).form
        back = tmp_path / f"back.{path.suffix}"
        conversion = convert_keys(there, form)
        back.write_text(conversion.text)
        again = list(ao.load_keys(back, form))
        lost = " ".join(conversion.lost)
        assert "tcp-md5" not in str(again) or form != "junos"
        for one in again:
            same = [
                other for other in chain
                if (other.algorithm, other.secret, other.send_id, other.recv_id, other.remote)
                == (one.algorithm, one.secret, one.send_id, one.recv_id, one.remote)
                or ("address" in lost and other.secret == one.secret)
            ]  # fmt: skip
            assert same, one
        # whoever is missing was named
        secrets = {one.secret for one in again}
        for one in chain:
            assert one.secret in secrets or one.label in lost

    def test_the_command_line_takes_it(self, path):
        run = CliRunner().invoke(tcpao, ["keys", "show", str(path)])
        assert run.exit_code == 0, run.output
        assert "secret" not in run.stdout.replace("secret_", "")


class TestWriting:
    PLAIN = (
        key(
            secret=b"plainsecret", send_id=1, recv_id=2, remote="192.0.2.2", exclude_options=False
        ),
        key(
            secret=b"othersecret", send_id=3, recv_id=4, remote="2001:db8::1",
            algorithm="aes-128-cmac-96",
        ),
    )  # fmt: skip

    @pytest.mark.parametrize("form", ["cisco_xr", "cisco_xe", "junos", "bird", "gobgp", "oneline"])
    def test_plain_keys_come_back_whole(self, form, tmp_path):
        toml, other = tmp_path / "keys.toml", tmp_path / "keys.other"
        from tcpao_fast.keys.files.toml import write_toml

        toml.write_text(write_toml(ao.KeyChain(self.PLAIN)).text)
        assert tuple(ao.load_keys(toml)) == self.PLAIN
        other.write_text(convert_keys(toml, form).text)
        again = ao.load_keys(other)
        assert ao.load_keys(other, form)[0] == again[0]  # told from its text
        begin = {"send_lifetime": None, "accept_lifetime": None, "name": None}
        assert tuple(replace(one, **begin) for one in again) == self.PLAIN

    @pytest.mark.parametrize("form", WRITTEN)
    def test_options_covered_by_one_key_of_a_neighbor_alone(self, form, tmp_path):
        from tcpao_fast.keys.files.toml import write_toml

        keys = (self.PLAIN[0], replace(self.PLAIN[1], remote="192.0.2.2", exclude_options=True))
        toml, other = tmp_path / "keys.toml", tmp_path / "keys.other"
        toml.write_text(write_toml(ao.KeyChain(keys)).text)
        conversion = convert_keys(toml, form)
        lost = " ".join(conversion.lost)
        other.write_text(conversion.text)
        if form == "frr":
            assert all(one.label in lost for one in keys)
            return
        again = {one.secret: one.exclude_options for one in ao.load_keys(other, form)}
        for one in keys:
            assert again.get(one.secret) == one.exclude_options or one.label in lost
        assert form == "rfc8177" or again[b"plainsecret"] is False
        if form in ("cisco_xe", "junos", "gobgp", "oneline"):
            assert again[b"othersecret"]

    @pytest.mark.parametrize("form", files.WRITTEN)
    def test_everything_that_is_not_carried_is_said(self, form, tmp_path):
        chain = ao.KeyChain(EXPECTED["oneline.txt"], accept_tolerance=300)
        from tcpao_fast.keys.files.toml import write_toml

        toml = tmp_path / "keys.toml"
        toml.write_text(write_toml(chain).text)
        conversion = convert_keys(toml, form)
        if form in ("toml", "oneline"):
            assert not conversion.lost
            path = tmp_path / "again"
            path.write_text(conversion.text)
            again = ao.load_keys(path)
            assert list(again) == list(chain) and again.accept_tolerance == 300
        else:
            assert "edge-1" in " ".join(conversion.lost)
            assert "hmac-sha256-128 7/8" in " ".join(conversion.lost)

    @pytest.mark.parametrize(
        "secret", [b'quote"s and \\', b"\x00\x7f\xff", "größe".encode(), b" blanks ", b"a\nb"]
    )
    @pytest.mark.parametrize("form", ["toml", "oneline", "bird", "gobgp", "rfc8177"])
    def test_secrets_of_all_kinds(self, secret, form, tmp_path):
        from tcpao_fast.keys.files.toml import write_toml

        toml, other = tmp_path / "keys.toml", tmp_path / "keys.other"
        one = key(secret=secret, send_id=1, recv_id=2, remote="192.0.2.2", name='n"\\ö')
        toml.write_text(write_toml(ao.KeyChain([one])).text)
        assert ao.load_keys(toml)[0] == one
        other.write_text(convert_keys(toml, form).text)
        assert ao.load_keys(other, form)[0].secret == secret


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_mangled_files_are_read_or_refused(path, tmp_path):
    """Whatever became of a file: keys, or an error that names it."""
    words = ["", "x", "7", "-1", "99999", "ö", '"', "'", "{", "}", ";", "#", "neighbor", "key"]
    mangled = tmp_path / "mangled"
    refused = 0
    for seed in range(250):
        chance = random.Random(seed)
        lines = path.read_text().splitlines(keepends=True)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(lines))
            what = chance.randrange(4)
            if what == 0 and len(lines) > 1:
                del lines[at]
            elif what == 1:
                lines.insert(chance.randrange(len(lines)), lines[at])
            elif what == 2:
                parts = lines[at].split(" ")
                parts[chance.randrange(len(parts))] = chance.choice(words)
                lines[at] = " ".join(parts)
            else:
                lines[at] = lines[at][: chance.randrange(len(lines[at]) + 1)] + "\n"
        mangled.write_text("".join(lines))
        try:
            convert_keys(mangled, chance.choice(files.WRITTEN))
        except ao.KeyFileError as error:
            refused += 1
            assert str(mangled) in str(error)
    assert refused


@pytest.mark.parametrize(
    ("seconds", "end"), [(60, day(1, 1, 0, 1)), (2**32 - 1, None), (10**14, None)]
)
def test_lifetimes_by_duration(seconds, end, tmp_path):
    """To the year 9999 at the most."""
    year = "2026" if end else "9990"
    texts = {
        "frr": "key chain A\n key 1\n  key-string x\n  cryptographic-algorithm hmac-sha-1\n"
        f"  send-lifetime 00:00:00 Jan 1 {year} duration {seconds}\n",
        "rfc8177": '{"ietf-key-chain:key-chains": {"key-chain": [{"name": "A", "key": [{"key-id": '
        '"1", "crypto-algorithm": "hmac-sha-1-12", "key-string": {"keystring": "x"}, "send-id": 1,'
        f' "recv-id": 1, "lifetime": {{"send-lifetime": {{"start-date-time": "{year}-01-01T00:00'
        f':00Z", "duration": {seconds}}}}}}}]}}]}}}}',
        "toml": '[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "x"\nsend_id = 1\nrecv_id = 1\n'
        f"send_lifetime = {{ start = {year}-01-01T00:00:00Z, duration = {seconds} }}\n",
    }
    for form, text in texts.items():
        if form == "toml" and seconds >= 2**32:
            continue  # RFC 8177 has 32 bits, and that is what is taken there
        path = tmp_path / form
        path.write_text(text)
        (one,) = ao.load_keys(path, form)
        assert one.send_lifetime == (datetime(int(year), 1, 1, tzinfo=UTC), end), form


class TestEncrypted:
    CASES: ClassVar = {
        "type 6": (
            "key chain A\n key 1\n  key-string password6 gHiJkL\n"
            "  cryptographic-algorithm HMAC-SHA1-96\n!\ntcp ao\n keychain A\n"
            "  key 1 SendID 1 ReceiveID 2\n"
        ),
        "type 8": (
            "key chain A tcp\n key 1\n  key-string 8 060506324F41\n  send-id 1\n  recv-id 2\n"
            "  cryptographic-algorithm hmac-sha-1\n"
        ),
        "type 9": (  # IOS without TCP-AO, which looks like FRR
            "key chain A\n key 1\n  key-string 9 060506324F41\n"
            "  cryptographic-algorithm hmac-sha-1\n"
        ),
        "$9$": (
            'set security authentication-key-chains key-chain A key 0 secret "$9$MjEL7Vji"\n'
            "set security authentication-key-chains key-chain A key 0 algorithm ao\n"
            "set security authentication-key-chains key-chain A key 0 ao-attribute send-id 1\n"
            "set security authentication-key-chains key-chain A key 0 ao-attribute recv-id 2\n"
        ),
        "AES key wrap": (
            '{"ietf-key-chain:key-chains": {"aes-key-wrap": {"enable": true}, "key-chain": '
            '[{"name": "A", "key": [{"key-id": "1", "crypto-algorithm": "hmac-sha-1-12", '
            '"key-string": {"hexadecimal-string": "00ff"}, "send-id": 1, "recv-id": 2}]}]}}'
        ),
    }

    @pytest.mark.parametrize("kind", CASES)
    def test_reported_and_never_guessed(self, kind, tmp_path):
        path = tmp_path / "router.cfg"
        path.write_text(self.CASES[kind])
        with pytest.raises(ao.KeyFileError) as caught:
            ao.load_keys(path)
        assert f"is encrypted ({kind})" in str(caught.value)
        assert "060506" not in str(caught.value) and "MjEL" not in str(caught.value)

    @pytest.mark.parametrize("kind", CASES)
    def test_an_environment_variable_in_toml(self, kind, tmp_path, monkeypatch):
        path, toml = tmp_path / "router.cfg", tmp_path / "keys.toml"
        path.write_text(self.CASES[kind])
        conversion = convert_keys(path)
        assert any("set TCPAO_SECRET_1" in note for note in conversion.notes)
        toml.write_text(conversion.text)
        with pytest.raises(ao.KeyFileError, match="TCPAO_SECRET_1"):
            ao.load_keys(toml)
        monkeypatch.setenv("TCPAO_SECRET_1", "in clear")
        (one,) = ao.load_keys(toml)
        assert one.secret == b"in clear" and one.send_id == 1

    def test_what_only_hides_a_secret_from_a_glance_is_read(self, tmp_path):
        """Cisco's type 7 and Junos's $9$, with a warning."""
        hidden = "060506324F41"
        texts = {
            "type 7": [
                f"key chain A\n key 1\n  key-string {said} {hidden}\n"
                "  cryptographic-algorithm HMAC-SHA1-96\n!\ntcp ao\n keychain A\n"
                "  key 1 SendID 1 ReceiveID 2\n"
                for said in ("password", "7", "encrypted")
            ]
            + [
                f"router bgp 1\n neighbor 192.0.2.2 password 7 {hidden}\n",
                f"key chain A tcp\nrouter bgp 1\n neighbor 192.0.2.2 password 7 {hidden}\n",
            ],
            "$9$": [
                'set protocols bgp group A neighbor 192.0.2.2 authentication-key "$9$'
                'aHGjqTz6uORmfORhSMWJGD"\n',
            ],
        }
        for form, listed in texts.items():
            for text in listed:
                path = tmp_path / "router.cfg"
                path.write_text(text)
                chain = ao.load_keys(path)
                assert len(chain) == 1
                if form == "type 7":
                    assert chain[0].secret == from_type_7(hidden.encode())
                assert any(f"{form} are read" in note for note in chain.notes)
                assert hidden not in str(chain.notes)

    @pytest.mark.parametrize("kind", ["5", "6", "8"])
    def test_encrypted_passwords_of_ios(self, kind, tmp_path):
        path = tmp_path / "router.cfg"
        for begin in ("", "key chain A tcp\n"):
            path.write_text(
                f"{begin}router bgp 1\n neighbor 192.0.2.2 password {kind} 060506324F\n"
            )
            with pytest.raises(ao.KeyFileError, match=f"encrypted .type {kind}.") as caught:
                ao.load_keys(path)
            assert "060506" not in str(caught.value)

    def test_no_other_format_can_say_it(self, tmp_path):
        path = tmp_path / "router.cfg"
        path.write_text(self.CASES["$9$"])
        with pytest.raises(ao.KeyFileError, match="encrypted"):
            convert_keys(path, "bird")


MISTAKES = [
    ("oneline", "tcp-ao add algo hmac(sha1) secret x send-id 1 recv-id\n", "recv-id has no value"),
    ("oneline", "tcp-ao add algo hmac(sha1) secret x send-id 300 recv-id 2\n", "send_id"),
    ("oneline", "tcp-ao add algo hmac(sha1) hunter2 x\n", "line 1: word 4 is unknown"),
    ("oneline", "tcp-ao add algo hmac(sha1) secret-hex xyz\n", "secret-hex has a value"),
    ("oneline", "tcp-ao add algo hmac(sha1) secret 'x\n", "line 1: No closing quotation"),
    ("oneline", "# a\nremove 1\ntcp-ao add a b\n", "line 2: must begin with add"),
    ("bird", "protocol bgp {\n neighbor 10.0.0.1 as 1;\n", "line 1: a brace that is not closed"),
    ("bird", 'protocol bgp {\n password "x;\n}\n', "line 2: a quotation mark"),
    ("bird", "protocol bgp {}\n}\n", "line 2: a closing brace too many"),
    ("bird", "protocol bgp x {\nauthentication ao;\nkeys {key {id 1;};};}", "lacks secret"),
    ("junos", "security { authentication-key-chains { key-chain a {", "line 1: a brace"),
    ("junos", "set security authentication-key-chains key-chain a key 0 algorithm ao\n",
     "lacks send-id"),
    ("rfc8177", '{"ietf-key-chain:key-chains": {"key-chain": [', "is not JSON"),
    ("rfc8177", '{"key-chains": []}', "key-chains must be an object"),
    ("rfc8177", '{"key-chains": {"key-chain": [7]}}', "each key-chain must be an object"),
    ("rfc8177", '{"key-chains": {"key-chain": [{"name": "A", "key": true}]}}',
     "key-chain A: key must be a list"),
    ("rfc8177", '{"key-chains": {"key-chain": [{"name": "A", "accept-tolerance": {"duration": -1}'
     '}]}}', 'accept-tolerance: duration must be "forever" or seconds'),
    ("rfc8177", '{"key-chains": {"key-chain": [{"name": "A", "key": [{"key-id": "1", '
     '"crypto-algorithm": "hmac-sha-1-12", "send-id": 1, "recv-id": 1, "key-string": {"keystring":'
     ' "x"}, "lifetime": 5}]}]}}', "key 1: lifetime must be an object"),
    ("rfc8177", '{"key-chains": {"key-chain": {}}}', "must be a list"),
    ("gobgp", "gobgp keychain add a --key '1,2,hmac,x'\n", "must be SENDID,RECVID"),
    ("gobgp", "[[neighbors]]\n x = \n", "is not TOML"),
    ("cisco_xr", "key chain A\n key 1\n  key-string x\n  cryptographic-algorithm SHA-9\ntcp ao\n"
     " keychain A\n  key 1 SendID 1 ReceiveID 2\n", "SHA-9: TCP-AO has HMAC-SHA1-96"),
    ("cisco_xe", "key chain A tcp\n key 1\n  send-id x\n", "line 3: send-id is not a number"),
    ("cisco_xe", "key chain A tcp\n key 1\n  send-id 1\n", "lacks recv-id, key-string, crypt"),
    ("cisco_xe", "key chain A tcp\n key 1\n  send-id 1\n  recv-id 2\n  key-string x\n"
     "  cryptographic-algorithm md5\n", "algorithm md5: TCP-AO has hmac-sha-1"),
    ("cisco_xe", "key chain A tcp\n key 1\n  send-lifetime never\n", "line 3: send-lifetime"),
    ("cisco_xe", "key chain A tcp\n key 1\n  send-lifetime 0:0 Jan 1 99999999999999999999 1\n",
     "line 3: send-lifetime"),
    ("cisco_xr", "tcp ao\n keychain A\n  key 1 SendID x ReceiveID 2\n", "line 3: must be key"),
    ("cisco_xr", "key chain A\n key 1\n  send-lifetime never\ntcp ao\n", "line 3: send-lifetime"),
    ("frr", "router bgp 1\n neighbor PEERS password x\n", "has no key"),
    ("frr", "key chain A\n key 1\n  send-lifetime 1\n", "line 3: send-lifetime"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "text", "said"), MISTAKES)
def test_mistakes(form, text, said, tmp_path):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ao.KeyFileError) as caught:
        ao.load_keys(path)
    assert said in str(caught.value), caught.value
    assert all(line.startswith(f"{path}: ") for line in str(caught.value).splitlines())
    assert "hunter2" not in str(caught.value)


def test_overlaps_are_told_by_line(tmp_path):
    path = tmp_path / "keys"
    line = "tcp-ao add algo hmac(sha1) secret x send-id 1 recv-id 2\n"
    path.write_text(line + line)
    with pytest.raises(ao.KeyFileError, match="line 2: send_id 1 is also key 1's"):
        ao.load_keys(path)


def test_unknown_format(tmp_path):
    with pytest.raises(ao.InvalidArgumentError, match="known are toml, rfc8177"):
        ao.load_keys(FILES[0], "quagga")
    with pytest.raises(ao.InvalidArgumentError, match="known are toml"):
        convert_keys(FILES[0], "quagga")


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("text", ["", "\x00\xff", "{}", "a { b; }", "key chain x\n key 1\n"])
def test_no_crash_on_anything(form, text, tmp_path):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ao.KeyFileError):
        ao.load_keys(path, form)


class TestCommandLine:
    def run(self, *arguments):
        return CliRunner().invoke(tcpao, ["keys", "convert", *map(str, arguments)])

    def test_convert(self, tmp_path):
        out = tmp_path / "keys.toml"
        run = self.run(SAMPLES / "cisco_xr.cfg", out)
        assert run.exit_code == 0, run.output
        assert "5 keys, cisco_xr to toml" in run.stderr and "note: " in run.stderr
        assert stat.S_IMODE(out.stat().st_mode) & 0o077 == 0
        assert list(ao.load_keys(out)) == EXPECTED["cisco_xr.cfg"]
        run = self.run(out, tmp_path / "x", "--to", "frr")  # TCP-MD5 alone goes there
        assert run.exit_code == 1 and "not carried: FRR's BGP has TCP-MD5 alone" in run.stderr
        assert "secret" not in run.stdout + run.stderr.replace("the secret", "")

    def test_a_wrong_file_leaves_nothing(self, tmp_path):
        path = tmp_path / "keys"
        path.write_text("tcp-ao add a b\n")
        run = CliRunner().invoke(tcpao, ["keys", "convert", str(path), str(tmp_path / "out")])
        assert run.exit_code == 2 and not (tmp_path / "out").exists()

    def test_standard_output_but_no_terminal(self, tmp_path):
        run = self.run(SAMPLES / "bird.conf", "-", "--to", "oneline")
        assert run.exit_code == 0 and run.stdout.startswith("tcp-ao add")
        code = (
            "import os, pty, sys\n"
            "status = pty.spawn([sys.executable, '-c',"
            "'from tcpao_fast.cli import main; main()', *sys.argv[1:]])\n"
            "sys.exit(os.waitstatus_to_exitcode(status))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "keys", "convert", SAMPLES / "bird.conf", "-"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 2 and "first" not in done.stdout
        assert "secrets are not printed on a terminal" in done.stdout

    def test_verify_with_a_routers_configuration(self, tmp_path, named_capture):
        capture = named_capture("v4-sha1")
        (one,) = capture.keys
        path = tmp_path / "junos.set"
        begin = "set security authentication-key-chains key-chain a key 0"
        path.write_text(
            f"{begin} secret {one.secret.decode()}\n{begin} algorithm ao\n"
            f"{begin} ao-attribute send-id {one.send_id}\n"
            f"{begin} ao-attribute recv-id {one.recv_id}\n"
            f"{begin} ao-attribute tcp-ao-option enabled\n"
        )
        run = CliRunner().invoke(tcpao, ["verify", str(capture.path), "-k", str(path)])
        assert run.exit_code == 0, run.output


def test_written_formats():
    """The list that the command line shows without importing every format."""
    having = [
        name for name in files.FORMATS[1:] if import_module(f"{files.__name__}.{name}").FORMAT.write
    ]
    assert ("toml", *having) == files.WRITTEN
    for name in files.FORMATS[1:]:
        assert import_module(f"{files.__name__}.{name}").FORMAT.name == name
