"""Thousands of small files: in seconds, and in no more memory than a few."""

import json
import subprocess
import sys

from samples import CAPTURES

WRAP = CAPTURES / "wrap-v4-sha1.pcap"


def test_ten_thousand_files(tmp_path):
    data, records, at = WRAP.read_bytes(), [], 24
    while at < len(data):
        size = int.from_bytes(data[at + 8 : at + 12], "little")
        records.append(data[at : at + 16 + size])
        at += 16 + size
    folder = tmp_path / "captures"
    folder.mkdir()
    for number in range(10_000):
        some = records[number * 3 % 500 : number * 3 % 500 + 3]
        (folder / f"{number:05}.pcap").write_bytes(data[:24] + b"".join(some))
    code = (
        "import resource, sys\nfrom tcpao_fast.cli import main\n"
        "try: main()\n"
        "except SystemExit as end:\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "    print(end.code, used, file=sys.stderr)"
    )
    peaks = []
    for captures in ([folder / f"{number:05}.pcap" for number in range(20)], [folder]):
        done = subprocess.run(
            [sys.executable, "-c", code, "verify", *captures, "-k", WRAP.with_suffix(".toml"),
             "--json"], capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        found = json.loads(done.stdout)
        status, peak = done.stderr.split()[-2:]
        assert status == "0" and found["verdicts"]["good"] == found["segments"]
        peaks.append(int(peak) / 1024)
    assert found["segments"] == 30_000 and len(found["captures"]) == 10_000
    assert peaks[1] - peaks[0] < 40, peaks  # MB
