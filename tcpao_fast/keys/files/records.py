"""What every router's configuration comes to: keys of chains, peers that use them, and groups that
peers inherit from; and the entries of a `KeyFile` made of it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tcpao_fast.keys.files.entries import Entry, KeyFile
from tcpao_fast.keys.lifetimes import Lifetime
from tcpao_fast.keys.master_key import UNKNOWN_SECRET
from tcpao_fast.keys.obfuscation import from_junos_9, from_type_7


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret as a file has it.

    Attributes
    ----------
    value : bytes
        `UNKNOWN_SECRET` where it is hidden.
    hidden : str or None
        In which form, where nothing here reads it without the router's own key.
    shown : str or None
        In which form that hides it from a glance alone.
    cipher : str or None
        As the file has it, where it is hidden in a form that a master key opens.
    """

    value: bytes = field(repr=False)
    hidden: str | None = None
    shown: str | None = None
    cipher: str | None = field(default=None, repr=False)

    @classmethod
    def unread(cls, form: str, cipher: str | None = None) -> Secret:
        """A secret in a form that is not read."""
        return cls(UNKNOWN_SECRET, hidden=form, cipher=cipher)


def plain(text: str) -> Secret:
    """A secret in clear text."""
    return Secret(text.encode())


def unquoted(text: str) -> str:
    """A text without the quotation marks around it."""
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text


def type_7(text: str) -> Secret:
    """Cisco's type 7."""
    found = from_type_7(text.encode())
    return Secret.unread("type 7") if found is None else Secret(found, shown="type 7")


def typed(text: str) -> Secret:
    """A secret as IOS and its kin write it: with the digit of its type before it, or none."""
    kind, _, rest = text.partition(" ")
    if not rest or not (len(kind) == 1 and kind.isdecimal()):
        return refused(text) or plain(unquoted(text))
    rest = rest.strip()
    if kind == "0":
        return refused(rest) or plain(unquoted(rest))
    return type_7(unquoted(rest)) if kind == "7" else Secret.unread(f"type {kind}", rest)


def refused(text: str) -> Secret | None:
    """A text that stands where a secret was taken out, as ``<removed>`` or ``*****``."""
    if (text.startswith("<") and text.endswith(">")) or re.fullmatch(r"\*{3,}", text):
        return Secret.unread(text)
    return None


def junos(text: str) -> Secret:
    """A secret as Junos writes it: ``$9$`` hides it from a glance, other such forms from everybody
    without the master password.
    """
    if text[:1] == "$" and text[2:3] == "$":
        found = from_junos_9(text.encode())
        if found is not None:
            return Secret(found, shown="$9$")
        return Secret.unread(text[:3], text)
    if text.startswith("/*") or text == "SECRET-DATA":
        return Secret.unread(text)
    return refused(text) or plain(text)


@dataclass(slots=True)
class ChainKey:
    """One key of a key chain, as far as the file has it.

    Attributes
    ----------
    chain, number : str
    line : int
    secret : Secret or None
    algorithm : str or None
        As written.
    send_id, recv_id : int or None
    include : bool or None
        Whether the key says that options are covered.
    lifetimes : dict of str to Lifetime
        ``send_lifetime`` and ``accept_lifetime``.
    noun : str
        What the system calls a chain, for messages.
    """

    chain: str
    number: str
    line: int
    secret: Secret | None = None
    algorithm: str | None = None
    send_id: int | None = None
    recv_id: int | None = None
    include: bool | None = None
    lifetimes: dict[str, Lifetime] = field(default_factory=dict)
    noun: str = "key chain"

    @property
    def where(self) -> str:
        """For messages, without what stands in a number's place and is none: it may be a secret."""
        number = f" key {self.number}" if self.number.isdecimal() else ""
        return f"line {self.line} ({self.noun} {self.chain}{number})"


