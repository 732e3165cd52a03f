"""The C interface: from Cython, from C with the library, and used wrongly under ASan."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import hosts
import numpy as np
import pytest
from samples import CAPTURES, HERE, Capture

import tcpao_fast as ao
from tcpao_fast.capi.build import BuildError, build_library

OWN = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
KEYS = '[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "secret"\nsend_id = 1\nrecv_id = 2\n'
here = pytest.mark.skipif(
    not EXAMPLES.exists(), reason="the tests run away from the checkout: there are no examples"
)
pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here")


def run(*command, **more):
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("library")
    printed = run(sys.executable, "-m", "tcpao_fast", "build-library", folder).splitlines()
    assert sorted(printed) == sorted(str(path) for path in folder.iterdir())
    (folder / "keys.toml").write_text(KEYS)
    return folder


def compiled(library, source, *flags, static=False):
    """A program linked with the library; by what its pkg-config file says, where there is one."""
    out = library / (Path(source).stem + ("-static" if static else ""))
    if shutil.which("pkg-config"):
        asked = ["--static"] if static else []
        environment = {**os.environ, "PKG_CONFIG_PATH": str(library)}
        wanted = ["pkg-config", "--cflags", "--libs", *asked, "tcpao_fast"]
        linking = run(*wanted, env=environment).split()
    else:
        linking = ["-DTCPAO_LIBRARY", f"-I{library}", f"-L{library}", f"-Wl,-rpath,{library}"]
        linking += ["-ltcpao_fast"]
    if static:
        linking = [str(library / "libtcpao_fast.a") if f == "-ltcpao_fast" else f for f in linking]
    run("cc", "-Wall", "-Wextra", "-Werror", "-O1", "-g", *flags, source, "-o", out, *linking)
    return out


@here
@pytest.mark.parametrize("static", [False, True])
def test_slots(library, static):
    """An AF_XDP-like ring of fixed slots: signed, verified and stripped in place."""
    if not static and not (library / "libtcpao_fast.so").exists():
        pytest.skip("this Python is no shared library")
    if static and not shutil.which("pkg-config"):
        pytest.skip("pkg-config is not here: it knows what a static library needs")
    program = compiled(library, EXAMPLES / "c/slots.c", static=static)
    printed = run(program, library / "keys.toml")
    assert printed == "signed 1024, good 1024, as before 1024, payloads moved 0\n"


@here
def test_packet_ring(library, tmp_path):
    """Real packets of an interface through a TPACKET_V3 ring, tags that the kernel took off too."""
    hosts.require()
    program = compiled(library, EXAMPLES / "c/packet_ring.c")
    capture = Capture(CAPTURES / "v4-sha1.pcap")
    keys = tmp_path / "keys.toml"
    (one,) = capture.keys
    keys.write_text(
        f'[[key]]\nalgorithm = "{one.algorithm}"\nsecret_hex = "{one.secret.hex()}"\n'
        f"send_id = {one.send_id}\nrecv_id = {one.recv_id}\n"
        f'local = "{one.local}"\nremote = "{one.remote}"\n'
    )
    packets = [capture.frame(i) for i in range(len(capture.records[1]))]
    expected = ao.Engine(capture.keys).verify(packets, linktype=capture.linktype).counts
    with hosts.pair() as (sender, receiver):
        command = [*receiver.prefix, str(program), receiver.interface, str(keys), "3"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ring:
            assert ring.stdout.readline() == "ready\n"
            sender.send(packets)
            printed = ring.stdout.read()
    assert f"good {expected['good']}, bad_mac 0" in printed and printed.endswith("kernel 0\n")


@here
def test_cython_stage(tmp_path):
    folder = tmp_path / "stage"
    shutil.copytree(EXAMPLES / "cython_stage", folder)
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=folder)
    assert run(sys.executable, "run.py", cwd=folder) == "kept [0, 3], 80 bytes\n"


def test_wrong_use_is_an_error_code(library):
    """NULLs, wrong versions, overlaps, use after close: under ASan and UBSan."""
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-lpthread"]
    program = compiled(library, OWN / "misuse.c", *flags)
    # the interpreter does not free all that it has
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0"}
    assert run(program, library / "keys.toml", env=environment) == "0 failures\n"


def test_a_newer_header_is_an_import_error(tmp_path):
    extension = tmp_path / f"version{sysconfig.get_config_var('EXT_SUFFIX')}"
    header = (Path(ao.get_include()) / "tcpao_fast.h").read_text()
    newer = header.replace("#define TCPAO_API_MAJOR 1", "#define TCPAO_API_MAJOR 99")
    (tmp_path / "tcpao_fast.h").write_text(newer)
    includes = [f"-I{sysconfig.get_path('include')}", f"-I{tmp_path}"]
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    run("cc", *flags, OWN / "version.c", *includes, "-o", extension)
    done = subprocess.run(
        [sys.executable, "-c", "import version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert "ImportError: tcpao_fast has C interface 1.0; this was compiled for 99.0" in done.stderr


def test_from_python(library, tmp_path):
    """What Cython and C see is the engine that Python has."""
    source = tmp_path / "both.c"
    source.write_text(
        '#include "tcpao_fast.h"\n'
        "static PyObject *verify(PyObject *self, PyObject *args)\n{\n"
        "    PyObject *engine; Py_buffer packet; tcpao_result result;\n"
        "    (void)self;\n"
        '    if (!PyArg_ParseTuple(args, "Oy*", &engine, &packet)) return NULL;\n'
        "    tcpao_engine *handle = tcpao_from_python(engine);\n"
        "    if (handle == NULL) return NULL;\n"
        "    tcpao_options options = TCPAO_OPTIONS;\n    options.linktype = 101;\n"
        "    const uint8_t *data = packet.buf; size_t length = packet.len; int code;\n"
        "    Py_BEGIN_ALLOW_THREADS\n"
        "    code = tcpao_verify(handle, &data, &length, 1, &options, &result);\n"
        "    tcpao_close(handle);\n"
        "    Py_END_ALLOW_THREADS\n"
        "    PyBuffer_Release(&packet);\n"
        '    return Py_BuildValue("iii", code, result.verdict, result.key);\n}\n'
        "static PyMethodDef methods[] = {\n"
        '    {"verify", verify, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};\n'
        'static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "both", NULL, -1, methods,\n'
        "    NULL, NULL, NULL, NULL};\n"
        "PyMODINIT_FUNC PyInit_both(void)\n{\n"
        "    return tcpao_import() < 0 ? NULL : PyModule_Create(&module);\n}\n"
    )
    extension = tmp_path / f"both{sysconfig.get_config_var('EXT_SUFFIX')}"
    includes = [f"-I{sysconfig.get_path('include')}", f"-I{ao.get_include()}"]
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    run("cc", *flags, source, *includes, "-o", extension)
    script = (
        "import both, tcpao_fast as ao\n"
        "key = ao.MasterKey(algorithm='hmac-sha-1-96', secret=b's', send_id=1, recv_id=2)\n"
        "engine = ao.Engine([key])\n"
        f"packet = bytes.fromhex('{SYN.hex()}')\n"
        "signed = ao.Engine([key]).sign(packet, linktype=101).packet\n"
        "print(both.verify(engine, signed), engine.counts['good'])\n"
        "engine.update([])\n"
        "print(both.verify(engine, signed), engine.counts['key_not_found'])\n"
        "for wrong in (None, ao.Engine([key], threads=2)):\n"
        "    try: both.verify(wrong, signed)\n"
        "    except (TypeError, ValueError) as error: print(type(error).__name__)\n"
    )
    printed = run(sys.executable, "-c", script, cwd=tmp_path)
    assert printed == "(0, 0, 0) 1\n(0, 2, -1) 1\nTypeError\nValueError\n"


SYN = bytes.fromhex(
    "4500002800010000400666cd0a0000010a0000029c4000b3000003e80000000050020400f8260000"
)


def test_without_a_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(BuildError, match="no-such-compiler"):
        build_library(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("CC", "false")
    with pytest.raises(BuildError, match="failed"):
        build_library(tmp_path)


def test_numbers_are_the_ones_of_python():
    """The header's enums against `Verdict` and `SignOutcome`."""
    header = (Path(ao.get_include()) / "tcpao_fast.h").read_text()
    for verdict in ao.Verdict:
        assert f"TCPAO_{verdict.name.upper()} = {int(verdict)}," in header
    names = {
        "not_tcp": "NO_TCP", "missing_isn": "NO_ISN", "truncated": "CUT", "malformed": "BROKEN",
    }  # fmt: skip
    for outcome in ao.SignOutcome:
        name = names.get(outcome.name, outcome.name.upper())
        assert f"TCPAO_{name} = {int(outcome)}" in header
    assert np.dtype(np.int64).itemsize == 8
