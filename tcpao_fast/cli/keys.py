"""``tcpao keys``: check and show key files."""

from __future__ import annotations

import click

from tcpao_fast.cli.common import KeysParameter, console, json_option, print_json
from tcpao_fast.keys import KeyChain
from tcpao_fast.lint import Severity, lint
from tcpao_fast.report.text import finding_row, key_row, print_findings, print_keys


@click.group("keys", short_help="Check or show a key file.")
def keys_group() -> None:
    """Check or show a key file. Secrets are never printed."""


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
