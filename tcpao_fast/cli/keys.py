"""``tcpao keys``: check and show key files."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import KeysParameter, console, json_option, print_json
from tcpao_fast.keys import KeyChain
from tcpao_fast.report.text import key_row, print_keys


@click.group("keys", short_help="Check or show a key file.")
def keys_group() -> None:
    """Check or show a key file. Secrets are never printed."""


@keys_group.command("check")
@click.argument("chain", metavar="KEYS", type=KeysParameter())
def check_command(chain: KeyChain) -> None:
    """Read KEYS and say every mistake in it: exit status 2 if there is one, else 0."""
    click.echo(f"{len(chain)} key{'s' if len(chain) != 1 else ''}, no mistakes")


@keys_group.command("show")
@click.argument("chain", metavar="KEYS", type=KeysParameter())
@json_option
def show_command(chain: KeyChain, as_json: bool) -> None:
    """Show the keys of KEYS without their secrets."""
    if as_json:
        print_json({"keys": [key_row(key) for key in chain]})
    else:
        print_keys(console(), chain)
