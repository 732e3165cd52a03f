"""The keys of one endpoint: which of them a peer, a KeyID or a call means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network

import numpy as np

from tcpao_fast.core.batch.one import context_between
from tcpao_fast.core.flow.traffic_keys import derive_traffic_keys
from tcpao_fast.core.keys.mkt import MktSet
from tcpao_fast.core.mac.mac import TrafficKeys
from tcpao_fast.engine.counters import KeyCounters
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.addresses import Address
from tcpao_fast.keys.key_chain import describe, find_matching

End = tuple[Address, int]
Network = IPv4Network | IPv6Network
#: Peers whose TCP-MD5 key is remembered, where there are several for one.
MOST_PEERS = 4096


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key of an endpoint, as ``TCP_AO_GET_KEYS`` describes it.

    Attributes
    ----------
    key : MasterKey
        As it was added.
    is_current, is_rnext : bool
        Whether the endpoint signs with it, and whether it asks its peer to.
    counters : KeyCounters
        Segments verified with it, good and bad.
    """

    key: MasterKey
    is_current: bool
    is_rnext: bool
    counters: KeyCounters


@dataclass(slots=True, eq=False)
class SocketKey:
    """A key at an endpoint: the MKT, its counters and, once both ISNs are known, its two traffic
    keys for segments without SYN (Linux's ``rcv_other`` and ``snd_other``).
    """

    key: MasterKey
    number: int
    good: int = 0
    bad: int = 0
    receive: TrafficKeys | None = field(default=None, repr=False)
    send: TrafficKeys | None = field(default=None, repr=False)
    nat_in: int = field(init=False, repr=False)  # `nat_of` what arrives

    def __post_init__(self) -> None:
        self.nat_in = nat_of(self.key, outbound=False)

    def md5_keys(self) -> TrafficKeys:
        """A TCP-MD5 key, which is its own traffic key in both directions."""
        if self.send is None:
            raw = np.frombuffer(self.key.secret, np.uint8)[None, :]
            self.send = TrafficKeys(self.key.algorithm, raw)
        return self.send


def nat_of(key: MasterKey, *, outbound: bool) -> int:
    """Which sides of a segment count as zero (RFC 6978), as `ParsedSegment.message` takes it."""
    near, far = (1, 2) if outbound else (2, 1)
    return key.local_nat * near | key.remote_nat * far


def traffic_keys(
    key: MasterKey, source: End, destination: End, isns: tuple[int, int], *, outbound: bool
) -> TrafficKeys:
    """The traffic key for segments from `source` to `destination` (RFC 5925 section 5.2).

    `isns` are the source's and the destination's; `outbound` says whether this end is the source.
    """
    context = context_between(
        source[0].packed,
        source[1],
        destination[0].packed,
        destination[1],
        *isns,
        nat_of(key, outbound=outbound),
    )
    contexts = np.frombuffer(context, np.uint8)[None, :]
    return TrafficKeys(key.algorithm, derive_traffic_keys(key.algorithm, key.secret, contexts))


