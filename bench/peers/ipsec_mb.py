"""intel-ipsec-mb (Debian: libipsec-mb-dev), compiled here when its header is."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from peers import Contestant, UnavailableError

SOURCE = Path(__file__).with_suffix(".c")


@functools.cache
def library():
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise UnavailableError("intel-ipsec-mb: no C compiler")
    path = Path(tempfile.mkdtemp()) / "ipsec_mb.so"
    done = subprocess.run(
        [compiler, "-O3", "-shared", "-fPIC", str(SOURCE), "-o", str(path), "-lIPSec_MB"],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise UnavailableError(f"intel-ipsec-mb: {done.stderr.strip().splitlines()[-1]}")
    found = ctypes.CDLL(str(path))
    found.peer_open.restype = ctypes.c_void_p
    found.peer_version.restype = ctypes.c_char_p
    return found


def version():
    return library().peer_version().decode()


def pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


def contestants(work):
    shared = library()
    number = {"hmac-sha-1-96": 0, "aes-128-cmac-96": 1}[work.algorithm]
    handle = ctypes.c_void_p(
        shared.peer_open(
            number,
            pointer(work.raw),
            ctypes.c_size_t(work.raw.shape[1]),
            ctypes.c_size_t(len(work.raw)),
        )
    )
    count = len(work.offsets)

    def run(function, macs):
        function(
            handle, pointer(work.buffer), pointer(work.offsets), pointer(work.lengths),
            pointer(work.index), ctypes.c_size_t(count), pointer(macs),
        )  # fmt: skip
        return macs

    # each has its own memory for MACs: what one left there must not pass for another's
    memory = [np.zeros((count, 12), np.uint8) for _ in range(2)]
    found = [Contestant("ipsec-mb, jobs", lambda: run(shared.peer_jobs, memory[0]), count)]
    if shared.peer_can_burst(handle):
        found.append(
            Contestant("ipsec-mb, bursts", lambda: run(shared.peer_bursts, memory[1]), count)
        )
    return found