@dataclass(slots=True)
class Peer:
    """A neighbor, or a group or template that neighbors inherit from.

    Attributes
    ----------
    name : str
        A neighbor's address or prefix; a group's name.
    line : int
    vrf : str or None
        Name of the VRF or routing instance.
    settings : dict of str to Any
        ``chain``, ``password`` (a `Secret`), ``include``, ``local``, ``algorithm``: what a group
        may give a peer, unless the peer says it itself; None takes back what is inherited.
    inherits : list of str
        Groups, what comes first prevails.
    noun : str
        What the system calls a peer, for messages and names.
    """

    name: str
    line: int = 0
    vrf: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    inherits: list[str] = field(default_factory=list)
    noun: str = "neighbor"

    @property
    def where(self) -> str:
        """For messages."""
        return f"line {self.line} ({self.label})" if self.line else self.label

    @property
    def label(self) -> str:
        """What keys for it are called."""
        return f"{self.noun} {self.name}" + (f" vrf {self.vrf}" if self.vrf else "")


def inherited(
    peer: Peer, groups: Mapping[str, Peer], known: dict[str, dict[str, Any]] | None = None
) -> Peer:
    """A peer with all that its groups say, and theirs; what is nearer prevails.

    `known` has the settings of groups that were looked at: each is once, however many lead to it.
    """
    known = {} if known is None else known
    settings: dict[str, Any] = dict(peer.settings)
    for name in peer.inherits:
        group = groups.get(name)
        if group is None:
            continue
        if name not in known:
            known[name] = group.settings  # for those that lead back here
            known[name] = inherited(group, groups, known).settings
        for key, value in known[name].items():
            settings.setdefault(key, value)
    return replace(peer, settings=settings)


def is_address(text: str) -> bool:
    """Whether a name of a peer is an address or a prefix."""
    return network_of(text) is not None


