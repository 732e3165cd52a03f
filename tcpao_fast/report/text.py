"""Reports as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tcpao_fast.diagnose.finding import Rank
from tcpao_fast.engine.verdicts import BAD, GOOD, MEANINGS, SEGMENT_VERDICTS, UNDECIDED, Verdict
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import side_text
from tcpao_fast.keys.compare import Comparison
from tcpao_fast.keys.lint import LintFinding
from tcpao_fast.report.console import captures_text, print_indented, print_line, print_unread
from tcpao_fast.report.results import (
    CaptureReport,
    ConnectionReport,
    Diagnosis,
    RewriteReport,
    Times,
)
from tcpao_fast.report.times import TimeFormat
from tcpao_fast.text import counted, endpoint_text

if TYPE_CHECKING:
    from tcpao_fast.diagnose.isn_search import SearchReport
    from tcpao_fast.diagnose.secret_search import SecretSearch

#: Columns of a terminal from which on a table shows when connections began and ended.
WIDE = 110

LEFT = {
    "no_key": "no key matches the connection",
    "missing_isn": "the handshake was not captured, so the traffic key is unknown",
    "no_option_space": "the TCP header has no room for the option",
    "already_signed": "it already has a TCP-AO or TCP-MD5 option",
    "no_option": "it has no TCP-AO or TCP-MD5 option",
    "truncated": "not all bytes covered by the MAC were captured",
    "malformed": "invalid TCP header or options, or an enclosing length is too short",
    "fragment": "IP fragment; the MAC covers the whole datagram",
    "too_long": "an enclosing length field would overflow",
    "ipsec": "an enclosing IPsec header would become invalid",
    "too_many_headers": "enclosing headers that cannot be adjusted (too many, or a tunnel in UDP)",
    "unsigned_handshake": "the SYN or SYN-ACK of its connection could not be signed",
}


def style(verdict: Verdict) -> str:
    """The colour of a verdict: red is bad, yellow undecided, green good."""
    if verdict in BAD:
        return "red"
    if verdict in UNDECIDED:
        return "yellow"
    return "green" if verdict in GOOD else ""


def print_capture(
    console: Console, report: CaptureReport, most: int | None = None, times: str = "r"
) -> None:
    """A `CaptureReport`: verdicts, then connections, those with bad segments first."""
    shown = TimeFormat(times, report.times.first)
    print_line(
        console,
        f"{captures_text(report.captures)}: {counted(report.segments, 'TCP segment')}, "
        f"{report.signed:,} signed with TCP-AO",
    )
    span = shown.span(report.times)
    if span:
        print_line(console, span)
    print_unread(console, report)
    verdicts = Table(box=None, show_header=False, pad_edge=False)
    verdicts.add_column(no_wrap=True)
    verdicts.add_column(justify="right", no_wrap=True)
    verdicts.add_column(overflow="fold")
    for verdict in SEGMENT_VERDICTS:
        count = report.counts[verdict.name]
        if count:
            verdicts.add_row(
                f"  {verdict.name}", str(count), MEANINGS[verdict], style=style(verdict)
            )
    console.print(verdicts)
    if report.search is not None:
        _print_search(console, report.search)
    if report.connections:
        console.print()
        _print_connections(console, report.connections, most, shown)
    if report.others is not None:
        others = report.others
        verdicts_of = ", ".join(f"{count} {name}" for name, count in others.counts.items())
        first = ""
        if others.first_bad is not None:
            first = f", first bad #{others.first_bad} at {shown.text(others.times.first_bad)}"
        console.print(
            f"\n{counted(others.connections, 'more connection')}, together: {verdicts_of}{first}",
            highlight=False,
            soft_wrap=True,
        )


def _print_search(console: Console, search: SearchReport) -> None:
    """What came of ``--search-isn``."""
    rate = search.tried / search.seconds / 1e6 if search.seconds else 0
    console.print(
        f"searched ISNs of {len(search.found)} connection{'s' * (len(search.found) != 1)}, "
        f"up to {search.reach} bytes back: {search.tried:,} pairs in {search.seconds:.1f} s "
        f"({rate:.1f} million a second)",
        highlight=False,
        soft_wrap=True,
    )
    for one in search.found:
        ends = " and ".join(endpoint_text(*end) for end in one.connection.ends)
        what = (
            f"not found in {one.tried:,} pairs"
            if one.isns is None
            else f"{one.isns[0]} and {one.isns[1]}, after {one.tried:,} pairs"
        )
        print_line(console, f"  {ends}: {what}")


def print_diagnosis(
    console: Console, diagnosis: Diagnosis, most: int | None = None, times: str = "r"
) -> None:
    """A `Diagnosis`: a paragraph a finding, worst first."""
    colours = {Rank.bad: "red", Rank.undecided: "yellow", Rank.remark: ""}
    report = diagnosis.report
    counts = ", ".join(f"{count} {name}" for name, count in report.counts.items() if count)
    print_line(
        console,
        f"{captures_text(report.captures)}: {counts or 'no TCP segments'}",
    )
    shown = TimeFormat(times, report.times.first)
    span = shown.span(report.times)
    if span:
        print_line(console, span)
    print_unread(console, report)
    if not diagnosis.findings:
        console.print(f"No findings: {_why_none(report)}.", highlight=False)
    for one, when in zip(diagnosis.findings[:most], diagnosis.times, strict=False):
        packets = ", ".join(f"#{number}" for number in one.packets)
        vlan = f" vlan {one.vrf}" if one.vrf else ""
        seen = ", ".join(f"{count} {name}" for name, count in one.counts.items())
        client = one.client[0] if one.connections > 1 else endpoint_text(*one.client)
        many = f" ({one.connections} connections)" if one.connections > 1 else ""
        head = f"{client} - {endpoint_text(*one.server)}{vlan}{many}: {one.reason}"
        console.print()
        console.print(Text(head, colours[one.rank]), soft_wrap=True)
        moments = _moments(when, shown)
        for line in (
            one.sentence,
            f"Seen: {seen}; packets {packets}",
            *moments,
            f"Fix: {one.advice}",
        ):
            print_indented(console, line)
    if diagnosis.secrets is not None:
        _print_secret_search(console, diagnosis.secrets)
    hidden = 0 if most is None else max(0, len(diagnosis.findings) - most)
    if hidden:
        console.print(f"\n... and {hidden} more (use --all or --json to see them)")
    if diagnosis.left_out:
        what = " segments that are not good but "
        more = counted(
            diagnosis.left_out, f"more connection has{what}was", f"more connections have{what}were"
        )
        print_line(console, f"\n{more} not examined: use --filter to select them")


def _moments(times: Times, shown: TimeFormat) -> list[str]:
    """A line that says when the connections that a finding is about were seen."""
    if times.first is None:
        return []
    bad = "" if times.first_bad is None else f", first bad at {shown.text(times.first_bad)}"
    return [f"When: segments from {shown.text(times.first)} to {shown.text(times.last)}{bad}"]


def _print_secret_search(console: Console, search: SecretSearch) -> None:
    """What came of a search among candidates for secrets."""
    if not search.sides:
        text = f"{search.name} was not read: there is no side whose secret is not known"
    else:
        text = (
            f"{counted(search.lines, 'line')} of {search.name} tried in {search.seconds:.1f} s: "
            f"the secrets of {len(search.found)} of {search.sides} sides of connections are there"
        )
    print_line(console, f"\n{text}.")


def _why_none(report: CaptureReport) -> str:
    """What it means that there is no finding."""
    if not report.segments:
        return "no TCP segments were read"
    if any(report.counts[one.name] for one in BAD | UNDECIDED):
        return "what is bad or undecided belongs to no connection that could be examined"
    return "no segment is bad or undecided"


def _print_connections(
    console: Console, connections: Sequence[ConnectionReport], most: int | None, shown: TimeFormat
) -> None:
    ordered = sorted(connections, key=lambda one: (_rank(one), -sum(one.counts.values())))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("Client", "Server"):
        table.add_column(name, overflow="fold")
    table.add_column("Verdicts", overflow="fold")
    table.add_column("Keys", overflow="fold")
    table.add_column("SNE", no_wrap=True)
    spans = console.width >= WIDE
    for name in (*(("First", "Last") if spans else ()), "First bad"):
        table.add_column(name, justify="right", overflow="fold")
    for one in ordered[:most]:
        sne = (one.sne["client"], one.sne["server"])
        table.add_row(
            endpoint_text(*one.client),
            endpoint_text(*one.server) + (f" vlan {one.vrf}" if one.vrf else ""),
            ", ".join(f"{count} {name}" for name, count in one.counts.items()),
            ", ".join(one.keys) or "-",
            "-" if None in sne else f"{sne[0]}/{sne[1]}",
            *((shown.text(one.times.first), shown.text(one.times.last)) if spans else ()),
            "-" if one.first_bad is None else f"#{one.first_bad} {shown.text(one.times.first_bad)}",
            style=("red", "yellow", "")[_rank(one)],
        )
    console.print(table, highlight=False)
    if most is not None and len(ordered) > most:
        console.print(f"... and {len(ordered) - most} more (use --all or --json to see them)")


def _rank(one: ConnectionReport) -> int:
    found = {Verdict[name] for name in one.counts}
    return 0 if found & BAD else 1 if found & UNDECIDED else 2


def print_rewrite(console: Console, report: RewriteReport) -> None:
    """A `RewriteReport`: how many segments were signed or stripped, and why others were not."""
    print_line(
        console,
        f"{report.output}: {report.done} of {report.segments} TCP segments {report.action}",
    )
    if report.shortened:
        print_line(
            console,
            f"  other TCP options dropped to make room: {counted(report.shortened, 'segment')}",
        )
    for reason, count in report.left.items():
        console.print(f"  left unchanged: {count}, {reason}: {LEFT.get(reason, '')}")
    if "no_option_space" in report.left and report.shortened is None:
        print_line(console, "  --make-room drops SACK blocks, and options of SYNs, to make room")


def print_keys(console: Console, chain: KeyChain) -> None:
    """A table of keys, without their secrets."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in (
        "Key",
        "Algorithm",
        "Send/Recv",
        "MAC",
        "Options",
        "Local",
        "Remote",
        "VRF",
        "Secret",
    ):
        table.add_column(name, overflow="fold")
    for key in chain:
        ids = "-" if key.is_tcp_md5 else f"{key.send_id}/{key.recv_id}"
        table.add_row(
            key.label,
            key.algorithm,
            ids,
            f"{key.mac_length} bytes",
            "excluded" if key.exclude_options or key.is_tcp_md5 else "covered",
            side_text(key.local, key.local_port, "any") + " (NAT)" * key.local_nat,
            side_text(key.remote, key.remote_port, "any") + " (NAT)" * key.remote_nat,
            "any" if key.vrf is None else str(key.vrf),
            f"{len(key.secret)} bytes",
        )
    console.print(table, highlight=False)


