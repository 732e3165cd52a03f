"""The core's `.pxd` files are an interface: another Cython module builds on them."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import tcpao_fast

SOURCE = """
from libc.stdint cimport int64_t, uint8_t, uint32_t
from tcpao_fast.core.mac.messages cimport layout, SCRATCH
from tcpao_fast.core.mac.kernels cimport tcpao_message, TCPAO_HMAC_SHA1
from tcpao_fast.core.mac.mac cimport mac_one, prepare
from tcpao_fast.core.flow.sne cimport extend


def position(int64_t anchor, uint32_t seq):
    return extend(anchor, seq)


def hmac_sha1(bytes key, bytes text):
    cdef uint8_t prepared[40]
    cdef uint8_t digest[20]
    cdef uint8_t scratch[SCRATCH]
    cdef tcpao_message message
    prepare(TCPAO_HMAC_SHA1, key, len(key), 1, prepared)
    layout(TCPAO_HMAC_SHA1, prepared, scratch, 0, text, len(text), NULL, 0, digest, &message)
    with nogil:
        mac_one(TCPAO_HMAC_SHA1, &message)
    return digest[:20]
"""


def test_another_cython_module(tmp_path):
    cython = pytest.importorskip("Cython", reason="Cython is not installed: pip install Cython")
    import hmac

    assert cython
    (tmp_path / "theirs.pyx").write_text(SOURCE)
    core = Path(tcpao_fast.__file__).parent / "core" / "mac"
    module = tmp_path / f"theirs{sysconfig.get_config_var('EXT_SUFFIX')}"
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", "theirs.pyx", "-I", str(core.parent.parent.parent)],
        cwd=tmp_path,
        check=True,
    )
    compiler = sysconfig.get_config_var("CC").split()
    include = sysconfig.get_path("include")
    subprocess.run(
        [*compiler, "-shared", "-fPIC", f"-I{include}", f"-I{core}", "theirs.c", "-o", str(module)],
        cwd=tmp_path,
        check=True,
    )
    code = (
        "import theirs\n"
        "print(theirs.position(2**32 - 1, 0), theirs.hmac_sha1(b'k', b't' * 200).hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(2**32), hmac.digest(b"k", b"t" * 200, "sha1").hex()]
