"""Peak memory and time of every command over a capture of 10 MB and one of 1 GB.

    python bench/memory.py [--large BYTES]

The captures are those of tests/captures, their packets over and over. The commands run as child
processes; memory is what the kernel says was resident at most.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CAPTURES = Path(__file__).parent.parent / "tests" / "captures"
SMALL, LARGE = 10_000_000, 1_000_000_000
COMMANDS = {
    "verify": ["verify", "{good}", "-k", "{good_keys}"],
    "verify --threads 2": ["verify", "{good}", "-k", "{good_keys}", "--threads", "2"],
    "verify -o rows.csv": ["verify", "{good}", "-k", "{good_keys}", "-o", "{out}.csv"],
    "verify -o rows.parquet": ["verify", "{good}", "-k", "{good_keys}", "-o", "{out}.parquet"],
    "verify --annotate": ["verify", "{good}", "-k", "{good_keys}", "--annotate", "{out}.pcapng"],
    "verify --state": ["verify", "{good}", "-k", "{good_keys}", "--state", "{out}.json"],
    "verify --filter tcp": ["verify", "{good}", "-k", "{good_keys}", "--filter", "tcp"],
    "verify (bad segments)": ["verify", "{bad}", "-k", "{bad_keys}"],
    "diagnose (bad segments)": ["diagnose", "{bad}", "-k", "{bad_keys}"],
    "report (bad segments)": ["report", "{bad}", "-k", "{bad_keys}", "-o", "{out}.html"],
    "sign": ["sign", "{good}", "{out}.pcap", "-k", "{good_keys}"],
    "strip": ["strip", "{good}", "{out}.pcap"],
}


def repeated(name, size, path):
    data = (CAPTURES / f"{name}.pcap").read_bytes()
    with path.open("wb") as file:
        file.write(data[:24])
        for _ in range(-(-size // (len(data) - 24))):
            file.write(data[24:])


def peak(arguments):
    """Megabytes and seconds of a run of ``tcpao``."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-c", "from tcpao_fast.cli import main; main()", *arguments, "-q"]
    )
    _, status, usage = os.wait4(child.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, 1, 3):
        raise SystemExit(f"{' '.join(arguments)}: exit status {code}")
    child.returncode = code
    return usage.ru_maxrss / 1024, time.perf_counter() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", type=int, default=LARGE)
    large = parser.parse_args().large
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = {}
        for size in (SMALL, large):
            repeated("wrap-v4-sha1", size, folder / "good.pcap")
            repeated("bad-and-unsigned", size, folder / "bad.pcap")
            places = {
                "good": folder / "good.pcap", "good_keys": CAPTURES / "wrap-v4-sha1.toml",
                "bad": folder / "bad.pcap", "bad_keys": CAPTURES / "bad-and-unsigned.toml",
                "out": folder / "out",
            }  # fmt: skip
            for command, words in COMMANDS.items():
                found[command, size] = peak([word.format(**places) for word in words])
                for path in folder.glob("out*"):
                    path.unlink()
        print(f"| command | {SMALL / 1e6:.0f} MB | {large / 1e6:.0f} MB | grows by | seconds |")
        print("|---|---|---|---|---|")
        for command in COMMANDS:
            (small, _), (big, seconds) = found[command, SMALL], found[command, large]
            print(f"| `tcpao {command}` | {small:.0f} | {big:.0f} | {big - small:+.0f} |"
                  f" {seconds:.1f} |")  # fmt: skip


if __name__ == "__main__":
    main()
