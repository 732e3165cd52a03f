"""Count the authentication options in a capture: python run.py CAPTURE."""

import sys

from count_options import count_options

from tcpao_fast import CaptureReader

total = [0, 0, 0]
with CaptureReader(sys.argv[1]) as capture:
    for records in capture:
        total = [a + b for a, b in zip(total, count_options(records), strict=True)]
print("TCP-AO {}, TCP-MD5 {}, neither {}".format(*total))
