"""The engine: verify and sign batches of captured records, with state, threads and counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.batch.narrow import NarrowWay, RewrittenPacket, Verified
from tcpao_fast.core.batch.pipeline import Pipeline
from tcpao_fast.core.batch.shard import Shard
from tcpao_fast.core.batch.sign import sign, sign_inplace
from tcpao_fast.core.flow.connections import ConnectionTable
from tcpao_fast.core.flow.snapshot import snapshot
from tcpao_fast.core.flow.traffic_keys import KeyTable
from tcpao_fast.core.mac.algorithms import find
from tcpao_fast.core.wire.records import Records
from tcpao_fast.engine.connections import describe_connection
from tcpao_fast.engine.counters import KeyCounters, snmp_of
from tcpao_fast.engine.events import Tracer
from tcpao_fast.engine.inputs import (
    Buffer,
    Checksums,
    Integers,
    checksums_of,
    is_packet,
    memory_of,
    records_of,
)
from tcpao_fast.engine.policy import Policy
from tcpao_fast.engine.results import (
    InplaceResult,
    Rewritten,
    VerifyResult,
    named_counts,
)
from tcpao_fast.engine.state import (
    STATE_VERSION,
    ConnectionState,
    Reader,
    rows_of,
    states_of,
    to_json,
)
from tcpao_fast.engine.strip import (
    strip,
    strip_inplace,
    strip_records,
    strip_records_inplace,
)
from tcpao_fast.engine.trace import emit_events
from tcpao_fast.engine.update import KeyChanges, numbers_of
from tcpao_fast.engine.verdicts import GOOD, OUTCOMES, SignOutcome, Verdict
from tcpao_fast.engine.workers import Workers, survive_forks
from tcpao_fast.errors import InvalidArgumentError
from tcpao_fast.keys import KeyChain, MasterKey

#: Places of the connection table that `export_state` looks at under the lock at a time.
STATE_PIECE = 4096
_GOOD = np.array(sorted(GOOD), np.uint8)


def _key_table(chain: KeyChain, connections: ConnectionTable) -> KeyTable:
    table = KeyTable(connections)
    for key, identity in zip(chain, chain.descriptions(), strict=True):
        table.add(
            algorithm=find(key.algorithm),
            secret=key.secret,
            mac_length=key.mac_length,
            exclude_options=key.exclude_options,
            **identity,
        )
    return table


def _rebuilt(
    keys: tuple[MasterKey, ...],
    tolerance: float,
    options: dict[str, Any],
    state: dict[str, Any],
) -> Engine:
    """An engine that was pickled, with its connections; without secrets it waits for `update`."""
    if all(key.has_secret for key in keys):
        engine = Engine(KeyChain(keys, accept_tolerance=tolerance), **options)
        engine.import_state(state)
        return engine
    engine = Engine(KeyChain(), **options)
    engine._wait_for(keys, tolerance, state)
    return engine


class Engine:
    """Verifies and signs TCP-AO (and TCP-MD5) segments in batches.

    State (ISNs, SNEs, keys in use) lives from call to call and moves only on proof: a segment that
    does not verify changes nothing.  Calls from several threads take turns.  Pickled, it takes its
    connections along, and its keys' secrets only by `pickled_secrets`.

    Parameters
    ----------
    chain : KeyChain, or iterable of MasterKey
        Taken as it is now; `update` takes another.
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
        How many segments got each verdict since the engine was made; can be read while it runs.

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
        self._tolerance = chain.accept_tolerance
        self._waiting: dict[str, Any] | None = None
        share = max(2, -(-max_connections // threads))
        shards = [
            Shard(
                _key_table(chain, ConnectionTable(share, threads > 1)),
                self.policy.ao_required,
                number,
                threads,
                self.policy.follow_rnext,
            )
            for number in range(threads)
        ]
        for shard in shards:
            shard.connections.as_endpoint = self.policy.as_endpoint
        self._workers = Workers(threads)
        self._pipeline = Pipeline(shards, self._workers)
        self._narrow = NarrowWay(self._pipeline, tuple(Verdict), OUTCOMES)
        self.turn = self._pipeline.turn
        survive_forks(self)

    def _wait_for(
        self, keys: tuple[MasterKey, ...], tolerance: float, state: dict[str, Any]
    ) -> None:
        """Do nothing until `update` brings these keys' secrets."""
        self.keys, self._tolerance, self._waiting = keys, tolerance, state
        self.turn.shut_for(
            "this engine was pickled without its keys' secrets: give it its keys with update()"
        )

    def __reduce__(self) -> tuple[object, ...]:
        options = {
            "policy": self.policy,
            "threads": self.threads,
            "max_connections": self.max_connections,
        }
        state = self._waiting or self.export_state(candidates=True)
        return _rebuilt, (self.keys, self._tolerance, options, state)

    def renew(self) -> None:
        """In a child of the process: with threads of its own."""
        self._workers.renew()

    @overload
    def verify(
        self,
        buffer: Records | list[Buffer] | tuple[Buffer, ...],
        offsets: None = None,
        lengths: None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        final: bool = True,
        out: VerifyResult | None = None,
    ) -> VerifyResult: ...

    @overload
    def verify(
        self,
        buffer: bytes | bytearray | memoryview,
        offsets: None = None,
        lengths: None = None,
        linktype: int = 1,
        timestamps: int | None = None,
        *,
        wire_lengths: int | None = None,
        vlan: int | None = None,
        final: bool = True,
    ) -> Verified: ...

    @overload
    def verify(
        self,
        buffer: Buffer,
        offsets: Integers,
        lengths: Integers,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        final: bool = True,
        out: VerifyResult | None = None,
    ) -> VerifyResult: ...

    @overload
    def verify(
        self,
        buffer: Buffer,
        offsets: None = None,
        lengths: None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        final: bool = True,
        out: VerifyResult | None = None,
    ) -> Any: ...

    def verify(
        self,
        buffer: Buffer | Records,
        offsets: Integers | None = None,
        lengths: Integers | None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        final: bool = True,
        out: VerifyResult | None = None,
    ) -> Any:
        """Verify records, in their order, or one packet.

        Parameters
        ----------
        buffer
            With `offsets` and `lengths` one buffer (contiguous bytes) that holds all records.
            Without them `Records`, which say all that the other parameters but `final` and `out`
            do; or the records themselves: a list or tuple of buffers (bytes, bytearray, memoryview,
            mmap, numpy array), or a binary column of Arrow (pyarrow, polars); or one buffer, which
            is one packet. Nothing is copied.
        offsets, lengths : int64[n] (lengths also int32[n])
            Where each record begins and how many bytes of it were captured. In a ring of slots that
            is ``slot * stride + headroom``.
        linktype : int or int32[n]
            Link type as in pcap files: 1 Ethernet, 101 raw IP, 113 and 276 Linux SLL and SLL2,
            0 and 108 BSD loopback.
        timestamps : int64[n], optional
            Nanoseconds since 1970, negative where one is not known. Only with them do key lifetimes
            and the age of fragments count. Of one packet: a number, as are `wire_lengths` and
            `vlan` then.
        wire_lengths : int64[n], optional
            Bytes each record had before the snap length cut it. Needed only where the IP header
            does not say it (a total length of 0, from segmentation offload).
        vlan : int32[n], optional
            The outermost VLAN tag where it is not in the record, as kernels hand it over: its TCI,
            of which the low 12 bits are the VLAN ID; negative without.
        final : bool
            Whether IP fragments that are incomplete at the end of the call are given up (their
            first record becomes `truncated`) rather than kept for the next call.
        out : VerifyResult, optional
            An earlier result, or `VerifyResult.room`, whose memory is used for this one and which
            then means nothing any more; it must have as many rows or more.

        Returns
        -------
        VerifyResult, or Verified for one packet

        Raises
        ------
        InvalidArgumentError
            A record outside the buffer, arrays of other shapes or dtypes, a number that its dtype
            cannot hold, or an `out` without room.

        Notes
        -----
        The buffer may be memory that others write to meanwhile: each length in it is read once, so
        the process is safe and every verdict one of `Verdict`, though it speaks of bytes that may
        never have stood there together. `offsets` and `lengths` are copied before they are checked.
        """
        if offsets is None and lengths is None and is_packet(buffer):
            if out is not None:
                raise InvalidArgumentError("one packet needs no out")
            if self.trace is not None:
                return self._verify_traced(buffer, linktype, timestamps, wire_lengths, vlan, final)
            return self._narrow.verify(buffer, linktype, timestamps, wire_lengths, vlan, final)
        given = (buffer, offsets, lengths, linktype, timestamps, wire_lengths, vlan)
        records = records_of(*given)
        if out is not None and (not isinstance(out, VerifyResult) or out.columns is None):
            raise InvalidArgumentError(f"out is {out!r}; it must be a VerifyResult")
        room = None if out is None else out.columns
        with self.turn:
            keys = self.keys
            columns, tally = self._pipeline.verify(records, final, self.trace is not None, room)
        kept = buffer if isinstance(buffer, Records) else given
        result = VerifyResult.of(columns, len(records), tally, kept)
        if self.trace is not None and columns.effects is not None:
            emit_events(self.trace, keys, result, columns.effects[: len(records)], records)
        return result

    def _verify_traced(
        self,
        packet: Buffer,
        linktype: Any,
        timestamp: Any,
        wire_length: Any,
        vlan: Any,
        final: bool,
    ) -> Verified:
        """One packet by the wide way, which has the events."""
        one = [None if value is None else [value] for value in (timestamp, wire_length, vlan)]
        found = self.verify(
            [packet], None, None, linktype, one[0], wire_lengths=one[1], vlan=one[2], final=final
        )
        return Verified.of(
            Verdict(found.verdict[0]), found.key[0], found.connection[0], found.sne[0]
        )

    strip = staticmethod(strip)
    strip_inplace = staticmethod(strip_inplace)

    def flush(self) -> VerifyResult:
        """Give up IP fragments that calls of `verify` with ``final=False`` have kept.

        Returns
        -------
        VerifyResult
            Without records; its `counts` have those that were given up as ``truncated``.
        """
        return self.verify(b"", (), ())

    @overload
    def sign(
        self,
        buffer: bytes | bytearray | memoryview,
        offsets: None = None,
        lengths: None = None,
        linktype: int = 1,
        timestamps: int | None = None,
        *,
        wire_lengths: int | None = None,
        vlan: int | None = None,
        make_room: bool = False,
        checksums: Checksums = "full",
    ) -> RewrittenPacket: ...

    @overload
    def sign(
        self,
        buffer: Records | list[Buffer] | tuple[Buffer, ...],
        offsets: None = None,
        lengths: None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        make_room: bool = False,
        checksums: Checksums = "full",
        out: Rewritten | None = None,
    ) -> Rewritten: ...

    @overload
    def sign(
        self,
        buffer: Buffer,
        offsets: Integers,
        lengths: Integers,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        make_room: bool = False,
        checksums: Checksums = "full",
        out: Rewritten | None = None,
    ) -> Rewritten: ...

    @overload
    def sign(
        self,
        buffer: Buffer,
        offsets: None = None,
        lengths: None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        make_room: bool = False,
        checksums: Checksums = "full",
        out: Rewritten | None = None,
    ) -> Any: ...

    def sign(
        self,
        buffer: Buffer | Records,
        offsets: Integers | None = None,
        lengths: Integers | None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        make_room: bool = False,
        checksums: Checksums = "full",
        out: Rewritten | None = None,
    ) -> Any:
        """Insert a TCP-AO (or TCP-MD5) option into every unsigned segment that a key matches.

        The option comes first among the options, as Linux has it, with NOPs behind it (for TCP-MD5
        before it) where its length is no multiple of 4. Data offset, IP lengths and checksums are
        mended. A record that cannot be signed is copied as it is. ISNs are those that the records'
        own SYNs and SYN-ACKs state, or what an earlier call or `import_state` knows. The
        connection's key stays in use while it may send; else it is of those that match and, where
        there are timestamps, may send at that time the one whose send lifetime began last, then the
        first of the chain.

        Parameters
        ----------
        buffer, offsets, lengths, linktype, timestamps, wire_lengths, vlan
            As for `verify`.
        make_room : bool
            Where a TCP header has no room for the option, drop other options, as Linux does: SACK
            blocks, the last first; of a SYN or SYN-ACK the Fast Open cookie, then timestamps where
            SACK is offered. `Rewritten.dropped` tells. Without it, and where that is not enough,
            the outcome is `no_option_space`.
        checksums : {"full", "incremental", "partial"}
            The TCP checksum: computed over the whole segment; from the one that it had (RFC 1624),
            so that a wrong one stays wrong; or of the pseudo-header alone, as hardware that
            computes the rest wants it.
        out : Rewritten, optional
            An earlier result, or `Rewritten.room`, whose memory is used for this one and which then
            means nothing any more; it must have as many rows, and 40 bytes a record more than they
            have.

        Returns
        -------
        Rewritten, or RewrittenPacket for one packet
            The former iterates as ``buffer, offsets, lengths``.

        Raises
        ------
        InvalidArgumentError
            As for `verify`.
        """
        how = checksums_of(checksums)
        if offsets is None and lengths is None and is_packet(buffer):
            if out is not None:
                raise InvalidArgumentError("one packet needs no out")
            return self._narrow.sign(
                buffer, linktype, timestamps, wire_lengths, vlan, make_room, how
            )
        records = records_of(buffer, offsets, lengths, linktype, timestamps, wire_lengths, vlan)
        memory = memory_of(out)
        with self.turn:
            arrays, used = sign(self._pipeline, records, make_room, how, memory)
        return Rewritten.of(arrays, len(records), used)

    def sign_inplace(
        self,
        buffer: Buffer | Records,
        offsets: Integers | None = None,
        lengths: Integers | None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        headroom: int = 0,
        tailroom: int = 0,
        make_room: bool = False,
        checksums: Checksums = "full",
    ) -> InplaceResult:
        """Sign records where they are.

        Without headroom and tailroom the TCP-AO (or TCP-MD5) options that segments have already are
        filled in: a KeyID that names a matching MKT chooses it and stays, RNextKeyID with it; else
        both IDs become those of the key that `sign` would take. MAC and TCP checksum are computed;
        nothing else changes.

        With either it does what `sign` does. Headers move into the headroom, and the payload stays
        where it is; where there is too little headroom, what has no payload grows into the
        tailroom.

        Parameters
        ----------
        buffer : writable Records, or writable buffers as for `verify`
        offsets, lengths, linktype, timestamps, wire_lengths, vlan
            As for `verify`.
        headroom, tailroom : int
            Bytes that are free before and behind each record. Buffers that hold a record each begin
            with the headroom and end with the tailroom. An option takes up to 40 bytes.
        make_room, checksums
            As for `sign`; `make_room` only with headroom or tailroom.

        Returns
        -------
        InplaceResult
            `offsets` and `lengths` say where the records are now, and so do the `Records` that were
            given.

        Raises
        ------
        InvalidArgumentError
            As for `verify`, for read-only buffers, and where records overlap.
        """
        how = checksums_of(checksums)
        records = records_of(
            buffer,
            offsets,
            lengths,
            linktype,
            timestamps,
            wire_lengths,
            vlan,
            writable=True,
            headroom=headroom,
            tailroom=tailroom,
        )
        with self.turn:
            done = sign_inplace(self._pipeline, records, make_room, how)
        outcome, key, connection, dropped = done
        return InplaceResult(outcome, key, connection, records.offsets, records.lengths, dropped)

    def verify_and_strip(
        self,
        buffer: Buffer | Records,
        offsets: Integers | None = None,
        lengths: Integers | None = None,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        vlan: Integers | None = None,
        final: bool = True,
        inplace: bool = False,
        checksums: Checksums = "full",
    ) -> Any:
        """Verify records, and remove the option from those whose verdict is good.

        Parameters
        ----------
        buffer, offsets, lengths, linktype, timestamps, wire_lengths, vlan, final
            As for `verify`.
        inplace : bool
            Whether records are stripped where they are, as by `strip_inplace`.
        checksums
            As for `sign`.

        Returns
        -------
        tuple of (VerifyResult, Rewritten), or for one packet (Verified, RewrittenPacket)
            In place the second is an `InplaceResult`. What is not `good` or `md5_good` has the
            outcome `SignOutcome.not_good` and stays as it is; `VerifyResult.segments` of records
            stripped in place are those without options.

        Raises
        ------
        InvalidArgumentError
            As for `verify`; in place as for `sign_inplace`.
        """
        how = checksums_of(checksums)
        if offsets is None and lengths is None and not inplace and is_packet(buffer):
            found = self.verify(
                buffer, None, None, linktype, timestamps, wire_lengths=wire_lengths, vlan=vlan,
                final=final,
            )  # fmt: skip
            if found.verdict in GOOD:
                return found, self.strip(
                    buffer, linktype=linktype, wire_lengths=wire_lengths, vlan=vlan,
                    checksums=checksums,
                )  # fmt: skip
            return found, RewrittenPacket.of(buffer, SignOutcome.not_good)
        records = records_of(
            buffer, offsets, lengths, linktype, timestamps, wire_lengths, vlan, writable=inplace
        )
        result = self.verify(records, final=final)
        good = np.isin(result.verdict, _GOOD)
        if inplace:
            return result, strip_records_inplace(records, how, good)
        return result, strip_records(records, how, None, good)

    def update(self, chain: Iterable[MasterKey]) -> KeyChanges:
        """Go on with other keys; connections and what is counted stay.

        A connection goes on with its key where the new chain has it: by its identity (IDs,
        addresses, ports, VRF, algorithm, MAC length, options coverage, NAT, name; without the name
        where only that is another). Where the secret is another, traffic keys are derived anew;
        where the key is gone, the connection is without one until its next good segment. Calls of
        other threads see the old keys or the new ones.

        Parameters
        ----------
        chain : KeyChain, or iterable of MasterKey
            All keys from here on; `keys` and what counts them (the ``key`` column, `key_counters`)
            are in its order.

        Returns
        -------
        KeyChanges

        Raises
        ------
        KeyOverlapError
            Keys of which a segment could mean two; nothing was changed.
        """
        chain = chain if isinstance(chain, KeyChain) else KeyChain(chain)
        keys = tuple(chain)
        if self._waiting is not None:
            return self._begin_with(chain)
        with self.turn:
            same, kin, changes = numbers_of(self.keys, keys)
            shards = self._pipeline.shards
            tables = [_key_table(chain, shard.connections) for shard in shards]
            for shard, table in zip(shards, tables, strict=True):
                shard.adopt(table, same, kin)
            self.keys = keys
            self._tolerance = chain.accept_tolerance
        return changes

    def _begin_with(self, chain: KeyChain) -> KeyChanges:
        """The keys that an engine was waiting for since it was pickled."""
        *_, changes = numbers_of(self.keys, tuple(chain))
        fresh = Engine(chain, self.policy, self.threads, self.max_connections)
        if self._waiting:
            fresh.import_state(self._waiting)
        self.keys, self._tolerance, self._waiting = fresh.keys, fresh._tolerance, None
        self._workers, self._pipeline = fresh._workers, fresh._pipeline
        self._narrow, self.turn = fresh._narrow, fresh.turn
        return changes

    def forget(self, numbers: Iterable[int]) -> int:
        """Forget connections, and all that was proved of them.

        Parameters
        ----------
        numbers : iterable of int
            As in the ``connection`` column; those that are not known do not count.

        Returns
        -------
        int
            How many were forgotten.
        """
        wanted = {int(number) for number in numbers}
        with self.turn:
            return sum(shard.forget(wanted) for shard in self._pipeline.shards)

    def mark(self) -> tuple[int, ...]:
        """The moment, for `forget_idle`.

        Returns
        -------
        tuple of int
            It means something to this engine alone.
        """
        with self.turn:
            return tuple(shard.connections.batches for shard in self._pipeline.shards)

    def forget_idle(self, mark: tuple[int, ...]) -> int:
        """Forget the connections of which no segment was seen, good or bad, since a moment.

        Parameters
        ----------
        mark : tuple of int
            From `mark`.

        Returns
        -------
        int
            How many were forgotten.

        Raises
        ------
        InvalidArgumentError
            It is not a mark of this engine.
        """
        shards = self._pipeline.shards
        if (
            not isinstance(mark, tuple)
            or len(mark) != len(shards)
            or not all(isinstance(one, int) and one >= 0 for one in mark)
        ):
            raise InvalidArgumentError(f"mark is {mark!r}; it must be from mark() of this engine")
        with self.turn:
            return sum(shard.forget(None, since) for shard, since in zip(shards, mark, strict=True))

    @property
    def counts(self) -> dict[str, int]:
        """How many segments got each verdict since the engine was made, by its name; to be asked
        for at any time, also while a call runs in another thread.
        """
        return named_counts(self._pipeline.counts())

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
        with self.turn:
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
        with self.turn:
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
                with self.turn:
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
            with self.turn:
                self._pipeline.restore(rows)

    def connection_rows(self, first: int = 0) -> npt.NDArray[np.void]:
        """What is known of each connection with all its incarnations, as an array: 212 bytes each.

        Parameters
        ----------
        first : int
            The lowest number.

        Returns
        -------
        n rows of `tcpao_fast.core.flow.snapshot.CONNECTION`
            In the order of their numbers.
        """
        with self.turn:
            return self._pipeline.snapshot(first, False, None)

    def restore_rows(self, rows: npt.NDArray[np.void]) -> None:
        """Take over connections, as `restore` does, from `connection_rows` of an engine with the
        same keys.

        Parameters
        ----------
        rows : n rows of `tcpao_fast.core.flow.snapshot.CONNECTION`

        Raises
        ------
        InvalidArgumentError
            Rows that are none; nothing was taken over.
        """
        with self.turn:
            self._pipeline.restore(rows)
