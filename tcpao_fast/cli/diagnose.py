"""``tcpao diagnose``."""

from __future__ import annotations

import json

import click

from tcpao_fast.cli.common import (
    FILE,
    capture_options,
    console,
    json_option,
    keys_option,
    progress_bar,
    quiet_option,
    threads_option,
)
from tcpao_fast.jobs.diagnose import diagnose_capture
from tcpao_fast.keys import KeyChain
from tcpao_fast.report.text import print_diagnosis

SHOWN_FINDINGS = 20


@click.command("diagnose", short_help="Explain why segments do not verify.")
@click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True, type=FILE)
@keys_option
@json_option
@click.option("--all", "show_all", is_flag=True, help="Show every finding.")
@capture_options
@threads_option
@quiet_option
def diagnose_command(
    captures: tuple[str, ...],
    chain: KeyChain,
    as_json: bool,
    show_all: bool,
    packet_filter: str | None,
    isns: tuple[str, ...],
    threads: int,
    quiet: bool,
) -> None:
    """Explain why segments do not verify, by trying what could be wrong.

    For every connection with segments that are not good, a few segments are tried with other
    secrets, algorithms, KeyIDs, options coverage, ISNs, SNEs, addresses and options. --json prints
    a list of findings, worst first.

    \b
    Exit status:
      0  no findings: everything signed is good
      1  at least one finding
      2  wrong usage, an unreadable file or a bad key file
      3  nothing is bad, but something could not be decided, or nothing was signed
    """
    with progress_bar() as progress:
        diagnosis = diagnose_capture(
            captures,
            chain,
            threads=threads,
            progress=progress,
            packet_filter=packet_filter,
            isns=isns,
        )
    if as_json and not quiet:
        click.echo(json.dumps(diagnosis.as_list(), indent=2))
    elif not quiet:
        print_diagnosis(console(), diagnosis, None if show_all else SHOWN_FINDINGS)
    raise SystemExit(diagnosis.exit_status)
