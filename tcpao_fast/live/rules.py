"""Rules that lead a gateway's packets into its queue: for nft, or for iptables and ip6tables.

A set of rules is a table of its own, or a chain of its own with two jumps to it, so that nothing
else is touched, and taking it down leaves nothing behind.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tcpao_fast.errors import TcpAoError
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.addresses import Network

#: The name of the table, and the beginning of the chains'.
NAME = "tcpao"
_HOOKS = ("INPUT", "OUTPUT")


class RulesError(TcpAoError, RuntimeError):
    """Rules cannot be set up."""


@dataclass(frozen=True, slots=True, order=True)
class Match:
    """Packets of one kind of peer.

    Attributes
    ----------
    version : int
        4 or 6.
    peer : str or None
        Its prefix; None for any.
    own_ports, peer_ports : (int, int) or None
        First and last port; None for any.
    """

    version: int
    peer: str | None
    own_ports: tuple[int, int] | None
    peer_ports: tuple[int, int] | None


def matches_of(keys: Iterable[MasterKey]) -> list[Match]:
    """What the keys of a gateway are for; here is the local side of each."""
    found = set()
    for key in keys:
        peer = str(key.remote) if isinstance(key.remote, Network) else None
        versions = (key.version,) if key.version else (4, 6)
        own, ports = (
            value if isinstance(value, tuple) else None
            for value in (key.local_port, key.remote_port)
        )
        for version in versions:
            found.add(Match(version, peer, own, ports))
    return sorted(found, key=lambda one: (one.version, one.peer or "", str(one)))


def _nft(matches: Sequence[Match], queue: int, fail_open: bool) -> str:
    """A script for ``nft -f``."""
    target = f"queue flags bypass to {queue}" if fail_open else f"queue to {queue}"

    def ports(word: str, value: tuple[int, int] | None) -> str:
        if value is None:
            return ""
        low, high = value
        return f" tcp {word} {low if low == high else f'{low}-{high}'}"

    def rules(side: str) -> list[str]:
        lines = []
        for one in matches:
            family = "ip" if one.version == 4 else "ip6"
            address = (
                f"{family} {side} {one.peer}" if one.peer else f"meta nfproto ipv{one.version}"
            )
            own, peer = ("dport", "sport") if side == "saddr" else ("sport", "dport")
            said = ports(own, one.own_ports) + ports(peer, one.peer_ports)
            lines.append(f"    {address} meta l4proto tcp{said} {target}")
        return lines

    icmp = [
        f"    icmp type destination-unreachable {target}",
        f"    icmpv6 type destination-unreachable {target}",
    ]
    return "\n".join(
        [
            f"table inet {NAME}{queue} {{",
            "  chain in {",
            "    type filter hook input priority mangle; policy accept;",
            *rules("saddr"),
            *icmp,
            "  }",
            "  chain out {",
            "    type filter hook output priority mangle; policy accept;",
            *rules("daddr"),
            "  }",
            "}",
            "",
        ]
    )


def _chains(queue: int) -> tuple[str, str]:
    return f"{NAME}{queue}-in", f"{NAME}{queue}-out"


def _iptables(matches: Sequence[Match], queue: int, fail_open: bool, version: int) -> list[str]:
    """The rules of both chains, without the command before them."""
    target = f"-j NFQUEUE --queue-num {queue}" + (" --queue-bypass" if fail_open else "")
    chain_in, chain_out = _chains(queue)

    def ports(word: str, value: tuple[int, int] | None) -> str:
        return "" if value is None else f" --{word} {value[0]}:{value[1]}"

    lines = []
    for one in matches:
        if one.version != version:
            continue
        for chain, side, own, peer in (
            (chain_in, "-s", "dport", "sport"),
            (chain_out, "-d", "sport", "dport"),
        ):
            address = f" {side} {one.peer}" if one.peer else ""
            said = ports(own, one.own_ports) + ports(peer, one.peer_ports)
            lines.append(f"-A {chain} -p tcp{address}{said} {target}")
    icmp = "icmp --icmp-type" if version == 4 else "icmpv6 --icmpv6-type"
    lines.append(f"-A {chain_in} -p {icmp} destination-unreachable {target}")
    return lines


def _run(command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(shlex.split(command), input=text, capture_output=True, text=True)


def _can_nft() -> bool:
    """Whether nft is here and its kernel can queue; a list of rules alone does not tell."""
    if shutil.which("nft") is None:
        return False
    probe = f"table inet {NAME}-probe {{ chain c {{ meta l4proto tcp queue to 1; }}; }}\n"
    done = _run("nft -c -f -", probe)
    return done.returncode == 0


class Rules:
    """The rules of one gateway.

    Parameters
    ----------
    keys : iterable of MasterKey
    queue : int
    fail_open : bool
        Whether packets pass while no gateway runs.
    tool : {"nft", "iptables"}, optional
        By default nft where its kernel can queue, else iptables.

    Raises
    ------
    RulesError
        Neither is here.
    """

    def __init__(
        self,
        keys: Iterable[MasterKey],
        queue: int,
        *,
        fail_open: bool = False,
        tool: str | None = None,
    ) -> None:
        self.queue = queue
        self.fail_open = fail_open
        self.matches = matches_of(keys)
        if tool is None:
            tool = "nft" if _can_nft() else "iptables"
        if tool not in ("nft", "iptables"):
            raise RulesError(f"rules are for nft or iptables, not for {tool!r}")
        self.tool = tool

    def _families(self) -> list[tuple[str, list[str]]]:
        """The command of each IP version that there are keys for, and its rules."""
        return [
            (command, _iptables(self.matches, self.queue, self.fail_open, version))
            for command, version in (("iptables", 4), ("ip6tables", 6))
            if any(one.version == version for one in self.matches)
        ]

    def text(self) -> str:
        """The rules, to be run or read.

        Returns
        -------
        str
        """
        if self.tool == "nft":
            return _nft(self.matches, self.queue, self.fail_open)
        lines = []
        for command, rules in self._families():
            start = f"{command} -t mangle"
            chains = _chains(self.queue)
            lines += [f"{start} -N {chain}" for chain in chains]
            lines += [f"{start} {rule}" for rule in rules]
            lines += [
                f"{start} -I {hook} -j {chain}" for hook, chain in zip(_HOOKS, chains, strict=True)
            ]
        return "\n".join(lines) + "\n"

    def install(self) -> None:
        """Set them up; those of an earlier run are replaced at one moment: no packet passes by.

        Raises
        ------
        RulesError
            A rule is refused; none stays.
        """
        if shutil.which(self.tool) is None:
            raise RulesError(
                f"{self.tool} is not here: install nftables or iptables, or set up:\n{self.text()}"
            )
        if self.tool == "nft":
            table = f"table inet {NAME}{self.queue}"
            self._require(_run("nft -f -", f"{table}\ndelete {table}\n{self.text()}"), "nft")
            return
        for command, rules in self._families():
            chains = _chains(self.queue)
            declared = [f":{chain} - [0:0]" for chain in chains]
            script = "\n".join(["*mangle", *declared, *rules, "COMMIT", ""])
            self._require(_run(f"{command}-restore -w --noflush", script), command)
            for hook, chain in zip(_HOOKS, chains, strict=True):
                jump = f"{hook} -j {chain}"
                if _run(f"{command} -w -t mangle -C {jump}").returncode:
                    self._require(_run(f"{command} -w -t mangle -I {jump}"), command)

    def _require(self, done: subprocess.CompletedProcess[str], command: str) -> None:
        if done.returncode:
            self.remove()
            raise RulesError(f"{command} refuses the rules: {done.stderr.strip()}")

    def remove(self) -> None:
        """Take them down; what is not there is no error."""
        if self.tool == "nft":
            _run(f"nft delete table inet {NAME}{self.queue}")
            return
        for command in ("iptables", "ip6tables"):
            if shutil.which(command) is None:
                continue
            for hook, chain in zip(_HOOKS, _chains(self.queue), strict=True):
                _run(f"{command} -w -t mangle -D {hook} -j {chain}")
                _run(f"{command} -w -t mangle -F {chain}")
                _run(f"{command} -w -t mangle -X {chain}")
