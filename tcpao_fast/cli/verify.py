"""``tcpao verify``."""

from __future__ import annotations

import os
from pathlib import PurePath
from typing import Any

import click

from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.capture.rows import COLUMNS
from tcpao_fast.capture.select import SELECTABLE
from tcpao_fast.cli.common import (
    FILE,
    capture_options,
    captures_argument,
    console,
    files_bar,
    is_strict,
    json_option,
    key_source,
    keys_option,
    print_json,
    progress_bar,
    quiet_option,
    refuse_key_file_as,
    threads_option,
    times_option,
    warn_of_damage,
    with_notes,
)
from tcpao_fast.errors import CaptureError
from tcpao_fast.jobs.verify import MOST_SEARCHED, verify_capture
from tcpao_fast.keys import KeyChain
from tcpao_fast.report.results import CaptureReport, Interrupted
from tcpao_fast.report.text import print_capture

SHOWN_CONNECTIONS = 50
_ROWS = (".csv", ".tsv", ".jsonl")


@click.command("verify", short_help="Verify the segments of captures.")
@captures_argument
@keys_option
@json_option
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=FILE,
    help="One row per segment: .jsonl .csv .tsv .parquet.",
)
@click.option(
    "-e",
    "--field",
    "fields",
    metavar="FIELD",
    type=click.Choice(list(COLUMNS)),
    multiple=True,
    help="Column for -o, or to print; may be repeated.",
)
@click.option(
    "--annotate",
    metavar="OUT.pcapng",
    type=FILE,
    help="Write all packets, verdicts as comments.",
)
@click.option(
    "-w",
    "--write",
    metavar="OUT",
    type=FILE,
    help="Write the packets that are not good, or are selected.",
)
@click.option(
    "--select",
    metavar="VERDICT",
    type=click.Choice(list(SELECTABLE)),
    multiple=True,
    help="For -o and -w: a verdict, bad, undecided, not-good or all.",
)
@click.option(
    "--connection",
    "connections",
    metavar="END[,END]",
    multiple=True,
    help="For -o and -w: ADDRESS or ADDRESS:PORT.",
)
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Load and save connection state.",
)
@capture_options
@click.option(
    "--search-isn",
    metavar="N",
    type=click.IntRange(0, MOST_SEARCHED),
    help="Search missing ISNs N bytes back.",
)
@click.option(
    "--max-connections",
    metavar="N",
    type=int,
    help="Most verified connections to remember.",
)
@click.option(
    "--workers",
    metavar="N",
    type=click.IntRange(1, 1024),
    help="Verify by N processes; -o is a folder then.",
)
@click.option("--scheduler", metavar="ADDRESS", help="Verify on a running Dask cluster.")
@click.option("--resume", is_flag=True, help="Go on where a run with this -o was stopped.")
@click.option("--all", "show_all", is_flag=True, help="Show every connection.")
@times_option
@threads_option
@quiet_option
def verify_command(
    captures: tuple[str, ...],
    chain: KeyChain,
    as_json: bool,
    output: str | None,
    annotate: str | None,
    write: str | None,
    select: tuple[str, ...],
    connections: tuple[str, ...],
    state: str | None,
    fields: tuple[str, ...],
    packet_filter: str | None,
    isns: tuple[str, ...],
    search_isn: int | None,
    max_connections: int | None,
    workers: int | None,
    scheduler: str | None,
    resume: bool,
    show_all: bool,
    times: str,
    threads: int,
    quiet: bool,
) -> None:
    """Verify the TCP-AO and TCP-MD5 segments of captures.

    CAPTURE: pcap or pcapng, also compressed; "-"; a directory; a pattern; @FILE with a name a
    line. Several are one stream.

    \b
    Exit status:
      0  everything signed is good
      1  bad_mac, key_not_found, ao_required, malformed, md5_bad or md5_required
      2  wrong usage, an unreadable file or a bad key file
      3  nothing is bad, but something could not be decided, or nothing was signed
      4  nothing is bad, but a capture is damaged or unreadable
    """
    if fields and output is None:
        output = STANDARD_STREAM
    outputs = (output, annotate, write)
    if outputs.count(STANDARD_STREAM) > 1:
        raise click.UsageError("only one output can be standard output")
    if (select or connections) and output is None and write is None:
        raise click.UsageError("--select and --connection are for --output and --write")
    damage: CaptureError | Interrupted | None = None
    refuse_key_file_as(*outputs, state)
    if workers is not None or scheduler is not None:
        _refuse(
            "--workers and --scheduler",
            {"--annotate": annotate, "--write": write, "--state": state, "--isn": isns,
             "--search-isn": search_isn is not None, "--strict": is_strict(),
             "standard input": STANDARD_STREAM in captures},
        )  # fmt: skip
        if workers is not None and scheduler is not None:
            raise click.UsageError("give one of --workers and --scheduler")
        report = _by_processes(
            captures, output, workers, scheduler, resume,
            fields=fields or None, select=select, connections=connections,
            packet_filter=packet_filter, max_connections=max_connections,
        )  # fmt: skip
        _show(report, chain, as_json, show_all, quiet, times, ended=False)
        raise SystemExit(report.exit_status)
    if resume:
        raise click.UsageError("--resume is for --workers and --scheduler")
    try:
        with progress_bar() as progress:
            report = verify_capture(
                captures,
                chain,
                threads=threads,
                progress=progress,
                output=output,
                annotate=annotate,
                state=state,
                fields=fields or None,
                packet_filter=packet_filter,
                strict=is_strict(),
                isns=isns,
                search_isn=search_isn,
                max_connections=max_connections,
                select=select,
                connections=connections,
                write=write,
            )
    except (CaptureError, Interrupted) as error:
        if error.report is None:
            raise
        damage = error
        report = error.report
    quiet = quiet or STANDARD_STREAM in outputs
    _show(report, chain, as_json, show_all, quiet, times, ended=damage is not None)
    if damage is not None:
        raise damage
    raise SystemExit(report.exit_status)


