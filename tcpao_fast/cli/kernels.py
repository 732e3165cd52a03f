"""``tcpao kernels``."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import json_option, print_json
from tcpao_fast.core.mac import active_kernels, kernels


@click.command("kernels", short_help="Show the MAC kernels of this CPU.")
@json_option
def kernels_command(as_json: bool) -> None:
    """Show the MAC kernels that this CPU can run, the one in use marked with *.

    The environment variable TCPAO_FAST_KERNELS chooses one by name wherever there is one of that
    name; "portable" is always there.
    """
    active = active_kernels()
    if as_json:
        print_json({"kernels": kernels(), "active": active})
        return
    for algorithm, names in kernels().items():
        marked = [f"{name}*" if name == active[algorithm] else name for name in names]
        click.echo(f"{algorithm:14} {' '.join(marked)}")
