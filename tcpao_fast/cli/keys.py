"""``tcpao keys``: check, show and convert key files."""

from __future__ import annotations

import sys

import click

from tcpao_fast.capture.output import OutputFile, require_distinct
from tcpao_fast.capture.reader import STANDARD_STREAM
from tcpao_fast.cli.common import (
    FILE,
    KEY_FILE,
    MASTER_KEY,
    KeysParameter,
    console,
    format_option,
    json_option,
    master_key_option,
    print_json,
    who_can_read,
    with_notes,
)
from tcpao_fast.keys import KeyChain
from tcpao_fast.keys.files import FORMATS, WRITTEN, compare_keys, convert_keys
from tcpao_fast.keys.lint import Severity, lint
from tcpao_fast.report.text import (
    finding_row,
    key_row,
    print_comparison,
    print_findings,
    print_keys,
)
from tcpao_fast.text import counted


@click.group("keys", short_help="Check, show, compare or convert key files.")
def keys_group() -> None:
    """Check, show, compare or convert key files. Secrets are never printed on a terminal."""


@keys_group.command("check")
@click.argument("chain", metavar="KEYS", type=KeysParameter())
@format_option
@json_option
@click.option("--notes", is_flag=True, help="Also report where other systems differ.")
@click.option("--strict", is_flag=True, help="Exit with status 1 on warnings, too.")
def check_command(chain: KeyChain, as_json: bool, notes: bool, strict: bool) -> None:
    """Check KEYS: report every error, and what may not be as intended.

    \b
    Exit status:
      0  no errors (there may be warnings and notes)
      1  a key that cannot work; with --strict, also a warning
      2  an error in the file; every one is listed
    """
    findings = lint(chain)
    if as_json:
        found = {"keys": len(chain), "findings": [finding_row(one, chain) for one in findings]}
        print_json(with_notes(found, chain))
    else:
        shown = [one for one in findings if notes or one.severity is not Severity.note]
        print_findings(chain, shown)
    worst = {one.severity for one in findings}
    if any(map(who_can_read, click.get_current_context().find_root().meta[KEY_FILE])):
        worst.add(Severity.warning)
    failing = {Severity.problem, Severity.warning} if strict else {Severity.problem}
    raise SystemExit(1 if worst & failing else 0)


@keys_group.command("show")
@click.argument("chain", metavar="KEYS", type=KeysParameter())
@format_option
@json_option
def show_command(chain: KeyChain, as_json: bool) -> None:
    """Show the keys in KEYS without their secrets."""
    if as_json:
        print_json(with_notes({"keys": [key_row(key) for key in chain]}, chain))
    else:
        print_keys(console(), chain)


@keys_group.command("compare")
@click.argument("a", metavar="A", type=FILE)
@click.argument("b", metavar="B", type=FILE)
@click.option("--address-a", metavar="ADDRESS", help="Address of A, if its file has none.")
@click.option("--address-b", metavar="ADDRESS", help="Address of B, if its file has none.")
@click.option("--from-a", type=click.Choice(FORMATS), metavar="FORMAT", help="Format of A.")
@click.option("--from-b", type=click.Choice(FORMATS), metavar="FORMAT", help="Format of B.")
@click.option("--same-end", is_flag=True, help="Both are of one end: IDs are not crossed.")
@json_option
def compare_command(
    a: str,
    b: str,
    address_a: str | None,
    address_b: str | None,
    from_a: str | None,
    from_b: str | None,
    same_end: bool,
    as_json: bool,
) -> None:
    """Compare the key files of two ends, in any two formats: which sessions can come up?

    For each session that does not match, every difference is named: IDs that are not crossed,
    algorithm, MAC length, options, lifetimes, and whether the secrets are equal. Secrets are never
    shown; one that is encrypted is not compared.

    \b
    Exit status:
      0  every session matches
      1  one does not, or not with every key
      2  wrong usage, or an error in a file
      3  no session is in both files
    """
    found = compare_keys(
        a, b, address_a=address_a, address_b=address_b, same_end=same_end, forms=(from_a, from_b)
    )
    if as_json:
        print_json(found.as_dict())
    else:
        print_comparison(console(), found, a, b)
    raise SystemExit(found.exit_status)


@keys_group.command(
    "convert", epilog=f"Formats: {', '.join(FORMATS)}. Written: {', '.join(WRITTEN)}."
)
@click.argument("source", metavar="IN", type=FILE)
@click.argument("target", metavar="OUT", type=FILE)
@click.option(
    "--from",
    "form",
    type=click.Choice(FORMATS),
    metavar="FORMAT",
    help="Format of IN, if not detected.",
)
@click.option(
    "--to",
    type=click.Choice(WRITTEN),
    metavar="FORMAT",
    default="toml",
    show_default=True,
    help="Format of OUT.",
)
@master_key_option
@click.pass_context
def convert_command(
    ctx: click.Context, source: str, target: str, form: str | None, to: str
) -> None:
    """Convert the keys in IN to another format, and report what it cannot express.

    OUT contains the secrets and is readable only by its owner. "-" is standard output, unless that
    is a terminal. A secret that is encrypted in IN becomes an environment variable in TOML.

    \b
    Exit status:
      0  OUT has every key
      1  OUT lacks a key: its format cannot express it, or its secret is encrypted
      2  wrong usage, an unreadable file or a bad key file
    """
    if target == STANDARD_STREAM and sys.stdout.isatty():
        raise click.UsageError("secrets are not printed on a terminal: name a file")
    require_distinct([target], [source])
    conversion = convert_keys(source, to, form, master_key=ctx.meta.get(MASTER_KEY))
    output = OutputFile(target, private=True)
    try:
        output.put(conversion.text.encode())
        output.commit()
    finally:
        output.discard()
    click.echo(f"{source}: {counted(conversion.keys, 'key')}, {conversion.form} to {to}", err=True)
    for note in conversion.notes:
        click.echo(f"note: {note}", err=True)
    for lost in conversion.lost:
        click.echo(f"not carried: {lost}", err=True)
    raise SystemExit(1 if conversion.written < conversion.keys else 0)