class KeyRing:
    """MKTs and TCP-MD5 keys, in the order in which they were added.

    Parameters
    ----------
    newest_first : bool
        Whether, of several that match, the one added last comes first.
    """

    def __init__(self, newest_first: bool) -> None:
        self._newest_first = newest_first
        self._mkts = MktSet()
        self._by_number: dict[int, SocketKey] = {}
        self._exact: dict[tuple[object, ...], list[SocketKey]] = {}
        self._md5_count = 0
        self._md5_used: dict[End, SocketKey] = {}
        # what `matching` found for the ends that were asked for last, by VRF and IDs
        self._ends: tuple[End, End] | None = None
        self._found: dict[tuple[int | None, ...], tuple[SocketKey, ...]] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def __iter__(self) -> Iterator[SocketKey]:
        return iter(self._by_number.values())

    @property
    def has_ao(self) -> bool:
        """Whether there is an MKT."""
        return len(self._by_number) > self._md5_count

    @property
    def has_md5(self) -> bool:
        """Whether there is a TCP-MD5 key."""
        return self._md5_count > 0

    def of_kind(self, tcp_md5: bool) -> list[SocketKey]:
        """All MKTs, or all TCP-MD5 keys."""
        if not (self.has_md5 if tcp_md5 else self.has_ao):
            return []
        return [entry for entry in self if entry.key.is_tcp_md5 == tcp_md5]

    def add(self, key: MasterKey) -> SocketKey:
        """Add a key without asking whether it may stand beside the others."""
        self._ends = None
        number = self._mkts.add(**describe(key))
        entry = self._by_number[number] = SocketKey(key, number)
        self._exact.setdefault(_identity(key), []).append(entry)
        self._md5_count += key.is_tcp_md5
        return entry

    def obstacle(self, key: MasterKey) -> tuple[str, SocketKey] | None:
        """The first key that this one cannot stand beside, and why: ``"kind"`` where one is for
        TCP-AO and the other for TCP-MD5, or the ID that both have.
        """
        number = self._mkts.add(**describe(key))
        try:
            found = [("kind", other) for other in self._mkts.of_other_kind(number)]
            for why, other in found + self._mkts.sharing(number):
                if key.overlaps(self._by_number[other].key):
                    return why, self._by_number[other]
        finally:
            self._mkts.remove(number)
        return None

    def remove(self, entry: SocketKey) -> None:
        """Take a key out."""
        self._ends = None
        self._mkts.remove(entry.number)
        del self._by_number[entry.number]
        same = self._exact[_identity(entry.key)]
        same.remove(entry)
        if not same:
            del self._exact[_identity(entry.key)]
        self._md5_count -= entry.key.is_tcp_md5
        if self._mkts.count > 64 + 4 * len(self._by_number):  # numbers are not given again
            self._renumber()

    def _renumber(self) -> None:
        entries = list(self)
        self._mkts = MktSet()
        self._by_number = {}
        for entry in entries:
            entry.number = self._mkts.add(**describe(entry.key))
            self._by_number[entry.number] = entry

    def matching(
        self,
        local: End,
        remote: End,
        vrf: int,
        send_id: int | None = None,
        recv_id: int | None = None,
        tcp_md5: bool = False,
    ) -> Sequence[SocketKey]:
        """The keys for a connection, first the one that is preferred: of TCP-MD5 the one that
        verified its peer last, then the one with the longest prefix, as in Linux.
        """
        # a connection asks for the same two objects each time
        if self._ends is None or self._ends[0] is not local or self._ends[1] is not remote:
            self._ends = local, remote
            self._found = {}
        which = vrf, send_id, recv_id, tcp_md5
        found = self._found.get(which)
        if found is None:
            numbers = find_matching(
                self._mkts, local, remote,
                vrf=vrf, send_id=send_id, recv_id=recv_id, tcp_md5=tcp_md5,
            )  # fmt: skip
            entries = [self._by_number[number] for number in numbers]
            if self._newest_first:
                entries.reverse()
            found = self._found[which] = tuple(entries)
        if tcp_md5 and len(found) > 1:
            used = self._md5_used.get(remote)
            return sorted(found, key=lambda one: (one is not used, -_prefix_length(one.key)))
        return found

    def verified_md5(self, remote: End, entry: SocketKey) -> None:
        """Note which TCP-MD5 key a peer uses."""
        if len(self._md5_used) >= MOST_PEERS:
            self._md5_used.clear()
        self._md5_used[remote] = entry

    def exact(
        self,
        send_id: int | None,
        recv_id: int | None,
        remote: Network | None,
        vrf: int | str | None,
    ) -> list[SocketKey]:
        """The keys with just these IDs, this peer and this VRF."""
        return list(self._exact.get((send_id, recv_id, remote, vrf), ()))

    def first(self, *, send_id: int | None = None, recv_id: int | None = None) -> SocketKey | None:
        """The preferred one of all MKTs with this SendID or RecvID, whatever its peer."""
        entries = reversed(list(self)) if self._newest_first else iter(self)
        for entry in entries:
            key = entry.key
            if not key.is_tcp_md5 and (
                (send_id is None or key.send_id == send_id)
                and (recv_id is None or key.recv_id == recv_id)
            ):
                return entry
        return None


def _prefix_length(key: MasterKey) -> int:
    """Bits of the peer's prefix; -1 for any address."""
    return key.remote.prefixlen if isinstance(key.remote, (IPv4Network, IPv6Network)) else -1


def _identity(key: MasterKey) -> tuple[object, ...]:
    return key.send_id, key.recv_id, key.remote, key.vrf
