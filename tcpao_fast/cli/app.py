"""The ``tcpao`` command: its subcommands, and how errors end it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from tcpao_fast.errors import TcpAoError
from tcpao_fast.version import __version__

INTERRUPTED = 130


class ReaderGoneError(BaseException):
    """Whoever reads our output has closed it (click would make status 1 of that)."""


@contextmanager
def _readers_may_go() -> Iterator[None]:
    """Keep a closed pipe from click."""
    try:
        yield
    except BrokenPipeError:
        raise ReaderGoneError from None


#: Where each subcommand is, and its line in ``tcpao --help``, which imports none of them.
COMMANDS = {
    "verify": ("verify:verify_command", "Verify the segments of captures."),
    "diagnose": ("diagnose:diagnose_command", "Explain why segments do not verify."),
    "inspect": ("inspect:inspect_command", "Show who signs what, without keys."),
    "report": ("report:report_command", "Write an HTML report on captures."),
    "gateway": ("gateway:gateway_command", "TCP-AO for a host whose kernel has none."),
    "sign": ("sign:sign_command", "Sign an unsigned capture."),
    "watch": ("watch:watch_command", "Verify live traffic."),
    "strip": ("strip:strip_command", "Remove TCP-AO and TCP-MD5 options."),
    "merge": ("merge:merge_command", "Merge reports or states of several runs."),
    "keys": ("keys:keys_group", "Check, show, compare or convert key files."),
    "kernels": (
        "kernels:kernels_command",
        "List the MAC kernels for this CPU.",
    ),
    "build-library": (
        "build_library:build_library_command",
        "Build the C library for programs without Python.",
    ),
    "completion": (
        "completion:completion_command",
        "Print a shell completion script.",
    ),
}


class Tcpao(click.Group):
    """Imports a subcommand when it is run, and turns this package's errors into lines on standard
    error and exit status 2.
    """

    @property
    def commands(self) -> dict[str, click.Command]:
        """All subcommands, imported: for whoever wants them all, such as click-man."""
        found = {name: self.get_command(None, name) for name in COMMANDS}
        return {name: command for name, command in found.items() if command is not None}

    @commands.setter
    def commands(self, commands: object) -> None:
        """Click sets an empty one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The subcommands, sorted."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context | None, name: str) -> click.Command | None:
        """A subcommand, imported."""
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name][0].split(":")
        command: click.Command = getattr(import_module(f"tcpao_fast.cli.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands in ``--help``."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in sorted(COMMANDS)])

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line; ``--help`` and ``--version`` print here."""
        with _readers_may_go():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand."""
        with _readers_may_go():
            try:
                return super().invoke(ctx)
            except TcpAoError as error:
                for line in str(error).splitlines():
                    click.echo(f"tcpao: {line}", err=True)
                sys.exit(2)
            except KeyboardInterrupt:
                click.echo("tcpao: interrupted", err=True)
                sys.exit(INTERRUPTED)


@click.group(cls=Tcpao, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tcpao")
def tcpao() -> None:
    """Verify and sign TCP-AO (RFC 5925) and TCP-MD5 segments in captures.

    \b
    Exit status of verify:
      0  everything signed is good
      1  bad_mac, key_not_found, ao_required, malformed, md5_bad or md5_required
      2  wrong usage, an unreadable file or a bad key file
      3  nothing is bad, but something could not be decided, or nothing was signed
      4  nothing is bad, but a capture is damaged or unreadable
    130  interrupted (Ctrl-C); what was found before is printed
    """
