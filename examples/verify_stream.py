"""Verify a capture batch by batch, as a pipeline does, and print each bad segment.

Usage: python verify_stream.py CAPTURE KEYS
"""

import sys

import numpy as np

import tcpao_fast as ao
from tcpao_fast import Verdict

engine = ao.Engine(ao.load_keys(sys.argv[2]))
with ao.CaptureReader(sys.argv[1]) as capture:
    for records in capture:
        result = engine.verify(records, final=False)
        for row in np.flatnonzero(np.isin(result.verdict, [Verdict.bad_mac, Verdict.ao_required])):
            segment = result.segments[row]
            print(
                f"#{records.numbers[row]} {Verdict(result.verdict[row]).name} "
                f"port {segment['source_port']} to {segment['destination_port']}"
            )
engine.flush()
print({name: count for name, count in engine.counts.items() if count})
