"""What is wrong with keys that are formally right: a linter for key files.

A rule is a function in `RULES` that looks at a key, or at the whole chain, and yields findings.
No finding shows a secret or a part of one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum

from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.keys.addresses import Network
from tcpao_fast.keys.lifetimes import lifetime_ns, moment_ns
from tcpao_fast.keys.master_key import LINUX_ALGORITHMS, has_algorithm_of

#: Bytes of a secret below which it is short: RFC 3562 asks TCP-MD5 keys for 12 and more.
SHORT_SECRET = 12
#: Different bytes below which a secret is weak, however long.
FEW_BYTES = 5
#: What fits beside MSS, SACK, timestamps and window scale in a SYN.
LONGEST_MAC_IN_SYN = 16

_HEX = re.compile(rb"(0x)?([0-9a-fA-F]{2}){8,}")


class Severity(Enum):
    """How much a finding matters."""

    #: The key cannot work as it is.
    problem = "problem"
    #: It works, and is unsafe or likely not what was meant.
    warning = "warning"
    #: Where other systems do it in another way.
    note = "note"


@dataclass(frozen=True, slots=True)
class LintFinding:
    """One finding.

    Attributes
    ----------
    severity : Severity
    rule : str
        The rule's name.
    keys : tuple of int
        The keys it speaks of, by their numbers in the chain.
    what : str
        What is wrong.
    advice : str
        What would be right.
    """

    severity: Severity
    rule: str
    keys: tuple[int, ...]
    what: str
    advice: str


#: (severity, keys, what, advice), to which the rule's name comes.
Found = tuple[Severity, tuple[int, ...], str, str]
Rule = Callable[[KeyChain, int], Iterable[Found]]


def lint(chain: KeyChain, now: datetime | None = None) -> list[LintFinding]:
    """Everything that the rules find in a chain, problems first, then by key.

    Parameters
    ----------
    chain : KeyChain
    now : datetime, optional
        With time zone; the system's clock.
    """
    moment = moment_ns(datetime.now(timezone.utc) if now is None else now)
    found = [
        LintFinding(severity, rule.__name__, keys, what, advice)
        for rule in RULES
        for severity, keys, what, advice in rule(chain, moment)
    ]
    order = list(Severity)
    return sorted(found, key=lambda one: (order.index(one.severity), one.keys))


def _each(chain: KeyChain) -> Iterator[tuple[tuple[int, ...], MasterKey]]:
    for number, key in enumerate(chain):
        yield (number,), key


def blank_in_secret(chain: KeyChain, now: int) -> Iterator[Found]:
    """A newline or blank at an end of a secret is nearly always one that crept in."""
    for at, key in _each(chain):
        ends = {key.secret[:1], key.secret[-1:]}
        if ends & {b"\n", b"\r", b"\0", b" ", b"\t"}:
            yield (
                Severity.warning,
                at,
                "the secret begins or ends with a space, newline or zero byte",
                "remove it, unless the peer has it too",
            )


def hex_as_text(chain: KeyChain, now: int) -> Iterator[Found]:
    """Text that is nothing but hexadecimal digits may be meant as the bytes that they write."""
    for at, key in _each(chain):
        if _HEX.fullmatch(key.secret):
            yield (
                Severity.warning,
                at,
                "the secret consists of hexadecimal digits",
                "use secret_hex if it is meant as hexadecimal",
            )


def short_secret(chain: KeyChain, now: int) -> Iterator[Found]:
    """Master keys can be guessed offline from one captured segment."""
    for at, key in _each(chain):
        if len(key.secret) < SHORT_SECRET:
            yield (
                Severity.warning,
                at,
                f"the secret has {len(key.secret)} bytes",
                f"it can be guessed offline from one captured segment; use {SHORT_SECRET} random "
                "bytes or more (32 for the IETF draft's algorithms)",
            )
        elif len(set(key.secret)) < FEW_BYTES:
            yield (
                Severity.warning,
                at,
                f"the secret has {len(set(key.secret))} distinct bytes",
                "use random bytes",
            )


def mac_length(chain: KeyChain, now: int) -> Iterator[Found]:
    """Short MACs can be forged, long ones do not fit into a SYN."""
    for at, key in _each(chain):
        length = key.mac_length or 0
        if length < 8:
            yield (
                Severity.warning,
                at,
                f"the MAC has {length} bytes",
                "use 12 (RFC 5926) or more: a forgery takes 2^(8 x length) attempts",
            )
        elif length > LONGEST_MAC_IN_SYN:
            yield (
                Severity.warning,
                at,
                f"a MAC of {length} bytes leaves no room for timestamps and window scale in a SYN",
                f"use at most {LONGEST_MAC_IN_SYN}, the limit of Linux",
            )


def never_matches(chain: KeyChain, now: int) -> Iterator[Found]:
    """A connection needs two different ends."""
    for at, key in _each(chain):
        for name, network in (("local", key.local), ("remote", key.remote)):
            if not isinstance(network, Network) or network.num_addresses > 1:
                continue
            address = network.network_address
            if address.is_unspecified or address.is_multicast:
                yield (
                    Severity.problem,
                    at,
                    f"{name} is {address}: no segment has that address",
                    "omit it to match any address, or use a prefix",
                )
        for name, ports in (("local_port", key.local_port), ("remote_port", key.remote_port)):
            if ports == (0, 0):
                yield (
                    Severity.problem,
                    at,
                    f"{name} is 0: no segment has port 0",
                    "omit it to match any port",
                )


def lifetimes(chain: KeyChain, now: int) -> Iterator[Found]:
    """A key that is over, and one that is sent while nobody accepts it."""
    for at, key in _each(chain):
        send, accept = lifetime_ns(key.send_lifetime), lifetime_ns(key.accept_lifetime)
        if send[1] < now and accept[1] < now:
            yield (
                Severity.warning,
                at,
                "its lifetimes have ended",
                "delete it, so that the old key cannot be used again",
            )
        if send[0] < accept[0] or send[1] > accept[1]:
            yield (
                Severity.warning,
                at,
                "it may be used to send at times when it is not accepted",
                "start accepting before, and stop after, the send lifetime: clocks differ",
            )


def gaps(chain: KeyChain, now: int) -> Iterator[Found]:
    """Between the keys of a connection there should be no time without any."""
    groups: dict[tuple[object, ...], list[tuple[tuple[int, int], int]]] = defaultdict(list)
    for number, key in enumerate(chain):
        if not key.is_tcp_md5:
            sides = (key.local, key.remote, key.local_port, key.remote_port, key.vrf)
            groups[sides].append((lifetime_ns(key.send_lifetime), number))
    for entries in groups.values():
        entries.sort()
        (_, reached), last = entries[0]
        for (first, end), number in entries[1:]:
            if first > reached + 10**9:
                yield (
                    Severity.warning,
                    (last, number),
                    f"between the send lifetimes of keys {last + 1} and {number + 1} there is a "
                    f"gap of {_duration(first - reached)}",
                    "let them overlap: nothing can be signed during the gap",
                )
            if end > reached:
                reached, last = end, number


def _duration(nanoseconds: int) -> str:
    seconds = nanoseconds // 10**9
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}s"
    return f"{seconds} seconds"


def both_kinds(chain: KeyChain, now: int) -> Iterator[Found]:
    """TCP-MD5 and TCP-AO for one peer: Linux refuses it, and no connection can have both."""
    md5 = [(number, key) for number, key in enumerate(chain) if key.is_tcp_md5]
    for number, key in enumerate(chain):
        if key.is_tcp_md5:
            continue
        for other, md5_key in md5:
            if key.overlaps(md5_key):
                yield (
                    Severity.warning,
                    (number, other),
                    f"key {number + 1} is for TCP-AO and key {other + 1} for TCP-MD5, but one "
                    "connection can match both",
                    "a peer uses one or the other: narrow one of the keys",
                )


def same_secret(chain: KeyChain, now: int) -> Iterator[Found]:
    """A new key with the old secret is no new key."""
    by_secret: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    for number, key in enumerate(chain):
        by_secret[key.algorithm, key.secret].append(number)
    for numbers in by_secret.values():
        overlapping = [n for n in numbers[1:] if chain[n].overlaps(chain[numbers[0]])]
        if overlapping:
            names = " and ".join(str(n + 1) for n in (numbers[0], *overlapping))
            yield (
                Severity.warning,
                (numbers[0], *overlapping),
                f"keys {names} have the same secret and can match the same connection",
                "use a different secret for each: otherwise changing keys achieves nothing",
            )


def md5_rotation(chain: KeyChain, now: int) -> Iterator[Found]:
    """Several TCP-MD5 keys for one peer, which differ in nothing but the secret."""
    alike: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for number, key in enumerate(chain):
        if key.is_tcp_md5:
            place = key.local, key.remote, key.local_port, key.remote_port, key.vrf
            alike[(*place, key.send_lifetime, key.accept_lifetime)].append(number)
    for numbers in alike.values():
        if len({chain[number].secret for number in numbers}) > 1:
            names = " and ".join(str(number + 1) for number in numbers)
            yield (
                Severity.warning,
                tuple(numbers),
                f"TCP-MD5 keys {names} differ in nothing but the secret: all are tried on "
                "segments, and the first one signs",
                "give them lifetimes, or remove the old one once the peer has changed",
            )


def options_coverage(chain: KeyChain, now: int) -> Iterator[Found]:
    """The commonest fault between vendors: whether the MAC covers the other options."""
    for at, key in _each(chain):
        if key.is_tcp_md5:
            continue
        if key.exclude_options:
            others = "Linux, BIRD and Arista cover them by default"
        else:
            others = "Cisco and Junos exclude them by default (include-tcp-options, "
            others += "tcp-ao-option enabled)"
        yield (
            Severity.note,
            at,
            f"TCP options are {'not ' if key.exclude_options else ''}covered",
            others,
        )


def kdf_by_name(chain: KeyChain, now: int) -> Iterator[Found]:
    """HMAC-SHA-256 goes with two KDFs, and names do not say which."""
    other = {
        "hmac(sha256)": "Linux's KDF; the IETF draft's hmac-sha256-128 uses another",
        "hmac-sha256-128": "the IETF draft's KDF; Linux's hmac(sha256) uses another",
    }
    for at, key in _each(chain):
        if key.algorithm in other:
            yield (
                Severity.note,
                at,
                f"{key.algorithm} derives traffic keys with {other[key.algorithm]}",
                "the two do not interoperate: check which one the peer uses",
            )


def linux_algorithms(chain: KeyChain, now: int) -> Iterator[Found]:
    """What kernels from 7.2 on no longer take."""
    for at, key in _each(chain):
        if not key.is_tcp_md5 and not has_algorithm_of(key, LINUX_ALGORITHMS):
            of_length = f" with a secret of {len(key.secret)} bytes"
            yield (
                Severity.note,
                at,
                f"Linux does not take {key.algorithm} from 7.2 on"
                + (of_length if key.algorithm in LINUX_ALGORITHMS else ""),
                "it takes hmac-sha-1-96, hmac(sha256), aes-128-cmac-96, cmac(aes) with 16 bytes",
            )


#: Systems that set keys on Linux's sockets, which take secrets of so many bytes.
_ON_LINUX = ("bird", "gobgp", "exabgp", "rustbgpd", "zebra_rs", "frr", "vyos")
_LINUX_SECRET = 80


def unequal_lifetimes(chain: KeyChain, now: int) -> Iterator[Found]:
    """IOS XR takes a key for TCP-AO alone where both its lifetimes are the same."""
    for at, key in _each(chain):
        is_ao = key.form == "cisco_xr" and not key.is_tcp_md5
        if is_ao and key.send_lifetime != key.accept_lifetime:
            yield (
                Severity.warning,
                at,
                "send-lifetime and accept-lifetime differ, which makes the key invalid for TCP-AO "
                "in IOS XR",
                "configure identical values for both; accept-tolerance widens what is accepted",
            )


def long_secret(chain: KeyChain, now: int) -> Iterator[Found]:
    """A secret that the system's kernel does not take."""
    for at, key in _each(chain):
        if key.form in _ON_LINUX and len(key.secret) > _LINUX_SECRET:
            yield (
                Severity.problem,
                at,
                f"the secret has {len(key.secret)} bytes, and Linux takes {_LINUX_SECRET}",
                "shorten it on both sides",
            )


RULES: tuple[Rule, ...] = (
    never_matches,
    blank_in_secret,
    hex_as_text,
    short_secret,
    mac_length,
    lifetimes,
    gaps,
    both_kinds,
    same_secret,
    md5_rotation,
    options_coverage,
    kdf_by_name,
    linux_algorithms,
    unequal_lifetimes,
    long_secret,
)

__all__ = ["LintFinding", "Severity", "lint"]
