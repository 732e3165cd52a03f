"""``tcpao merge``."""

from __future__ import annotations

import json

import click

from tcpao_fast.capture.output import OutputFile, require_distinct
from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.cli.common import FILE
from tcpao_fast.jobs.merge import exit_status_of_merged, merge_files


@click.command("merge", short_help="Merge reports or states of several runs.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=FILE)
@click.option("-o", "--output", metavar="OUT", type=FILE, default=STANDARD_STREAM,
              help="Where to write it; standard output.")  # fmt: skip
def merge_command(files: tuple[str, ...], output: str) -> None:
    """Merge reports (verify --json), or states (--state), of several runs.

    Give them in the order of their captures. Counts are added up, and connections are joined by
    their addresses, ports and VLAN. Of a connection that several states have, the later one says
    which handshake is in use.

    \b
    Exit status: of reports, as for verify; of states:
      0  they were merged
      2  a file cannot be read or is neither
    """
    require_distinct([output], files)
    merged = merge_files(files)
    file = OutputFile(output)
    try:
        file.put(json.dumps(merged, indent=2).encode() + b"\n")
        file.commit()
    finally:
        file.discard()
    raise SystemExit(exit_status_of_merged(merged))
