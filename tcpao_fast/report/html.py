"""Captures as one HTML page that needs nothing else: summary, connections, time lines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from tcpao_fast.diagnose.finding import Finding
from tcpao_fast.engine import Engine
from tcpao_fast.engine.verdicts import BAD, MEANINGS, SEGMENT_VERDICTS, UNDECIDED, Verdict
from tcpao_fast.errors import MissingExtraError
from tcpao_fast.report.console import captures_text
from tcpao_fast.report.plot import legend, time_line
from tcpao_fast.report.results import ConnectionReport, Diagnosis
from tcpao_fast.report.timeline import TimeLine, rotations
from tcpao_fast.text import endpoint_text

#: Connections in the table, and such with a time line.
LISTED, SHOWN = 1000, 100


def page_template() -> Any:
    """The page's template, or the error that says what is missing."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError(
            "the report needs jinja2: pip install 'tcpao-fast[report]'"
        ) from error
    environment = jinja2.Environment(
        autoescape=True, loader=jinja2.FileSystemLoader(Path(__file__).parent)
    )
    return environment.get_template("page.html.j2")


def _time(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds // 10**9, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds % 10**9 // 1000:06}"


def _duration(nanoseconds: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.1f} {unit}"
    return f"{nanoseconds / 1000:.0f} microseconds"


def _kind(names: Iterable[str]) -> str:
    found = {Verdict[name] for name in names}
    return "bad" if found & BAD else "undecided" if found & UNDECIDED else "good"


def html_page(
    template: Any, engine: Engine, diagnosis: Diagnosis, lines: dict[int, TimeLine]
) -> str:
    """The page of a diagnosis by `page_template`; `lines` are time lines by connection number."""
    return str(template.render(_page(engine, diagnosis, lines)))


def _page(
    engine: Engine,
    diagnosis: Diagnosis,
    lines: dict[int, TimeLine],
) -> dict[str, Any]:
    """What the template shows."""
    from tcpao_fast.version import __version__

    report = diagnosis.report
    rank = {"bad": 0, "undecided": 1, "good": 2}
    ordered = sorted(
        report.connections,
        key=lambda one: (rank[_kind(one.counts)], -sum(one.counts.values())),
    )
    findings: dict[tuple[Any, Any, int], list[Finding]] = {}
    for finding in diagnosis.findings:
        for client in (finding.client, *finding.others):
            findings.setdefault((client, finding.server, finding.vrf), []).append(finding)
    shown = ordered[:SHOWN]
    times = [moment for line in lines.values() for moment in (line.first, line.last)]
    known = [moment for moment in times if moment >= 0]
    return {
        "captures": captures_text(report.captures),
        "span": (_time(min(known))[:19], _time(max(known))[:19]) if known else None,
        "records": report.records,
        "segments": report.segments,
        "signed": report.signed,
        "total": len(ordered),
        "trouble": sum(_kind(one.counts) != "good" for one in ordered),
        "verdicts": [
            {
                "name": verdict.name,
                "count": report.counts[verdict.name],
                "meaning": MEANINGS[verdict],
                "kind": _kind([verdict.name]),
            }
            for verdict in SEGMENT_VERDICTS
            if report.counts[verdict.name]
        ],
        "listed": [
            _row(one, f"c{number}" if number < SHOWN else None)
            for number, one in enumerate(ordered[:LISTED])
        ],
        "unlisted": max(0, len(ordered) - LISTED),
        # fragments, say: no ports are known, so it is of no connection
        "elsewhere": [_finding(one) for one in diagnosis.findings if not one.server[1]],
        "shown": [
            _article(engine, one, f"c{number}", findings, lines.get(one.id))
            for number, one in enumerate(shown)
        ],
        "unshown": max(0, len(ordered) - SHOWN),
        "version": __version__,
    }


def _row(one: ConnectionReport, anchor: str | None) -> dict[str, Any]:
    sne = (one.sne["client"], one.sne["server"])
    return {
        "anchor": anchor,
        "client": endpoint_text(*one.client),
        "server": endpoint_text(*one.server) + (f" vlan {one.vrf}" if one.vrf else ""),
        "kind": _kind(one.counts),
        "verdicts": ", ".join(f"{count:,} {name}" for name, count in one.counts.items()),
        "key_names": ", ".join(one.keys) or "-",
        "sne": "-" if None in sne else f"{sne[0]}/{sne[1]}",
        "first_bad": "-" if one.first_bad is None else f"#{one.first_bad}",
    }


def _article(
    engine: Engine,
    one: ConnectionReport,
    anchor: str,
    findings: dict[tuple[Any, Any, int], list[Finding]],
    line: TimeLine | None,
) -> dict[str, Any]:
    labels = [key.label for key in engine.keys]
    found = findings.get((one.client, one.server, one.vrf), [])
    ends = _in_order(one)
    has_times = line is not None and line.first >= 0
    return {
        **_row(one, anchor),
        "findings": [_finding(finding) for finding in found],
        "drawing": time_line(line, ends) if line and has_times else None,
        "legend": legend(line, labels) if line and has_times else [],
        "keys_said": _keys_said(engine, line, ends, labels) if line else [],
        "events": _events(engine, line, ends, labels) if line else [],
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "reason": one.reason,
        "sentence": one.sentence,
        "advice": one.advice,
        "rank": one.rank.name,
        "packets": ", ".join(f"#{number}" for number in one.packets),
    }


def _in_order(one: ConnectionReport) -> tuple[str, str]:
    """The ends as directions count them: the smaller address, then port, first."""
    low, high = sorted(
        (one.client, one.server), key=lambda end: (ip_address(end[0]).packed, end[1])
    )
    return endpoint_text(*low), endpoint_text(*high)


def _keys_said(
    engine: Engine, line: TimeLine, ends: tuple[str, str], labels: list[str]
) -> list[str]:
    """Which keys are in use, and since when old ones are not."""
    now = {side: line.now.get((side, "key")) for side in (0, 1)}
    said = []
    in_use = {key for key in now.values() if key is not None}
    for key in sorted({key for _, key in line.used}):
        uses = [(line.used[side, key], side) for side in (0, 1) if (side, key) in line.used]
        (moment, number), side = max(uses)
        if key in in_use:
            who = " and ".join(ends[side] for side in (0, 1) if now[side] == key)
            said.append(f"Key {labels[key]} is in use by {who}.")
        else:
            said.append(
                f"Key {labels[key]} was last used by {ends[side]} at {_time(moment)} "
                f"(packet #{number}): nobody has used it since, so it can be deleted when late "
                "segments have gone."
            )
    for rotation in rotations(line, [(key.send_id, key.recv_id) for key in engine.keys]):
        asked, followed = rotation.asked, rotation.followed
        if followed is None:
            said.append(
                f"{ends[asked.direction]} asked for KeyID {asked.value} at {_time(asked.time)} "
                f"(packet #{asked.number}), and {ends[1 - asked.direction]} has not followed: "
                "do not delete the old key yet."
            )
        else:
            said.append(
                f"{ends[asked.direction]} asked for KeyID {asked.value} at {_time(asked.time)} "
                f"(packet #{asked.number}); {ends[followed.direction]} followed "
                f"{_duration(followed.time - asked.time)} later (packet #{followed.number})."
            )
    return said


def _events(
    engine: Engine, line: TimeLine, ends: tuple[str, str], labels: list[str]
) -> list[dict[str, Any]]:
    found = []
    for one in sorted(line.changes, key=lambda change: change.number):
        who = ends[one.direction]
        if one.kind == "key":
            text = f"{who} signs with key {labels[one.value]}"
        elif one.kind == "asks":
            text = f"{who} asks for KeyID {one.value}"
        elif one.before is None:
            continue
        else:
            text = f"SNE of {who} goes from {one.before} to {one.value}"
        found.append(
            {"time": _time(one.time) if one.time >= 0 else "-", "number": one.number, "text": text}
        )
    if line.dropped:
        found.append({"time": "-", "number": "-", "text": f"{line.dropped} more"})
    return found
