"""Numbers of things in what commands print: one is not several."""

import re

import numpy as np
import pytest
from click.testing import CliRunner
from samples import HERE

import tcpao_fast as ao
from tcpao_fast.cli.app import tcpao
from tcpao_fast.core.wire.pcap_write import pcap_header, pcap_records
from tcpao_fast.text import counted

#: ``1 segments``, ``1 more changes``; not ``10.0.0.1 segments``, ``#1 segments``, ``0 of 1 sides``.
WRONG = re.compile(
    r"(?<![\w.:,/#-])(?<!of )1 (?:(?:signed|more|other|TCP|IP) )*"
    r"(?:segments|connections|changes|pairs|datagrams|times|lines|keys|records|sides)\b"
    r"|(?<![\w.:,/#-])(?<!of )1 [a-z ]*\bsegments? (?:are|were|stand|have)\b|\b1 before have\b"
)


def test_counted():
    assert counted(1, "segment") == "1 segment" and counted(0, "segment") == "0 segments"
    assert counted(1200, "segment") == "1,200 segments"
    assert counted(1, "is", "are") == "1 is" and counted(2, "is", "are") == "2 are"


def few(source, first, count, path):
    """Some packets of a capture as a capture of their own."""
    with ao.CaptureReader(source) as reader:
        records = next(iter(reader))
        frames = [records.data(i) for i in range(len(records))][first : first + count]
        linktype = int(records.linktypes[0])
    lengths = np.array([len(one) for one in frames])
    packed = b"".join(frames), np.cumsum(lengths) - lengths, lengths
    times = np.arange(len(frames))
    path.write_bytes(
        pcap_header(linktype, 65535, False, False)
        + bytes(pcap_records(*packed, lengths, times, False, False))
    )
    return str(path)


@pytest.mark.parametrize("source", sorted(HERE.glob("field/*.pcap")), ids=lambda one: one.stem)
@pytest.mark.parametrize(("first", "count"), [(0, 1), (0, 2), (3, 1)])
def test_few_packets(source, first, count, tmp_path):
    """What commands say of captures of a packet or two, with a key that fits or does not."""
    capture = few(source, first, count, tmp_path / "few.pcap")
    secret = tmp_path / "secrets"
    secret.write_text("only\n")
    for arguments in (
        ["inspect", capture],
        *(
            [command, capture, "-k", str(HERE / "field" / keys), *more]
            for command, *more in (["verify"], ["diagnose", "--try-secret-file", str(secret)])
            for keys in ("ao.toml", "md5.toml")
        ),
    ):
        run = CliRunner().invoke(tcpao, arguments)
        assert run.exit_code in (0, 1, 3), (arguments, run.output)
        assert not WRONG.search(run.output), (arguments, WRONG.search(run.output), run.output)
