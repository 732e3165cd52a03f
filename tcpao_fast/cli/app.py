"""The ``tcpao`` command: its subcommands, and how errors end it."""

from __future__ import annotations

import sys
from typing import Any

import click

from tcpao_fast.cli.completion import completion_command
from tcpao_fast.cli.diagnose import diagnose_command
from tcpao_fast.cli.kernels import kernels_command
from tcpao_fast.cli.keys import keys_group
from tcpao_fast.cli.report import report_command
from tcpao_fast.cli.sign import sign_command
from tcpao_fast.cli.strip import strip_command
from tcpao_fast.cli.verify import verify_command
from tcpao_fast.errors import TcpAoError
from tcpao_fast.version import __version__

INTERRUPTED = 130


class ReaderGoneError(BaseException):
    """Whoever reads our output has closed it (click would make status 1 of that)."""


class Tcpao(click.Group):
    """Turns this package's errors into lines on standard error and exit status 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        try:
            return super().invoke(ctx)
        except TcpAoError as error:
            for line in str(error).splitlines():
                click.echo(f"tcpao: {line}", err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            click.echo("tcpao: interrupted", err=True)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:
            raise ReaderGoneError from None


@click.group(cls=Tcpao, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tcpao")
def tcpao() -> None:
    """Verify and sign TCP-AO (RFC 5925) and TCP-MD5 segments in captures.

    \b
    Exit status of verify:
      0  everything signed is good
      1  something is bad_mac, key_not_found, ao_required, malformed or md5_bad
      2  wrong usage, an unreadable file or a bad key file
      3  nothing is bad, but something could not be decided, or nothing was signed
    130  interrupted (Ctrl-C); what was found before is printed
    """


for command in (
    verify_command,
    diagnose_command,
    report_command,
    sign_command,
    strip_command,
    keys_group,
    kernels_command,
    completion_command,
):
    tcpao.add_command(command)
