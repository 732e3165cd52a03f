"""Two ends' keys held against each other: which sessions can come up, and what differs."""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any

from tcpao_fast.errors import InvalidArgumentError
from tcpao_fast.keys.addresses import side_text
from tcpao_fast.keys.key_chain import KeyChain
from tcpao_fast.keys.lifetimes import lifetime_ns
from tcpao_fast.keys.master_key import UNKNOWN_SECRET, MasterKey

#: What an address that both files say, and an equal secret, count when ends are looked for.
_SAME_ADDRESS, _SAME_SECRET = 100, 8


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that differs between two keys for the same session.

    Attributes
    ----------
    field : str
        ``secret``, ``algorithm``, ``ids``, ``mac_length``, ``options``, ``lifetimes``, ``nat``,
        ``protocol`` or ``missing``.
    what : str
        A sentence without its full stop; secrets are never in it.
    blocks : bool
        Whether it keeps segments from being verified.
    """

    field: str
    what: str
    blocks: bool = True


@dataclass(frozen=True, slots=True)
class PairOfKeys:
    """A key of one file, and the key of the other file for the same use; one may be missing.

    Attributes
    ----------
    a, b : str or None
        What they are called.
    differences : tuple of Difference
    secret : str
        ``equal``, ``different``, or ``unknown`` where a file has it encrypted.
    """

    a: str | None
    b: str | None
    differences: tuple[Difference, ...]
    secret: str = "unknown"

    @property
    def matches(self) -> bool:
        """Whether segments that one end signs with it are good at the other, as far as is known."""
        return not any(one.blocks for one in self.differences)


@dataclass(frozen=True, slots=True)
class Session:
    """Keys of both files for one session.

    Attributes
    ----------
    ends : str
        Between which addresses and ports.
    keys : tuple of PairOfKeys
    """

    ends: str
    keys: tuple[PairOfKeys, ...]

    @property
    def matches(self) -> bool:
        """Whether some key is the same at both ends, and none stands in the way."""
        return any(one.matches for one in self.keys) and not self.is_partial

    @property
    def is_partial(self) -> bool:
        """Whether some keys match and others do not, or are at one end only."""
        matching = [one.matches for one in self.keys]
        return any(matching) and not all(matching)

    @property
    def verdict(self) -> str:
        """``matches``, ``differs``, or ``partly`` where it depends on the key in use."""
        return "partly" if self.is_partial else "matches" if self.matches else "differs"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two files have in common.

    Attributes
    ----------
    sessions : tuple of Session
    only_a, only_b : tuple of str
        Keys of one file that no session of the other is for.
    doubtful : tuple of str
        Keys that more than one session of the other file may be for: which is meant depends on
        addresses that the files do not say.
    """

    sessions: tuple[Session, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    doubtful: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """0 every session matches, 1 one does not, 3 there is none in common."""
        if any(one.verdict != "matches" for one in self.sessions):
            return 1
        return 0 if self.sessions else 3

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "sessions": [
                {
                    "ends": one.ends,
                    "verdict": one.verdict,
                    "keys": [
                        {
                            "a": pair.a,
                            "b": pair.b,
                            "secret": pair.secret,
                            "differences": [
                                {"field": d.field, "what": d.what, "blocks": d.blocks}
                                for d in pair.differences
                            ],
                        }
                        for pair in one.keys
                    ],
                }
                for one in self.sessions
            ],
            "only_a": list(self.only_a),
            "only_b": list(self.only_b),
            "doubtful": list(self.doubtful),
        }


@dataclass(slots=True)
class _Group:
    """Keys of one file for the same session, as the first file's end sees it."""

    keys: list[MasterKey] = field(default_factory=list)

    @property
    def first(self) -> MasterKey:
        return self.keys[0]


def compare_chains(
    a: KeyChain,
    b: KeyChain,
    *,
    address_a: str | None = None,
    address_b: str | None = None,
    same_end: bool = False,
) -> Comparison:
    """Hold the keys of two ends against each other.

    Parameters
    ----------
    a, b : KeyChain
    address_a, address_b : str, optional
        The address of each end, where its file does not say it (routers' files name the neighbor
        alone).
    same_end : bool
        Whether both are of the same end, such as one router's file in two formats: IDs are not
        crossed then.

    Returns
    -------
    Comparison

    Raises
    ------
    InvalidArgumentError
        An address that is none.
    """
    mine = _groups(_placed(a, address_a))
    placed = _placed(b, address_b)
    theirs = _groups(placed if same_end else [key.mirrored() for key in placed])
    pairs, doubtful = _paired(mine, theirs)
    sessions = [_session(group, other, same_end) for group, other in pairs]
    met = {id(one) for pair in pairs for one in pair}
    only: tuple[list[str], list[str]] = ([], [])
    unsure: list[str] = []
    for groups, names in zip((mine, theirs), only, strict=True):
        for group in groups:
            if id(group) in met:
                continue
            as_written = same_end or groups is mine
            into = unsure if id(group) in doubtful else names
            into += [_called(key if as_written else key.mirrored()) for key in group.keys]
    return Comparison(
        tuple(sorted(sessions, key=lambda one: one.ends)),
        tuple(only[0]),
        tuple(only[1]),
        tuple(unsure),
    )