def network_of(text: str) -> str | None:
    """An address or prefix in the form that keys take: without a zone, bits beyond it cleared."""
    try:
        return str(ipaddress.ip_network(text.partition("%")[0], strict=False))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a system's keys become MKTs.

    Attributes
    ----------
    algorithms : mapping of str to (str, int)
        Names in lower case: ours, and the MAC length.
    fold : callable
        How a name is written to be looked up.
    covered : bool or None
        Whether options are covered where nothing is said; None: it is not documented, and both
        readings are carried.
    is_strict : bool
        Whether a key of another algorithm is a mistake; else it is left out, and noted.
    """

    algorithms: Mapping[str, tuple[str, int]]
    fold: Callable[[str], str] = str.lower
    covered: bool | None = True
    is_strict: bool = True


#: Of keys of which it is not known whether they cover options.
BOTH_READINGS: list[tuple[str | None, bool]] = [
    ("options covered", True),
    ("options left out", False),
]


def dashed(name: str) -> str:
    """A name of an algorithm in lower case, with dashes for underscores."""
    return name.lower().replace("_", "-")


class Assembly:
    """Makes entries of chains and peers.

    Attributes
    ----------
    found : KeyFile
    dialect : Dialect
    shown : set of str
        Forms that hide secrets from a glance alone, of those that were read.
    """

    def __init__(self, found: KeyFile, dialect: Dialect) -> None:
        self.found = found
        self.dialect = dialect
        self.shown: set[str] = set()

    def passwords(self, peers: Iterable[Peer]) -> None:
        """TCP-MD5 keys of peers that have a password, and no chain of TCP-AO keys."""
        for peer in peers:
            secret = peer.settings.get("password")
            remote = network_of(peer.name)
            if secret is None or remote is None or peer.settings.get("chain"):
                continue
            fields = {"algorithm": "tcp-md5", "name": peer.label, **self.place(peer)}
            self.add(peer.where, fields, secret)

    def chain_key(self, key: ChainKey, peers: list[Peer]) -> None:
        """A key for each peer that uses its chain; for any address where nobody does."""
        lacking = [
            name
            for name, value in (
                ("send-id", key.send_id),
                ("recv-id", key.recv_id),
                ("key-string", key.secret),
                ("cryptographic-algorithm", key.algorithm),
            )
            if value is None
        ]
        if lacking or key.secret is None or key.algorithm is None:
            self.found.problems.append(f"{key.where}: lacks {', '.join(lacking)}")
            return
        known = self.algorithm(key.where, key.algorithm)
        if known is None:
            return
        algorithm, mac_length = known
        name = f"{key.chain} key {key.number}"
        self.found.chains.add(key.chain)
        for peer in [*peers] or [None]:  # type: ignore[list-item]
            fields: dict[str, Any] = {
                "name": f"{name} for {peer.name}" if peer and len(peers) > 1 else name,
                "algorithm": algorithm, "mac_length": mac_length,
                "send_id": key.send_id, "recv_id": key.recv_id,
                **key.lifetimes,
            }  # fmt: skip
            if peer is not None:
                fields |= self.place(peer)
                if peer.vrf and len(peers) > 1:
                    fields["name"] += f" vrf {peer.vrf}"
            for reading, covered in self.readings(key, peer):
                more: dict[str, Any] = {"exclude_options": not covered}
                if reading is not None:
                    more |= {"reading": reading, "name": f"{fields['name']} ({reading})"}
                self.add(key.where, {**fields, **more}, key.secret)

    def readings(self, key: ChainKey, peer: Peer | None) -> list[tuple[str | None, bool]]:
        """Whether options are covered, in each way in which the file can be read."""
        said = key.include
        if said is None and peer is not None:
            said = peer.settings.get("include")
        covered = self.dialect.covered if said is None else said
        return BOTH_READINGS if covered is None else [(None, covered)]

    def algorithm(self, where: str, name: str) -> tuple[str, int] | None:
        """Our name of an algorithm, and its MAC length; None, and a problem, for another."""
        known = self.dialect.algorithms.get(self.dialect.fold(name))
        if known is None:
            said = f"{where}: cryptographic-algorithm {name}: "
            if self.dialect.is_strict:
                known_names = ", ".join(self.dialect.algorithms)
                self.found.problems.append(f"{said}TCP-AO has {known_names}")
            else:
                self.found.notes.append(f"{said}how it is used for TCP-AO is not known: left out")
        return known

    def add(self, where: str, fields: dict[str, Any], secret: Secret) -> None:
        """An entry with its secret."""
        if secret.shown:
            self.shown.add(secret.shown)
        fields = {**fields, "secret": secret.value}
        self.found.entries.append(Entry(where, fields, secret.hidden, secret.cipher))

    def note_missing(
        self, used: Mapping[str, list[Peer]], known: Iterable[str], noun: str = "key chain"
    ) -> None:
        """Say which chains peers name that are not in the file."""
        names = set(known)
        self.found.notes += [
            f"{listed[0].where}: names {noun} {chain}, which is not in the file"
            for chain, listed in used.items()
            if chain not in names
        ]

    def finish(self) -> None:
        """Say which secrets are hidden from a glance alone."""
        self.found.notes += [
            f"secrets in the form {form} are read: that form protects nothing"
            for form in sorted(self.shown)
        ]

    @staticmethod
    def place(peer: Peer) -> dict[str, Any]:
        """Where keys for a peer are used, as arguments of `MasterKey`."""
        place: dict[str, Any] = {"remote": network_of(peer.name)}
        local = network_of(peer.settings.get("local") or "")
        # a group's may be of the other IP version than a neighbor of it
        if local is not None and (":" in local) == (":" in peer.name):
            place["local"] = local
        if peer.vrf is not None:
            place["vrf"] = peer.vrf
        return place


def users(peers: Iterable[Peer]) -> dict[str, list[Peer]]:
    """Which peers use which chain, each once."""
    found: dict[str, dict[tuple[str, str | None], Peer]] = {}
    for peer in peers:
        chain = peer.settings.get("chain")
        if chain is not None and is_address(peer.name):
            found.setdefault(chain, {}).setdefault((peer.name, peer.vrf), peer)
    return {chain: list(listed.values()) for chain, listed in found.items()}
