"""``tcpao kernels``."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import console, json_option, print_json
from tcpao_fast.core.mac.mac import active_kernels, kernel_timings, kernels
from tcpao_fast.report.text import print_kernels


@click.command("kernels", short_help="List the MAC kernels for this CPU.")
@json_option
def kernels_command(as_json: bool) -> None:
    """List the MAC kernels that this CPU can run, fastest first; * marks the one in use.

    They are timed when the package is first used, which takes 1 to 2 ms. The environment variable
    TCPAO_FAST_KERNELS selects kernels by name instead; "portable" is always available.
    """
    found = kernels()  # first: it says what is wrong with TCPAO_FAST_KERNELS
    timings = kernel_timings()
    if as_json:
        print_json({"kernels": found, "active": active_kernels(), "timings": timings})
    else:
        print_kernels(console(), timings)
