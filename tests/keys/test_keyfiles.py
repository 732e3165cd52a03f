"""The TOML key file: what it can say, and every mistake at once."""

import base64

import pytest

import tcpao_fast as ao

PLAIN = """
[[key]]
algorithm = "hmac-sha-1-96"
secret = "text"
send_id = 100
recv_id = 200
"""


@pytest.fixture
def load(tmp_path):
    def load(text):
        path = tmp_path / "keys.toml"
        path.write_text(text)
        return ao.load_keys(path)

    return load


@pytest.fixture
def problems(load):
    def problems(text):
        with pytest.raises(ao.KeyFileError) as caught:
            load(text)
        assert str(caught.value).count("keys.toml: ") == len(caught.value.problems)
        return caught.value.problems

    return problems


def test_everything(load):
    (key,) = load(
        """
        [[key]]
        name = "edge-1"
        algorithm = "aes-128-cmac-96"
        secret_hex = "00ff"
        send_id = 100
        recv_id = 200
        local = "10.0.0.1"
        remote = "10.0.0.0/24"
        local_port = "1000-2000"
        remote_port = 179
        mac_length = 16
        exclude_options = true
        vrf = 5
        send_lifetime = { start = 2026-01-01T00:00:00Z, end = 2026-02-01T00:00:00+01:00 }
        accept_lifetime = { end = 2026-03-01T00:00:00Z }
        """
    )
    assert key.name == "edge-1" and key.secret == b"\x00\xff"
    assert (key.local_port, key.remote_port) == ((1000, 2000), (179, 179))
    assert (key.mac_length, key.exclude_options, key.vrf) == (16, True, 5)
    assert key.send_lifetime[0].year == 2026 and key.accept_lifetime[0] is None


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ('secret = "zünd"', "zünd".encode()),
        ('secret_hex = "6162"', b"ab"),
        (f'secret_base64 = "{base64.b64encode(bytes(9)).decode()}"', bytes(9)),
        ('secret_file = "secret.txt"', b"from a file"),
        ('secret_file = "crlf.txt"', b"from a file"),
        ('secret_file = "bare.bin"', b"bare\n\n"[:-1]),
        ('secret_env = "TCPAO_TEST_SECRET"', b"from the environment"),
    ],
)
def test_secrets(load, line, secret, tmp_path, monkeypatch):
    (tmp_path / "secret.txt").write_bytes(b"from a file\n")
    (tmp_path / "crlf.txt").write_bytes(b"from a file\r\n")
    (tmp_path / "bare.bin").write_bytes(b"bare\n\n")
    monkeypatch.setenv("TCPAO_TEST_SECRET", "from the environment")
    (key,) = load(PLAIN.replace('secret = "text"', line))
    assert key.secret == secret


def test_tcp_md5(load):
    (key,) = load('[[key]]\nalgorithm = "tcp-md5"\nsecret = "x"\nremote = "10.0.0.2"\n')
    assert key.is_tcp_md5


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('colour = "red"', "colour: is unknown; known are algorithm"),
        ('secret_hex = "00"', "secret: is given 2 times (secret, secret_hex); give one"),
        ("send_id = 300", "send_id: is 300; it must be 0 to 255"),
        ('send_id = "1"', "send_id: must be a whole number"),
        ("recv_id = true", "recv_id: must be a whole number"),
        ('exclude_options = "yes"', "exclude_options: must be true or false"),
        ("mac_length = 21", "mac_length: is 21; hmac-sha-1-96 allows 1 to 20 bytes"),
        ('local = "10.0.0.1/24"', "local: 10.0.0.1/24 has host bits set"),
        ("local = 5", "local: must be text"),
        ('remote_port = "a-b"', 'remote_port: must be a port or a range such as "1000-2000"'),
        ('remote_port = "9-8"', "remote_port: is (9, 8)"),
        ("remote_port = 1.5", "remote_port: must be a port"),
        ("send_lifetime = 5", "send_lifetime: must be { start"),
        ("send_lifetime = { begin = 2026-01-01T00:00:00Z }", "send_lifetime: must be { start"),
        ("send_lifetime = { start = 2026-01-01T00:00:00 }", "send_lifetime: must be given in"),
        ('algorithm = "md4"', "algorithm: algorithm 'md4' is unknown"),
    ],
)
def test_mistakes(problems, line, what):
    field = line.split(" ")[0]
    kept = [entry for entry in PLAIN.splitlines() if not entry.startswith(f"{field} ")]
    found = problems("\n".join([*kept, line]))
    assert len(found) == 1 and found[0].startswith(f"key 1: {what}"), found


@pytest.mark.parametrize(
    ("secret", "what"),
    [
        ("", "secret: is missing; give one of secret, secret_hex"),
        ('secret = ""', "secret: is empty"),
        ('secret_hex = "abc"', "secret_hex: is not hexadecimal"),
        ('secret_base64 = "#"', "secret_base64: is not base64"),
        ('secret_file = "missing"', "secret_file: missing: No such file"),
        ('secret_env = "NO_SUCH_VARIABLE"', "secret_env: the environment has no variable"),
        ("secret = 5", "secret: must be text"),
    ],
)
def test_bad_secrets(problems, secret, what):
    found = problems(PLAIN.replace('secret = "text"', secret))
    assert len(found) == 1 and found[0].startswith(f"key 1: {what}"), found


def test_all_at_once(problems):
    found = problems(
        """
        general = 1
        [[key]]
        algorithm = "hmac-sha-1-96"
        secret = "one"
        secret_hex = "zz"
        send_id = 300
        recv_id = 1
        [[key]]
        name = "b"
        secret_hex = "zz"
        send_id = 1
        recv_id = 2
        [[key]]
        name = "b"
        algorithm = "tcp-md5"
        secret = "three"
        send_id = 5
        [[key]]
        algorithm = "aes-128-cmac-96"
        secret = "four"
        send_id = 1
        recv_id = 3
        mac_length = 99
        """
    )
    expected = [
        "unknown table or field 'general'",
        "key 1: secret: is given 2 times",
        "key 1: send_id: is 300",
        "key 2 ('b'): algorithm: is missing",
        "key 2 ('b'): secret_hex: is not hexadecimal",
        "key 3 ('b'): send_id: a tcp-md5 key has no key IDs",
        "key 3 ('b'): name: is also key 2's",
        "key 4: mac_length: is 99",
        "key 4: send_id 1 is also key 2's (b), and one connection can match both",
    ]
    assert len(found) == len(expected)
    for line, start in zip(found, expected, strict=True):
        assert line.startswith(start), (line, start)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "has no [[key]] table"),
        (b"key = 5", "must be written as [[key]] tables"),
        (b"[key]\nsend_id = 1", "must be written as [[key]] tables"),
        (b"[[key]\n", "is not TOML"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
    ],
)
def test_not_a_key_file(tmp_path, data, what):
    path = tmp_path / "keys.toml"
    path.write_bytes(data)
    with pytest.raises(ao.KeyFileError) as caught:
        ao.load_keys(path)
    assert what in str(caught.value) and str(path) in str(caught.value)


def test_cannot_be_read(tmp_path):
    with pytest.raises(ao.KeyFileError, match="No such file"):
        ao.load_keys(tmp_path / "none.toml")
    with pytest.raises(ao.KeyFileError, match="directory"):
        ao.load_keys(tmp_path)


def test_no_secret_in_any_error(problems):
    found = problems(
        PLAIN.replace('secret = "text"', 'secret = "hush"\nsecret_hex = "6875736h"').replace(
            "send_id = 100", "send_id = 999"
        )
    )
    assert not any("hush" in line or "687573" in line for line in found)
