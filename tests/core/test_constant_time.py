"""No branch and no address depends on a secret: kernels under valgrind, which takes secrets for
undefined memory; for kernels of CPUs that it does not know, a statistical check."""

import platform
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import tcpao_fast as ao
from tcpao_fast.core.mac import mac

HERE = Path(__file__).parents[1] / "constant_time"
KERNELS = Path(ao.__file__).parent / "core" / "mac" / "kernels"
FAULT = 99


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    if shutil.which("valgrind") is None or not Path("/usr/include/valgrind/memcheck.h").exists():
        pytest.skip("valgrind is not here; sh .ci/setup --tools installs it")
    sources = sorted(KERNELS.glob("*.c"))
    if not sources:
        pytest.skip("an installed package has no C files: run this in a checkout")
    path = tmp_path_factory.mktemp("ctime") / "secrets"
    done = subprocess.run(
        ["cc", "-std=c11", "-O3", "-g", f"-I{KERNELS}", str(HERE / "secrets.c"),
         *map(str, sources), "-o", str(path)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


def valgrind(program, *arguments):
    return subprocess.run(
        ["valgrind", "-q", f"--error-exitcode={FAULT}", "--track-origins=no", str(program),
         *arguments],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_kernels(program):
    done = valgrind(program)
    assert done.returncode == 0, done.stderr[:3000]
    ran = {tuple(line.split()) for line in done.stdout.splitlines()}
    assert {(name, "portable") for name in mac.available()} <= ran
    if platform.machine() == "x86_64":
        assert len(ran) > 4  # valgrind knows AES-NI and AVX2, where the CPU has them


@pytest.mark.parametrize("what", ["branch", "address"])
def test_the_control_is_seen(program, what):
    """What depends on a secret is reported: so the silence above says something."""
    done = valgrind(program, what)
    assert done.returncode == FAULT
    assert "uninitialised" in done.stderr


UNKNOWN_TO_VALGRIND = ("shani", "avx512", "vaes256", "vaes512", "armv8")
CASES = [
    (name, kernel)
    for name, kernels in mac.available().items()
    for kernel in sorted(kernels)
    if kernel in UNKNOWN_TO_VALGRIND and name != "md5"
]


@pytest.mark.skipif(not CASES, reason="valgrind knows every kernel of this CPU")
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_times_do_not_tell_keys_apart(case):
    """Welch's t-test between a fixed key and random ones (dudect), over short batches in turns.

    These kernels are straight code over registers; a difference would be gross.  A noisy machine
    gets three tries.
    """
    name, kernel = case
    algorithm = {"hmac-sha1": "hmac-sha-1-96", "aes-128-cmac": "aes-128-cmac-96",
                 "hmac-sha256": "hmac(sha256)"}[name]  # fmt: skip
    length = 16 if name == "aes-128-cmac" else 20
    mac.force_kernels(kernel)
    try:
        rng = np.random.default_rng(3)
        text = rng.integers(0, 256, 64 * 64, np.uint8)
        where = np.zeros(64, np.int32), text, np.arange(64) * 64, np.full(64, 64)
        for _ in range(3):
            times = [[], []]
            for _ in range(1500):
                raws = np.zeros((1, length), np.uint8), rng.integers(0, 256, (1, length), np.uint8)
                both = [ao.TrafficKeys(algorithm, raw) for raw in raws]
                for side in rng.permutation(2).tolist():  # who is second finds warmer caches
                    began = time.perf_counter_ns()
                    ao.mac_batch(both[side], *where)
                    times[side].append(time.perf_counter_ns() - began)
            # what disturbs a round makes it longer: the quicker half
            a, b = (np.sort(one)[: len(one) // 2] for one in times)
            t = abs(a.mean() - b.mean()) / np.sqrt(a.var() / len(a) + b.var() / len(b))
            relative = abs(a.mean() - b.mean()) / b.mean()
            if t < 4.5 or relative < 0.01:
                return
        pytest.fail(f"t = {t:.1f}, {100 * relative:.2f} % apart")
    finally:
        mac.force_kernels("")
