"""``tcpao diagnose``."""

from __future__ import annotations

import json
import sys
from typing import BinaryIO

import click

from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.cli.common import (
    FILE,
    KEYS_OPTIONAL,
    capture_options,
    captures_argument,
    console,
    is_strict,
    json_option,
    keys_option,
    prepare_of_result,
    progress_bar,
    quiet_option,
    shown_before_damage,
    threads_option,
    times_option,
    warn_of_damage,
)
from tcpao_fast.jobs.diagnose import diagnose_capture
from tcpao_fast.keys import KeyChain
from tcpao_fast.report.results import Diagnosis
from tcpao_fast.report.text import print_diagnosis

SHOWN_FINDINGS = 20


def _secrets(name: str | None, captures: tuple[str, ...]) -> str | BinaryIO | None:
    if name != STANDARD_STREAM:
        return name
    if STANDARD_STREAM in captures:
        raise click.UsageError("standard input cannot be both a capture and --try-secret-file")
    return sys.stdin.buffer


def _without_keys(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """With candidates no key file is needed."""
    ctx.meta[KEYS_OPTIONAL] = value is not None
    return value


@click.command("diagnose", short_help="Explain why segments do not verify.")
@captures_argument
@click.option(
    "--try-secret-file", "secret_file", metavar="FILE", type=FILE, is_eager=True,
    callback=_without_keys,
    help="Candidates for secrets, one a line.",
)  # fmt: skip
@click.option("--show-secrets", is_flag=True, help="Show the candidate that fits.")
@keys_option
@json_option
@click.option("--all", "show_all", is_flag=True, help="Show every finding.")
@capture_options
@times_option
@threads_option
@quiet_option
def diagnose_command(
    captures: tuple[str, ...],
    secret_file: str | None,
    show_secrets: bool,
    chain: KeyChain,
    as_json: bool,
    show_all: bool,
    packet_filter: str | None,
    isns: tuple[str, ...],
    times: str,
    threads: int,
    quiet: bool,
) -> None:
    """Explain why segments do not verify, by trying what could be wrong.

    A few segments of every connection that is not good are tried with other secrets, algorithms,
    KeyIDs, ISNs, SNEs, addresses and options.

    --try-secret-file tries lines of a file as secrets where no key gives the MACs, with every
    usual algorithm; -k can then be left out.

    \b
    Exit status:
      0  no findings: everything signed is good
      1  at least one finding
      2  wrong usage, an unreadable file or a bad key file
      3  nothing is bad, but something could not be decided, or nothing was signed
      4  nothing is bad, but a capture is damaged or unreadable
    """

    def show(diagnosis: Diagnosis) -> None:
        if as_json and not quiet:
            click.echo(json.dumps(diagnosis.as_list(), indent=2))
        elif not quiet:
            print_diagnosis(console(), diagnosis, None if show_all else SHOWN_FINDINGS, times)

    with shown_before_damage(show), progress_bar() as progress:
        diagnosis = diagnose_capture(
            captures,
            chain,
            threads=threads,
            progress=progress,
            packet_filter=packet_filter,
            strict=is_strict(),
            prepare=prepare_of_result(),
            isns=isns,
            try_secrets=_secrets(secret_file, captures),
            show_secrets=show_secrets,
        )
    warn_of_damage(diagnosis.report.damage, diagnosis.report.damaged)
    show(diagnosis)
    raise SystemExit(diagnosis.exit_status)
