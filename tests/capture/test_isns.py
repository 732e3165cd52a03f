"""Connections joined in the middle: ISNs from elsewhere, and ISNs found by trying."""

import json

import numpy as np
import pytest
import wire
from click.testing import CliRunner
from wire import ACK, PSH, pcap

import tcpao_fast as ao
from tcpao_fast.capture.isns import read_isns
from tcpao_fast.cli.app import tcpao
from tcpao_fast.core.batch.one import ParsedSegment
from tcpao_fast.engine import candidates
from tcpao_fast.engine.candidates import search_isns

ENDS = "10.0.0.1:40000,10.0.0.2:179"


def middle(key, sent=300, received=190, isns=(1000, 5000), count=4):
    """Segments of a connection that was a little old when the capture began."""
    a, b = wire.pair(key, isns=isns)
    wire.handshake(a, b)
    a.position += sent
    b.position += received
    packets = []
    for _ in range(count):
        packets += [a.send(PSH | ACK, b"x" * 19), b.send(PSH | ACK, b"y" * 19)]
    return packets


class TestStated:
    def test_without(self, tmp_path, key):
        report = ao.verify_capture(pcap(tmp_path / "x.pcap", middle(key)), [key])
        assert report.counts["missing_isn"] == 8 and report.exit_status == 3

    @pytest.mark.parametrize(
        "isns",
        [
            f"{ENDS},1000,5000",
            f"{ENDS},0x3e8,0x1388,0,0",
            "10.0.0.2:179,10.0.0.1:40000,5000,1000",
            {"local": "10.0.0.1:40000", "remote": "10.0.0.2:179", "snt_isn": 1000, "rcv_isn": 5000},
        ],
    )
    def test_with(self, tmp_path, key, isns):
        report = ao.verify_capture(pcap(tmp_path / "x.pcap", middle(key)), [key], isns=isns)
        assert report.counts["good"] == 8

    def test_what_a_connection_dumps(self, tmp_path, key):
        """A `RepairState` in a JSON file, as a TCP_AO_REPAIR tool would write it."""
        state = ao.RepairState(1000, 5000, snd_una=1301, rcv_nxt=5191)
        entry = {"local": "10.0.0.1:40000", "remote": "10.0.0.2:179"}
        entry |= {name: getattr(state, name) for name in state.__dataclass_fields__}
        (tmp_path / "isns.json").write_text(json.dumps([entry]))
        report = ao.verify_capture(
            pcap(tmp_path / "x.pcap", middle(key)), [key], isns=tmp_path / "isns.json"
        )
        assert report.counts["good"] == 8

    def test_sne_and_the_wrap_behind_it(self, tmp_path, key):
        """The SNE holds for the first segments, wherever their SEQ is; then it is counted."""
        packets = middle(key, sent=2 * 2**32 + 2**32 - 1030, count=8)
        path = pcap(tmp_path / "x.pcap", packets)
        report = ao.verify_capture(path, [key], isns=f"{ENDS},1000,5000,2,0")
        assert report.counts["good"] == 16
        assert report.connections[0].sne == {"client": 3, "server": 0}
        assert ao.verify_capture(path, [key], isns=f"{ENDS},1000,5000").counts["good"] < 16

    def test_a_handshake_takes_their_place(self, tmp_path, key):
        a, b = wire.pair(key, isns=(7, 8))
        packets = [*middle(key), *wire.handshake(a, b), a.send(ACK | PSH, b"z")]
        report = ao.verify_capture(
            pcap(tmp_path / "x.pcap", packets), [key], isns=f"{ENDS},1000,5000"
        )
        assert report.counts["good"] == 12

    def test_ipv6(self, key):
        (one,) = read_isns("[fd00::1]:1,[fd00::2]:2,3,4")
        assert one.client == ("fd00::1", 1) and one.live.server.isn == 4

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (f"{ENDS},1000", "3 parts"),
            (f"{ENDS},1000,2+9", r"rcv_isn is '2\+9'"),
            (f"{ENDS},1000,4294967296", "0 to 4294967295"),
            (f"{ENDS},1000,5000,-1,0", "snd_sne is '-1'"),
            ("10.0.0.1,10.0.0.2:179,1,2", "ADDRESS:PORT"),
            ("fd00::1:4,10.0.0.2:179,1,2", r"\[ADDRESS\]:PORT"),
            ("10.0.0.1:70000,10.0.0.2:179,1,2", "ADDRESS:PORT"),
            ("[fd00::1]:1,10.0.0.2:179,1,2", "two IP versions"),
            ("/no/such/file", "No such file"),
        ],
    )
    def test_mistakes(self, tmp_path, key, text, said):
        path = pcap(tmp_path / "x.pcap", middle(key))
        with pytest.raises(ao.StateError, match=said):
            ao.verify_capture(path, [key], isns=text)

    @pytest.mark.parametrize(
        ("entry", "said"),
        [
            ("{", "is not JSON"),
            ("[1]", "entry 1: must be an object"),
            ('{"local": "10.0.0.1:1"}', "lacks remote, snt_isn, rcv_isn"),
            (
                '{"local": "10.0.0.1:1", "remote": "10.0.0.2:2", "snt_isn": 1, "rcv_isn": true}',
                "rcv_isn is True",
            ),
            (
                '{"local": "10.0.0.1:1", "remote": "10.0.0.2:2", "snt_isn": 1, "rcv_isn": 2,'
                ' "sne": 1}',
                "unknown 'sne'",
            ),
        ],
    )
    def test_mistakes_in_files(self, tmp_path, entry, said):
        path = tmp_path / "isns.json"
        path.write_text(entry)
        with pytest.raises(ao.StateError, match=said) as caught:
            read_isns(path)
        assert str(path) in str(caught.value)