def print_kernels(console: Console, timings: dict[str, list[dict[str, Any]]]) -> None:
    """A table of MAC kernels, and what they were chosen by."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("MAC", "Kernel", "Lanes"):
        table.add_column(heading, justify="right" if heading == "Lanes" else "left")
    for heading in ("128 bytes", "1536 bytes", "alone"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("Used for")
    timed = False
    for mac, rows in timings.items():
        for row in rows:
            figures = [row[name] for name in ("brief_ns", "full_ns", "alone_ns")]
            timed |= figures[0] is not None
            table.add_row(
                mac,
                row["kernel"] + ("*" if row["use"] == "all" else ""),
                str(row["lanes"]),
                *("-" if figure is None else f"{figure:.0f} ns" for figure in figures),
                ""
                if row["use"] is None
                else row["use"]
                if row["least"] is None
                else f"{row['least'] - 1} at most",
            )
    console.print(table)
    if timed:
        click.echo(
            "\nA message's time on this machine just now; alone, one of 128 bytes. The portable"
            "\nkernel is not timed. What does not fill all lanes goes to the kernel for few."
        )


def print_findings(chain: KeyChain, findings: list[LintFinding]) -> None:
    """What the linter found, key by key; nothing of a secret."""
    click.echo(f"{counted(len(chain), 'key')}, no mistakes")
    for one in findings:
        names = ", ".join(f"{number + 1} ({chain[number].label})" for number in one.keys)
        click.echo(f"{one.severity.value}: key {names}: {one.what}: {one.advice}")


def finding_row(finding: LintFinding, chain: KeyChain) -> dict[str, object]:
    """A finding as plain JSON types; keys by number from 1 and by name."""
    return {
        "severity": finding.severity.value,
        "rule": finding.rule,
        "keys": [{"number": n + 1, "name": chain[n].label} for n in finding.keys],
        "what": finding.what,
        "advice": finding.advice,
    }


def key_row(key: MasterKey) -> dict[str, object]:
    """A key as plain JSON types, without its secret."""

    def lifetime(value: object) -> list[str | None] | None:
        if not isinstance(value, tuple):
            return None
        return [None if moment is None else moment.isoformat() for moment in value]

    return {
        **key.identity(),
        "send_lifetime": lifetime(key.send_lifetime),
        "accept_lifetime": lifetime(key.accept_lifetime),
        "secret_length": len(key.secret),
    }


def print_comparison(console: Console, found: Comparison, a: str, b: str) -> None:
    """A `Comparison`: a paragraph a session, those that do not match first."""
    colours = {"matches": "green", "differs": "red", "partly": "yellow"}
    texts = {
        "matches": "matches",
        "differs": "does not match",
        "partly": "matches with some keys only",
    }
    print_line(console, f"A is {a}, B is {b}")
    for one in sorted(found.sessions, key=lambda one: one.verdict == "matches"):
        console.print()
        head = Text(f"{one.ends}: ")
        head.append(texts[one.verdict], colours[one.verdict])
        console.print(head, soft_wrap=True)
        for pair in one.keys:
            if pair.a is None or pair.b is None:
                name, other = (pair.a, "B") if pair.b is None else (pair.b, "A")
                print_line(console, f"  {name}: {other} has no such key")
                continue
            same = "; ".join(d.what for d in pair.differences) or "no differences"
            print_line(console, f"  A: {pair.a}, B: {pair.b}: {same}")
    for name, keys in (("A", found.only_a), ("B", found.only_b)):
        if keys:
            print_line(console, f"\nOnly in {name}: {', '.join(keys)}")
    if found.doubtful:
        print_line(
            console,
            f"\nNot compared: {', '.join(found.doubtful)}: the files do not say which of these "
            "are the two ends of one session; give --address-a and --address-b",
        )
    if not found.sessions and not found.doubtful:
        print_line(
            console, "\nNo session is in both files: see --address-a, --address-b, --same-end"
        )
