"""Damaged captures, and many of them: what can be read counts, and what cannot is said."""

import bz2
import io
import json
import lzma
import random
import shutil
import struct

import lz4.frame
import pytest
from console import tcpao
from samples import CAPTURES
from wire import pcap

import tcpao_fast as ao
from tcpao_fast.capture.reader import CaptureReader
from tcpao_fast.capture.sources import expand

WRAP = CAPTURES / "wrap-v4-sha1.pcap"
KEYS = CAPTURES / "wrap-v4-sha1.toml"
#: Blocks: section, interface, then packets.
SECTION = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
INTERFACE = struct.pack("<IIHHII", 1, 20, 1, 0, 0, 20)


def packet_block(data, number=0):
    padded = data + bytes(-len(data) % 4)
    size = 32 + len(padded)
    head = struct.pack("<IIIIIII", 6, size, number, 0, 0, len(data), len(data))
    return head + padded + struct.pack("<I", size)


def contents(source, **options):
    """Each record's bytes."""
    with CaptureReader(source, **options) as reader:
        return [records.data(i) for records in reader for i in range(len(records))]


@pytest.fixture
def chain():
    return ao.load_keys(KEYS)


@pytest.fixture(scope="module")
def packets():
    return contents(WRAP)


@pytest.fixture(scope="module")
def pcapng(packets):
    return SECTION + INTERFACE + b"".join(map(packet_block, packets))


class TestPcapng:
    """On from the next block that can be trusted."""

    @pytest.mark.parametrize("seed", range(60))
    def test_any_damage(self, pcapng, packets, tmp_path, seed):
        """Records before it and well behind it are all there, none is made up, and a stream that
        comes in windows has the same."""
        chance = random.Random(seed)
        at = chance.randrange(len(pcapng))
        size = chance.choice([1, 2, 4, 100, 5000])
        how = chance.choice(["over", "out", "in"])
        noise = chance.randbytes(size)
        data = {
            "over": pcapng[:at] + noise + pcapng[at + size :],
            "out": pcapng[:at] + pcapng[at + size :],
            "in": pcapng[:at] + noise + pcapng[at:],
        }[how]
        path = tmp_path / "damaged.pcapng"
        path.write_bytes(data)
        damage = []
        found = contents(path, on_damage=damage.append)
        streamed = []
        assert contents(io.BytesIO(data), on_damage=streamed.append) == found
        assert [one.as_dict() | {"file": ""} for one in damage] == [
            one.as_dict() | {"file": ""} for one in streamed
        ]
        if at < len(SECTION + INTERFACE) and not found:
            assert damage
            return
        strange = [one for one in found if one not in set(packets)]
        assert len(strange) <= 1  # the one that was hit, where no header was
        before = (at - 48) // 1600
        assert found[:before] == packets[:before]
        assert len(found) >= len(packets) - size // 50 - 2
        for one in damage:
            assert one.offset is not None and (one.resumed is None or one.resumed > one.offset)

    def test_nothing_is_taken_from_inside_a_packet(self, tmp_path):
        """A packet that holds a pcapng file is not searched for packets, though its own block is
        damaged: what is in it ends with it."""
        inner = SECTION + INTERFACE + b"".join(packet_block(b"inner %d" % i) for i in range(6))
        outer = [b"first", b"x" * 60 + inner, *(b"outer %d" % i for i in range(20))]
        blocks = [packet_block(one) for one in outer]
        blocks[1] = blocks[1][:4] + struct.pack("<I", 13) + blocks[1][8:]
        path = tmp_path / "x.pcapng"
        path.write_bytes(SECTION + INTERFACE + b"".join(blocks))
        damage = []
        assert contents(path, on_damage=damage.append) == [outer[0], *outer[2:]]
        (one,) = damage
        assert one.resumed == len(SECTION + INTERFACE + blocks[0] + blocks[1])
        assert f"went on at byte {one.resumed}" in str(one)

    @pytest.mark.parametrize("what", ["section", "interface"])
    def test_interfaces_that_are_lost(self, tmp_path, what):
        """Behind a section or interface that is damaged nothing says what link type packets have:
        on from the next section."""
        second = [packet_block(b"second %d" % i) for i in range(10)]
        third = [packet_block(b"third %d" % i) for i in range(10)]
        broken = bytearray(SECTION + INTERFACE)
        broken[(0 if what == "section" else 28) + 4] += 1
        data = [
            SECTION, INTERFACE, *(packet_block(b"first %d" % i) for i in range(10)),
            bytes(broken), *second, SECTION, INTERFACE, *third,
        ]  # fmt: skip
        path = tmp_path / "x.pcapng"
        path.write_bytes(b"".join(data))
        damage = []
        found = contents(path, on_damage=damage.append)
        assert found == [b"first %d" % i for i in range(10)] + [b"third %d" % i for i in range(10)]
        assert len(damage) == 1 and damage[0].resumed == len(b"".join(data[:-12]))

    def test_many_damaged_places(self, tmp_path):
        """All are counted, some are listed."""
        good = packet_block(b"good") * 8
        bad = bytearray(packet_block(b"bad"))
        bad[4] += 1
        data = SECTION + INTERFACE + (good + bad) * 1500 + good
        path = tmp_path / "x.pcapng"
        path.write_bytes(data)
        report = ao.verify_capture(path, ())
        assert report.damaged == 1500 and len(report.damage) == 1000
        assert report.records == 1501 * 8
        done = tcpao("verify", path, "-k", KEYS, text=True)
        assert done.returncode == 4
        assert len(done.stderr.splitlines()) == 11 and "1,490 more damaged" in done.stderr


