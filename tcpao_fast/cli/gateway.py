"""``tcpao gateway``."""

from __future__ import annotations

import sys
from typing import IO

import click

from tcpao_fast.cli.common import keys_option, quiet_option, reload_keys
from tcpao_fast.endpoint.sockets import has_tcp_ao
from tcpao_fast.jobs.gateway import run_gateway, text_of
from tcpao_fast.keys import KeyChain
from tcpao_fast.live.gateway import Ends
from tcpao_fast.live.rules import Rules
from tcpao_fast.text import counted


@click.command("gateway", short_help="TCP-AO for a host whose kernel has none.")
@keys_option
@click.option("--queue-num", "queue", type=click.IntRange(0, 65535), default=0, metavar="N",
              help="Number of the NFQUEUE queue (0).")  # fmt: skip
@click.option("--install", is_flag=True, help="Set up the rules, and take them down at the end.")
@click.option("--rules", "tool", type=click.Choice(["nft", "iptables"]),
              help="Which tool the rules are for.")  # fmt: skip
@click.option("--print-rules", is_flag=True, help="Print the rules and end.")
@click.option("--fail-open", is_flag=True, help="Let pass what cannot be signed (default: drop).")
@click.option("--ao-required", is_flag=True, help="Drop unsigned TCP of peers without a key too.")
@click.option("--accept-icmps", is_flag=True, help="Let ICMP errors reach protected connections.")
@click.option("--state", metavar="FILE", type=click.Path(dir_okay=False),
              help="Keep sessions over restarts.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print events as lines of JSON.")
@click.option("--metrics", metavar="ADDR:PORT", help="Serve metrics for Prometheus.")
@quiet_option
@click.pass_context
def gateway_command(
    ctx: click.Context,
    chain: KeyChain,
    queue: int,
    install: bool,
    tool: str | None,
    print_rules: bool,
    fail_open: bool,
    ao_required: bool,
    accept_icmps: bool,
    state: str | None,
    as_json: bool,
    metrics: str | None,
    quiet: bool,
) -> None:
    """Sign what this host sends and verify what it receives, by NFQUEUE.

    For hosts whose kernel has no TCP-AO; needs Linux and CAP_NET_ADMIN. Key files are watched:
    changes are taken over while it runs. Ctrl-C or SIGTERM ends it.
    """
    rules = Rules(chain, queue, fail_open=fail_open, tool=tool)
    if print_rules:
        click.echo(rules.text(), nl=False)
        return
    if has_tcp_ao():
        click.echo(
            "tcpao: note: this kernel has TCP-AO itself: a program that can set its sockets' keys "
            "(tcpao_fast.linux, or the daemon's own configuration) needs no gateway",
            err=True,
        )
    for key in chain:
        if key.remote is None and not quiet:
            click.echo(
                f"tcpao: warning: {key.label} is for any peer: all TCP on its ports must be signed",
                err=True,
            )
    paths, load = reload_keys(ctx)

    def ready(rules: Rules, left_alone: list[Ends]) -> None:
        if quiet:
            return
        if not install:
            click.echo(f"Rules that lead packets to the gateway:\n{rules.text()}", err=True)
        for ends in left_alone:
            click.echo(f"Up before, left alone: {text_of(ends)}", err=True)
        click.echo(f"Ready: queue {queue}, {counted(len(chain), 'key')}.", err=True)

    events: IO[str] | None = sys.stdout if as_json else None
    done = run_gateway(
        chain, key_files=paths, load=load, queue=queue, install=install, tool=rules.tool,
        fail_open=fail_open, ao_required=ao_required, accept_icmps=accept_icmps, state=state,
        events=events, metrics=metrics, ready=ready,
    )  # fmt: skip
    if not quiet:
        counts = done.counts
        click.echo(
            f"{counts.signed:,} signed, {counts.verified:,} verified, {counts.passed:,} passed, "
            f"{counts.dropped.total():,} dropped",
            err=True,
        )
        for reason, number in counts.dropped.most_common():
            click.echo(f"  {reason}: {number:,}", err=True)
