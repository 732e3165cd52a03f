"""Many captures by many processes: the rows are those of one process, whatever happens."""

import json
import os
import random
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import wire
from console import tcpao
from keyfile import write_keys
from samples import CAPTURES, Capture
from wire import ACK, FIN, PSH, RST, SYN, pcap, tcp_packet

import tcpao_fast as ao
from tcpao_fast.capture.reader import CaptureReader

distributed = pytest.importorskip("distributed", reason="pip install 'tcpao-fast[dask]'")
parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'tcpao-fast[dask]'")

from tcpao_fast.distributed import KeySource, verify_distributed  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # of Dask's own closing of things


@pytest.fixture(scope="module")
def client():
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as found,
    ):
        yield found


def records_of(path):
    with CaptureReader(path) as reader:
        return [records.data(i) for records in reader for i in range(len(records))], reader


def cut(path, folder, pieces):
    """A pcap file as many, byte by byte the same records."""
    data = path.read_bytes()
    order = "little" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else "big"
    records, at = [], 24
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], order)
        records.append(data[at : at + 16 + size])
        at += 16 + size
    share = -(-len(records) // pieces)
    folder.mkdir()
    paths = []
    for number, start in enumerate(range(0, len(records), share)):
        path = folder / f"{number:04}.pcap"
        path.write_bytes(data[:24] + b"".join(records[start : start + share]))
        paths.append(path)
    return paths


def listed(path):
    """A Parquet file's rows; times as numbers."""
    table = parquet.read_table(path)
    if "time" in table.column_names:
        place = table.column_names.index("time")
        table = table.set_column(place, "time", table["time"].cast("int64"))
    return table.to_pylist()


def rows_of(folder, captures):
    """The rows of a run, in the order of the captures."""
    names = json.loads((folder / "_tcpao" / "captures.json").read_text())["captures"]
    assert [one["capture"] for one in names] == [str(one) for one in captures]
    return [row for one in names for row in listed(folder / one["rows"])]


def same_as_one_process(client, paths, keys, tmp_path, **options):
    """Run both ways; the report of the distributed one."""
    chain = keys if not isinstance(keys, Path) else ao.load_keys(keys)
    if not isinstance(keys, Path):
        keys = write_keys(tmp_path / "keys.toml", keys)
    single = ao.verify_capture(paths, chain, output=tmp_path / "single.parquet")
    shuffled = [str(one) for one in paths]
    random.Random(len(paths)).shuffle(shuffled)
    folder = tmp_path / "out"
    options = {"bytes_at_once": 1, **options}  # each file by itself
    report = verify_distributed(
        shuffled, KeySource((str(keys),)), output=str(folder), client=client, **options
    )
    wanted = listed(tmp_path / "single.parquet")
    assert rows_of(folder, report.captures) == wanted
    ours, theirs = report.as_dict(), single.as_dict()
    assert ours.pop("captures") == theirs.pop("captures")
    assert ours == theirs
    return report


@pytest.mark.parametrize(
    ("name", "pieces"),
    [("wrap-v4-sha1", 9), ("rotation", 60), ("bad-and-unsigned", 25), ("vlan", 12),
     ("v6-cmac-exclude", 200), ("any-sll2", 7), ("ts-v4-cmac", 33)],
)  # fmt: skip
def test_kernel_captures(client, name, pieces, tmp_path):
    capture = Capture(CAPTURES / f"{name}.pcap")
    paths = cut(capture.path, tmp_path / "cut", pieces)
    same_as_one_process(client, paths, capture.keys, tmp_path)


def traffic(seed, sessions=14, length=160):
    """Sessions with everything that a guess can be wrong about, interleaved."""
    chance = random.Random(seed)
    keys = [
        ao.MasterKey(
            algorithm=chance.choice(["hmac-sha-1-96", "aes-128-cmac-96"]), secret=b"key %d" % i,
            send_id=10 + i, recv_id=20 + i, local="10.0.0.0/24", remote=f"10.1.{i}.0/24",
            exclude_options=bool(i % 2), name=f"k{i}",
        )
        for i in range(3)
    ]  # fmt: skip
    running = []
    for number in range(sessions):
        running.append(_session(chance, keys, number, length))
    packets = []
    while running:
        one = chance.choice(running[:6])
        for _ in range(chance.randrange(1, 12)):
            packet = next(one, None)
            if packet is None:
                running.remove(one)
                break
            packets.append(packet)
    return keys, packets


def _session(chance, keys, number, length):
    key = keys[number % 3]
    wrong = number % 7 == 5
    client = (f"10.0.0.{number % 5 + 1}", 40000 + number % 4)  # ports come again
    server = (f"10.1.{number % 3}.9", 179)
    if number % 6 == 3:  # nobody signs
        position = chance.randrange(1 << 32)
        yield tcp_packet(client, server, SYN, position)
        for _ in range(length // 3):
            position += 10
            yield tcp_packet(client, server, PSH | ACK, position & 0xFFFFFFFF, 1, b"0123456789")
        return
    for life in range(chance.choice([1, 2, 3])):
        near = [(1 << 32) - chance.randrange(1, 60000) for _ in (0, 1)]
        isns = [chance.choice([one, chance.randrange(1 << 32)]) for one in near]
        used = key
        if wrong:
            used = ao.MasterKey(
                algorithm=key.algorithm, secret=b"another", send_id=key.send_id,
                recv_id=key.recv_id, local="10.0.0.0/24", remote=key.remote,
            )  # fmt: skip
        a, b = wire.pair(used, client, server, isns)
        opening = [a.send(SYN), b.send(SYN | ACK), a.send(ACK)]
        if number % 8 == 7:
            opening = opening[chance.randrange(1, 4) :]  # joined late
        yield from opening
        if chance.random() < 0.3 and opening:
            yield opening[0]  # sent again
        sent = []
        for _ in range(length):
            one = chance.choice([a, b])
            kind = chance.random()
            packet = one.send(PSH | ACK, bytes(chance.randrange(0, 1400)))
            if kind < 0.03 and sent:
                yield chance.choice(sent)  # late, or replayed
            elif kind < 0.06:
                yield packet[:-3] + bytes([packet[-3] ^ 255]) + packet[-2:]  # forged
            elif kind < 0.08:
                yield one.send(RST, position=chance.randrange(1 << 33))
            elif kind < 0.1:
                yield tcp_packet(one.here, one.there, SYN, chance.randrange(1 << 32))
            elif kind < 0.12:
                yield tcp_packet(one.here, one.there, ACK, chance.randrange(1 << 32), 7, b"x")
            sent.append(packet)
            yield packet
            if kind > 0.995:
                one.position += chance.randrange(1 << 31)  # something big was not captured
        if life % 2 == 0:
            yield a.send(FIN | ACK)
            yield b.send(FIN | ACK)


@pytest.mark.parametrize("seed", range(8))
def test_any_sessions(client, seed, tmp_path):
    """Wraps, ports that come again, replays, forgeries, sessions joined late, wrong secrets."""
    keys, packets = traffic(seed)
    whole = pcap(tmp_path / "whole.pcap", packets)
    chance = random.Random(seed)
    paths = cut(whole, tmp_path / "cut", chance.choice([5, 40, 150]))
    for path in chance.sample(paths[1:], len(paths) // 10):
        path.unlink()  # it was not copied
        paths.remove(path)
    whole = sum(one.stat().st_size for one in paths)
    same_as_one_process(client, paths, keys, tmp_path, bytes_at_once=chance.choice([1, whole // 9]))


def test_200_files_one_cut_a_worker_killed(client, tmp_path):
    """With a missing file, a truncated one, and a worker that is killed on the way."""
    keys, packets = traffic(99, sessions=16, length=150)
    whole = pcap(tmp_path / "whole.pcap", packets)
    paths = cut(whole, tmp_path / "cut", 200)
    paths.pop(77).unlink()
    data = paths[120].read_bytes()
    paths[120].write_bytes(data[:-7])
    killed = []

    def progress(what, done, of):
        if what == "settled" and done == 20 and not killed:
            workers = client.run(os.getpid)
            killed.append(next(iter(workers.values())))
            os.kill(killed[0], signal.SIGKILL)

    report = same_as_one_process(client, paths, keys, tmp_path, progress=progress)
    assert killed and report.damaged == 1 and report.exit_status in (1, 4)
    assert report.damage[0].path == str(paths[120])


def test_resume(client, tmp_path):
    """What is done is not done again; what changed, and what depends on it, is."""
    keys, packets = traffic(5)
    paths = cut(pcap(tmp_path / "whole.pcap", packets), tmp_path / "cut", 30)
    key_file = write_keys(tmp_path / "keys.toml", keys)
    out = tmp_path / "out"

    def run(**options):
        return verify_distributed(
            [str(one) for one in paths], KeySource((str(key_file),)), output=str(out),
            client=client, bytes_at_once=1, **options,
        )  # fmt: skip

    class StopError(Exception):
        pass

    def stop(what, done, of):
        if (what, done) == ("settled", 12):
            raise StopError

    with pytest.raises(StopError):
        run(progress=stop)
    finished = sorted(out.glob("*.parquet"))
    assert len(finished) == 12
    written = {one: one.stat().st_mtime_ns for one in finished}
    report = run(resume=True)
    ao.verify_capture(paths, keys, output=tmp_path / "single.parquet")
    wanted = listed(tmp_path / "single.parquet")
    assert rows_of(out, report.captures) == wanted
    assert {one: one.stat().st_mtime_ns for one in finished} == written
    before = {one: one.stat().st_mtime_ns for one in out.glob("*.parquet")}
    assert run(resume=True).as_dict() == report.as_dict()
    assert {one: one.stat().st_mtime_ns for one in out.glob("*.parquet")} == before
    # a file is replaced: it and those behind it are looked at again, where they depend on it
    paths[10].write_bytes(paths[10].read_bytes()[:24])
    report = run(resume=True)
    ao.verify_capture(paths, keys, output=tmp_path / "single.parquet")
    wanted = listed(tmp_path / "single.parquet")
    assert rows_of(out, report.captures) == wanted
    # other keys: nothing of it counts
    key_file.write_text(key_file.read_text().replace('"k0"', '"other"'))
    assert run(resume=True).counts == report.counts
    rows = rows_of(out, report.captures)
    assert {row["key"] for row in rows} >= {"other"}
    # nor with another secret in the same place
    text = key_file.read_text()
    key_file.write_text(text.replace(keys[0].secret.hex(), b"another".hex()))
    assert run(resume=True).counts["bad_mac"] > report.counts["bad_mac"]


def test_fields_and_selections(client, tmp_path):
    keys, packets = traffic(3)
    paths = cut(pcap(tmp_path / "whole.pcap", packets), tmp_path / "cut", 20)
    key_file = write_keys(tmp_path / "keys.toml", keys)
    options = {
        "fields": ["seq", "verdict", "source_port"], "select": ["bad", "missing_isn"],
        "connections": ["10.0.0.2"],
    }  # fmt: skip
    report = verify_distributed(
        [str(one) for one in paths], KeySource((str(key_file),)), output=str(tmp_path / "out"),
        client=client, bytes_at_once=1, **options,
    )  # fmt: skip
    ao.verify_capture(paths, keys, output=tmp_path / "single.parquet", **options)
    wanted = listed(tmp_path / "single.parquet")
    found = rows_of(tmp_path / "out", report.captures)
    assert found == wanted and len(found) > 10
    assert list(found[0]) == options["fields"]


def test_fragments(client, tmp_path):
    """A session of which a file has nothing but fragments is still the session."""
    keys, packets = traffic(1, sessions=3, length=40)
    fragmented = []
    for number, packet in enumerate(packets):
        payload = packet[20:]
        if number % 3 == 1 and len(payload) > 64:
            for start, end in ((0, 40), (40, len(payload))):
                more = 0x2000 if end < len(payload) else 0
                head = bytearray(packet[:20])
                head[2:4] = (20 + end - start).to_bytes(2, "big")
                head[4:6] = (number & 0xFFFF).to_bytes(2, "big")
                head[6:8] = (more | start // 8).to_bytes(2, "big")
                fragmented.append(bytes(head) + payload[start:end])
        else:
            fragmented.append(packet)
    # the two fragments of a datagram stay in one file
    paths, at, part = [], 0, 0
    (tmp_path / "cut").mkdir()
    while at < len(fragmented):
        end = at + 2
        while end < len(fragmented) and fragmented[end - 1][6] & 0x20:
            end += 1
        paths.append(
            pcap(tmp_path / "cut" / f"{part:04}.pcap", fragmented[at:end], start=1000 + at)
        )
        at, part = end, part + 1
    single = ao.verify_capture(paths, keys)
    key_file = write_keys(tmp_path / "keys.toml", keys)
    report = verify_distributed(
        [str(one) for one in paths], KeySource((str(key_file),)), client=client, bytes_at_once=1
    )
    assert report.counts == single.counts


class TestKeys:
    def test_only_a_reference_travels(self, client, tmp_path):
        """No secret is in any task, and keys that differ on a worker are an error."""
        keys, packets = traffic(2, sessions=3, length=30)
        path = pcap(tmp_path / "x.pcap", packets)
        key_file = write_keys(tmp_path / "keys.toml", keys)
        source = KeySource((str(key_file),))
        from distributed.protocol import serialize  # what Dask makes of it

        from tcpao_fast.distributed.store import Store
        from tcpao_fast.distributed.verify import Job

        job = Job(
            Store(str(tmp_path / "o")), source,
            tuple(one.identity() for one in source.load()),
        )  # fmt: skip
        header, frames = serialize(job)
        text = repr(header).encode() + b"".join(bytes(one) for one in frames)
        for key in keys:
            assert key.secret not in text and key.secret.hex().encode() not in text
        report = verify_distributed([str(path)], source, client=client)
        assert report.segments == len(packets)

    def test_environment(self, tmp_path, monkeypatch):
        from cryptography.fernet import Fernet

        keys, _ = traffic(2, sessions=1, length=1)
        key_file = write_keys(tmp_path / "keys.toml", keys)
        seal = Fernet.generate_key()
        (tmp_path / "seal").write_bytes(seal + b"\n")
        source = KeySource(("env:TCPAO_TEST_KEYS",))
        with pytest.raises(ao.KeyFileError, match="TCPAO_TEST_KEYS is not set"):
            source.load()
        monkeypatch.setenv("TCPAO_TEST_KEYS", Fernet(seal).encrypt(key_file.read_bytes()).decode())
        with pytest.raises(ao.KeyFileError, match="TCPAO_TEST_KEYS_KEY_FILE is not set"):
            source.load()
        monkeypatch.setenv("TCPAO_TEST_KEYS_KEY_FILE", str(tmp_path / "seal"))
        assert [one.secret for one in source.load()] == [one.secret for one in keys]
        (tmp_path / "seal").write_bytes(Fernet.generate_key())
        with pytest.raises(ao.KeyFileError, match="cannot be decrypted") as caught:
            source.load()
        assert all(one.secret.decode() not in str(caught.value) for one in keys)

    def test_mistakes_are_told_first(self, client, tmp_path):
        with pytest.raises(ao.KeyFileError, match="No such file"):
            verify_distributed(["x"], KeySource((str(tmp_path / "no"),)), client=client)


class TestCommandLine:
    @pytest.fixture
    def folder(self, tmp_path):
        keys, packets = traffic(4, sessions=5, length=40)
        cut(pcap(tmp_path / "whole.pcap", packets), tmp_path / "cut", 12)
        write_keys(tmp_path / "keys.toml", keys)
        return tmp_path

    def test_workers(self, folder):
        one = tcpao("verify", folder / "cut", "-k", folder / "keys.toml", "--json", text=True)
        many = tcpao(
            "verify", folder / "cut", "-k", folder / "keys.toml", "--json", "--workers", 2,
            "-o", folder / "rows", text=True,
        )  # fmt: skip
        assert many.returncode == one.returncode == 1, many.stderr
        assert json.loads(many.stdout) == json.loads(one.stdout)
        assert len(list((folder / "rows").glob("*.parquet"))) == 12
        # as a data set: what is not rows is not looked at
        assert parquet.read_table(folder / "rows").num_rows == json.loads(one.stdout)["segments"]

    def test_scheduler(self, folder, client):
        address = client.scheduler.address
        done = tcpao(
            "verify", folder / "cut", "-k", folder / "keys.toml", "--scheduler", address, "-q"
        )
        assert done.returncode == 1, done.stderr

    def test_no_scheduler(self, folder):
        done = tcpao(
            "verify", folder / "cut", "-k", folder / "keys.toml", "--scheduler", "tcp://127.0.0.1:1",
            text=True, env={**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"},
        )  # fmt: skip
        assert done.returncode == 2
        assert "tcpao: tcp://127.0.0.1:1: no Dask scheduler" in done.stderr.splitlines()[-1]

    def test_report_and_diagnosis_over_the_result(self, folder):
        rows, keys = folder / "rows", folder / "keys.toml"
        tcpao("verify", folder / "cut", "-k", keys, "--workers", 2, "-o", rows, "-q")
        done = tcpao("diagnose", rows, "-k", keys, "--json", text=True)
        whole = tcpao("diagnose", folder / "cut", "-k", keys, "--json", text=True)
        assert done.returncode == whole.returncode == 1
        assert {
            (one["reason"], one["connection"]["client"]) for one in json.loads(done.stdout)
        } == {(one["reason"], one["connection"]["client"]) for one in json.loads(whole.stdout)}
        done = tcpao("report", rows, "-k", keys, "-o", folder / "r.html", text=True)
        assert done.returncode == 1 and (folder / "r.html").stat().st_size > 10_000

    @pytest.mark.parametrize(
        ("options", "what"),
        [
            (["--workers", "2", "--annotate", "x.pcapng"], "--annotate"),
            (["--workers", "2", "--state", "x"], "--state"),
            (["--workers", "2", "-o", "x.csv"], "a folder"),
            (["--resume"], "--resume"),
            (["--workers", "2", "--scheduler", "tcp://x:1"], "give one of"),
            (["--workers", "2", "-"], "standard input"),
        ],
    )
    def test_mistakes(self, folder, options, what):
        done = tcpao(
            "verify", folder / "cut", "-k", folder / "keys.toml", *options, text=True, cwd=folder
        )
        assert done.returncode == 2 and what in done.stderr, done.stderr


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize("size", ["40k", "120k"])
def test_a_full_disk(client, tmp_path, size):
    """Said of the folder; what is there under its name is whole."""
    keys, packets = traffic(5)
    paths = cut(pcap(tmp_path / "whole.pcap", packets), tmp_path / "cut", 30)
    source = KeySource((str(write_keys(tmp_path / "keys.toml", keys)),))
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
    if subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.raises(ao.CaptureError, match=f"{disk}.*No space left"):
            verify_distributed(
                [str(one) for one in paths], source, output=str(disk / "rows"), client=client,
                bytes_at_once=1,
            )  # fmt: skip
        for one in (disk / "rows").glob("*.parquet"):
            parquet.read_table(one)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_urls(client, tmp_path):
    """Captures, and where rows go, through fsspec."""
    keys, packets = traffic(6, sessions=4, length=30)
    paths = cut(pcap(tmp_path / "whole.pcap", packets), tmp_path / "cut", 6)
    key_file = write_keys(tmp_path / "keys.toml", keys)
    report = verify_distributed(
        [one.as_uri() for one in paths], KeySource((str(key_file),)),
        output=(tmp_path / "out").as_uri(), client=client,
    )  # fmt: skip
    assert report.counts == ao.verify_capture(paths, keys).counts
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 6
    with pytest.raises(ao.CaptureError, match="nowhere"):
        verify_distributed(
            [(tmp_path / "nowhere").as_uri()], KeySource((str(key_file),)), client=client
        )


def test_two_runs_beside_each_other(client, tmp_path):
    keys, packets = traffic(8, sessions=4, length=30)
    paths = [str(one) for one in cut(pcap(tmp_path / "w", packets), tmp_path / "cut", 8)]
    source = KeySource((str(write_keys(tmp_path / "keys.toml", keys)),))
    wanted = ao.verify_capture(paths, keys).counts
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(verify_distributed(paths, source, client=client).counts)
        )
        for _ in range(2)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert found == [wanted, wanted]
