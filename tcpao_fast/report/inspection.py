"""What `tcpao inspect` says: who signs what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.text import Text

from tcpao_fast.diagnose.inspection import Conversation, KeyIdRun, Side
from tcpao_fast.keys.outline import KeyOutline
from tcpao_fast.report.console import captures_text, print_indented, print_line, print_unread
from tcpao_fast.report.results import CaptureReport, damage_as_dict, exit_status_with
from tcpao_fast.text import counted, endpoint_text

#: Changes of KeyIDs that are shown of a side.
SHOWN_RUNS = 8
_NAMES = {
    2: "MSS", 3: "window scale", 4: "SACK permitted", 5: "SACK", 8: "timestamps",
    28: "user timeout", 30: "MPTCP", 34: "Fast Open cookie", 172: "AccECN", 174: "AccECN",
    253: "experimental (253)", 254: "experimental (254)",
}  # fmt: skip
_AUTH = {19, 29}


@dataclass
class Inspection:
    """What `inspect_capture` found.

    Attributes
    ----------
    report : CaptureReport
        Captures, records, and segments in all; verdicts are those without any key.
    conversations : list of Conversation
        In the order of their first packets.
    keys : list of KeyOutline
        What a key file for the captures must contain.
    left_out : int
        Connections beyond the first 20,000, of which nothing was kept.
    """

    report: CaptureReport
    conversations: list[Conversation]
    keys: list[KeyOutline]
    left_out: int

    @property
    def exit_status(self) -> int:
        """0; 3 where nothing is signed; 4 where a capture is damaged."""
        return exit_status_with(0 if self.keys else 3, self.report.damaged)

    def as_dict(self) -> dict[str, Any]:
        """What ``tcpao inspect --json`` prints.

        Returns
        -------
        dict
            Of plain JSON types.
        """
        return {
            "captures": self.report.captures,
            "segments": self.report.segments,
            "unread": {str(number): count for number, count in self.report.unread.items()},
            "connections": [one.as_dict() for one in self.conversations],
            "left_out": self.left_out,
            "keys": [_key_row(one) for one in self.keys],
            **damage_as_dict(self.report.damage),
        }


def _key_row(one: KeyOutline) -> dict[str, Any]:
    return {
        "local": one.local,
        "remote": one.remote,
        "remote_port": one.remote_port,
        "send_id": one.send_id,
        "recv_id": one.recv_id,
        "mac_length": one.mac_length or None,
        "algorithms": list(one.algorithms),
        "connections": one.connections,
        "certain": one.certain,
    }


def print_inspection(console: Console, found: Inspection, most: int | None = None) -> None:
    """An `Inspection`: connections, then what a key file must contain."""
    sides = [side for one in found.conversations for side in one.sides]
    counts = {
        "TCP-AO": sum(side.ao for side in sides),
        "TCP-MD5": sum(side.md5 for side in sides),
        "neither": sum(side.unsigned for side in sides),
    }
    what = ", ".join(f"{count} with {name}" for name, count in counts.items())
    others = found.report.segments - sum(counts.values())
    if others:
        what += f", {others} damaged or cut" + (" or not looked at" if found.left_out else "")
    total = len(found.conversations) + found.left_out
    print_line(
        console,
        f"{captures_text(found.report.captures)}: {counted(found.report.segments, 'TCP segment')}, "
        f"{counted(total, 'connection')}: {what}",
    )
    print_unread(console, found.report)
    groups: dict[tuple[Any, ...], list[Conversation]] = {}
    for one in found.conversations:
        groups.setdefault(_alike(one), []).append(one)
    shown = [*groups.values()][:most]
    for group in shown:
        _print_group(console, group)
    if len(shown) < len(groups):
        print_line(console, f"\n... and {len(groups) - len(shown)} more (use --all or --json)")
    if found.left_out:
        more = counted(found.left_out, "more connection was", "more connections were")
        print_line(console, f"\n{more} not looked at: use --filter")
    if found.keys:
        known = ", as far as could be read" if others else ""
        print_line(console, f"\nA key file for this must contain{known}:")
        _print_keys(console, found.keys, most)
    else:
        print_line(console, f"\n{_no_keys(found, others)}.")


def _alike(one: Conversation) -> tuple[Any, ...]:
    """What is the same of connections that are shown as one: attempts of one client, mostly."""
    (client, here), (server, there) = one.in_order
    sides = tuple(
        (
            tuple((run.key_id, run.rnext_key_id) for run in side.runs),
            tuple(sorted(side.mac_lengths)),
            side.md5 > 0,
            side.unsigned > 0,
            side.damaged > 0,
        )
        for side in (here, there)
    )
    return client[0], server, one.vlan, sides


def _print_group(console: Console, group: list[Conversation]) -> None:
    one = group[0]
    (client, here), (server, there) = one.in_order
    many = f" ({len(group)} connections, for example)" if len(group) > 1 else ""
    vlan = f" vlan {one.vlan}" if one.vlan else ""
    console.print()
    console.print(
        Text(f"{endpoint_text(*client)} - {endpoint_text(*server)}{vlan}{many}", "bold"),
        soft_wrap=True,
    )
    for name, side in (("client", here), ("server", there)):
        for text in _side_texts(name, side):
            print_indented(console, text)


def _side_texts(name: str, side: Side) -> list[str]:
    """Lines on what one side sends."""
    if not side.segments:
        return [f"{name} sends nothing, or only one direction was captured"]
    parts = [
        f"{count} {what}"
        for count, what in (
            (side.ao, "TCP-AO"),
            (side.md5, "TCP-MD5"),
            (side.unsigned, "not signed"),
            (side.damaged, "damaged or cut"),
        )
        if count
    ]
    lengths = ", ".join(map(str, sorted(side.mac_lengths)))
    macs = f"; MACs of {lengths} bytes" if lengths else ""
    resets = f" ({side.resets} of them RST)" if side.resets else ""
    texts = [f"{name} sends {counted(side.segments, 'segment')}: {', '.join(parts)}{resets}{macs}"]
    texts += [f"  {_run_text(run)}" for run in side.runs[:SHOWN_RUNS]]
    hidden = len(side.runs) - SHOWN_RUNS + side.more_runs
    if hidden > 0:
        texts.append(f"  and {counted(hidden, 'more change')} of KeyID or RNextKeyID")
    syn = _options_text(side.syn_options)
    if side.syns:
        mss = f" {side.mss}" if side.mss else ""
        syn = syn.replace("MSS", f"MSS{mss}")
        texts.append(f"  options in SYN: {syn}; otherwise: {_options_text(side.other_options)}")
    elif side.segments > side.damaged:
        texts.append(f"  options: {_options_text(side.other_options)}")
    again = side.retransmitted_syns
    if again:
        texts.append(f"  SYN retransmitted {counted(again, 'time')}")
    if len(side.syns) > 1:
        texts.append(f"  SYNs with {len(side.syns)} different ISNs (the ports were used again)")
    return texts


def _run_text(run: KeyIdRun) -> str:
    """KeyIDs, and where they were used."""
    where = f"#{run.first}" if run.first == run.last else f"#{run.first} to #{run.last}"
    return (
        f"KeyID {run.key_id}, RNextKeyID {run.rnext_key_id}: {where} "
        f"({counted(run.count, 'segment')})"
    )


def _options_text(kinds: set[int]) -> str:
    names = [_NAMES.get(kind, f"kind {kind}") for kind in sorted(kinds - _AUTH)]
    return ", ".join(dict.fromkeys(names)) or "none"


def _no_keys(found: Inspection, others: int) -> str:
    """What it means that no key was seen; `others` are the segments that nothing is known of."""
    if not found.report.segments:
        return "No TCP segments were read"
    if found.left_out:
        return "Nothing is signed in the connections that were looked at"
    if others:
        return (
            f"Nothing is signed in the segments that could be read: {counted(others, 'is', 'are')} "
            "damaged or cut (tcpdump -s 0 captures complete packets)"
        )
    return "Nothing is signed: no key file is needed"


def _print_keys(console: Console, keys: list[KeyOutline], most: int | None) -> None:
    for one in keys[:most]:
        ends = f"{one.local} and {endpoint_text(one.remote, one.remote_port)}"
        used = counted(one.connections, "connection")
        if one.is_tcp_md5:
            text = f"TCP-MD5 between {ends} ({used})"
        else:
            unsure = "" if one.certain else " (which belong together is a guess)"
            text = (
                f"KeyIDs {one.send_id}/{one.recv_id}{unsure} between {ends}: MAC of "
                f"{one.mac_length} bytes, {' or '.join(one.algorithms)} ({used})"
            )
        print_line(console, f"  {text}")
    if most is not None and len(keys) > most:
        print_line(console, f"  ... and {len(keys) - most} more (use --all or --json)")
