"""``tcpao keys``: check, show and convert key files."""

from __future__ import annotations

import sys

import click

from tcpao_fast.capture.output import OutputFile, require_distinct
from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.cli.common import (
    FILE,
    KEY_FILE,
    KeysParameter,
    console,
    json_option,
    print_json,
    who_can_read,
)
from tcpao_fast.keys import KeyChain
from tcpao_fast.keys.files import FORMATS, convert_keys
from tcpao_fast.keys.lint import Severity, lint
from tcpao_fast.report.text import finding_row, key_row, print_findings, print_keys


@click.group("keys", short_help="Check, show or convert a key file.")
def keys_group() -> None:
    """Check, show or convert a key file. Secrets are never printed on a terminal."""


@keys_group.command("check")
@click.argument("chain", metavar="KEYS", type=KeysParameter())
@json_option
@click.option("--notes", is_flag=True, help="Say also where other systems do it otherwise.")
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
def check_command(chain: KeyChain, as_json: bool, notes: bool, strict: bool) -> None:
    """Read KEYS, say every mistake in it, and what else may not be as it was meant.

    \b
    Exit status:
      0  no mistakes (there may be warnings and notes)
      1  a key that cannot work; with --strict also a warning
      2  a mistake: every one is listed
    """
    findings = lint(chain)
    if as_json:
        print_json({"keys": len(chain), "findings": [finding_row(one, chain) for one in findings]})
    else:
        shown = [one for one in findings if notes or one.severity is not Severity.note]
        print_findings(chain, shown)
    worst = {one.severity for one in findings}
    if who_can_read(click.get_current_context().find_root().meta[KEY_FILE]):
        worst.add(Severity.warning)
    failing = {Severity.problem, Severity.warning} if strict else {Severity.problem}
    raise SystemExit(1 if worst & failing else 0)


@keys_group.command("show")
@click.argument("chain", metavar="KEYS", type=KeysParameter())
@json_option
def show_command(chain: KeyChain, as_json: bool) -> None:
    """Show the keys of KEYS without their secrets."""
    if as_json:
        print_json({"keys": [key_row(key) for key in chain]})
    else:
        print_keys(console(), chain)


@keys_group.command("convert")
@click.argument("source", metavar="IN", type=FILE)
@click.argument("target", metavar="OUT", type=FILE)
@click.option("--from", "form", type=click.Choice(FORMATS), help="Format of IN; told from it.")
@click.option(
    "--to", type=click.Choice(FORMATS), default="toml", show_default=True, help="Format of OUT."
)
def convert_command(source: str, target: str, form: str | None, to: str) -> None:
    """Write the keys of IN to OUT, in another format, and say what it cannot carry.

    OUT has the secrets, and can be read by its owner alone. "-" is standard output, if that is no
    terminal. A secret that IN has encrypted becomes an environment variable in TOML.

    \b
    Exit status:
      0  OUT has every key
      2  wrong usage, an unreadable file or a bad key file
    """
    if target == STANDARD_STREAM and sys.stdout.isatty():
        raise click.UsageError("secrets are not printed on a terminal: name a file")
    require_distinct([target], [source])
    conversion = convert_keys(source, to, form)
    output = OutputFile(target, private=True)
    try:
        output.put(conversion.text.encode())
        output.commit()
    finally:
        output.discard()
    plural = "s" if conversion.keys != 1 else ""
    click.echo(f"{source}: {conversion.keys} key{plural}, {conversion.form} to {to}", err=True)
    for note in conversion.notes:
        click.echo(f"note: {note}", err=True)
    for lost in conversion.lost:
        click.echo(f"not carried: {lost}", err=True)