def test_the_run_goes_on(chain, packets, tmp_path):
    """One of three files is cut: its packets before the cut count, and so do the others."""
    third = len(packets) // 3
    parts = [packets[:third], packets[third : 2 * third], packets[2 * third :]]
    paths = [pcap(tmp_path / f"{i}.pcap", part, linktype=1) for i, part in enumerate(parts)]
    paths[1].write_bytes(paths[1].read_bytes()[:-3])
    missing = tmp_path / "gone.pcap"
    garbage = tmp_path / "README"
    garbage.write_bytes(b"not a capture")
    report = ao.verify_capture([*paths, missing, garbage], chain)
    assert report.records == len(packets) - 1
    assert report.counts["good"] == sum(report.counts.values()) > 0.99 * len(packets)
    assert report.exit_status == 4 and report.damaged == 3
    assert {(one.path, one.what) for one in report.damage} == {
        (str(paths[1]), "the file ends inside a record"),
        (str(missing), "No such file or directory"),
        (str(garbage), "the file is neither pcap nor pcapng"),
    }
    with pytest.raises(ao.CaptureError) as caught:
        ao.verify_capture([*paths, missing, garbage], chain, strict=True)
    assert caught.value.path == str(paths[1])


def test_something_bad_is_status_1(tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes((CAPTURES / "bad-and-unsigned.pcap").read_bytes()[:-1])
    report = ao.verify_capture(path, ao.load_keys(CAPTURES / "bad-and-unsigned.toml"))
    assert report.damaged and report.exit_status == 1


@pytest.mark.parametrize("command", ["verify", "diagnose", "report", "inspect"])
def test_where_nothing_can_be_read(command, tmp_path):
    path = tmp_path / "empty"
    path.touch()
    keys = [] if command == "inspect" else ["-k", KEYS]
    output = ["-o", tmp_path / "x.html"] if command == "report" else []
    done = tcpao(command, path, *keys, *output, text=True)
    assert done.returncode == 2 and done.stderr == f"tcpao: {path}: the file is empty at byte 0\n"
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("command", ["sign", "strip"])
def test_rewriting_what_is_there(command, packets, tmp_path):
    path, out = tmp_path / "cut.pcap", tmp_path / "out.pcap"
    pcap(path, packets, linktype=1)
    path.write_bytes(path.read_bytes()[:-1])
    keys = ["-k", KEYS] if command == "sign" else []
    done = tcpao(command, path, out, "--json", *keys, text=True)
    assert done.returncode == 4 and len(contents(out)) == len(packets) - 1
    assert json.loads(done.stdout)["damage"][0]["file"] == str(path)
    assert done.stderr.startswith(f"tcpao: warning: {path}: the file ends inside a record")


COMPRESSED = {"xz": lzma.compress, "bzip2": bz2.compress, "lz4": lz4.frame.compress}


@pytest.mark.parametrize("form", COMPRESSED)
def test_compression(form, chain, tmp_path):
    data = COMPRESSED[form](WRAP.read_bytes())
    path = tmp_path / "capture"
    path.write_bytes(data)
    assert ao.verify_capture(path, chain).counts["good"] == 554
    assert ao.verify_capture(io.BytesIO(data), chain).counts["good"] == 554
    for damaged in (data[: len(data) // 2], data[:-40], data[: len(data) // 2] + b"?" * 9000):
        path.write_bytes(damaged)
        try:
            report = ao.verify_capture(path, chain)
        except ao.CaptureError as error:
            report = error.report
        assert report.damaged and report.counts["bad_mac"] == 0


def test_without_lz4(chain, tmp_path, monkeypatch):
    path = tmp_path / "capture"
    path.write_bytes(COMPRESSED["lz4"](WRAP.read_bytes()))
    monkeypatch.setitem(__import__("sys").modules, "lz4", None)
    monkeypatch.setitem(__import__("sys").modules, "lz4.frame", None)
    with pytest.raises(ao.MissingExtraError, match=r"tcpao-fast\[lz4\]"):
        ao.verify_capture(path, chain)


class TestArguments:
    """Directories, patterns and lists."""

    @pytest.fixture
    def folder(self, tmp_path):
        for name in ("b.pcap", "a.pcap", "deep/c.pcapng.xz", ".hidden.pcap", "pc[1].pcap"):
            path = tmp_path / "captures" / name
            path.parent.mkdir(exist_ok=True, parents=True)
            shutil.copy(WRAP, path)
        folder = tmp_path / "captures"
        (folder / "deep" / "c.pcapng.xz").write_bytes(lzma.compress(WRAP.read_bytes()))
        (folder / "notes.txt").write_text("not a capture")
        (folder / "keys.toml.xz").write_bytes(lzma.compress(b"nor this"))
        (folder / "new.pcap").touch()
        return folder

    def test_directories(self, folder):
        names = ["a.pcap", "b.pcap", "pc[1].pcap", "deep/c.pcapng.xz"]
        assert expand([str(folder)]) == [f"{folder}/{name}" for name in names]

    def test_patterns(self, folder):
        assert expand([f"{folder}/?.pcap"]) == [f"{folder}/a.pcap", f"{folder}/b.pcap"]
        assert expand([f"{folder}/**/*.xz"]) == [
            f"{folder}/deep/c.pcapng.xz", f"{folder}/keys.toml.xz"
        ]  # fmt: skip
        # a file of that name is that file
        assert expand([f"{folder}/pc[1].pcap"]) == [f"{folder}/pc[1].pcap"]
        with pytest.raises(ao.InvalidArgumentError, match="no file matches"):
            expand([f"{folder}/*.cap"])

    def test_lists(self, folder, tmp_path):
        listed = tmp_path / "list"
        listed.write_text(f"{folder}/b.pcap\n\n{folder}/a.pcap\n")
        assert expand([f"@{listed}"]) == [f"{folder}/b.pcap", f"{folder}/a.pcap"]
        listed.write_bytes(f"{folder}/b.pcap\0{folder}/a.pcap\0".encode())
        assert expand([f"@{listed}"]) == [f"{folder}/b.pcap", f"{folder}/a.pcap"]
        listed.write_text("\n")
        with pytest.raises(ao.InvalidArgumentError, match="no name in this list"):
            expand([f"@{listed}"])
        with pytest.raises(ao.CaptureError, match="nowhere: No such file"):
            expand(["@nowhere"])

    def test_a_directory_without_captures(self, tmp_path):
        with pytest.raises(ao.InvalidArgumentError, match="no capture in this directory"):
            expand([str(tmp_path)])

    def test_on_the_command_line(self, folder, tmp_path):
        """All ways at once; a heading names a few."""
        done = tcpao(
            "verify", folder, "-r", WRAP, "-r", f"{folder}/b*", "@-", "-k", KEYS, text=True,
            input=f"{WRAP}\n",
        )  # fmt: skip
        heading = done.stdout.splitlines()[0]
        assert "and 4 more files: 3,878 TCP segments" in heading and heading.count(".pcap") == 3
        done = tcpao("verify", "-k", KEYS, text=True)
        assert done.returncode == 2 and "Missing argument 'CAPTURE...'" in done.stderr
