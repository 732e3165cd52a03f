"""What a command does not need, it does not import: most of its time on a small capture is that."""

import subprocess
import sys

import pytest

HEAVY = ("diagnose.solve", "distributed.run", "endpoint.sockets", "report.html", "keys.files.junos")


@pytest.mark.parametrize("command", ["verify", "sign", "strip", "keys"])
def test_light(command):
    code = (
        f"import sys; from click.testing import CliRunner; from tcpao_fast.cli.app import tcpao;"
        f"done = CliRunner().invoke(tcpao, ['{command}', '--help']); assert done.exit_code == 0;"
        f"print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert f"tcpao_fast.cli.{command}" in loaded
    assert not {f"tcpao_fast.{one}" for one in HEAVY} & loaded
    assert not {"dask", "distributed", "pyarrow", "matplotlib"} & loaded
