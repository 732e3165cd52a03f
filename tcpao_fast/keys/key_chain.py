"""Sets of keys that may be used together, and which of them a connection uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, overload

from tcpao_fast.core.keys.mkt import MktSet
from tcpao_fast.errors import InvalidArgumentError, InvalidKeyError, KeyOverlapError

if TYPE_CHECKING:
    from tcpao_fast.core.keys.mkt import Side
from tcpao_fast.keys.addresses import (
    Address,
    AddressAndPort,
    AddressLike,
    Network,
    PortsLike,
    endpoint,
    is_int,
)
from tcpao_fast.keys.lifetimes import covers, lifetime_ns, moment_ns, system_clock, within_64_bits
from tcpao_fast.keys.master_key import MasterKey


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
        "vrf": None if isinstance(key.vrf, str) else key.vrf,
        "alternative": key.is_alternative,
        "send_lifetime": lifetime_ns(key.send_lifetime),
        "accept_lifetime": (
            within_64_bits(first - tolerance_ns),
            within_64_bits(last + tolerance_ns),
        ),
    }


def _side(network: AddressLike, ports: PortsLike, nat: bool) -> Side:
    low, high = ports if isinstance(ports, tuple) else (0, 65535)
    if isinstance(network, Network):
        return network.network_address.packed, network.prefixlen, low, high, nat
    return None, 0, low, high, nat


class KeyChain(Sequence[MasterKey]):
    """An immutable set of keys that may be used together.

    Parameters
    ----------
    keys : iterable of MasterKey
    accept_tolerance : timedelta, number of seconds, or ``math.inf``
        How long before and after its accept lifetime a key is still accepted (RFC 8177 section
        2.2); ``math.inf`` is RFC 8177's ``forever``.
    notes : iterable of str
        What was assumed or left out where the keys were read.
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
        notes: Iterable[str] = (),
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
        self.notes = tuple(notes)
        self._clock = clock or system_clock
        self._mkts = MktSet()
        problems = overlap_problems(enumerate(self._keys), self._mkts)
        if problems:
            raise KeyOverlapError(problems)

    def __reduce__(self) -> tuple[object, ...]:
        clock = None if self._clock is system_clock else self._clock
        return _rebuilt, (self._keys, self.accept_tolerance, self.notes, clock)

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
        """Each key as `MktSet.add` takes it, the tolerance in its accept lifetime.

        Returns
        -------
        iterator of dict
            The arguments of `MktSet.add`.
        """
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

        Parameters
        ----------
        local, remote : (address, port)
        vrf : int
        now : datetime, optional
            The current time, if not given.

        Returns
        -------
        MasterKey or None
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

        Parameters
        ----------
        key_id : int
            Of the segment.
        local, remote : (address, port)
        vrf : int
        now : datetime, optional
            The current time, if not given.

        Returns
        -------
        MasterKey or None
        """
        moment = self._now_ns(now)
        for key in self.matching(local, remote, vrf=vrf, recv_id=key_id):
            if covers(key.accept_lifetime, moment, self.accept_tolerance * 1e9):
                return key
        return None

    def _now_ns(self, now: datetime | None) -> int:
        return moment_ns(self._clock() if now is None else now)


def _rebuilt(
    keys: tuple[MasterKey, ...],
    tolerance: float,
    notes: tuple[str, ...],
    clock: Callable[[], datetime] | None,
) -> KeyChain:
    """A chain that was pickled: its keys' secrets come along only by `pickled_secrets`."""
    return KeyChain(keys, accept_tolerance=tolerance, notes=notes, clock=clock)


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
        if value is not None and not is_int(value, 0, 255):
            raise InvalidArgumentError(f"{name} is {value!r}; it must be 0 to 255")
    if not is_int(vrf, 0, 2**32 - 1):
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
