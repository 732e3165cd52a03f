"""``tcpao watch``."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.live import Live

from tcpao_fast.cli.common import (
    FILE,
    console,
    filter_option,
    keys_option,
    quiet_option,
    reload_keys,
)
from tcpao_fast.jobs.watch import Limits, Watch, run_watch
from tcpao_fast.keys import KeyChain
from tcpao_fast.live.service import EventLog
from tcpao_fast.report.live import Rates, event_text, sessions_table
from tcpao_fast.text import counted

_STOPS = ("duration", "filesize", "packets")


class _Lines(EventLog):
    """Events as lines of text."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Print an event."""
        super().__call__(event)
        click.echo(event_text(event))


def _limits(count: int | None, stops: tuple[str, ...]) -> Limits:
    limits = Limits(packets=count)
    for one in stops:
        name, _, value = one.partition(":")
        try:
            number = float(value) if name == "duration" else int(value)
        except ValueError:
            number = -1
        if name not in _STOPS or number <= 0:
            raise click.BadParameter(
                f"{one!r} is none of duration:SECONDS, filesize:KB, packets:N", param_hint="-a"
            )
        if name == "duration":
            limits.seconds = number
        elif name == "filesize":
            limits.kilobytes = int(number)
        else:
            limits.packets = int(number)
    return limits


@click.command("watch", short_help="Verify live traffic.")
@click.argument("files", metavar="[FILE...]", nargs=-1, type=FILE)
@click.option("-i", "--interface", "interfaces", multiple=True, metavar="IFACE",
              help="Network interface; may be repeated.")  # fmt: skip
@keys_option
@filter_option
@click.option("--json", "as_json", is_flag=True, help="Print events as lines of JSON.")
@click.option("--metrics", metavar="ADDR:PORT", help="Serve metrics for Prometheus.")
@click.option("--state", metavar="FILE", type=click.Path(dir_okay=False),
              help="Keep sessions over restarts.")  # fmt: skip
@click.option("-c", "count", type=click.IntRange(1), metavar="N", help="Stop after N packets.")
@click.option("-a", "--autostop", "stops", multiple=True, metavar="COND",
              help="Stop at duration:S, filesize:KB, packets:N.")  # fmt: skip
@quiet_option
@click.pass_context
def watch_command(
    ctx: click.Context,
    files: tuple[str, ...],
    interfaces: tuple[str, ...],
    chain: KeyChain,
    packet_filter: str | None,
    as_json: bool,
    metrics: str | None,
    state: str | None,
    count: int | None,
    stops: tuple[str, ...],
    quiet: bool,
) -> None:
    """Verify the packets of interfaces, of captures that grow, or of standard input ("-").

    A table of sessions on a terminal, else a line for each event; a summary at the end, which
    Ctrl-C, SIGTERM or a limit brings about. Exit status as of verify.
    """
    if not files and not interfaces:
        raise click.UsageError("nothing to watch: name an interface (-i) or a file")
    limits = _limits(count, stops)
    paths, load = reload_keys(ctx)
    live: Live | None = None
    if not as_json and not quiet and sys.stdout.isatty():
        live = Live(console=console(), refresh_per_second=4, transient=True)
    log = EventLog(sys.stdout) if as_json else EventLog(None) if quiet or live else _Lines(None)
    rates = Rates()

    def ready(watch: Watch) -> None:
        if not quiet:
            what = ", ".join([*interfaces, *files])
            click.echo(f"Ready: {what}, {counted(len(chain), 'key')}.", err=True)

    def show(watch: Watch) -> None:
        if live is not None:
            table = sessions_table(watch.sessions, rates.look(watch.sessions), watch.engine.keys)
            live.update(table)

    if live is not None:
        live.start()
    try:
        watch = run_watch(
            chain, interfaces, files, key_files=paths, load=load, packet_filter=packet_filter,
            limits=limits, state=state, log=log, metrics=metrics, ready=ready, show=show,
        )  # fmt: skip
    finally:
        if live is not None:
            live.stop()
    if as_json:
        click.echo(json.dumps({"event": "summary", **watch.as_dict()}))
    elif not quiet:
        _summary(watch)
    if watch.damage is not None:
        raise watch.damage
    raise SystemExit(watch.exit_status)


def _summary(watch: Watch) -> None:
    out = console()
    if watch.sessions.sessions:
        out.print(sessions_table(watch.sessions, {}, watch.engine.keys), highlight=False)
    counts = ", ".join(
        f"{number:,} {name}" for name, number in watch.engine.counts.items() if number
    )
    click.echo(
        f"{watch.packets:,} packets in {watch.seconds:.1f} s, {watch.dropped:,} dropped by the "
        f"kernel: {counts or 'no TCP segments'}"
    )
