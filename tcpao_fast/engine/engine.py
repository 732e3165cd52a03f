"""The engine: verify and sign batches of captured records, with state, threads and counters."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from tcpao_fast.core.batch.pipeline import Pipeline
from tcpao_fast.core.batch.shard import Shard
from tcpao_fast.core.batch.sign import sign, sign_inplace
from tcpao_fast.core.flow.connections import ConnectionTable
from tcpao_fast.core.flow.snapshot import snapshot
from tcpao_fast.core.flow.traffic_keys import KeyTable
from tcpao_fast.core.mac.algorithms import find
from tcpao_fast.core.wire.records import Records
from tcpao_fast.core.wire.rewrite import strip as strip_records
from tcpao_fast.engine.connections import describe_connection
from tcpao_fast.engine.counters import KeyCounters, snmp_of
from tcpao_fast.engine.events import Tracer
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.results import InplaceResult, Rewritten, VerifyResult
from tcpao_fast.engine.state import (
    STATE_VERSION,
    ConnectionState,
    Reader,
    rows_of,
    states_of,
    to_json,
)
from tcpao_fast.engine.trace import emit_events
from tcpao_fast.engine.verdicts import SEGMENT_VERDICTS
from tcpao_fast.engine.workers import Workers, survive_forks
from tcpao_fast.errors import InvalidArgumentError, StateError
from tcpao_fast.keys import KeyChain, MasterKey

Buffer = Any  # anything with the buffer protocol; collections.abc.Buffer is there from Python 3.12
Integers = npt.ArrayLike
#: Places of the connection table that `export_state` looks at under the lock at a time.
STATE_PIECE = 4096
#: Name and number of each verdict that is counted: an enum's `name` is slow where calls are small.
_COUNTED = tuple((v.name, int(v)) for v in SEGMENT_VERDICTS)


def _shard(
    chain: KeyChain, max_connections: int, ao_required: bool, number: int, shards: int
) -> Shard:
    table = KeyTable(ConnectionTable(max_connections, shards > 1))
    for key, identity in zip(chain, chain.descriptions(), strict=True):
        table.add(
            algorithm=find(key.algorithm),
            secret=key.secret,
            mac_length=key.mac_length,
            exclude_options=key.exclude_options,
            **identity,
        )
    return Shard(table, ao_required, number, shards)


class Engine:
    """Verifies and signs TCP-AO (and TCP-MD5) segments in batches.

    State (ISNs, SNEs, keys in use) lives from call to call and moves only on proof: a segment that
    does not verify changes nothing.  Calls from several threads take turns.

    Parameters
    ----------
    chain : KeyChain, or iterable of MasterKey
        Taken as it is now.
    policy : Policy
    threads : int
        How many threads share the work; a connection is always the same thread's. Results do not
        depend on it, as long as no connection has to be forgotten.
    max_connections : int
        How many connections are remembered; beyond it, those without a verified segment are
        forgotten first.
    trace : Tracer, optional
        Where `verify` sends an `Event` for each segment that is not well, asks for another key or
        begins a new SNE. Without one nothing is spent on it.

    Attributes
    ----------
    keys : tuple of MasterKey
        What the ``key`` column of results counts.
    counts : dict of str to int
        Verdicts since the engine was made.

    Raises
    ------
    InvalidArgumentError
        `threads` or `max_connections` out of range.
    """

    def __init__(
        self,
        chain: Iterable[MasterKey],
        policy: Policy | None = None,
        threads: int = 1,
        max_connections: int = 1 << 20,
        *,
        trace: Tracer | None = None,
    ) -> None:
        if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024:
            raise InvalidArgumentError(f"threads is {threads!r}; it must be 1 to 1024")
        if not isinstance(max_connections, int) or not 2 <= max_connections <= 1 << 28:
            raise InvalidArgumentError(
                f"max_connections is {max_connections!r}; it must be 2 to {1 << 28}"
            )
        self.policy = policy if policy is not None else Policy()
        if not isinstance(self.policy, Policy):
            raise InvalidArgumentError(f"policy is {policy!r}; it must be a Policy")
        if trace is not None and not (hasattr(trace, "wants") and hasattr(trace, "emit")):
            raise InvalidArgumentError(f"trace is {trace!r}; it must be a Tracer")
        chain = chain if isinstance(chain, KeyChain) else KeyChain(chain)
        self.keys = tuple(chain)
        self.threads = threads
        self.trace = trace
        self.max_connections = max_connections
        self.counts = dict.fromkeys((v.name for v in SEGMENT_VERDICTS), 0)
        self.lock = threading.Lock()
        self.owner = 0
        self.torn = False
        share = max(2, -(-max_connections // threads))
        shards = [
            _shard(chain, share, self.policy.ao_required, number, threads)
            for number in range(threads)
        ]
        self._workers = Workers(threads)
        self._pipeline = Pipeline(shards, self._workers)
        survive_forks(self)

    def renew(self) -> None:
        """In a child of the process: with threads of its own."""
        self._workers.renew()

    def _begin(self) -> None:
        """First thing in a call that has the lock."""
        self.owner = threading.get_ident()
        if self.torn:
            raise StateError(
                "this process was forked in the middle of a call to its engine; make a new engine"
            )

    def verify(
        self,
        buffer: Buffer | Records,
        offsets: Integers | None = None,
        lengths: Integers | None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        final: bool = True,
    ) -> VerifyResult:
        """Verify records, in their order.

        Parameters
        ----------
        buffer : Records, or buffer protocol, contiguous bytes
            Never copied. `Records` say all that the other parameters but `final` do, which are left
            out then.
        offsets, lengths : int64[n] (lengths also int32[n])
            Where each record begins and how many bytes of it were captured.
        linktype : int or int32[n]
            Link type as in pcap files: 1 Ethernet, 101 raw IP, 113 and 276 Linux SLL and SLL2,
            0 and 108 BSD loopback.
        timestamps : int64[n], optional
            Nanoseconds since 1970, negative where one is not known. Only with them do key lifetimes
            and the age of fragments count.
        wire_lengths : int64[n], optional
            Bytes each record had before the snap length cut it. Needed only where the IP header
            does not say it (a total length of 0, from segmentation offload).
        final : bool
            Whether IP fragments that are incomplete at the end of the call are given up (their
            first record becomes `truncated`) rather than kept for the next call.

        Returns
        -------
        VerifyResult

        Raises
        ------
        InvalidArgumentError
            A record outside the buffer, arrays of other shapes or dtypes, or a number that its
            dtype cannot hold.

        Notes
        -----
        The buffer may be memory that others write to meanwhile: each length in it is read once, so
        the process is safe and every verdict one of `Verdict`, though it speaks of bytes that may
        never have stood there together. `offsets` and `lengths` are copied before they are checked.
        """
        given = (buffer, offsets, lengths, linktype, timestamps, wire_lengths)
        records = _records(*given)
        with self.lock:
            self._begin()
            verdict, key, connection, sne, tally, effects = self._pipeline.verify(
                records, final, self.trace is not None
            )
            numbers = tally.tolist()
            counts = {name: numbers[index] for name, index in _COUNTED}
            for name, count in counts.items():
                if count:
                    self.counts[name] += count
        kept = buffer if isinstance(buffer, Records) else given
        result = VerifyResult(verdict, key, connection, sne, counts, numbers[-1], kept)
        if self.trace is not None and effects is not None:
            emit_events(self.trace, self.keys, result, effects, records)
        return result

    def flush(self) -> VerifyResult:
        """Give up IP fragments that calls of `verify` with ``final=False`` have kept.

        Returns
        -------
        VerifyResult
            Without records; its `counts` have those that were given up as ``truncated``.
        """
        return self.verify(b"", (), ())

    def sign(
        self,
        buffer: Buffer | Records,
        offsets: Integers | None = None,
        lengths: Integers | None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        make_room: bool = False,
    ) -> Rewritten:
        """Insert a TCP-AO (or TCP-MD5) option into every unsigned segment that a key matches.

        The option comes first among the options, as Linux has it, with NOPs behind it (for TCP-MD5
        before it) where its length is no multiple of 4. Data offset, IP lengths and checksums are
        mended, the TCP checksum is computed anew. A record that cannot be signed is copied as it
        is. ISNs are those that the records' own SYNs and SYN-ACKs state, or what an earlier call
        or `import_state` knows. The connection's key stays in use while it may send; else it is
        of those that match and, where there are timestamps, may send at that time the one whose
        send lifetime began last, then the first of the chain.

        Parameters
        ----------
        buffer, offsets, lengths, linktype, timestamps, wire_lengths
            As for `verify`.
        make_room : bool
            Where a TCP header has no room for the option, drop other options, as Linux does: SACK
            blocks, the last first; of a SYN or SYN-ACK the Fast Open cookie, then timestamps where
            SACK is offered. `Rewritten.dropped` tells. Without it, and where that is not enough,
            the outcome is `no_option_space`.

        Returns
        -------
        Rewritten
            Iterates as ``buffer, offsets, lengths``.

        Raises
        ------
        InvalidArgumentError
            As for `verify`.
        """
        records = _records(buffer, offsets, lengths, linktype, timestamps, wire_lengths)
        with self.lock:
            self._begin()
            return Rewritten(*sign(self._pipeline, records, make_room))

    def sign_inplace(
        self,
        buffer: Buffer | Records,
        offsets: Integers | None = None,
        lengths: Integers | None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
    ) -> InplaceResult:
        """Fill in the TCP-AO (or TCP-MD5) options that the segments have already.

        A KeyID that names a matching MKT chooses it and stays, RNextKeyID with it; else both IDs
        become those of the key that `sign` would take. MAC and TCP checksum are computed; nothing
        else changes.

        Parameters
        ----------
        buffer : writable Records, or writable buffer protocol, contiguous bytes
        offsets, lengths, linktype, timestamps, wire_lengths
            As for `verify`.

        Returns
        -------
        InplaceResult

        Raises
        ------
        InvalidArgumentError
            As for `verify`, and for a read-only buffer.
        """
        records = _records(
            buffer, offsets, lengths, linktype, timestamps, wire_lengths, writable=True
        )
        with self.lock:
            self._begin()
            outcome, key, connection = sign_inplace(self._pipeline, records)
        return InplaceResult(outcome, key, connection)

    @property
    def snmp(self) -> dict[str, int]:
        """`counts` under the names of Linux's SNMP counters; ICMP does not come by here."""
        return snmp_of(self.counts)

    def key_counters(self) -> list[KeyCounters]:
        """How many segments each of `keys` was good and bad for since the engine was made.

        Returns
        -------
        list of KeyCounters
            One for each of `keys`, in their order.
        """
        with self.lock:
            self._begin()
            tally = self._pipeline.key_tally()
        return [KeyCounters(good, bad) for good, bad in tally.tolist()]

    def connections(self, first: int = 0) -> list[dict[str, Any]]:
        """What is known of each connection.

        Parameters
        ----------
        first : int
            The lowest number of a connection.

        Returns
        -------
        list of dict
            In the order of their numbers: ``id``; ``client`` and ``server`` as (address, port),
            where the client sent the SYN (without one: the side with the higher port); ``vrf``;
            and, once a MAC over both ISNs was good, else None: ``isn``, ``sne`` and ``position``
            (64 bits: SNE and the next SEQ), ``current_key`` (index into `keys`) and
            ``rnext_key_id``, each a dict by ``client`` and ``server``, of what that side sent.
        """
        return [describe_connection(*one) for one in self.connection_states(first)]

    def connection_states(
        self, first: int = 0, *, proved: bool = False, only: set[int] | None = None
    ) -> Iterator[tuple[int, ConnectionState]]:
        """What is known of each connection, with its number, in their order: typed, and made one
        by one.

        Parameters
        ----------
        first : int
            The lowest number.
        proved : bool
            Whether only those with a live incarnation.
        only : set of int, optional
            Only those with these numbers.

        Returns
        -------
        iterator of (int, ConnectionState)
            The connection's number, and what is known of it.
        """
        with self.lock:
            self._begin()
            rows = self._pipeline.snapshot(first, proved, only)
        return states_of(rows)

    def export_state(self, *, candidates: bool = False) -> dict[str, Any]:
        """Every proved connection: ISNs, SNEs, current and rnext keys, as ``TCP_AO_REPAIR`` has.

        It takes the lock for a piece of the table at a time: calls of other threads go on between,
        and each connection is given as it is at one moment.

        Parameters
        ----------
        candidates : bool
            Whether also to give what is not proved (half-seen handshakes, ISNs that were only
            stated) and what was proved before: then verification goes on elsewhere just as here,
            but for IP fragments.

        Returns
        -------
        dict
            Of plain JSON types and without secrets, for `import_state` here or in another process.
            ``keys`` has the identity of each key that the connections name.
        """
        found = dict(self.state_records(candidates=candidates))
        return {**self.state_head(), "connections": [found[number] for number in sorted(found)]}

    def state_head(self) -> dict[str, Any]:
        """What a state has beside its connections.

        Returns
        -------
        dict
            ``version`` and ``keys``.
        """
        return {"version": STATE_VERSION, "keys": [key.identity() for key in self.keys]}

    def state_records(self, *, candidates: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
        """The connections of `export_state` one by one, with their numbers, in no order: for those
        who write them as they come.

        Parameters
        ----------
        candidates : bool
            As for `export_state`.

        Yields
        ------
        (int, dict)
            The connection's number, and its entry in ``connections``.
        """
        for shard in self._pipeline.shards:
            for start in range(0, shard.connections.capacity, STATE_PIECE):
                with self.lock:
                    self._begin()
                    rows = snapshot(
                        shard.connections, 0, not candidates, start, start + STATE_PIECE
                    )
                for number, state in states_of(rows):
                    if state.incarnations:
                        yield number, to_json(state, self.keys, candidates=candidates)

    def import_state(self, state: Mapping[str, Any]) -> list[str]:
        """Take over connections that `export_state` gave, here or elsewhere, as proved as they are.

        A connection that is known already gets the imported live incarnation as its own.  A current
        key is taken over where the state names just one of `keys`: by its whole identity (IDs,
        addresses, ports, VRF, algorithm, MAC length, options coverage, NAT, name), or, where the
        state has no more of it, by its IDs.

        Parameters
        ----------
        state : mapping
            As from `export_state`.

        Returns
        -------
        list of str
            For each current key that is not just one of `keys`: which connection is without one
            until its next good segment, and why.

        Raises
        ------
        StateError
            The state is not of that form; nothing was taken over.
        """
        reader = Reader(self.keys)
        self.restore(reader.read(state))
        return list(reader.unmatched)

    def restore(self, states: Sequence[ConnectionState]) -> None:
        """Take over connections, as `import_state` does, from their typed form.

        Parameters
        ----------
        states : sequence of ConnectionState
        """
        for start in range(0, len(states), STATE_PIECE):
            rows = rows_of(states[start : start + STATE_PIECE])
            with self.lock:
                self._begin()
                self._pipeline.restore(rows)


def _records(
    buffer: Buffer | Records,
    offsets: Integers | None,
    lengths: Integers | None,
    linktype: int | Integers,
    timestamps: Integers | None,
    wire_lengths: Integers | None,
    *,
    writable: bool = False,
) -> Records:
    """The records of a call, which says them as one object or piece by piece."""
    if not isinstance(buffer, Records):
        if offsets is None or lengths is None:
            raise InvalidArgumentError("offsets and lengths are needed beside a buffer")
        return Records(buffer, offsets, lengths, linktype, timestamps, wire_lengths, writable)
    others = (offsets, lengths, timestamps, wire_lengths)
    alone = isinstance(linktype, int) and linktype == 1
    if not alone or any(one is not None for one in others):
        raise InvalidArgumentError("buffer is Records: offsets and the others go without saying")
    if writable and not buffer.writable:
        raise InvalidArgumentError("records are not writable: make them with writable=True")
    return buffer


def strip(
    buffer: Buffer | Records,
    offsets: Integers | None = None,
    lengths: Integers | None = None,
    linktype: int | Integers = 1,
    *,
    wire_lengths: Integers | None = None,
) -> Rewritten:
    """Remove TCP-AO and TCP-MD5 options with the NOPs that align them, and mend what follows.

    Parameters
    ----------
    buffer, offsets, lengths, linktype, wire_lengths
        As for `Engine.verify`.

    Returns
    -------
    Rewritten
        ``outcome`` is `SignOutcome.stripped` where an option was removed.

    Raises
    ------
    InvalidArgumentError
        As for `Engine.verify`.
    """
    records = _records(buffer, offsets, lengths, linktype, None, wire_lengths)
    return Rewritten(*strip_records(records))