class TestSearched:
    def test_found(self, tmp_path, key):
        path = pcap(tmp_path / "x.pcap", middle(key))
        report = ao.verify_capture(path, [key], search_isn=400)
        assert report.counts["good"] == 8
        (one,) = report.search.found
        assert one.isns == (1000, 5000) and 0 < one.tried <= 401**2
        assert report.as_dict()["search"]["tried"] == one.tried

    def test_the_nearest_first(self, tmp_path, key):
        path = pcap(tmp_path / "x.pcap", middle(key, 3, 2))
        assert ao.verify_capture(path, [key], search_isn=1000).search.tried <= 25

    def test_not_found(self, tmp_path, key):
        path = pcap(tmp_path / "x.pcap", middle(key))
        report = ao.verify_capture(path, [key], search_isn=200)
        assert report.search.found[0].isns is None and report.search.tried == 201**2
        assert report.counts["missing_isn"] == 8

    @pytest.mark.parametrize("isns", [(2**32 - 100, 5000), (1000, 2**32 - 50)])
    def test_over_a_wrap(self, tmp_path, key, isns):
        path = pcap(tmp_path / "x.pcap", middle(key, isns=isns))
        report = ao.verify_capture(path, [key], search_isn=300)
        assert report.counts["good"] == 8 and report.search.found[0].isns == isns

    def test_one_direction_alone(self, tmp_path, key):
        path = pcap(tmp_path / "x.pcap", middle(key)[::2])
        assert ao.verify_capture(path, [key], search_isn=400).counts["good"] == 4

    def test_short_macs_need_more_than_one(self, tmp_path, key):
        """A MAC of two bytes fits by chance once in 65,536 tries."""
        from dataclasses import replace

        short = replace(key, mac_length=2)
        report = ao.verify_capture(
            pcap(tmp_path / "x.pcap", middle(short)), [short], search_isn=400
        )
        assert report.search.found[0].isns == (1000, 5000) and report.counts["good"] == 8

    @pytest.mark.parametrize("algorithm", ["aes-128-cmac-96", "hmac(sha256)", "hmac-sha256-128"])
    def test_every_algorithm(self, tmp_path, algorithm):
        key = ao.MasterKey(
            algorithm=algorithm, secret=b"secret", send_id=1, recv_id=2, exclude_options=True,
            local="10.0.0.1", remote="10.0.0.2",
        )  # fmt: skip
        path = pcap(tmp_path / "x.pcap", middle(key, 30, 20))
        assert ao.verify_capture(path, [key], search_isn=40).counts["good"] == 8

    def test_real_traffic(self, tmp_path, named_capture):
        """A Linux kernel's connection without its first four packets: 1,444 bytes one way."""
        capture = named_capture("v4-sha1")
        data, offsets, lengths = capture.records
        kept = [data[o : o + n] for o, n in zip(offsets[4:24], lengths[4:24], strict=True)]
        path = pcap(tmp_path / "x.pcap", kept, capture.linktype)
        report = ao.verify_capture(path, capture.keys, search_isn=1500)
        assert report.counts["good"] == 20, report.search

    def test_many_connections_and_a_stranger(self, tmp_path, key):
        packets = middle(key)
        other = wire.pair(key, client=("10.0.0.1", 41000), isns=(1, 2))
        wire.handshake(*other)
        other[0].position += 90
        packets += [other[0].send(ACK, b"q"), other[0].send(ACK, b"r")]
        report = ao.verify_capture(pcap(tmp_path / "x.pcap", packets), [key], search_isn=320)
        assert len(report.search.found) == 2 and report.counts["good"] == 10

    @pytest.mark.parametrize("reach", [0, 1, 254, 255, 256, 300, 700])
    def test_every_pair_once(self, reach):
        found = np.concatenate([np.stack(pair, axis=1) for pair in candidates._pairs(reach)])
        assert len(found) == (reach + 1) ** 2 == len(np.unique(found, axis=0))
        assert found.min() == 0 and found.max() == reach

    @pytest.mark.parametrize("talker", [0, 1])
    def test_where_one_side_does_the_talking(self, tmp_path, key, talker):
        """A download: 90,000 bytes one way, a short request the other."""
        sent = (90_000, 20) if talker == 0 else (20, 90_000)
        path = pcap(tmp_path / "x.pcap", middle(key, *sent))
        report = ao.verify_capture(path, [key], search_isn=100_000)
        assert report.counts["good"] == 8 and report.search.tried < 7_000_000

    def test_standard_input_cannot_be_read_twice(self, key):
        with pytest.raises(ao.InvalidArgumentError, match="not standard input"):
            ao.verify_capture("-", [key], search_isn=3)

    def test_negative(self, key):
        segment = ParsedSegment(middle(key)[0])
        with pytest.raises(ao.InvalidArgumentError, match="reach"):
            search_isns(
                segment, key.algorithm, key.secret,
                source_position=1, destination_position=1, reach=-1,
            )  # fmt: skip

    def test_command_line_says_how_many(self, tmp_path, key):
        keys = tmp_path / "keys.toml"
        keys.write_text(
            '[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "secret"\nsend_id = 100\n'
            'recv_id = 200\nlocal = "10.0.0.1"\nremote = "10.0.0.2"\n'
        )
        path = pcap(tmp_path / "x.pcap", middle(key))
        run = CliRunner().invoke(
            tcpao, ["verify", str(path), "-k", str(keys), "--search-isn", "400"]
        )
        assert run.exit_code == 0, run.output
        assert "pairs in" in run.stdout and "1000 and 5000, after" in run.stdout
        run = CliRunner().invoke(
            tcpao, ["verify", str(path), "-k", str(keys), "--isn", f"{ENDS},1000,5000", "--json"]
        )
        assert json.loads(run.stdout)["verdicts"]["good"] == 8
