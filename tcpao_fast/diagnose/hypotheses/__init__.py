"""Everything that `diagnose` tries: one small function a hypothesis, listed here in order.

A hypothesis takes a case and a statement and yields variants of it (`cases.Variant`); whether one
gives the segment's MAC is not its business. To add one: write the function, and put it into a list
below.
"""

from tcpao_fast.diagnose.cases import Hypothesis
from tcpao_fast.diagnose.hypotheses.address import (
    nat_extension,
    private_address,
    rewritten_address,
    rewritten_port,
    swapped_addresses,
)
from tcpao_fast.diagnose.hypotheses.algorithm import algorithm
from tcpao_fast.diagnose.hypotheses.cmac_key import cmac_key_length
from tcpao_fast.diagnose.hypotheses.header import rewritten_header
from tcpao_fast.diagnose.hypotheses.isn import fast_open, isn
from tcpao_fast.diagnose.hypotheses.offload import merged
from tcpao_fast.diagnose.hypotheses.options import clamped_mss, rewritten_options, trailing_nops
from tcpao_fast.diagnose.hypotheses.options_coverage import options_coverage
from tcpao_fast.diagnose.hypotheses.secret import secret_encoding, typo
from tcpao_fast.diagnose.hypotheses.sne import sne

#: Quick, and alone enough in most cases: the commonest first.
SINGLE: tuple[Hypothesis, ...] = (
    options_coverage,
    algorithm,
    secret_encoding,
    cmac_key_length,
    sne,
    isn,
    trailing_nops,
    rewritten_address,
    swapped_addresses,
    nat_extension,
    rewritten_options,
    merged,
    fast_open,
)
#: Two of these at once, where one alone is not enough.
COMBINED: tuple[Hypothesis, ...] = (
    options_coverage,
    algorithm,
    secret_encoding,
    cmac_key_length,
    sne,
    nat_extension,
    rewritten_address,
)
#: Thousands of tries each, where nothing else fits.
DEEP: tuple[Hypothesis, ...] = (rewritten_header, typo, clamped_mss, rewritten_port)
#: Hundreds of thousands.
WIDE: tuple[Hypothesis, ...] = (private_address,)