def _placed(chain: KeyChain, address: str | None) -> list[MasterKey]:
    """The keys, with their end's address where they do not say it."""
    if address is None:
        return list(chain)
    try:
        own = ip_network(ip_address(address))
    except ValueError:
        raise InvalidArgumentError(f"{address!r} is no IP address") from None
    return [
        replace(key, local=own) if key.local is None and key.version in (0, own.version) else key
        for key in chain
    ]


def _groups(keys: Iterable[MasterKey]) -> list[_Group]:
    found: dict[tuple[Any, ...], _Group] = {}
    for key in keys:
        place = key.local, key.remote, key.local_port, key.remote_port
        found.setdefault(place, _Group()).keys.append(key)
    return list(found.values())


def _paired(
    mine: Sequence[_Group], theirs: Sequence[_Group]
) -> tuple[list[tuple[_Group, _Group]], set[int]]:
    """Groups that are the two ends of one session, the most alike first; and the ids of those for
    which there is more than one choice and nothing that tells: an address, or a secret.
    """
    choices = [
        (_likeness(group, other), group, other)
        for group in mine
        for other in theirs
        if group.first.overlaps(other.first)
    ]
    pairs: list[tuple[_Group, _Group]] = []
    doubtful: set[int] = set()
    while choices:
        best = max(score for score, _, _ in choices)
        certain = best >= _SAME_SECRET
        top = [one for one in choices if one[0] == best] if certain else choices
        uses = Counter(id(one) for _, *pair in top for one in pair)
        for _, group, other in top:
            if uses[id(group)] == uses[id(other)] == 1:
                pairs.append((group, other))
            else:
                doubtful |= {id(group), id(other)}
        done = {id(one) for _, *pair in top for one in pair}
        choices = [one for one in choices if not done & {id(one[1]), id(one[2])}]
    return pairs, doubtful


def _likeness(group: _Group, other: _Group) -> int:
    """How much two groups look like the two ends of one session."""
    known = [
        mine is not None and mine == theirs
        for mine, theirs in (
            (group.first.local, other.first.local),
            (group.first.remote, other.first.remote),
        )
    ]
    keys = max(_key_likeness(one, two) for one in group.keys for two in other.keys)
    return _SAME_ADDRESS * sum(known) + keys


def _key_likeness(one: MasterKey, two: MasterKey) -> int:
    if one.is_tcp_md5 != two.is_tcp_md5:
        return 0
    ids = (one.send_id, one.recv_id) == (two.send_id, two.recv_id)
    straight = (one.send_id, one.recv_id) == (two.recv_id, two.send_id)
    half = one.send_id == two.send_id or one.recv_id == two.recv_id
    return (
        _SAME_SECRET * (_secret(one, two) == "equal")
        + (0 if one.is_tcp_md5 else 4 * ids or 3 * straight or 2 * half)
        + (one.algorithm == two.algorithm)
    )


def _secret(one: MasterKey, two: MasterKey) -> str:
    if any(key.secret is UNKNOWN_SECRET for key in (one, two)):
        return "unknown"
    return "equal" if hmac.compare_digest(one.secret, two.secret) else "different"


def _called(key: MasterKey) -> str:
    """A key for people."""
    remote = side_text(key.remote, key.remote_port, "any address")
    return f"{key.label} (for {remote})"