def _refuse(what: str, options: dict[str, object]) -> None:
    for name, value in options.items():
        if value:
            raise click.UsageError(f"{what} do not go with {name}")


def _by_processes(
    captures: tuple[str, ...],
    output: str | None,
    workers: int | None,
    scheduler: str | None,
    resume: bool,
    **options: Any,
) -> CaptureReport:
    """Verify by many processes, on this machine or a cluster."""
    from tcpao_fast.distributed import verify_distributed
    from tcpao_fast.distributed.store import is_url

    if output is not None and (output == STANDARD_STREAM or PurePath(output).suffix in _ROWS):
        raise click.UsageError(f"{output}: rows go to a folder, a Parquet file a capture")
    if resume and output is None:
        raise click.UsageError("--resume needs the -o of the run that was stopped")
    if scheduler is not None:  # workers are elsewhere
        captures = tuple(
            one if is_url(one) else os.path.abspath(one)  # noqa: PTH100
            for one in captures
        )
    with files_bar() as progress:
        return verify_distributed(
            captures, key_source(), output=output, workers=workers, scheduler=scheduler,
            resume=resume, progress=progress, **options,
        )  # fmt: skip


def _show(
    report: CaptureReport,
    chain: KeyChain,
    as_json: bool,
    show_all: bool,
    quiet: bool,
    times: str,
    *,
    ended: bool,
) -> None:
    for warning in report.warnings:
        click.echo(f"tcpao: warning: {warning}", err=True)
    if not ended:
        warn_of_damage(report.damage, report.damaged)
    if quiet:
        return
    if as_json:
        print_json(with_notes(report.as_dict(), chain))
    elif report.records:
        print_capture(console(), report, None if show_all else SHOWN_CONNECTIONS, times)
