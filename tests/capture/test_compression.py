"""Compressed captures, and standard input while it is still growing."""

import gzip
import os
import subprocess
import sys
import threading
import zipfile

import pytest
import zstandard
from samples import CAPTURES

import tcpao_fast as ao
from tcpao_fast.capture.reader import CaptureReader

WRAP = CAPTURES / "wrap-v4-sha1.pcap"
KEYS = CAPTURES / "wrap-v4-sha1.toml"


def two_frames(data):
    """As zstd and pigz write it from pieces: one stream behind the other."""
    half = len(data) // 2
    return data[:half], data[half:]


FORMS = {
    "gzip": gzip.compress,
    "gzip, two members": lambda d: b"".join(gzip.compress(part) for part in two_frames(d)),
    "zstd": zstandard.ZstdCompressor().compress,
    "zstd, two frames": lambda d: b"".join(
        zstandard.ZstdCompressor().compress(part) for part in two_frames(d)
    ),
}


@pytest.fixture
def chain():
    return ao.load_keys(KEYS)


@pytest.mark.parametrize("form", FORMS)
def test_compressed_is_as_plain(form, chain, tmp_path):
    path = tmp_path / "capture"  # the name says nothing
    path.write_bytes(FORMS[form](WRAP.read_bytes()))
    plain, found = ao.verify_capture(WRAP, chain), ao.verify_capture(path, chain)
    assert found.counts == plain.counts and found.connections == plain.connections
    assert found.records == plain.records


@pytest.mark.parametrize("form", FORMS)
def test_sign_and_strip_read_compressed(form, chain, tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(FORMS[form](WRAP.read_bytes()))
    ao.strip_capture(path, tmp_path / "stripped.pcap")
    ao.strip_capture(WRAP, tmp_path / "expected.pcap")
    assert (tmp_path / "stripped.pcap").read_bytes() == (tmp_path / "expected.pcap").read_bytes()


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_progress_is_in_bytes_of_the_file(form, chain, tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(FORMS[form](WRAP.read_bytes()))
    seen = []
    ao.verify_capture(path, chain, progress=lambda *arguments: seen.append(arguments))
    assert all(done <= size == path.stat().st_size for _, done, size in seen)


@pytest.mark.parametrize(
    ("form", "damage", "what"),
    [
        ("gzip", lambda d: d[: len(d) // 2], "ends too early"),
        ("gzip", lambda d: d[:-6] + b"??????", "damaged"),
        ("zstd", lambda d: d[:30] + bytes(200) + d[230:], "damaged"),
    ],
)
def test_damaged_compression_gives_what_was_before_it(form, damage, what, chain, tmp_path):
    path = tmp_path / "capture"
    data = FORMS[form](WRAP.read_bytes())
    path.write_bytes(damage(data))
    with pytest.raises(ao.CaptureError, match=what) as caught:
        ao.verify_capture(path, chain, strict=True)
    report = caught.value.report
    assert str(path) in str(caught.value) and report.counts["bad_mac"] == 0
    assert form == "zstd" or report.counts["good"] > 10


def test_a_zstd_file_that_is_cut_short(chain, tmp_path):
    path = tmp_path / "capture"
    data = FORMS["zstd"](WRAP.read_bytes())
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ao.CaptureError) as caught:
        ao.verify_capture(path, chain, strict=True)
    assert caught.value.report.counts["bad_mac"] == 0


def test_other_compression_is_no_capture(chain, tmp_path):
    path = tmp_path / "capture.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(WRAP, "capture.pcap")
    with pytest.raises(ao.CaptureError, match="neither pcap nor pcapng"):
        ao.verify_capture(path, chain)


def test_without_the_library_it_says_what_to_install(chain, tmp_path, monkeypatch):
    path = tmp_path / "capture.zst"
    path.write_bytes(FORMS["zstd"](WRAP.read_bytes()))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(ao.MissingExtraError, match=r"tcpao-fast\[zstd\]"):
        ao.verify_capture(path, chain)


@pytest.mark.parametrize("form", ["plain", "gzip", "zstd"])
def test_standard_input(form):
    data = WRAP.read_bytes()
    data = data if form == "plain" else FORMS[form](data)
    command = "from tcpao_fast.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "verify", "-", "-k", str(KEYS), "--json"],
        input=data,
        capture_output=True,
    )
    assert done.returncode == 0 and b'"good": 554' in done.stdout, done.stderr


def test_standard_input_is_not_waited_for(monkeypatch):
    """Records come out while the writer still holds the pipe open."""
    data = WRAP.read_bytes()
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as source:

        class Stdin:
            buffer = source

        monkeypatch.setattr(sys, "stdin", Stdin)
        os.write(writing, data[:20000])
        reader = iter(CaptureReader("-"))
        first = next(reader)
        assert 0 < len(first.offsets) < 30
        rest = threading.Thread(target=lambda: (os.write(writing, data[20000:]), os.close(writing)))
        rest.start()
        total = len(first.offsets) + sum(len(chunk.offsets) for chunk in reader)
        rest.join()
    with CaptureReader(WRAP) as plain:
        assert total == sum(len(chunk.offsets) for chunk in plain)
