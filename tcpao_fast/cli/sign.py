"""``tcpao sign``."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import (
    FILE,
    is_strict,
    json_option,
    keys_option,
    progress_bar,
    quiet_option,
    refuse_key_file_as,
    show_rewrite,
    threads_option,
)
from tcpao_fast.jobs.rewrite import sign_capture
from tcpao_fast.keys import KeyChain


@click.command("sign", short_help="Sign an unsigned capture.")
@click.argument("source", metavar="IN", type=FILE)
@click.argument("target", metavar="OUT", type=FILE)
@keys_option
@click.option(
    "--make-room",
    is_flag=True,
    help="Where a TCP header has no room for the option, drop others as Linux does: SACK blocks; "
    "of a SYN or SYN-ACK the Fast Open cookie, then timestamps where SACK is offered.",
)
@json_option
@threads_option
@quiet_option
def sign_command(
    source: str,
    target: str,
    chain: KeyChain,
    make_room: bool,
    as_json: bool,
    threads: int,
    quiet: bool,
) -> None:
    """Sign the segments of IN that match a key with TCP-AO or TCP-MD5, and write OUT.

    "-" is standard input or output. OUT is pcapng if IN is (or its name says so), else pcap, and
    appears only once it is complete.
    Segments that cannot be signed are copied unchanged and counted by reason.

    \b
    Exit status:
      0  every TCP segment was signed
      2  wrong usage, an unreadable file or a bad key file
      3  some TCP segment was left unchanged, or there was none
      4  IN is damaged: OUT has what could be read of it
    """
    refuse_key_file_as(target)
    with progress_bar() as progress:
        report = sign_capture(
            source,
            target,
            chain,
            threads=threads,
            progress=progress,
            make_room=make_room,
            strict=is_strict(),
        )
    show_rewrite(report, as_json, quiet)
    raise SystemExit(report.exit_status)
