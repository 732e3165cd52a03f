"""The command line as users run it: output, exit statuses, streams, files that appear whole."""

import json
import os
import pty
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from console import tcpao
from samples import CAPTURES
from wire import pcap, tcp_packet

import tcpao_fast as ao

SECRET = "hello-tcp-ao-secret"


@pytest.fixture
def wrap():
    return CAPTURES / "wrap-v4-sha1.pcap"


@pytest.fixture
def keys():
    return CAPTURES / "wrap-v4-sha1.toml"


@pytest.fixture
def mixed():
    return CAPTURES / "bad-and-unsigned.pcap"


class TestVerify:
    def test_json(self, wrap, keys):
        done = tcpao("verify", wrap, "-k", keys, "--json")
        assert done.returncode == 0 and done.stderr == b""
        found = json.loads(done.stdout)
        assert found["captures"] == [str(wrap)]
        assert (found["segments"], found["signed"]) == (554, 554)
        assert found["verdicts"]["good"] == 554 and sum(found["verdicts"].values()) == 554
        assert len(found["verdicts"]) == 12
        (connection,) = found["connections"]
        assert connection["client"] == "10.0.0.1:39955"
        assert connection["server"] == "10.0.0.2:2027"
        assert connection["verdicts"] == {"good": 554}
        assert connection["keys"] == ["hello"]
        assert connection["sne"] == {"client": 1, "server": 0}

    def test_table(self, mixed, keys):
        wide = {**os.environ, "COLUMNS": "160"}
        done = tcpao("verify", mixed, "-k", keys, text=True, env=wide)
        assert done.returncode == 1 and done.stderr == ""
        lines = done.stdout.splitlines()
        assert lines[0] == f"{mixed}: 109 TCP segments, 45 signed with TCP-AO"
        assert lines[1] == "captured 2026-11-23 15:55:39.700371 UTC to 6.514056 s later"
        table = {line.split()[0]: line.split()[1] for line in lines[2:8]}
        assert table == {
            "good": "34", "bad_mac": "6", "key_not_found": "3", "ao_required": "16",
            "missing_isn": "2", "md5_unchecked": "48",
        }  # fmt: skip
        assert any("10.0.0.1:44655" in line and "#33" in line for line in lines)
        assert "\x1b" not in done.stdout

    def test_tcp_md5(self, mixed):
        done = tcpao("verify", mixed, "-k", mixed.with_suffix(".toml"), "--json")
        assert json.loads(done.stdout)["verdicts"]["md5_good"] == 48

    @pytest.mark.parametrize(
        ("name", "status"),
        [("wrap-v4-sha1", 0), ("vlan", 1), ("bad-and-unsigned", 1)],
    )
    def test_exit_status(self, name, status, keys):
        """vlan has other addresses: with these keys all of it is key_not_found."""
        done = tcpao("verify", CAPTURES / f"{name}.pcap", "-k", keys, "-q")
        assert done.returncode == status and done.stdout == b""

    def test_exit_status_undecided(self, wrap, keys, tmp_path):
        """The handshake cut off, and a capture without any signature."""
        data = wrap.read_bytes()
        at = 24
        for _ in range(20):
            at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
        late, bare, none = (tmp_path / name for name in ("late.pcap", "bare.pcap", "none.pcap"))
        late.write_bytes(data[:24] + data[at:])
        none.write_bytes(data[:24])
        assert tcpao("verify", late, "-k", keys, "-q").returncode == 3
        assert tcpao("verify", none, "-k", keys, "-q").returncode == 3
        tcpao("strip", wrap, bare)
        other = tmp_path / "other.toml"
        other.write_text(keys.read_text().replace("10.0.0.1", "10.9.9.9"))
        assert tcpao("verify", bare, "-k", other, "-q").returncode == 3
        assert tcpao("verify", bare, "-k", keys, "-q").returncode == 1

    def test_several_captures_are_one_stream(self, wrap, keys, tmp_path):
        data = wrap.read_bytes()
        at = 24 + 16 + int.from_bytes(data[32:36], "little")
        one, two = tmp_path / "1.pcap", tmp_path / "2.pcap"
        one.write_bytes(data[:at])
        two.write_bytes(data[:24] + data[at:])
        done = tcpao("verify", one, two, "-k", keys, "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout)["verdicts"]["good"] == 554

    def test_standard_input(self, wrap, keys):
        for stdin in (wrap.open("rb"), None):
            options = {"stdin": stdin} if stdin else {"input": wrap.read_bytes()}
            done = tcpao("verify", "-", "-k", keys, "--json", **options)
            assert json.loads(done.stdout)["verdicts"]["good"] == 554
            if stdin:
                stdin.close()

    def test_damaged_capture(self, wrap, keys, tmp_path):
        """The packets before the damage, one line with the offset, and status 4; strictly: 2."""
        path = tmp_path / "cut.pcap"
        path.write_bytes(wrap.read_bytes()[:-10])
        damage = f"{path}: the file ends inside a record at byte "
        for strict, status, line in [
            ([], 4, f"tcpao: warning: {damage}"),
            (["--strict"], 2, f"tcpao: {damage}"),
        ]:
            done = tcpao("verify", path, "-k", keys, "--json", *strict, text=True)
            assert done.returncode == status
            found = json.loads(done.stdout)
            assert found["records"] == 554
            assert [one["file"] for one in found["damage"]] == [str(path)]
            assert found["damage"][0]["resumed"] is None
            (told,) = done.stderr.splitlines()
            assert told.startswith(line)

    @pytest.mark.parametrize("threads", [1, 2, 5])
    def test_threads(self, wrap, keys, threads):
        done = tcpao("verify", wrap, "-k", keys, "--threads", threads, "--json")
        assert json.loads(done.stdout)["verdicts"]["good"] == 554

    def test_closed_pipe(self, mixed, keys):
        """`tcpao verify ... | head -1` ends quietly."""
        command = f"{sys.executable} -c 'from tcpao_fast.cli import main; main()'"
        done = subprocess.run(
            f"{command} verify {mixed} -k {keys} --json --all | true",
            shell=True,
            capture_output=True,
            text=True,
        )
        assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr

    def test_progress_on_a_terminal_only(self, wrap, keys):
        ours, theirs = pty.openpty()
        done = tcpao(
            "verify", wrap, "-k", keys, "-q", capture_output=False, stderr=theirs, env={
                **os.environ, "TERM": "xterm", "COLUMNS": "100",
            },
        )  # fmt: skip
        os.close(theirs)
        time.sleep(0.1)
        shown = os.read(ours, 65536)
        os.close(ours)
        assert done.returncode == 0 and b"wrap-v4-sha1.pcap" in shown


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                ["verify", "/none.pcap", "-k", CAPTURES / "wrap-v4-sha1.toml"],
                "/none.pcap: No such file",
            ),
            (
                ["verify", CAPTURES / "vlan.json", "-k", CAPTURES / "wrap-v4-sha1.toml"],
                "neither pcap",
            ),
            (["verify", CAPTURES / "vlan.pcap", "-k", "/none.toml"], "/none.toml: No such file"),
            (["verify", CAPTURES / "vlan.pcap", "-k", CAPTURES / "vlan.json"], "is not TOML"),
            (["verify", CAPTURES / "vlan.pcap"], "Missing option '-k'"),
            (["verify", "-k", CAPTURES / "wrap-v4-sha1.toml"], "Missing argument"),
            (["sign", "/none", "/tmp/x", "-k", CAPTURES / "wrap-v4-sha1.toml"], "/none: No such"),
            (["strip", CAPTURES / "vlan.pcap", "/no/such/folder/x"], "No such file or directory"),
            (["frobnicate"], "No such command"),
        ],
    )
    def test_one_clear_line(self, arguments, message):
        done = tcpao(*arguments, text=True)
        assert done.returncode == 2
        assert message in done.stderr and "Traceback" not in done.stderr
        assert done.stdout == ""

    def test_unknown_kernel(self):
        done = tcpao("kernels", text=True, env={**os.environ, "TCPAO_FAST_KERNELS": "abacus"})
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert "TCPAO_FAST_KERNELS='abacus'" in line and "portable" in line


