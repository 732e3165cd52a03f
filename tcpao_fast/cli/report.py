"""``tcpao report``."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import (
    FILE,
    capture_options,
    captures_argument,
    is_strict,
    keys_option,
    prepare_of_result,
    progress_bar,
    quiet_option,
    refuse_key_file_as,
    threads_option,
    warn_of_damage,
)
from tcpao_fast.jobs.report import report_capture
from tcpao_fast.keys import KeyChain


@click.command("report", short_help="Write an HTML report on captures.")
@captures_argument
@keys_option
@click.option(
    "-o",
    "--output",
    metavar="REPORT.html",
    required=True,
    type=FILE,
    help="Where to write it; - is standard output.",
)
@capture_options
@threads_option
@quiet_option
def report_command(
    captures: tuple[str, ...],
    chain: KeyChain,
    output: str,
    packet_filter: str | None,
    isns: tuple[str, ...],
    threads: int,
    quiet: bool,
) -> None:
    """Write an HTML report on captures: one self-contained page that works offline.

    It shows a summary, the connections (those with problems first), and for each a timeline: good
    and bad segments, keys in use, requests for another key and when they were honored, SNE changes.

    \b
    Exit status, as for diagnose:
      0  everything signed is good
      1  something is wrong
      2  wrong usage, an unreadable file or a bad key file
      3  nothing is bad, but something could not be decided, or nothing was signed
      4  nothing is bad, but a capture is damaged or unreadable
    """
    refuse_key_file_as(output)
    with progress_bar() as progress:
        diagnosis = report_capture(
            captures,
            chain,
            output,
            threads=threads,
            progress=progress,
            packet_filter=packet_filter,
            strict=is_strict(),
            prepare=prepare_of_result(),
            isns=isns,
        )
    warn_of_damage(diagnosis.report.damage, diagnosis.report.damaged)
    if not quiet:
        connections = len(diagnosis.report.connections)
        click.echo(
            f"{output}: {diagnosis.report.segments} TCP segments, {connections} connections, "
            f"{len(diagnosis.findings)} findings",
            err=True,
        )
    raise SystemExit(diagnosis.exit_status)
