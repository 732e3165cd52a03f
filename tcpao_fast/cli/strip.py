"""``tcpao strip``."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import (
    FILE,
    is_strict,
    json_option,
    progress_bar,
    quiet_option,
    show_rewrite,
    strict_option,
)
from tcpao_fast.jobs.rewrite import strip_capture


@click.command("strip", short_help="Remove TCP-AO and TCP-MD5 options.")
@click.argument("source", metavar="IN", type=FILE)
@click.argument("target", metavar="OUT", type=FILE)
@json_option
@strict_option
@quiet_option
def strip_command(source: str, target: str, as_json: bool, quiet: bool) -> None:
    """Remove the TCP-AO and TCP-MD5 options from IN, with their padding, and write OUT.

    "-" is standard input or output. OUT is pcapng if IN is (or its name says so), else pcap, and
    appears only once it is complete.

    \b
    Exit status:
      0  every option was removed
      2  wrong usage or an unreadable file
      3  some segment was left unchanged (see the counts), or none had an option
      4  IN is damaged: OUT has what could be read of it
    """
    with progress_bar() as progress:
        report = strip_capture(source, target, progress=progress, strict=is_strict())
    show_rewrite(report, as_json, quiet)
    raise SystemExit(report.exit_status)
