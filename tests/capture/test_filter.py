"""Packets chosen by libpcap's filters, as tcpdump would."""

import json
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

import tcpao_fast as ao
from tcpao_fast.capture.filter import PacketFilter
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.cli.app import tcpao


@pytest.mark.parametrize(
    "expression", ["tcp port 7779", "src host 10.0.0.2", "greater 100", "tcp[tcpflags] & 2 != 0"]
)
def test_as_tshark_counts(named_capture, expression, tool, tmp_path):
    """tshark reads with a display filter, so editcap's peer here is `tshark -f`'s: tcpdump's."""
    capture = named_capture("bad-and-unsigned")
    with CaptureReader(capture.path) as reader:
        chunks = [PacketFilter(expression).choose(chunk) for chunk in reader]
        numbers = np.concatenate([chunk.numbers for chunk in chunks]).tolist()
    display = {
        "tcp port 7779": "tcp.port == 7779",
        "src host 10.0.0.2": "ip.src == 10.0.0.2",
        "greater 100": "frame.len >= 100",
        "tcp[tcpflags] & 2 != 0": "tcp.flags.syn == 1",
    }[expression]
    run = subprocess.run(
        [tool("tshark"), "-r", capture.path, "-Y", display, "-T", "fields", "-e", "frame.number"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert numbers == [int(line) for line in run.stdout.split()]


def test_numbers_stay_those_of_the_file(named_capture, tmp_path):
    capture = named_capture("bad-and-unsigned")
    out = tmp_path / "rows.jsonl"
    report = ao.verify_capture(
        capture.path, capture.keys, packet_filter="port 2243", output=out,
        annotate=tmp_path / "a.pcapng",
    )  # fmt: skip
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0]["number"] == 33 and {row["verdict"] for row in rows} == {"bad_mac"}
    assert report.segments == len(rows) == 6 and report.connections[0].first_bad == 33
    assert report.records == 110  # that were read
    again = ao.verify_capture(tmp_path / "a.pcapng", capture.keys)
    assert again.records == 6


@pytest.mark.parametrize("name", ["any-sll2", "vlan", "v6-sha1"])
def test_link_types(named_capture, name):
    capture = named_capture(name)
    expression = "vlan and tcp" if name == "vlan" else "tcp"
    report = ao.verify_capture(capture.path, capture.keys, packet_filter=expression)
    assert report.counts == ao.verify_capture(capture.path, capture.keys).counts


def test_raw_ip(tmp_path, key):
    import wire

    a, b = wire.pair(key)
    path = wire.pcap(tmp_path / "x.pcap", wire.handshake(a, b))
    report = ao.verify_capture(path, [key], packet_filter="src host 10.0.0.2")
    assert report.segments == 1
    assert ao.verify_capture(path, [key], packet_filter="ip6").segments == 0


def test_diagnose_takes_it(named_capture):
    capture = named_capture("bad-and-unsigned")
    found = ao.diagnose_capture(capture.path, capture.keys, packet_filter="port 7777")
    assert [one.reason for one in found.findings] == ["unsigned_peer"]


@pytest.mark.parametrize("expression", ["nonsense here", "port x", "wlan type mgt"])
def test_mistakes(named_capture, expression):
    capture = named_capture("v4-sha1")
    with pytest.raises(ao.InvalidArgumentError, match="filter"):
        ao.verify_capture(capture.path, capture.keys, packet_filter=expression)


def test_mistakes_on_the_command_line(named_capture):
    capture = named_capture("wrap-v4-sha1")
    toml = capture.path.with_suffix(".toml")
    run = CliRunner().invoke(
        tcpao, ["verify", str(capture.path), "-k", str(toml), "--filter", "port x"]
    )
    assert run.exit_code == 2 and "pcap-filter(7)" in run.output


def test_no_libpcap(monkeypatch):
    from tcpao_fast.capture import filter as module

    monkeypatch.setattr(module.ctypes.util, "find_library", lambda name: None)
    module._libpcap.cache_clear()
    assert PacketFilter("tcp")  # by its usual names
    monkeypatch.setattr(module, "_NAMES", ())
    module._libpcap.cache_clear()
    with pytest.raises(ao.MissingExtraError, match="apt-get install libpcap"):
        PacketFilter("tcp")
    module._libpcap.cache_clear()
