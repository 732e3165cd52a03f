"""Master key tuples (MKTs, RFC 5925 section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from tcpao_fast.core.mac.algorithms import Algorithm, find
from tcpao_fast.errors import InvalidKeyError, StateError, TcpAoError
from tcpao_fast.keys.addresses import (
    AddressLike,
    Network,
    PortsLike,
    as_network,
    as_ports,
    is_int,
    is_within,
    network_text,
    networks_overlap,
    ports_overlap,
)
from tcpao_fast.keys.lifetimes import Lifetime, lifetime_problem
from tcpao_fast.keys.pickling import secrets_may_leave

#: Option bytes that TCP has room for (RFC 9293): kind, length, KeyID and RNextKeyID take 4.
MAX_MAC_LENGTH = 40 - 4
#: Linux's limit for a TCP-MD5 key.
MAX_TCP_MD5_SECRET = 80
#: The algorithms that Linux takes from 7.2 on (``tcp_ao_find_algo``): see `has_algorithm_of`.
LINUX_ALGORITHMS = ("hmac-sha-1-96", "hmac(sha256)", "aes-128-cmac-96", "cmac(aes)")
#: This very object stands for a secret that a file holds encrypted: all else can be checked.
UNKNOWN_SECRET = b"(encrypted)"


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterKey:
    """One MKT: a master key, what to do with it, and which connections it is for.

    A key may be used from either end: a segment from `local` to `remote` carries `send_id`, one
    from `remote` to `local` carries `recv_id`.

    Parameters
    ----------
    algorithm : str
        A name that `tcpao_fast.core.mac.algorithms` knows, such as ``hmac-sha-1-96``,
        ``aes-128-cmac-96``, ``hmac-sha256-128``, ``kmac256-128``, Linux's ``hmac(sha256)``, or
        ``tcp-md5``.
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
    vrf : int or str, optional
        The VLAN ID (VRF) the key is for; None for any. A name, as a router's configuration has it,
        is known to no capture: the key is for any, and overlaps only keys of the same name.
    send_lifetime, accept_lifetime : (datetime or None, datetime or None), optional
        First and last moment, with time zone; None for open ends (RFC 8177 section 2.2). Looked at
        where segments have timestamps.
    local_nat, remote_nat : bool
        Whether that side is behind a NAT (RFC 6978): its address and port then count as zero in
        traffic keys and MACs. Matching goes by the addresses that this end sees.
    reading : str, optional
        Where a configuration can be read in several ways: which one this is. Keys of different
        readings do not overlap; MACs decide which one is right.
    form : str, optional
        The format of the file that the key is from, for advice in its words; no part of the key.

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
    vrf: int | str | None = None
    send_lifetime: Lifetime | None = None
    accept_lifetime: Lifetime | None = None
    local_nat: bool = False
    remote_nat: bool = False
    reading: str | None = None
    form: str | None = field(default=None, repr=False, compare=False)

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
                settle(f"{side}_port", as_ports(getattr(self, f"{side}_port")))
            except ValueError as error:
                problems.append((f"{side}_port", str(error)))
        versions = {n.version for n in (self.local, self.remote) if isinstance(n, Network)}
        if len(versions) > 1:
            problems.append(("remote", "is of another IP version than local"))
        is_name = isinstance(self.vrf, str) and self.vrf != ""
        if self.vrf is not None and not is_name and not is_int(self.vrf, 0, 2**32 - 1):
            problems.append(("vrf", "must be a number from 0 to 4294967295, or a name"))
        if self.reading is not None and not (isinstance(self.reading, str) and self.reading):
            problems.append(("reading", "must be text and not empty"))
        for flag in ("exclude_options", "local_nat", "remote_nat"):
            if not isinstance(getattr(self, flag), bool):
                problems.append((flag, "must be true or false"))
        if self.name is not None and not (isinstance(self.name, str) and self.name):
            problems.append(("name", "must be text and not empty"))
        for lifetime in ("send_lifetime", "accept_lifetime"):
            problem = lifetime_problem(getattr(self, lifetime))
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
                elif not is_int(value, 0, 255):
                    problems.append((attribute, f"is {value!r}; it must be 0 to 255"))
            most = min(algorithm.digest_length, MAX_MAC_LENGTH)
            if self.mac_length is not None and not is_int(self.mac_length, 1, most):
                problems.append(
                    (
                        "mac_length",
                        f"is {self.mac_length!r}; {algorithm.name} allows 1 to {most} bytes",
                    )
                )
        if self.mac_length is None:
            object.__setattr__(self, "mac_length", algorithm.default_mac_length)

    def __reduce__(self) -> tuple[object, ...]:
        values = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name != "secret" or secrets_may_leave()
        }
        return _unpickled, (values,)

    def __getattr__(self, name: str) -> Any:
        if name != "secret":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        raise StateError(
            f"{self.label} came without its secret: it was pickled, and secrets are only with "
            "pickled_secrets()"
        )

    @property
    def has_secret(self) -> bool:
        """Whether the secret is there; a key that was pickled comes without."""
        try:
            return bool(self.secret)
        except StateError:
            return False

    @property
    def is_tcp_md5(self) -> bool:
        """Whether this is a TCP-MD5 key (RFC 2385)."""
        return self.algorithm == "tcp-md5"

    @property
    def is_alternative(self) -> bool:
        """Whether other keys for the same connections may share its IDs: MACs decide then."""
        return isinstance(self.vrf, str) or self.reading is not None

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

        Returns
        -------
        dict
        """

        def network(value: AddressLike) -> str | None:
            return None if value is None else network_text(value)

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
            **({} if self.reading is None else {"reading": self.reading}),
        }

    def mirrored(self) -> MasterKey:
        """The same key as the other end writes it: sides, IDs and lifetimes swapped.

        Returns
        -------
        MasterKey
        """
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

        Parameters
        ----------
        source, destination : bytes
            Addresses in network order.
        source_port, destination_port : int

        Returns
        -------
        bool or None
        """
        ends = ((source, source_port), (destination, destination_port))
        sides = ((self.local, self.local_port), (self.remote, self.remote_port))
        for order, answer in ((sides, True), (sides[::-1], False)):
            if all(is_within(*end, *side) for end, side in zip(ends, order, strict=True)):
                return answer
        return None

    def overlaps(self, other: MasterKey) -> bool:
        """Whether a connection exists that both keys match, seen from the same end.

        Parameters
        ----------
        other : MasterKey

        Returns
        -------
        bool
        """
        return (
            _vrfs_overlap(self.vrf, other.vrf)
            and (self.reading is None or other.reading in (None, self.reading))
            and 0 in (self.version * other.version, self.version - other.version)
            and networks_overlap(self.local, other.local)
            and networks_overlap(self.remote, other.remote)
            and ports_overlap(self.local_port, other.local_port)
            and ports_overlap(self.remote_port, other.remote_port)
        )


def _vrfs_overlap(a: int | str | None, b: int | str | None) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return a is None or b is None or a == b


def _unpickled(values: dict[str, Any]) -> MasterKey:
    """The key that was pickled; it was checked when it was made."""
    key = MasterKey.__new__(MasterKey)
    for name, value in values.items():
        object.__setattr__(key, name, value)
    return key


def has_algorithm_of(key: MasterKey, algorithms: tuple[str, ...]) -> bool:
    """Whether a key has one of these algorithms; ``cmac(aes)`` counts with 16 bytes alone, as where
    a stack has AES-128 and no other.
    """
    return key.algorithm in algorithms and (key.algorithm != "cmac(aes)" or len(key.secret) == 16)