class TestRewrite:
    def test_sign_makes_room_where_it_is_asked_to(self, tmp_path):
        """SACK blocks that leave no room: said what would help, then dropped and counted."""
        client, server = ("10.0.0.1", 40000), ("10.0.0.2", 179)
        chain = tmp_path / "keys.toml"
        chain.write_text(
            '[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "x"\nsend_id = 1\nrecv_id = 2\n'
            "mac_length = 16\n"
        )
        source, target = tmp_path / "in.pcap", tmp_path / "out.pcap"
        blocks = bytes([1, 1, 5, 34]) + bytes(32)
        pcap(source, [
            tcp_packet(client, server, 2, 1),
            tcp_packet(server, client, 18, 9, 2),
            tcp_packet(client, server, 16, 2, 10, b"", blocks),
        ])  # fmt: skip
        done = tcpao("sign", source, target, "-k", chain, text=True)
        assert done.returncode == 3
        assert "left unchanged: 1, no_option_space" in done.stdout
        assert "--make-room" in done.stdout
        done = tcpao("sign", source, target, "-k", chain, "--make-room", text=True)
        assert done.returncode == 0
        assert "other TCP options dropped to make room: 1 segment\n" in done.stdout
        found = json.loads(
            tcpao("sign", source, target, "-k", chain, "--make-room", "--json").stdout
        )
        assert (found["signed"], found["shortened"], found["left"]) == (3, 1, {})
        assert tcpao("verify", target, "-k", chain, "-q").returncode == 0

    def test_sign_verify_strip(self, wrap, keys, tmp_path):
        bare, signed, back = (tmp_path / name for name in ("bare.pcap", "signed.pcap", "back.pcap"))
        assert tcpao("strip", wrap, bare).returncode == 0
        done = tcpao("sign", bare, signed, "-k", keys, "--json")
        assert done.returncode == 0
        assert json.loads(done.stdout) == {
            "capture": str(bare), "output": str(signed), "records": 555, "segments": 554,
            "signed": 554, "left": {},
        }  # fmt: skip
        assert tcpao("verify", signed, "-k", keys, "-q").returncode == 0
        assert tcpao("strip", signed, back).returncode == 0
        assert back.read_bytes() == bare.read_bytes()
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "back.pcap",
            "bare.pcap",
            "signed.pcap",
        ]
        assert oct(signed.stat().st_mode & 0o777) == oct(0o666 & ~current_umask())

    def test_streams(self, wrap, keys):
        bare = tcpao("strip", wrap, "-")
        assert bare.returncode == 0 and b"554 of 554" in bare.stderr
        signed = tcpao("sign", "-", "-", "-k", keys, "-q", input=bare.stdout)
        assert signed.returncode == 0 and signed.stderr == b""
        done = tcpao("verify", "-", "-k", keys, "--json", input=signed.stdout)
        assert json.loads(done.stdout)["verdicts"]["good"] == 554

    def test_what_is_left_is_said(self, mixed, tmp_path):
        keys = mixed.with_suffix(".toml")
        done = tcpao("sign", mixed, tmp_path / "out.pcap", "-k", keys, text=True)
        assert done.returncode == 3
        assert "left unchanged: 93, already_signed" in done.stdout

    def test_nothing_half_written(self, wrap, keys, tmp_path):
        """With --strict a damaged input leaves no output, and an older output as it was; so does
        one of which nothing can be read."""
        path, out = tmp_path / "cut.pcap", tmp_path / "out.pcap"
        for size, strict in ((-10, ["--strict"]), (30, [])):
            path.write_bytes(wrap.read_bytes()[:size])
            out.write_bytes(b"precious")
            done = tcpao("sign", path, out, "-k", keys, *strict, text=True)
            assert done.returncode == 2 and "ends inside a record" in done.stderr
            assert out.read_bytes() == b"precious"
        assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.pcap", "out.pcap"]

    def test_devices_are_written_not_replaced(self, wrap, keys, tmp_path):
        pipe, copy = tmp_path / "pipe", tmp_path / "copy.pcap"
        os.mkfifo(pipe)
        with copy.open("wb") as target:
            reader = subprocess.Popen(["cat", pipe], stdout=target)
        assert tcpao("strip", wrap, pipe, timeout=60).returncode == 0
        assert reader.wait(60) == 0 and copy.stat().st_size > 600000
        assert tcpao("strip", wrap, os.devnull).returncode == 0
        assert Path(os.devnull).is_char_device() and pipe.is_fifo()

    def test_in_place(self, wrap, keys, tmp_path):
        """IN and OUT must not be the same file, by whatever names."""
        path, link = tmp_path / "same.pcap", tmp_path / "link.pcap"
        path.write_bytes(wrap.read_bytes())
        link.symlink_to(path)
        for out in (path, link):
            for command in (["strip", path, out], ["sign", path, out, "-k", keys]):
                done = tcpao(*command, text=True)
                assert done.returncode == 2 and "an input too" in done.stderr
        assert path.read_bytes() == wrap.read_bytes()

    @pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D])
    @pytest.mark.parametrize("order", ["little", "big"])
    def test_keeps_the_files_form(self, wrap, tmp_path, magic, order):
        data, path, out = wrap.read_bytes(), tmp_path / "in.pcap", tmp_path / "out.pcap"
        head = magic.to_bytes(4, order) + b"".join(
            int.from_bytes(data[at : at + size], "little").to_bytes(size, order)
            for at, size in ((4, 2), (6, 2), (8, 4), (12, 4), (16, 4), (20, 4))
        )
        body, at = b"", 24
        while at < len(data):
            fields = [int.from_bytes(data[at + i : at + i + 4], "little") for i in (0, 4, 8, 12)]
            body += b"".join(field.to_bytes(4, order) for field in fields)
            body += data[at + 16 : at + 16 + fields[2]]
            at += 16 + fields[2]
        path.write_bytes(head + body)
        tcpao("strip", path, out)
        again = tmp_path / "again.pcap"
        tcpao("strip", out, again)
        assert out.read_bytes() == again.read_bytes()
        assert out.read_bytes()[:24] == head


