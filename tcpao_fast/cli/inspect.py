"""``tcpao inspect``."""

from __future__ import annotations

import json

import click

from tcpao_fast.cli.common import (
    FILE,
    captures_argument,
    console,
    filter_option,
    is_strict,
    json_option,
    progress_bar,
    quiet_option,
    shown_before_damage,
    strict_option,
    threads_option,
    warn_of_damage,
)
from tcpao_fast.jobs.inspect import inspect_capture
from tcpao_fast.report.inspection import Inspection, print_inspection

SHOWN_CONNECTIONS = 20


@click.command("inspect", short_help="Show who signs what, without keys.")
@captures_argument
@click.option("--keys", metavar="OUT", type=FILE, help="Write a key file to fill in.")
@json_option
@strict_option
@click.option("--all", "show_all", is_flag=True, help="Show every connection.")
@filter_option
@threads_option
@quiet_option
def inspect_command(
    captures: tuple[str, ...],
    keys: str | None,
    as_json: bool,
    show_all: bool,
    packet_filter: str | None,
    threads: int,
    quiet: bool,
) -> None:
    """Show who signs what, and what a key file must contain. No keys are needed.

    For every connection and side: segments with TCP-AO, with TCP-MD5 and with neither, KeyIDs and
    RNextKeyIDs over time, MAC lengths, other options, and SYNs that were retransmitted.

    \b
    Exit status:
      0  something is signed
      2  wrong usage, or an unreadable file
      3  nothing is signed
      4  a capture is damaged or unreadable
    """

    def show(found: Inspection) -> None:
        if as_json and not quiet:
            click.echo(json.dumps(found.as_dict(), indent=2))
        elif not quiet:
            print_inspection(console(), found, None if show_all else SHOWN_CONNECTIONS)

    with shown_before_damage(show), progress_bar() as progress:
        found = inspect_capture(
            captures,
            keys=keys,
            threads=threads,
            progress=progress,
            packet_filter=packet_filter,
            strict=is_strict(),
        )
    warn_of_damage(found.report.damage, found.report.damaged)
    show(found)
    raise SystemExit(found.exit_status)
