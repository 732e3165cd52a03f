"""Outputs: never in the place of what is no file, whole or not there, whatever ends the program."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
from console import tcpao
from samples import CAPTURES

import tcpao_fast as ao

WRAP = CAPTURES / "wrap-v4-sha1.pcap"
KEYS = CAPTURES / "wrap-v4-sha1.toml"
TCPAO = [sys.executable, "-c", "from tcpao_fast.cli import main; main()"]
SECRET_WORD = "TopSecret123"


def names(folder):
    return sorted(one.name for one in folder.iterdir())


#: Each command that writes a file, with the place of its output left open.
WRITERS = {
    "strip": lambda out: ["strip", WRAP, out, "-q"],
    "sign": lambda out: ["sign", WRAP, out, "-k", KEYS, "-q"],
    "rows": lambda out: ["verify", WRAP, "-k", KEYS, "-q", "-o", out],
    "annotate": lambda out: ["verify", WRAP, "-k", KEYS, "-q", "--annotate", out],
    "report": lambda out: ["report", WRAP, "-k", KEYS, "-o", out],
    "convert": lambda out: ["keys", "convert", KEYS, out],
}
ENDING = {"rows": ".jsonl", "annotate": ".pcapng", "report": ".html", "convert": ".toml"}


@pytest.fixture(params=list(WRITERS))
def writer(request):
    return request.param


def expected(writer, tmp_path):
    out = tmp_path / f"expected{ENDING.get(writer, '.pcap')}"
    tcpao(*WRITERS[writer](out))
    return out.read_bytes()


def test_no_litter_and_the_right_mode(writer, tmp_path):
    out = tmp_path / f"out{ENDING.get(writer, '.pcap')}"
    tcpao(*WRITERS[writer](out))
    assert names(tmp_path) == [out.name]
    wanted = 0o600 if writer == "convert" else 0o666 & ~0o077  # the umask of conftest
    assert stat.S_IMODE(out.stat().st_mode) == wanted


def test_of_a_link_the_target_is_replaced(writer, tmp_path):
    ending = ENDING.get(writer, ".pcap")
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / f"target{ending}", tmp_path / f"link{ending}"
    link.symlink_to(f"there/target{ending}")
    for before in (None, b"old"):  # dangling, and not
        if before is not None:
            target.write_bytes(before)
        tcpao(*WRITERS[writer](link))
        assert link.is_symlink() and target.read_bytes() == expected(writer, tmp_path)
        assert names(tmp_path / "there") == [target.name]


@pytest.mark.parametrize("how", ["fifo", "descriptor", "stdout", "link to stdout"])
def test_what_is_no_file_is_written_into(writer, tmp_path, how):
    if writer == "annotate" and how != "fifo":
        pytest.skip("its name must end in .pcapng")
    wanted = expected(writer, tmp_path)
    place = tmp_path / f"place{ENDING.get(writer, '.pcap')}"
    if how == "fifo":
        os.mkfifo(place)
        copy = tmp_path / "copy"
        with copy.open("wb") as file, subprocess.Popen(["cat", place], stdout=file) as cat:
            tcpao(*WRITERS[writer](place))
            cat.wait(30)
        found = copy.read_bytes()
        assert stat.S_ISFIFO(place.stat().st_mode)
    else:
        if how == "link to stdout":
            place.symlink_to("/proc/self/fd/1")
        out = {"descriptor": "/dev/fd/1", "stdout": "/dev/stdout", "link to stdout": place}[how]
        if writer == "rows" and how != "link to stdout":
            pytest.skip("its name's end says the format")
        into = tmp_path / "redirected"
        with into.open("wb") as file:
            tcpao(*WRITERS[writer](out), stdout=file, capture_output=False)
        found = into.read_bytes()
        assert how != "link to stdout" or place.is_symlink()
        assert os.path.islink("/dev/stdout")  # noqa: PTH114
    if writer not in ("sign", "strip"):  # where a header can be rewritten, a snap length is
        assert found == wanted
    assert len(found) == len(wanted)


def test_the_same_output_twice_and_inputs_as_outputs(tmp_path):
    copy = tmp_path / "copy.pcap"
    copy.write_bytes(WRAP.read_bytes())
    keys = tmp_path / "keys.toml"
    keys.write_bytes(KEYS.read_bytes())
    hard = tmp_path / "hard.jsonl"
    os.link(copy, hard)
    before = copy.read_bytes()
    for arguments in (
        ["verify", copy, "-k", keys, "-o", hard],
        ["verify", copy, "-k", keys, "--state", copy],
        ["verify", WRAP, copy, "-k", keys, "--annotate", copy],
        ["sign", copy, keys, "-k", keys],
        ["verify", copy, "-k", keys, "--state", keys],
        ["report", copy, "-k", keys, "-o", copy],
        ["keys", "convert", keys, keys],
    ):
        done = tcpao(*arguments, text=True)
        assert done.returncode == 2, arguments
        assert done.stderr.count("\n") == 1 and "input" in done.stderr, done.stderr
    assert copy.read_bytes() == before and keys.read_bytes() == KEYS.read_bytes()
    twice = tmp_path / "twice.pcapng"
    done = tcpao("verify", WRAP, "-k", KEYS, "--annotate", twice, "--state", twice, text=True)
    assert done.returncode in (0, 2)


def test_a_full_disk_is_one_line_and_status_2(writer):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("no /dev/full here")
    if writer not in ("rows", "annotate"):
        done = tcpao(*WRITERS[writer]("/dev/full"), text=True)
        assert done.returncode == 2
        assert "/dev/full: No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = tcpao("verify", WRAP, "-k", KEYS, stdout=full, stderr=subprocess.PIPE,
                     capture_output=False, text=True)  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "tcpao: standard output: No space left on device\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["verify", WRAP, "-k", KEYS, "-e", "frame"],
        ["verify", WRAP, "-k", KEYS, "-o", "-"],
        ["verify", WRAP, "-k", KEYS, "--json"],
        ["strip", WRAP, "-"],
        ["strip", WRAP, "/dev/stdout"],
    ],
)
def test_a_reader_that_has_seen_enough(arguments):
    if "frame" in arguments:
        arguments = [*arguments[:-1], "number"]
    reading, writing = os.pipe()
    os.close(reading)
    done = tcpao(*arguments, stdout=writing, stderr=subprocess.PIPE, capture_output=False)
    os.close(writing)
    assert done.returncode == -signal.SIGPIPE and done.stderr == b"", done.stderr


class TestSignals:
    @pytest.fixture
    def endless(self):
        """Arguments to a program that waits for more of a capture on its standard input."""

        def start(*arguments):
            process = subprocess.Popen(
                [*TCPAO, *map(str, arguments)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                # what a job in the background, or one under nohup, ignores, its children
                # would ignore too
                preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL)
                                    for one in (signal.SIGINT, signal.SIGHUP)],
            )  # fmt: skip
            process.stdin.write(WRAP.read_bytes()[:20000])
            process.stdin.flush()
            time.sleep(1.5)
            assert process.poll() is None
            return process

        return start

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.parametrize(
        "command",
        [
            lambda out: ["strip", "-", out],
            lambda out: ["sign", "-", out, "-k", KEYS],
            lambda out: ["verify", "-", "-k", KEYS, "-o", out.with_suffix(".csv")],
            lambda out: ["report", "-", "-k", KEYS, "-o", out.with_suffix(".html")],
        ],
    )
    def test_leave_the_old_file_and_no_other(self, endless, tmp_path, number, command):
        out = tmp_path / "out.pcap"
        for ending in (".pcap", ".csv", ".html"):
            out.with_suffix(ending).write_bytes(b"old")
        before = names(tmp_path)
        process = endless(*command(out))
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == (130 if number == signal.SIGINT else -number), errors
        assert b"Traceback" not in errors and b"BufferError" not in errors
        assert names(tmp_path) == before
        assert all(one.read_bytes() == b"old" for one in tmp_path.iterdir())

    def test_an_ignored_hangup_stays_ignored(self, tmp_path):
        with subprocess.Popen(
            [*TCPAO, "strip", "-", tmp_path / "out.pcap"], stdin=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        ) as process:  # fmt: skip
            time.sleep(1.5)
            process.send_signal(signal.SIGHUP)
            process.communicate(WRAP.read_bytes(), timeout=30)
        assert process.returncode == 0 and (tmp_path / "out.pcap").stat().st_size

    def test_what_was_found_is_printed(self, endless):
        process = endless("verify", "-", "-k", KEYS)
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=30)
        assert process.returncode == 130
        assert b"TCP segments" in out and b"the MAC is valid" in out
        assert errors == b"tcpao: interrupted\n"

    def test_from_python(self, tmp_path):
        """Ctrl-C is raised as such, with what was found."""
        old = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            many = tmp_path / "many.pcap"
            data = WRAP.read_bytes()
            many.write_bytes(data + data[24:] * 60)
            seen = 0
            for delay in (0.01, 0.02, 0.03, 0.05):
                signal.setitimer(signal.ITIMER_REAL, delay)
                try:
                    ao.verify_capture(many, ao.load_keys(KEYS))
                except KeyboardInterrupt as error:
                    seen += getattr(error, "report", None) is not None
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                signal.setitimer(signal.ITIMER_REAL, delay)
                try:
                    ao.strip_capture(many, tmp_path / "out.pcap")
                except KeyboardInterrupt:
                    assert not list(tmp_path.glob(".*"))
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, old)

    def test_an_exception_of_the_progress_is_itself(self, tmp_path):
        def stop(*_):
            raise RuntimeError("stop")

        with pytest.raises(RuntimeError, match="stop"):
            ao.strip_capture(WRAP, tmp_path / "out.pcap", progress=stop)
        with pytest.raises(RuntimeError, match="stop"):
            ao.verify_capture(WRAP, ao.load_keys(KEYS), progress=stop)
        assert not list(tmp_path.iterdir())


class TestState:
    def test_two_runs_at_a_time(self, tmp_path):
        state = tmp_path / "state.json"
        first = subprocess.Popen(
            [*TCPAO, "verify", "-", "-k", str(KEYS), "--state", str(state)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        first.stdin.write(WRAP.read_bytes()[:20000])
        first.stdin.flush()
        time.sleep(1.5)
        done = tcpao("verify", WRAP, "-k", KEYS, "--state", state, text=True)
        assert done.returncode == 2
        assert "another run is using it" in done.stderr
        first.stdin.write(WRAP.read_bytes()[20000:])
        first.communicate(timeout=30)
        assert first.returncode == 0 and state.stat().st_size > 100
        assert tcpao("verify", WRAP, "-k", KEYS, "--state", state).returncode == 0
        assert names(tmp_path) == ["state.json"]

    def test_what_is_no_file(self, tmp_path):
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        for path, what in ((fifo, "not a regular file"), (tmp_path, "a directory"),
                           ("/dev/null", "not a regular file")):  # fmt: skip
            done = tcpao("verify", WRAP, "-k", KEYS, "--state", path, text=True)
            assert done.returncode == 2 and what in done.stderr

    def test_a_run_that_fails_leaves_none(self, tmp_path):
        out = tmp_path / "rows.unknown"
        done = tcpao("verify", WRAP, "-k", KEYS, "-o", out, "--state", tmp_path / "s.json")
        assert done.returncode == 2
        assert names(tmp_path) == []


class TestSecrets:
    def test_a_key_file_that_others_can_read(self, tmp_path):
        keys = tmp_path / "keys.toml"
        keys.write_bytes(KEYS.read_bytes())
        for mode, who in ((0o644, "its group and others"), (0o640, "its group"), (0o604, "others")):
            keys.chmod(mode)
            done = tcpao("verify", WRAP, "-k", keys, text=True)
            assert done.returncode == 0
            assert done.stderr == (
                f"tcpao: warning: {keys}: {who} can read its secrets; chmod 600 {keys}\n"
            )
            done = tcpao("verify", WRAP, "-k", keys, "--strict", text=True)
            assert done.returncode == 2 and f"{who} can read its secrets" in done.stderr
            assert tcpao("keys", "check", keys, "--strict").returncode == 1
        keys.chmod(0o600)
        assert tcpao("verify", WRAP, "-k", keys, "--strict").stderr == b""

    @pytest.mark.parametrize(
        "text",
        [
            f"protocol bgp a {{\n neighbor 10.0.0.2 as 1;\n authentication ao;\n keys {{ key {{ "
            f'send id 1; recv id 2; password "{SECRET_WORD}"; algorithm hmac sha1; }}; }};\n}}',
            f"key chain A tcp\n key 1\n  send-id x\n  key-string {SECRET_WORD}\n  nonsense\n",
            f"key chain A\n key x\n  key-string password {SECRET_WORD}\ntcp ao\n",
            f"router bgp 1\n neighbor 10.0.0.2 password {SECRET_WORD} extra words\n",
            f"set protocols bgp group g neighbor 10.0.0.2 authentication-key {SECRET_WORD} x\n",
            f"security {{ authentication-key-chains {{ key-chain A {{ key x {{ secret {SECRET_WORD}"
            " y; }} } }",
            f"add 10.0.0.1 10.0.0.2 1 2 nonsense secret {SECRET_WORD} {SECRET_WORD}\n",
            f"gobgp keychain add A --key 1,2,hmac-sha-1-96,{SECRET_WORD}!\n",
            f'[[neighbors]]\nconfig = "{SECRET_WORD}"\n',
            f'[[key]]\nsecret = {{ text = "{SECRET_WORD}" }}\nsecret_hex = "{SECRET_WORD}"\n',
            '{"key-chains": {"key-chain": [{"name": 5, "key": [{"key-id": {}, "key-string": '
            f'{{"keystring": "{SECRET_WORD}", "x": []}}}}]}}]}}}}',
        ],
    )
    def test_no_message_has_one(self, tmp_path, text):
        path = tmp_path / "keys"
        path.write_text(text)
        for arguments in (["keys", "check", path], ["keys", "convert", path, tmp_path / "out"],
                          ["verify", WRAP, "-k", path]):  # fmt: skip
            done = tcpao(*arguments, text=True)
            assert SECRET_WORD not in done.stdout + done.stderr, done.stderr
            assert "Traceback" not in done.stderr

    def test_key_names_are_shown_as_they_are(self, tmp_path):
        keys = tmp_path / "keys.toml"
        for name in ("[bold red]x[/]", "[/nope]", ":smile:", "a\\b[0]"):
            keys.write_text(KEYS.read_text().replace('"hello"', f"'{name}'"))
            wide = {**os.environ, "COLUMNS": "200"}
            done = tcpao("verify", WRAP, "-k", keys, text=True, env=wide)
            assert done.returncode == 0 and name in done.stdout, done.stderr
            assert name in tcpao("keys", "show", keys, text=True, env=wide).stdout
        keys.write_text(KEYS.read_text().replace('"hello"', r'"\u001b[31mred\u0007"'))
        done = tcpao("verify", WRAP, "-k", keys, env=wide)
        assert b"\x1b" not in done.stdout and rb"\x1b[31mred\x07" in done.stdout


class TestFilesThatAreNone:
    @pytest.mark.parametrize(
        "text",
        [
            "[" * 100_000,
            '{"key-chains":' + "[" * 100_000,
            "[[neighbors]]\nx = " + "[" * 100_000,
            "[[key]]\nx = " + "{a=" * 100_000,
            "protocol bgp a " + "{" * 100_000 + "}" * 100_000,
            "[[neighbors]]\nconfig = 5\n",
            "[[neighbors]]\nconfig = [1]\n[global.config]\n",
            "neighbors = 5\n[global.config]\nas = 1\n",
            "gobgp neighbor add\ngobgp keychain add\n",
            "gobgp neighbor add tcp-ao-keychain\n",
            "protocol bgp x { neighbor range; local port; authentication; keys { key { id; }; }; }",
            "system { authentication-key-chains { key-chain; } }",
            "set security authentication-key-chains key-chain\n",
            "key chain\n key\n  send-id\n",
            '{"key-chains": {"key-chain": [[], 5, {"key": {"a": 1}}]}}',
            '{"ietf-key-chain:key-chains": null}',
            "add\nadd 1\ntcp-ao add x y\n",
        ],
    )
    def test_key_files(self, tmp_path, text):
        path = tmp_path / "keys"
        path.write_text(text)
        done = tcpao("keys", "check", path, text=True)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr[-500:]
        assert str(path) in done.stderr

    def test_json(self, tmp_path):
        path = tmp_path / "deep.json"
        path.write_text("[" * 200_000)
        for option in ("--isn", "--state"):
            done = tcpao("verify", WRAP, "-k", KEYS, option, path, text=True)
            assert done.returncode == 2 and "nested too deeply" in done.stderr

    def test_what_is_written_can_be_read(self, tmp_path):
        """Names that occur twice become two names."""
        source, target = tmp_path / "keys", tmp_path / "keys.toml"
        source.write_text(
            "router bgp 1\n neighbor 10.0.0.1 password abcd\n neighbor 10.0.0.2 password abcd\n"
        )
        assert tcpao("keys", "convert", source, target).returncode == 0
        assert tcpao("keys", "check", target).returncode == 0
        key = ao.load_keys(target)[0]
        twice = ao.KeyChain([key, ao.MasterKey(algorithm="tcp-md5", secret=b"x", name=key.name,
                                               remote="10.9.9.9")])  # fmt: skip
        from tcpao_fast.keys.files.toml import write_toml

        target.write_text(write_toml(twice).text)
        names = [one.name for one in ao.load_keys(target)]
        assert names == [key.name, f"{key.name} (2)"]