def test_diagnosis_of_a_damaged_capture(mixed, tmp_path):
    """What is wrong before the damage, and one line with the offset; something is bad: status 1."""
    path = tmp_path / "cut.pcap"
    path.write_bytes(mixed.read_bytes()[:-10])
    keys = CAPTURES / "bad-and-unsigned.toml"
    whole = json.loads(tcpao("diagnose", mixed, "-k", keys, "--json").stdout)
    for strict, status in ([], 1), (["--strict"], 2):
        done = tcpao("diagnose", path, "-k", keys, "--json", *strict, text=True)
        assert done.returncode == status
        found = [(one["reason"], one["connection"]) for one in json.loads(done.stdout)]
        assert found == [(one["reason"], one["connection"]) for one in whole] and found
        (line,) = done.stderr.splitlines()
        assert f"{path}: the file ends inside a record at byte " in line
    with pytest.raises(ao.CaptureError) as caught:
        ao.diagnose_capture(path, ao.load_keys(keys), strict=True)
    assert len(caught.value.found.findings) == len(found)
    assert tcpao("diagnose", path, "-k", keys, "-q").stdout == b""


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


class TestKeys:
    def test_check(self, keys, tmp_path):
        done = tcpao("keys", "check", keys, text=True)
        assert (done.returncode, done.stdout) == (0, "1 key, no mistakes\n")
        bad = tmp_path / "bad.toml"
        bad.write_text("[[key]]\nsend_id = 300\n[[key]]\ncolour = 1\n")
        done = tcpao("keys", "check", bad, text=True)
        assert done.returncode == 2 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 9
        assert all(line.startswith(f"tcpao: {bad}: key ") for line in done.stderr.splitlines())

    def test_show(self, keys):
        done = tcpao("keys", "show", keys, text=True)
        assert done.returncode == 0 and "100/200" in done.stdout and "19 bytes" in done.stdout
        found = json.loads(tcpao("keys", "show", keys, "--json").stdout)
        assert found["keys"][0]["local"] == "10.0.0.1"
        assert found["keys"][0]["secret_length"] == 19

    def test_secrets_stay_in(self, keys, wrap, mixed, tmp_path):
        for arguments in (
            ["keys", "show", keys], ["keys", "show", keys, "--json"], ["keys", "check", keys],
            ["verify", mixed, "-k", keys], ["verify", mixed, "-k", keys, "--json"],
            ["sign", wrap, tmp_path / "x", "-k", keys],
        ):  # fmt: skip
            done = tcpao(*arguments)
            assert SECRET.encode() not in done.stdout + done.stderr
            assert SECRET.encode().hex().encode() not in done.stdout + done.stderr


