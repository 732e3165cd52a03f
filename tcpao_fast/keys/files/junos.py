"""Junos: ``security authentication-key-chains`` with ``algorithm ao``, in braces or ``set`` lines,
and the sessions of BGP, LDP and MSDP.

A key's lifetime begins at its start-time and has no end. Options are left out of the MAC unless
``tcp-ao-option enabled`` is said. Sessions of an instance or a logical system carry its name; what
is deactivated is not there; groups (``apply-groups``) are applied, with wildcards. A neighbor's
``authentication-key`` is TCP-MD5. Secrets with $9$ are read, others with $ are encrypted.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone, tzinfo
from fnmatch import fnmatchcase

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import network_text
from tcpao_fast.keys.files.braces import paths, set_lines, statements
from tcpao_fast.keys.files.entries import (
    PEERS,
    TOLERANCE,
    Format,
    KeyFile,
    Written,
    not_carried,
    text_secret,
)
from tcpao_fast.keys.files.records import (
    Assembly,
    ChainKey,
    Dialect,
    Peer,
    inherited,
    is_address,
    junos,
    users,
)
from tcpao_fast.keys.files.times import named_zone

_ALGORITHMS: Mapping[str, tuple[str, int]] = {
    "hmac-sha-1-96": ("hmac-sha-1-96", 12),
    "aes-128-cmac-96": ("aes-128-cmac-96", 12),
}
#: Words that a name follows.
_NAMED = frozenset(
    ("group", "neighbor", "routing-instances", "logical-systems", "key-chain", "key", "session",
     "peer", "session-group", "instance", "groups")
)  # fmt: skip
#: Words that lead to keys.
_CONTAINERS = frozenset(
    ("protocols", "bgp", "ldp", "msdp", "security", "authentication-key-chains", "ao-attribute",
     "routing-options", "validation")
)  # fmt: skip
#: What is said of keys and sessions.
_LEAVES = frozenset(
    ("authentication-key", "authentication-key-chain", "authentication-algorithm",
     "local-address", "secret", "start-time",
     "algorithm", "send-id", "recv-id", "tcp-ao-option", "cryptographic-algorithm", "tolerance",
     "allow", "apply-groups", "apply-groups-except")
)  # fmt: skip
#: How statements begin that may lead to keys.
_ABOUT = ("protocols", "security", "routing", "logical", "groups", "apply-groups")
_PROTOCOLS = ("bgp", "ldp", "msdp", "validation")

Path = tuple[str, ...]


def _looks_like(text: str) -> bool:
    return bool(
        re.search(r"\bauthentication-key-chains?\b|\bao-attribute\b|\bauthentication-key .*;", text)
        or re.search(
            r"(?m)^\s*set (protocols|routing-instances \S+ protocols) (bgp|ldp|msdp)\b", text
        )
        or re.search(r"(?m)^\s*protocols \{\s*$", text)
    )


class _Facts:
    """What a configuration says, by place: groups applied, inactive parts gone.

    Attributes
    ----------
    said : dict of (Path, str) to list of str
        By container and name.
    lines : dict of Path to int
        Where a container was first named.
    """

    def __init__(self) -> None:
        self.said: dict[tuple[Path, str], list[str]] = {}
        self.lines: dict[Path, int] = {}
        self.inactive: list[Path] = []

    def take(self, words: Path, line: int) -> None:
        """One statement with all words before it."""
        place, name, values = _split(words)
        for size in range(len(place) + 1):
            self.lines.setdefault(place[:size], line)
        if name is not None:
            held = self.said.setdefault((place, name), [])
            if name in ("allow", "apply-groups", "apply-groups-except"):
                held.extend(values)
            else:
                held[:] = values

    def drop(self, words: Path) -> None:
        """Take back whatever begins with these words."""
        for place, name in list(self.said):
            if (*place, name)[: len(words)] == words:
                del self.said[place, name]
        for place in list(self.lines):
            if place[: len(words)] == words:
                del self.lines[place]

    def apply_groups(self) -> None:
        """Give each place what the groups that are applied there say, unless it says so itself."""
        groups: dict[str, list[tuple[Path, str, list[str]]]] = defaultdict(list)
        for (place, name), values in self.said.items():
            if place[:1] == ("groups",) and len(place) > 1:
                groups[place[1]].append((place[2:], name, values))
        applied = [
            (place, one)
            for (place, name), values in list(self.said.items())
            if name == "apply-groups" and place[:1] != ("groups",)
            for one in values
        ]
        places = [place for place in self.lines if place[:1] != ("groups",)]
        # what is applied further inside comes first
        for at, group in sorted(applied, key=lambda one: -len(one[0])):
            for pattern, name, values in groups.get(group, []):
                for place in _matching(pattern, at, places):
                    excepted = any(
                        group in self.said.get((place[:size], "apply-groups-except"), [])
                        for size in range(len(place) + 1)
                    )
                    if not excepted:
                        self.said.setdefault((place, name), list(values))
                        self.lines.setdefault(place, self.lines.get(("groups", group), 0))
        self.drop(("groups",))

    def under(self, *words: str) -> Iterator[tuple[Path, str, list[str]]]:
        """What is said below a place."""
        for (place, name), values in self.said.items():
            if place[: len(words)] == words:
                yield place, name, values


def _split(words: Path) -> tuple[Path, str | None, list[str]]:
    """A statement as its container, the name of what it says, and the values."""
    at = 0
    while at < len(words):
        word = words[at]
        if word in _NAMED and at + 1 < len(words):
            at += 2
        elif word in _CONTAINERS or (at and words[at - 1] == "groups"):
            at += 1
        else:
            break
    place = words[:at]
    if place[-2:-1] == ("key",) and "key-chain" not in place:
        return place[:-2], None, []
    if at < len(words) and words[at] in _LEAVES:
        return place, words[at], [word for word in words[at + 1 :] if word not in ("[", "]")]
    return place, None, []


def _matching(pattern: Path, at: Path, places: list[Path]) -> list[Path]:
    """The places below `at` that a group's pattern means: names in angle brackets stand for those
    that are there.
    """
    if not any(word.startswith("<") for word in pattern):
        return [pattern] if pattern[: len(at)] == at else []
    found = []
    for place in places:
        if place[: len(at)] != at or len(place) != len(pattern):
            continue
        if all(
            fnmatchcase(word, mask[1:-1]) if mask.startswith("<") else word == mask
            for word, mask in zip(place, pattern, strict=True)
        ):
            found.append(place)
    return found


def _facts(text: str) -> _Facts:
    facts = _Facts()
    if re.search(r"(?m)^\s*(?:\S+[#>]\s*)?set \S", text):
        for command, words, line in set_lines(text, _ABOUT):
            if command == "set":
                facts.take(words, line)
            elif command == "delete":
                facts.drop(_whole(words))
            elif command == "deactivate":
                facts.inactive.append(_whole(words))
            elif command == "activate":
                facts.inactive = [one for one in facts.inactive if one != _whole(words)]
    else:
        for words, line in paths(statements(text)):
            if "inactive:" in words:
                continue
            facts.take(_placed(tuple(word for word in words if word != "protect:")), line)
    for words in facts.inactive:
        facts.drop(words)
    facts.apply_groups()
    return facts


#: Where what begins so stands, in what `show configuration protocols bgp` and the like print.
_PARTS: Mapping[str, Path] = {
    "group": ("protocols", "bgp"),
    "bgp": ("protocols",),
    "key-chain": ("security", "authentication-key-chains"),
    "authentication-key-chains": ("security",),
}


def _placed(words: Path) -> Path:
    return (*_PARTS.get(words[0], ()), *words) if words else words


def _whole(words: Path) -> Path:
    """The container, and the name behind it, that a ``delete`` or ``deactivate`` names."""
    place, name, _ = _split(words)
    if name is not None:
        return (*place, name)
    return place if len(place) == len(words) else words


def read_junos(text: str) -> KeyFile:
    """The keys of a Junos configuration."""
    found = KeyFile()
    try:
        facts = _facts(text)
    except ValueError as error:
        found.problems.append(str(error))
        return found
    zone = _zone(text, found)
    keys = _keys(facts, found, zone)
    peers = _peers(facts)
    assembly = Assembly(found, Dialect(_ALGORITHMS, covered=False))
    assembly.passwords(peers)
    used = users(peers)
    noted: set[str] = set()
    for key in keys:
        if key.algorithm is None:
            if not _add_md5(assembly, key, used.get(key.chain, [])):
                found.notes.append(
                    f"key-chain {key.chain} key {key.number} is not for TCP-AO: left out"
                )
            continue
        if key.chain not in used and key.chain not in noted:
            noted.add(key.chain)
            found.notes.append(f"key-chain {key.chain}: no BGP neighbor names it: for any address")
        assembly.chain_key(key, used.get(key.chain, []))
    assembly.finish()
    return found


def _add_md5(assembly: Assembly, key: ChainKey, peers: list[Peer]) -> bool:
    """A key of a chain that sessions use with ``authentication-algorithm md5``: TCP-MD5."""
    if key.secret is None:
        return False
    peers = [peer for peer in peers if peer.settings.get("algorithm") == "md5"]
    for peer in peers:
        fields = {"algorithm": "tcp-md5", "name": f"{key.chain} key {key.number} for {peer.name}"}
        assembly.add(key.where, {**fields, **assembly.place(peer), **key.lifetimes}, key.secret)
    return bool(peers)


def _zone(text: str, found: KeyFile) -> tzinfo:
    """The zone of start-times that state none."""
    match = re.search(r"(?m)^\s*(?:set system )?time-zone ([\w/+-]+);?\s*$", text)
    if match is None:
        return timezone.utc
    zone = named_zone(match[1])
    if zone is None:
        found.notes.append(
            f"time-zone {match[1]} is not known here: start-times without an offset count as UTC"
        )
    return zone or timezone.utc


def _keys(facts: _Facts, found: KeyFile, zone: tzinfo) -> list[ChainKey]:
    """The keys of all chains; one whose algorithm is not ``ao`` has none."""
    said: dict[tuple[str, str], dict[str, str]] = {}
    lines: dict[tuple[str, str], int] = {}
    for place, name, values in facts.under():
        if "key-chain" not in place or "authentication-key-chains" not in place:
            continue
        inside = place[place.index("key-chain") + 1 :]
        if name == "tolerance" and len(inside) == 1 and values and values[0].isdecimal():
            found.tolerances[inside[0]] = int(values[0])
        if len(inside) < 3 or inside[1] != "key":
            continue
        which = inside[0], inside[2]
        said.setdefault(which, {})[name] = values[0] if values else ""
        lines.setdefault(which, facts.lines.get(place, 0))
        size = place.index("key-chain") + 4
        lines[which] = facts.lines.get(place[:size], lines[which])
    keys = []
    for which, of_key in said.items():
        key = ChainKey(*which, lines[which], noun="key-chain")
        keys.append(key)
        if "secret" in of_key:
            key.secret = junos(of_key["secret"])
        if "start-time" in of_key:
            try:
                key.lifetimes["send_lifetime"] = (_moment(of_key["start-time"], zone), None)
            except ValueError:
                found.problems.append(
                    f"{key.where}: start-time is not YYYY-MM-DD.HH:MM[:SS] [+ZZZZ]"
                )
        if of_key.get("algorithm") != "ao":
            continue
        key.algorithm = of_key.get("cryptographic-algorithm", "hmac-sha-1-96")
        key.include = of_key.get("tcp-ao-option", "disabled") == "enabled"
        for theirs, ours in (("send-id", "send_id"), ("recv-id", "recv_id")):
            if of_key.get(theirs, "").isdecimal():
                setattr(key, ours, int(of_key[theirs]))
    return keys


def _peers(facts: _Facts) -> list[Peer]:
    """Every session with what its groups and protocol say."""
    nodes: dict[Path, Peer] = {}
    for place in facts.lines:
        scope = _scope(place)
        if scope is not None:
            nodes[place] = Peer(place[-1], facts.lines[place], scope[0], noun=scope[1])
    for (place, name), values in facts.said.items():
        if place not in nodes or not values:
            continue
        settings = nodes[place].settings
        if name == "authentication-key":
            settings["password"] = junos(values[0])
            settings.setdefault("chain", None)
        elif name == "authentication-key-chain":
            settings["chain"] = values[0]
            settings.setdefault("password", None)
        elif name == "authentication-algorithm":
            settings["algorithm"] = values[0]
        elif name == "local-address":
            settings["local"] = values[0]
    groups = {"\0".join(place): peer for place, peer in nodes.items()}
    found = []
    for place, peer in nodes.items():
        for size in range(len(place) - 1, 0, -1):
            if place[:size] in nodes:
                peer.inherits = ["\0".join(place[:size])]
                break
        if is_address(peer.name):
            found.append(inherited(peer, groups))
    for (place, name), values in facts.said.items():
        if name == "allow" and place in nodes:
            found += [
                inherited(
                    Peer(prefix, facts.lines[place], nodes[place].vrf, {}, ["\0".join(place)]),
                    groups,
                )
                for prefix in values
                if is_address(prefix)
            ]
    return found


def _scope(place: Path) -> tuple[str | None, str] | None:
    """VRF and noun of a place at or below a protocol that has TCP sessions; None elsewhere."""
    protocol = next((word for word in place if word in _PROTOCOLS), None)
    if protocol is None or not {"protocols", "routing-options"} & set(place):
        return None
    names = [
        place[place.index(kind) + 1]
        for kind in ("logical-systems", "routing-instances")
        if kind in place[:-1]
    ]
    nouns = {"ldp": "LDP session", "msdp": "MSDP peer", "validation": "RPKI session"}
    return "/".join(names) or None, nouns.get(protocol, "neighbor")


def _moment(text: str, zone: tzinfo) -> datetime:
    match = re.fullmatch(
        r"(\d{4})-(\d{1,2})-(\d{1,2})\.(\d{1,2}):(\d{2})(?::(\d{2}))?(?: ?([+-]\d{4}))?", text
    )
    if match is None:
        raise ValueError(text)
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    moment = datetime(year, month, day, hour, minute, second, tzinfo=zone)
    if match[7]:
        moment = moment.replace(tzinfo=datetime.strptime(match[7], "%z").tzinfo)
    return moment


#: What the text has of keys.
_CARRIES = PEERS | {
    "keys for any address",
    "options left out of the MAC",
    "starts of send lifetimes",
    "lifetimes without a start",
    TOLERANCE,
}


def write_junos(chain: KeyChain) -> Written:
    """A chain as ``set`` lines; a key-chain for each remote side."""
    lines: list[str] = []
    usable = [key for key in chain if _fits(key)]
    names: dict[str, str] = {}
    counts: dict[str, int] = defaultdict(int)
    starts: set[tuple[str, datetime]] = set()
    moved: list[MasterKey] = []
    for key in usable:
        remote = "any" if key.remote is None else network_text(key.remote)
        name = names.setdefault(remote, f"tcpao-{len(names) + 1}")
        number = counts[remote]
        counts[remote] += 1
        start = key.send_lifetime[0] if key.send_lifetime else None
        start = start or datetime(2000, 1, 1, tzinfo=timezone.utc)
        start = start.astimezone(timezone.utc)
        while (remote, start) in starts:  # no two keys of a chain begin at one time
            start += timedelta(seconds=1)
            if key.send_lifetime and key not in moved:
                moved.append(key)
        starts.add((remote, start))
        begin = f"set security authentication-key-chains key-chain {name} key {number}"
        option = "disabled" if key.exclude_options else "enabled"
        lines += [
            f"{begin} secret {text_secret(key)}",
            f'{begin} start-time "{start:%Y-%m-%d.%H:%M:%S} +0000"',
            f"{begin} algorithm ao",
            f"{begin} ao-attribute send-id {key.send_id}",
            f"{begin} ao-attribute recv-id {key.recv_id}",
            f"{begin} ao-attribute cryptographic-algorithm {key.algorithm}",
            f"{begin} ao-attribute tcp-ao-option {option}",
        ]
    for remote, name in names.items():
        if remote != "any":
            begin = f"set protocols bgp group {name} neighbor {remote}"
            lines += [
                f"{begin} authentication-algorithm ao",
                f"{begin} authentication-key-chain {name}",
            ]
    if chain.accept_tolerance:
        lines += [
            f"set security authentication-key-chains key-chain {name} tolerance "
            f"{int(min(chain.accept_tolerance, 2**32 - 1))}"
            for name in names.values()
        ]
    lost = not_carried(
        chain, "Junos has no such key (algorithm, MAC length or secret)", lambda k: not _fits(k)
    )
    lost += not_carried(
        usable,
        "no lifetime is start-time 2000-01-01",
        lambda k: not (k.send_lifetime and k.send_lifetime[0]),
    )
    lost += not_carried(
        moved, "start times are unique in a chain: moved by seconds", lambda k: True
    )
    return Written("\n".join(lines) + "\n", usable, _CARRIES, tuple(lost))


def _fits(key: MasterKey) -> bool:
    return key.algorithm in _ALGORITHMS and key.mac_length == 12 and text_secret(key) is not None


FORMAT = Format(
    "junos", "Junos (security authentication-key-chains)", _looks_like, read_junos, write_junos
)
