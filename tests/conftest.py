"""What several test files share: fixtures, and each capture as a parameter."""

import os
import shutil

import hypothesis
import pytest
from samples import ALL_CAPTURES, CAPTURES, Capture

import tcpao_fast as ao

# the same examples whenever a commit is tested, and no limit that a busy machine exceeds;
# others are looked for with --hypothesis-profile=explore
_SLOW = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("explore", **_SLOW)
hypothesis.settings.register_profile("same", derandomize=True, **_SLOW)
hypothesis.settings.load_profile("same")

# a sanitizer is preloaded for this process, not for the tools that tests start
os.environ.pop("LD_PRELOAD", None)
# key files that others can read are warned about; those of a checkout and of tests are as a user's
os.umask(0o077)
for _keys in CAPTURES.glob("*.toml"):
    _keys.chmod(0o600)


def pytest_generate_tests(metafunc):
    if "capture" in metafunc.fixturenames:
        metafunc.parametrize("capture", ALL_CAPTURES, ids=lambda capture: capture.path.stem)


@pytest.fixture
def named_capture():
    return lambda name: Capture(CAPTURES / f"{name}.pcap")


@pytest.fixture
def key():
    return ao.MasterKey(
        algorithm="hmac-sha-1-96",
        secret=b"secret",
        send_id=100,
        recv_id=200,
        local="10.0.0.1",
        remote="10.0.0.2",
        name="k",
    )


@pytest.fixture
def tool():
    """The path of a program, or a skip that says what installs it."""
    packages = {"tshark": "tshark", "capinfos": "tshark", "editcap": "tshark", "mergecap": "tshark"}

    def find(name):
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed: apt-get install {packages[name]}")
        return path

    return find


@pytest.fixture(params=["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)", "hmac-sha256-128"])
def algorithm(request):
    return request.param