def _session(group: _Group, other: _Group, same_end: bool) -> Session:
    """Keys in pairs, the most alike first."""
    pairs = sorted(
        (
            (-_key_likeness(one, two), i, j)
            for i, one in enumerate(group.keys)
            for j, two in enumerate(other.keys)
        ),
    )
    taken_a: set[int] = set()
    taken_b: set[int] = set()
    found: list[tuple[int, PairOfKeys]] = []
    for likeness, i, j in pairs:
        if i in taken_a or j in taken_b:
            continue
        one, two = group.keys[i], other.keys[j]
        # beside others that fit, keys with nothing in common are no pair
        if likeness > -3 and found and not one.is_tcp_md5:
            continue
        taken_a.add(i)
        taken_b.add(j)
        found.append((i, _pair(one, two, same_end)))
    for keys, taken, name in ((group.keys, taken_a, "a"), (other.keys, taken_b, "b")):
        for number, key in enumerate(keys):
            if number not in taken:
                shown = key if name == "a" or same_end else key.mirrored()
                absent = Difference("missing", "the other file has no such key")
                found.append((number, PairOfKeys(
                    shown.label if name == "a" else None,
                    shown.label if name == "b" else None, (absent,),
                )))  # fmt: skip
    found.sort(key=lambda one: one[0])
    return Session(_ends(group.first, other.first), tuple(pair for _, pair in found))


def _ends(one: MasterKey, two: MasterKey) -> str:
    """The addresses of a session, as far as one of the files says them."""
    local = one if one.local is not None else two
    remote = one if one.remote is not None else two
    return (
        f"{side_text(local.local, local.local_port, 'any address')} - "
        f"{side_text(remote.remote, remote.remote_port, 'any address')}"
    )


def _pair(one: MasterKey, two: MasterKey, same_end: bool) -> PairOfKeys:
    """What differs; `two` as the first file's end sees it."""
    shown = two if same_end else two.mirrored()
    return PairOfKeys(
        one.label,
        shown.label,
        tuple(_differences(one, two, shown)),
        _secret(one, two),
    )


def _differences(one: MasterKey, two: MasterKey, shown: MasterKey) -> Iterator[Difference]:
    if one.is_tcp_md5 != two.is_tcp_md5:
        names = ["TCP-MD5" if key.is_tcp_md5 else "TCP-AO" for key in (one, two)]
        yield Difference("protocol", f"A uses {names[0]}, B uses {names[1]}")
        return
    secret = _secret(one, two)
    if secret == "different":
        yield Difference("secret", "the secrets differ")
    elif secret == "unknown":
        yield Difference("secret", "a secret is encrypted, so they were not compared", blocks=False)
    if one.is_tcp_md5:
        yield from _lifetimes(one, shown, shown is two)
        return
    if one.algorithm != two.algorithm:
        yield Difference("algorithm", f"A has {one.algorithm}, B {two.algorithm}")
    if (one.send_id, one.recv_id) != (two.send_id, two.recv_id):
        yield Difference("ids", _ids(one, two, shown))
    if one.mac_length != two.mac_length:
        yield Difference(
            "mac_length", f"A has MACs of {one.mac_length} bytes, B of {two.mac_length}"
        )
    if one.exclude_options != two.exclude_options:
        names = ["excludes" if key.exclude_options else "covers" for key in (one, two)]
        yield Difference("options", f"A {names[0]} the other TCP options, B {names[1]} them")
    if (one.local_nat, one.remote_nat) != (two.local_nat, two.remote_nat):
        yield Difference("nat", "the NAT flags (RFC 6978) differ")
    yield from _lifetimes(one, shown, shown is two)


def _ids(one: MasterKey, two: MasterKey, shown: MasterKey) -> str:
    """How the IDs of two keys fail to meet."""
    both = f"A sends {one.send_id} and expects {one.recv_id}, "
    both += f"B sends {shown.send_id} and expects {shown.recv_id}"
    if (one.send_id, one.recv_id) == (two.recv_id, two.send_id):
        both += ": the IDs are not crossed (the send_id of one end is the recv_id of the other)"
    return both


def _lifetimes(one: MasterKey, two: MasterKey, same_end: bool) -> Iterator[Difference]:
    """Times at which one end sends with a key that the other does not accept."""
    if same_end:
        ends = [(key.send_lifetime, key.accept_lifetime) for key in (one, two)]
        if ends[0] != ends[1]:
            yield Difference("lifetimes", "the lifetimes differ", blocks=False)
        return
    for who, whom, sends, accepts in (
        ("A", "B", one.send_lifetime, two.accept_lifetime),
        ("B", "A", two.send_lifetime, one.accept_lifetime),
    ):
        (begin, end), (first, last) = lifetime_ns(sends), lifetime_ns(accepts)
        if begin >= first and end <= last:
            continue
        never = end < first or begin > last
        when = "never" if never else "does not always"
        verb = "accepts" if never else "accept"
        yield Difference(
            "lifetimes", f"{whom} {when} {verb} the key while {who} sends with it", blocks=never
        )
