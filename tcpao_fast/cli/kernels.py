"""``tcpao kernels``."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import console, json_option, print_json
from tcpao_fast.core.mac.mac import active_kernels, kernel_timings, kernels
from tcpao_fast.report.text import print_kernels


@click.command("kernels", short_help="Show the MAC kernels of this CPU, and which is in use why.")
@json_option
def kernels_command(as_json: bool) -> None:
    """Show the MAC kernels that this CPU can run, quickest first, the one in use marked with *.

    They are timed when the package is imported, which takes 1 to 2 ms. The environment variable
    TCPAO_FAST_KERNELS chooses one by name wherever there is one of that name, and nothing is timed;
    "portable" is always there.
    """
    found = kernels()  # first: it says what is wrong with TCPAO_FAST_KERNELS
    timings = kernel_timings()
    if as_json:
        print_json({"kernels": found, "active": active_kernels(), "timings": timings})
    else:
        print_kernels(console(), timings)
