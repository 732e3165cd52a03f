"""``tcpao build-library``."""

from __future__ import annotations

import click

from tcpao_fast.capi.build import build_library


@click.command("build-library", short_help="Build the C library for programs without Python.")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False))
def build_library_command(folder: str) -> None:
    """Build libtcpao_fast, its header and its pkg-config file in DIR.

    C programs link it and call tcpao_start(). A Python interpreter, this one, runs behind it;
    packets do not pass through it. A C compiler and Python's headers are needed.
    """
    for path in build_library(folder):
        click.echo(path)
