"""Master key tuples (MKTs, RFC 5925 section 3.1) and sets of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING, Any, overload

from tcpao_fast.algorithms import Algorithm, find
from tcpao_fast.core.mkt import MktSet
from tcpao_fast.errors import InvalidArgumentError, InvalidKeyError, KeyOverlapError, TcpAoError

if TYPE_CHECKING:
    from tcpao_fast.core.mkt import Side

Network = IPv4Network | IPv6Network
AddressLike = str | IPv4Address | IPv6Address | Network | None
PortsLike = int | Sequence[int] | None
Ports = tuple[int, int]
Lifetime = tuple[datetime | None, datetime | None]
Address = IPv4Address | IPv6Address
AddressAndPort = tuple[str | Address, int]

#: Option bytes that TCP has room for (RFC 9293): kind, length, KeyID and RNextKeyID take 4.
MAX_MAC_LENGTH = 40 - 4
#: Linux's limit for a TCP-MD5 key.
MAX_TCP_MD5_SECRET = 80

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_ALWAYS = (-(2**63), 2**63 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterKey:
    """One MKT: a master key, what to do with it, and which connections it is for.

    A key may be used from either end: a segment from `local` to `remote` carries `send_id`, one
    from `remote` to `local` carries `recv_id`.

    Parameters
    ----------
    algorithm : str
        A name that `tcpao_fast.algorithms` knows, such as ``hmac-sha-1-96``, ``aes-128-cmac-96``,
        ``hmac-sha256-128``, ``kmac256-128``, Linux's ``hmac(sha256)``, or ``tcp-md5``.
    secret : bytes
        The master key. It never appears in a repr, an error or a log.
    send_id, recv_id : int, optional
        KeyIDs, 0 to 255; a ``tcp-md5`` key has none.
    local, remote : address, prefix, or None for any
        As text or as `ipaddress` objects; kept as networks. IPv4-mapped IPv6 becomes IPv4.
    local_port, remote_port : int, (int, int), or None for any
        A port or an inclusive range; kept as a range.
    mac_length : int, optional
        Bytes of the MAC on the wire, 1 to the digest size and at most 36; the algorithm's default
        (12, for the IETF draft's algorithms 16).
    exclude_options : bool
        Whether the MAC leaves the other TCP options out.
    name : str, optional
        What reports call the key.
    vrf : int, optional
        The VLAN ID (VRF) the key is for; None for any.
    send_lifetime, accept_lifetime : (datetime or None, datetime or None), optional
        First and last moment, with time zone; None for open ends (RFC 8177 section 2.2). Looked at
        where segments have timestamps.
    local_nat, remote_nat : bool
        Whether that side is behind a NAT (RFC 6978): its address and port then count as zero in
        traffic keys and MACs. Matching goes by the addresses that this end sees.

    Raises
    ------
    InvalidKeyError
        With every broken rule in `problems`.
    """

    algorithm: str
    secret: bytes = field(repr=False)
    send_id: int | None = None
    recv_id: int | None = None
    local: AddressLike = None
    remote: AddressLike = None
    local_port: PortsLike = None
    remote_port: PortsLike = None
    mac_length: int | None = None
    exclude_options: bool = False
    name: str | None = None
    vrf: int | None = None
    send_lifetime: Lifetime | None = None
    accept_lifetime: Lifetime | None = None
    local_nat: bool = False
    remote_nat: bool = False

    def __post_init__(self) -> None:
        problems: list[tuple[str, str]] = []

        def settle(attribute: str, value: object) -> None:
            object.__setattr__(self, attribute, value)

        algorithm: Algorithm | None = None
        try:
            algorithm = find(self.algorithm)
            settle("algorithm", algorithm.name)
        except TcpAoError as error:
            problems.append(("algorithm", str(error)))
        except AttributeError:
            problems.append(("algorithm", "must be text"))
        if not isinstance(self.secret, (bytes, bytearray, memoryview)):
            problems.append(("secret", "must be bytes"))
        else:
            settle("secret", bytes(self.secret))
            if not self.secret:
                problems.append(("secret", "is empty"))
        if algorithm is not None:
            self._check_algorithm(algorithm, problems)
        for side in ("local", "remote"):
            try:
                settle(side, as_network(getattr(self, side)))
            except (ValueError, TypeError) as error:
                problems.append((side, str(error)))
            try:
                settle(f"{side}_port", _ports(getattr(self, f"{side}_port")))
            except ValueError as error:
                problems.append((f"{side}_port", str(error)))
        versions = {n.version for n in (self.local, self.remote) if isinstance(n, Network)}
        if len(versions) > 1:
            problems.append(("remote", "is of another IP version than local"))
        if self.vrf is not None and not _is_int(self.vrf, 0, 2**32 - 1):
            problems.append(("vrf", "must be a number from 0 to 4294967295"))
        for flag in ("exclude_options", "local_nat", "remote_nat"):
            if not isinstance(getattr(self, flag), bool):
                problems.append((flag, "must be true or false"))
        if self.name is not None and not (isinstance(self.name, str) and self.name):
            problems.append(("name", "must be text and not empty"))
        for lifetime in ("send_lifetime", "accept_lifetime"):
            problem = _lifetime_problem(getattr(self, lifetime))
            if problem:
                problems.append((lifetime, problem))
        if problems:
            raise InvalidKeyError(problems)

    def _check_algorithm(self, algorithm: Algorithm, problems: list[tuple[str, str]]) -> None:
        lengths = algorithm.secret_lengths
        if lengths is not None and len(self.secret) not in lengths:
            allowed = ", ".join(map(str, lengths))
            problems.append(
                ("secret", f"has {len(self.secret)} bytes; {algorithm.name} takes {allowed}")
            )
        if algorithm.is_tcp_md5:
            for attribute in ("send_id", "recv_id"):
                if getattr(self, attribute) is not None:
                    problems.append((attribute, "a tcp-md5 key has no key IDs"))
            if self.mac_length not in (None, 16):
                problems.append(("mac_length", "is 16 for tcp-md5"))
            if self.exclude_options is True:
                problems.append(("exclude_options", "tcp-md5 never covers options"))
            problems += [
                (flag, "is TCP-AO's (RFC 6978); tcp-md5 has no such thing")
                for flag in ("local_nat", "remote_nat")
                if getattr(self, flag) is True
            ]
            if len(self.secret) > MAX_TCP_MD5_SECRET:
                problems.append(("secret", f"has more than {MAX_TCP_MD5_SECRET} bytes"))
        else:
            for attribute in ("send_id", "recv_id"):
                value = getattr(self, attribute)
                if value is None:
                    problems.append((attribute, "is missing"))
                elif not _is_int(value, 0, 255):
                    problems.append((attribute, f"is {value!r}; it must be 0 to 255"))
            most = min(algorithm.digest_length, MAX_MAC_LENGTH)
            if self.mac_length is not None and not _is_int(self.mac_length, 1, most):
                problems.append(
                    (
                        "mac_length",
                        f"is {self.mac_length!r}; {algorithm.name} allows 1 to {most} bytes",
                    )
                )
        if self.mac_length is None:
            object.__setattr__(self, "mac_length", algorithm.default_mac_length)

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a MasterKey holds a secret and is not pickled; pass its key file instead")

    @property
    def is_tcp_md5(self) -> bool:
        """Whether this is a TCP-MD5 key (RFC 2385)."""
        return self.algorithm == "tcp-md5"

    @property
    def label(self) -> str:
        """What reports call the key: its name, else algorithm and IDs.

        Control characters, which a terminal would obey, are written as escapes.
        """
        if self.name:
            return "".join(
                one if one.isprintable() else one.encode("unicode_escape").decode()
                for one in self.name
            )
        if self.is_tcp_md5:
            return "tcp-md5"
        return f"{self.algorithm} {self.send_id}/{self.recv_id}"

    @property
    def version(self) -> int:
        """4 or 6, or 0 when the key is for either."""
        for network in (self.local, self.remote):
            if isinstance(network, Network):
                return network.version
        return 0

    def identity(self) -> dict[str, Any]:
        """Everything that tells this key from others but its secret and lifetimes.

        In plain JSON types; nothing in it is made from the secret.
        """

        def network(value: AddressLike) -> str | None:
            if value is None:
                return None
            text = str(value)
            return text.removesuffix("/32") if ":" not in text else text.removesuffix("/128")

        def ports(value: PortsLike) -> list[int] | None:
            return list(value) if isinstance(value, tuple) else None

        return {
            "name": self.name,
            "algorithm": self.algorithm,
            "send_id": self.send_id,
            "recv_id": self.recv_id,
            "mac_length": self.mac_length,
            "exclude_options": self.exclude_options,
            "local": network(self.local),
            "remote": network(self.remote),
            "local_port": ports(self.local_port),
            "remote_port": ports(self.remote_port),
            "local_nat": self.local_nat,
            "remote_nat": self.remote_nat,
            "vrf": self.vrf,
        }

    def mirrored(self) -> MasterKey:
        """The same key as the other end writes it: sides, IDs and lifetimes swapped."""
        return replace(
            self,
            send_id=self.recv_id,
            recv_id=self.send_id,
            local=self.remote,
            remote=self.local,
            local_port=self.remote_port,
            remote_port=self.local_port,
            send_lifetime=self.accept_lifetime,
            accept_lifetime=self.send_lifetime,
            local_nat=self.remote_nat,
            remote_nat=self.local_nat,
        )

    def sent_by_local(
        self, source: bytes, source_port: int, destination: bytes, destination_port: int
    ) -> bool | None:
        """Whether a segment between these ends is from the key's local side to its remote side.

        Addresses have 4 or 16 bytes. False: from remote to local; None: the key is for other ends.
        True where both would do, as with a key for any address.
        """
        ends = ((source, source_port), (destination, destination_port))
        sides = ((self.local, self.local_port), (self.remote, self.remote_port))
        for order, answer in ((sides, True), (sides[::-1], False)):
            if all(_is_within(*end, *side) for end, side in zip(ends, order, strict=True)):
                return answer
        return None

    def overlaps(self, other: MasterKey) -> bool:
        """Whether a connection exists that both keys match, seen from the same end."""
        return (
            (self.vrf is None or other.vrf is None or self.vrf == other.vrf)
            and 0 in (self.version * other.version, self.version - other.version)
            and networks_overlap(self.local, other.local)
            and networks_overlap(self.remote, other.remote)
            and _ports_overlap(self.local_port, other.local_port)
            and _ports_overlap(self.remote_port, other.remote_port)
        )


def _is_within(address: bytes, port: int, network: AddressLike, ports: PortsLike) -> bool:
    if isinstance(ports, tuple) and not ports[0] <= port <= ports[1]:
        return False
    if not isinstance(network, Network):
        return True
    found = ip_address(address)
    return found.version == network.version and found in network


def _is_int(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def as_network(value: AddressLike) -> Network | None:
    """An address or prefix as a network; IPv4-mapped IPv6 becomes IPv4.

    Raises
    ------
    TypeError, ValueError
        What is wrong, for behind the name of a field.
    """
    if value is None:
        return None
    if not isinstance(value, (str, IPv4Address, IPv6Address, IPv4Network, IPv6Network)):
        raise TypeError(f"is {value!r}; it must be an address or a prefix")
    try:
        network = ip_network(value)
    except ValueError as error:
        raise ValueError(
            f"{error} (an address, or a prefix without bits beyond its length)"
        ) from None
    if network.version == 6 and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _ports(value: PortsLike) -> Ports | None:
    if value is None:
        return None
    wrong = ValueError(f"is {value!r}; it must be a port or an inclusive range within 0 to 65535")
    if isinstance(value, int) and not isinstance(value, bool):
        value = (value, value)
    if isinstance(value, (str, bool, int)):
        raise wrong
    try:
        low, high = value
    except (TypeError, ValueError):
        raise wrong from None
    if not _is_int(low, 0, 65535) or not _is_int(high, low, 65535):
        raise wrong
    return low, high


def _lifetime_problem(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, tuple) or len(value) != 2:
        return "must be a pair of first and last moment"
    start, end = value
    for moment in value:
        if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
            return "must be given in date-times with a time zone"
        try:
            None if moment is None else moment.astimezone(timezone.utc)
        except OverflowError:
            return "is before the year 1 or after 9999 in UTC"
    if start is not None and end is not None and end < start:
        return "ends before it starts"
    return None


def lifetime_ns(lifetime: Lifetime | None) -> tuple[int, int]:
    """A lifetime as nanoseconds since 1970, both ends included."""
    start, end = lifetime or (None, None)
    return (
        _ALWAYS[0] if start is None else _nanoseconds(start),
        _ALWAYS[1] if end is None else _within_64_bits(_nanoseconds(end) + 999),
    )


def _nanoseconds(moment: datetime) -> int:
    """Since 1970; what 64 bits do not hold (before 1678, after 2261) is as far away as they do."""
    return _within_64_bits((moment - _EPOCH) // timedelta(microseconds=1) * 1000)


def _within_64_bits(count: float) -> int:
    return int(max(_ALWAYS[0], min(count, _ALWAYS[1])))


def networks_overlap(a: AddressLike, b: AddressLike) -> bool:
    """Whether two networks share an address; None is any."""
    if isinstance(a, IPv4Network) and isinstance(b, IPv4Network):
        return a.overlaps(b)
    if isinstance(a, IPv6Network) and isinstance(b, IPv6Network):
        return a.overlaps(b)
    return a is None or b is None


def _ports_overlap(a: PortsLike, b: PortsLike) -> bool:
    if not isinstance(a, tuple) or not isinstance(b, tuple):
        return True
    return bool(a[0] <= b[1] and b[0] <= a[1])


def describe(key: MasterKey, tolerance_ns: float = 0) -> dict[str, Any]:
    """A key's connection identifier, IDs and lifetimes, as `MktSet.add` takes them.

    `tolerance_ns` widens the accept lifetime at both ends.
    """
    first, last = lifetime_ns(key.accept_lifetime)
    return {
        "tcp_md5": key.is_tcp_md5,
        "send_id": key.send_id or 0,
        "recv_id": key.recv_id or 0,
        "version": key.version,
        "local": _side(key.local, key.local_port, key.local_nat),
        "remote": _side(key.remote, key.remote_port, key.remote_nat),
        "vrf": key.vrf,
        "send_lifetime": lifetime_ns(key.send_lifetime),
        "accept_lifetime": (
            _within_64_bits(first - tolerance_ns),
            _within_64_bits(last + tolerance_ns),
        ),
    }


def _side(network: AddressLike, ports: PortsLike, nat: bool) -> Side:
    low, high = ports if isinstance(ports, tuple) else (0, 65535)
    if isinstance(network, Network):
        return network.network_address.packed, network.prefixlen, low, high, nat
    return None, 0, low, high, nat


def endpoint(value: AddressAndPort, name: str = "endpoint") -> tuple[Address, int]:
    """An (address, port) pair, checked; IPv4-mapped IPv6 becomes IPv4.

    Raises
    ------
    InvalidArgumentError
    """
    try:
        text, port = value
        address = ip_address(text)
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"{name} is {value!r}; it must be an (address, port) pair: {error}"
        ) from None
    if not _is_int(port, 0, 65535):
        raise InvalidArgumentError(f"{name} has port {port!r}; it must be 0 to 65535")
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address, port


class KeyChain(Sequence[MasterKey]):
    """An immutable set of keys that may be used together.

    Parameters
    ----------
    keys : iterable of MasterKey
    accept_tolerance : timedelta, number of seconds, or ``math.inf``
        How long before and after its accept lifetime a key is still accepted (RFC 8177 section
        2.2); ``math.inf`` is RFC 8177's ``forever``.
    clock : callable, optional
        Gives the time with time zone that look-ups use when they are not told; the system's.

    Raises
    ------
    KeyOverlapError
        Two MKTs that can match one connection share a SendID or a RecvID (RFC 5925 section 3.1).
        TCP-MD5 keys have no IDs and may stand beside TCP-AO keys.
    InvalidArgumentError
        A tolerance that is none.

    Examples
    --------
    >>> key = MasterKey(algorithm="hmac-sha-1-96", secret=b"s", send_id=1, recv_id=2,
    ...                 remote="10.0.0.0/24")
    >>> chain = KeyChain([key])
    >>> chain.to_send(("192.0.2.1", 40000), ("10.0.0.9", 179)) is key
    True
    """

    def __init__(
        self,
        keys: Iterable[MasterKey] = (),
        *,
        accept_tolerance: timedelta | float = 0,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._keys = tuple(keys)
        for key in self._keys:
            if not isinstance(key, MasterKey):
                raise InvalidKeyError([("key", f"is a {type(key).__name__}, not a MasterKey")])
        seconds = (
            accept_tolerance.total_seconds()
            if isinstance(accept_tolerance, timedelta)
            else accept_tolerance
        )
        if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or not seconds >= 0:
            raise InvalidArgumentError(
                f"accept_tolerance is {accept_tolerance!r}; it must be a timedelta, seconds, or "
                "math.inf, and not negative"
            )
        self.accept_tolerance = seconds
        self._clock = clock or _system_clock
        self._mkts = MktSet()
        problems = overlap_problems(enumerate(self._keys), self._mkts)
        if problems:
            raise KeyOverlapError(problems)

    @overload
    def __getitem__(self, index: int) -> MasterKey: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[MasterKey, ...]: ...
    def __getitem__(self, index: int | slice) -> MasterKey | tuple[MasterKey, ...]:
        return self._keys[index]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[MasterKey]:
        return iter(self._keys)

    def __repr__(self) -> str:
        return f"KeyChain({list(self._keys)!r})"

    def descriptions(self) -> Iterator[dict[str, Any]]:
        """Each key as `MktSet.add` takes it, the tolerance in its accept lifetime."""
        tolerance_ns = self.accept_tolerance * 1e9
        return (describe(key, tolerance_ns) for key in self._keys)

    def matching(
        self,
        local: AddressAndPort,
        remote: AddressAndPort,
        *,
        vrf: int = 0,
        send_id: int | None = None,
        recv_id: int | None = None,
        tcp_md5: bool = False,
    ) -> tuple[MasterKey, ...]:
        """The keys for a connection, as its `local` end sees it, whatever the time.

        Parameters
        ----------
        local, remote : (address, port)
        vrf : int
        send_id, recv_id : int, optional
            Only keys with this SendID, with this RecvID.
        tcp_md5 : bool
            The TCP-MD5 keys instead of those of TCP-AO.

        Returns
        -------
        tuple of MasterKey
            In the chain's order. A table finds them, not a scan.

        Raises
        ------
        InvalidArgumentError
            An endpoint that is none, or two of different IP versions.
        """
        numbers = find_matching(
            self._mkts,
            endpoint(local, "local"),
            endpoint(remote, "remote"),
            vrf=vrf,
            send_id=send_id,
            recv_id=recv_id,
            tcp_md5=tcp_md5,
        )
        return tuple(self._keys[number] for number in numbers)

    def to_send(
        self,
        local: AddressAndPort,
        remote: AddressAndPort,
        *,
        vrf: int = 0,
        now: datetime | None = None,
    ) -> MasterKey | None:
        """The desired key of a connection: what `local` should sign with.

        Of the keys whose send lifetime covers `now` the one whose lifetime began last, then the
        first of the chain (as `Engine.sign` chooses). None where there is none.
        """
        moment = self._now_ns(now)
        usable = [
            key
            for key in self.matching(local, remote, vrf=vrf)
            if covers(key.send_lifetime, moment)
        ]
        return max(usable, key=lambda key: lifetime_ns(key.send_lifetime)[0], default=None)

    def to_accept(
        self,
        key_id: int,
        local: AddressAndPort,
        remote: AddressAndPort,
        *,
        vrf: int = 0,
        now: datetime | None = None,
    ) -> MasterKey | None:
        """The key that a segment with `key_id` from `remote` is verified with (KeyID = RecvID).

        Its accept lifetime, widened by the tolerance, covers `now`. None where there is none.
        """
        moment = self._now_ns(now)
        for key in self.matching(local, remote, vrf=vrf, recv_id=key_id):
            if covers(key.accept_lifetime, moment, self.accept_tolerance * 1e9):
                return key
        return None

    def _now_ns(self, now: datetime | None) -> int:
        return moment_ns(self._clock() if now is None else now)


def _system_clock() -> datetime:
    return datetime.now(timezone.utc)


def moment_ns(moment: datetime) -> int:
    """A moment with time zone, in nanoseconds since 1970."""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        raise InvalidArgumentError(f"now is {moment!r}; it must be a date-time with a time zone")
    return _nanoseconds(moment)


def covers(lifetime: Lifetime | None, now_ns: int, tolerance_ns: float = 0) -> bool:
    """Whether a lifetime, widened by the tolerance, covers a time in nanoseconds since 1970."""
    first, last = lifetime_ns(lifetime)
    return first - tolerance_ns <= now_ns <= last + tolerance_ns


def find_matching(
    mkts: MktSet,
    local: tuple[Address, int],
    remote: tuple[Address, int],
    *,
    vrf: int = 0,
    send_id: int | None = None,
    recv_id: int | None = None,
    tcp_md5: bool = False,
) -> list[int]:
    """`MktSet.matching` between two endpoints, checked."""
    if local[0].version != remote[0].version:
        raise InvalidArgumentError(f"{local[0]} and {remote[0]} are of two IP versions")
    for name, value in (("send_id", send_id), ("recv_id", recv_id)):
        if value is not None and not _is_int(value, 0, 255):
            raise InvalidArgumentError(f"{name} is {value!r}; it must be 0 to 255")
    if not _is_int(vrf, 0, 2**32 - 1):
        raise InvalidArgumentError(f"vrf is {vrf!r}; it must be 0 to 4294967295")
    return mkts.matching(
        local[0].version,
        local[0].packed,
        local[1],
        remote[0].packed,
        remote[1],
        vrf,
        send_id=send_id,
        recv_id=recv_id,
        tcp_md5=tcp_md5,
    )


def overlap_problems(
    keys: Iterable[tuple[int, MasterKey]], into: MktSet | None = None
) -> list[tuple[int, str]]:
    """Every pair of keys that overlap and share an ID: the later key's number, what is wrong.

    The keys are added to the set `into`, in their order.
    """
    problems: list[tuple[int, str]] = []
    mkts = MktSet() if into is None else into
    entered: list[tuple[int, MasterKey]] = []
    for index, key in keys:
        number = mkts.add(**describe(key))
        problems.extend(
            (
                index,
                f"{kind} {getattr(key, kind)} is also key {entered[other][0] + 1}'s "
                f"({entered[other][1].label}), and one connection can match both",
            )
            for kind, other in mkts.sharing(number)
            if key.overlaps(entered[other][1])
        )
        entered.append((index, key))
    return problems