def test_kernels():
    done = tcpao("kernels", text=True)
    assert done.returncode == 0
    macs = [line.split()[0] for line in done.stdout.splitlines()[1:] if line]
    wanted = ["hmac-sha1", "aes-128-cmac", "hmac-sha256", "md5", "hmac-sha512", "kmac256"]
    assert [mac for mac in dict.fromkeys(macs) if mac in wanted] == wanted
    assert done.stdout.count("*") == len(wanted)
    found = json.loads(tcpao("kernels", "--json").stdout)
    assert set(found) == {"kernels", "active", "timings"}
    for mac, rows in found["timings"].items():
        assert [row["kernel"] for row in rows] == found["kernels"][mac]
        assert [row["kernel"] for row in rows if row["use"] == "all"] == [found["active"][mac]]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["verify"],
        ["diagnose"],
        ["sign"],
        ["strip"],
        ["report"],
        ["keys"],
        ["keys", "compare"],
        ["keys", "convert"],
        ["inspect"],
        ["kernels"],
        ["completion"],
    ],
)
def test_help_fits_a_screen(command):
    done = tcpao(*command, "--help", text=True, env={**os.environ, "COLUMNS": "80"})
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 50 and max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    "command", ["verify", "verify -o csv", "verify -o parquet", "sign", "strip"]
)
def test_memory_does_not_grow_with_the_capture(command, wrap, keys, tmp_path):
    """Twenty times the capture, and nothing like twenty times the memory."""
    data = wrap.read_bytes()
    peaks = []
    for times in (8, 160):
        path = tmp_path / f"{times}.pcap"
        path.write_bytes(data[:24] + data[24:] * times)
        arguments = {
            "verify": ["verify", path, "-k", keys, "-q"],
            "verify -o csv": ["verify", path, "-k", keys, "-q", "-o", tmp_path / "out.csv"],
            "verify -o parquet": ["verify", path, "-k", keys, "-q", "-o", tmp_path / "o.parquet"],
            "sign": ["sign", path, tmp_path / "out.pcap", "-k", keys, "-q"],
            "strip": ["strip", path, tmp_path / "out.pcap", "-q"],
        }[command]
        code = (
            "from pathlib import Path; from tcpao_fast.cli import main\n"
            "try: main()\n"
            "except SystemExit: print(Path('/proc/self/status').read_text())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
        )
        peaks.append(int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024)
    assert peaks[1] - peaks[0] < 50, peaks


class TestCompletion:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_scripts(self, shell):
        done = tcpao("completion", shell, text=True)
        assert done.returncode == 0 and "_TCPAO_COMPLETE" in done.stdout
        if shutil.which(shell):
            check = subprocess.run([shell, "-n"], input=done.stdout, capture_output=True, text=True)
            assert check.returncode == 0, check.stderr

    @pytest.mark.parametrize(
        ("words", "offered"),
        [
            ("tcpao ver", "plain,verify"),
            ("tcpao keys con", "plain,convert"),
            ("tcpao verify --ann", "plain,--annotate"),
            ("tcpao verify x.pcap -e ver", "plain,verdict"),
            ("tcpao verify -k ke", "file,ke"),
            ("tcpao diagnose cap", "file,cap"),
            ("tcpao keys convert a b --to ju", "plain,junos"),
        ],
    )
    def test_what_bash_is_offered(self, words, offered):
        env = {
            **os.environ, "_TCPAO_COMPLETE": "bash_complete", "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }  # fmt: skip
        done = tcpao(text=True, env=env)
        assert offered in done.stdout.splitlines()
