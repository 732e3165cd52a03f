"""The engine: verify and sign batches of captured records, with state, threads and counters."""

from __future__ import annotations

import functools
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.algorithms import find
from tcpao_fast.core.buffers import Records
from tcpao_fast.core.connections import INCARNATIONS, ConnectionTable
from tcpao_fast.core.keys import KeyTable
from tcpao_fast.core.parse import parse_records
from tcpao_fast.core.pipeline import ASKED_FOR_KEY, STEPPED_SNE, Pipeline
from tcpao_fast.core.shard import Shard
from tcpao_fast.core.sign import sign, sign_inplace
from tcpao_fast.core.sign import strip as strip_records
from tcpao_fast.counters import KeyCounters, snmp_of
from tcpao_fast.errors import InvalidArgumentError, StateError
from tcpao_fast.events import Event, Tracer, flag_letters
from tcpao_fast.keys import KeyChain, MasterKey
from tcpao_fast.policy import Policy
from tcpao_fast.verdicts import SEGMENT_VERDICTS, SignOutcome, Verdict
from tcpao_fast.workers import Workers, survive_forks

Buffer = Any  # anything with the buffer protocol; collections.abc.Buffer is there from Python 3.12
Integers = npt.ArrayLike

STATE_VERSION = 1
#: Places of the connection table that `export_state` looks at under the lock at a time.
STATE_PIECE = 4096
#: What a MAC proved of an incarnation, by the numbers of core/connections.
_PROOFS = ("none", "syn", "both")


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What `Engine.verify` found, one entry a record.

    Attributes
    ----------
    verdict : uint8[n]
        `Verdict` of each record; `Verdict.not_tcp` where there is no segment.
    key : int32[n]
        Index into `Engine.keys`, -1 without: the key that was right, or the one that was tried.
    connection : int64[n]
        A number of the connection that is never used again, -1 without.
    sne : uint32[n]
        The sequence number extension the segment was verified with.
    counts : dict of str to int
        How many segments got each verdict; all names but ``not_tcp`` are there.
    signed : int
        How many segments have a (sound) TCP-AO option.
    """

    verdict: npt.NDArray[np.uint8]
    key: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int64]
    sne: npt.NDArray[np.uint32]
    counts: dict[str, int]
    signed: int


class Rewritten(tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]):
    """Rewritten records: ``buffer, offsets, lengths``, ready for `Engine.verify`.

    Attributes
    ----------
    buffer : uint8[m]
        The records, one behind the other.
    offsets, lengths : int64[n]
        As many as went in, in the same order.
    outcome : uint8[n]
        `SignOutcome` of each record.
    counts : dict of str to int
        How many records had each outcome; only those that occur.
    key, connection : int64[n] or None
        Index into `Engine.keys` and the connection's number, -1 without; None from `strip`.
    """

    outcome: npt.NDArray[np.uint8]
    counts: dict[str, int]
    key: npt.NDArray[np.int32] | None
    connection: npt.NDArray[np.int64] | None

    @classmethod
    def _make(
        cls,
        buffer: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        outcome: npt.NDArray[np.uint8],
        key: npt.NDArray[np.int32] | None = None,
        connection: npt.NDArray[np.int64] | None = None,
        done: str = "signed",
    ) -> Rewritten:
        self = cls((buffer, offsets, lengths))
        self.outcome = outcome
        self.counts = _outcome_counts(outcome, done)
        self.key = key
        self.connection = connection
        return self

    @property
    def buffer(self) -> npt.NDArray[np.uint8]:
        """The records' bytes."""
        return self[0]

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each record begins in `buffer`."""
        return self[1]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Bytes of each record."""
        return self[2]


@dataclass(frozen=True, slots=True)
class InplaceResult:
    """What `Engine.sign_inplace` did, one entry a record.

    Attributes
    ----------
    outcome : uint8[n]
        `SignOutcome` of each record.
    counts : dict of str to int
        How many records had each outcome; only those that occur.
    key, connection : int64[n]
        Index into `Engine.keys` and the connection's number, -1 without.
    """

    outcome: npt.NDArray[np.uint8]
    counts: dict[str, int]
    key: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int64]


def _outcome_counts(outcome: npt.NDArray[np.uint8], done: str) -> dict[str, int]:
    numbers = np.bincount(outcome, minlength=len(SignOutcome))
    return {
        done if value is SignOutcome.signed else value.name: int(numbers[value])
        for value in SignOutcome
        if numbers[value]
    }


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
        buffer: Buffer,
        offsets: Integers,
        lengths: Integers,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
        final: bool = True,
    ) -> VerifyResult:
        """Verify records, in their order.

        Parameters
        ----------
        buffer : buffer protocol, contiguous bytes
            Never copied.
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
        records = Records(buffer, offsets, lengths, linktype, timestamps, wire_lengths)
        with self.lock:
            self._begin()
            verdict, key, connection, sne, tally, happened = self._pipeline.verify(
                records, final, self.trace is not None
            )
            numbers = tally.tolist()
            counts = {name: numbers[index] for name, index in _COUNTED}
            for name, count in counts.items():
                if count:
                    self.counts[name] += count
        result = VerifyResult(verdict, key, connection, sne, counts, numbers[-1])
        if self.trace is not None and happened is not None:
            emit_events(self.trace, self.keys, result, happened, records)
        return result

    def sign(
        self,
        buffer: Buffer,
        offsets: Integers,
        lengths: Integers,
        linktype: int | Integers = 1,
        timestamps: Integers | None = None,
        *,
        wire_lengths: Integers | None = None,
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

        Returns
        -------
        Rewritten
            Unpacks to ``buffer, offsets, lengths``.

        Raises
        ------
        InvalidArgumentError
            As for `verify`.
        """
        records = Records(buffer, offsets, lengths, linktype, timestamps, wire_lengths)
        with self.lock:
            self._begin()
            return Rewritten._make(*sign(self._pipeline, records))

    def sign_inplace(
        self,
        buffer: Buffer,
        offsets: Integers,
        lengths: Integers,
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
        buffer : writable buffer protocol, contiguous bytes
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
        records = Records(
            buffer, offsets, lengths, linktype, timestamps, wire_lengths, writable=True
        )
        with self.lock:
            self._begin()
            outcome, key, connection = sign_inplace(self._pipeline, records)
        return InplaceResult(outcome, _outcome_counts(outcome, "signed"), key, connection)

    @property
    def snmp(self) -> dict[str, int]:
        """`counts` under the names of Linux's SNMP counters; ICMP does not come by here."""
        return snmp_of(self.counts)

    def key_counters(self) -> list[KeyCounters]:
        """How many segments each of `keys` was good and bad for since the engine was made."""
        with self.lock:
            self._begin()
            tally = self._pipeline.key_tally()
        return [KeyCounters(good, bad) for good, bad in tally.tolist()]

    def connections(self, first: int = 0) -> list[dict[str, Any]]:
        """What is known of each connection that has the number `first` or a later one.

        Returns
        -------
        list of dict
            In the order of their numbers: ``id``; ``client`` and ``server`` as (address, port),
            where the client sent the SYN (without one: the side with the higher port); ``vrf``;
            and, once a MAC over both ISNs was good, else None: ``isn``, ``sne`` and ``position``
            (64 bits: SNE and the next SEQ), ``current_key`` (index into `keys`) and
            ``rnext_key_id``, each a dict by ``client`` and ``server``, of what that side sent.
        """
        return [describe_connection(row) for row in self.connection_rows(first)]

    def connection_rows(
        self, first: int = 0, *, proved: bool = False, only: set[int] | None = None
    ) -> list[dict[str, Any]]:
        """The raw form of `connections`, quicker: see `describe_connection`.

        With `proved` only those with a live incarnation, with `only` those with these numbers.
        """
        with self.lock:
            self._begin()
            return self._pipeline.connection_rows(first, False, proved, only)

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
        """What a state has beside its connections."""
        return {"version": STATE_VERSION, "keys": [key.identity() for key in self.keys]}

    def state_records(self, *, candidates: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
        """The connections of `export_state` one by one, with their numbers, in no order: for those
        who write them as they come.
        """
        for shard in self._pipeline.shards:
            for start in range(0, shard.connections.capacity, STATE_PIECE):
                with self.lock:
                    self._begin()
                    rows = shard.connection_rows(
                        0, True, not candidates, start, start + STATE_PIECE
                    )
                for row in rows:
                    if row["live"] is not None or row["incarnations"]:
                        yield row["id"], self._record(row, candidates)

    def _record(self, row: Mapping[str, Any], candidates: bool) -> dict[str, Any]:
        """What a state has of one connection."""
        order = dict(zip(("client", "server"), sides(row), strict=True))
        record: dict[str, Any] = {
            "vrf": row["vrf"],
            "has_handshake": row["initiator"] is not None,
            "client": {},
            "server": {},
        }
        for side, index in order.items():
            address, port = endpoint_of(row, index)
            record[side] = {"address": address, "port": port}
            if row["live"] is not None:
                record[side] |= self._exported(row["live"], index)
        if row["live"] is not None:
            record["current_keys"] = [row["live"]["key_in_use"][i] for i in order.values()]
        if candidates:
            names = {index: side for side, index in order.items()}
            record["incarnations"] = [
                {
                    "live": number == row["live_index"],
                    "proof": _PROOFS[one["proof"]],
                    "initiator": names.get(one["initiator"]),
                    "ours": one["ours"],
                    "current_keys": [one["key_in_use"][i] for i in order.values()],
                    **{
                        side: {**self._exported(one, index), "key_id": one["key_id"][index]}
                        for side, index in order.items()
                    },
                }
                for number, one in enumerate(row["incarnations"])
            ]
        return record

    def _exported(self, incarnation: Mapping[str, Any], index: int) -> dict[str, Any]:
        """What a state has of one side of an incarnation."""
        number = incarnation["key_in_use"][index]
        key = None if number is None else self.keys[number]
        position = incarnation["position"][index]
        known = incarnation["known"] >> index & 1
        return {
            "isn": incarnation["isn"][index] if known else None,
            "sne": position >> 32,
            "seq": position & 0xFFFFFFFF,
            "current_key": key and {"send_id": key.send_id, "recv_id": key.recv_id},
            "rnext_key_id": incarnation["rnext_key_id"][index],
        }

    def import_state(self, state: Mapping[str, Any]) -> list[str]:
        """Take over connections that `export_state` gave, here or elsewhere, as proved as they are.

        A connection that is known already gets the imported live incarnation as its own.  A current
        key is taken over where the state names just one of `keys`: by its whole identity (IDs,
        addresses, ports, VRF, algorithm, MAC length, options coverage, NAT, name), or, where the
        state has no more of it, by its IDs.

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
        unmatched: dict[str, None] = {}
        try:
            if state["version"] != STATE_VERSION or isinstance(state["version"], (bool, float)):
                raise StateError(
                    f"state has version {state['version']!r}; this engine reads {STATE_VERSION}"
                )
            if not isinstance(state["connections"], list):
                raise StateError("state's connections is no list")
            known = self._known_keys(state.get("keys"))
            restored = [
                self._restorable(record, known, unmatched) for record in state["connections"]
            ]
        except (
            KeyError, TypeError, ValueError, AttributeError, OverflowError, IndexError,
        ) as error:  # fmt: skip
            if isinstance(error, StateError):
                raise
            raise StateError(
                f"state is not what Engine.export_state gives: {type(error).__name__}: {error}"
            ) from None
        for start in range(0, len(restored), STATE_PIECE):
            with self.lock:
                self._begin()
                for arguments in restored[start : start + STATE_PIECE]:
                    self._pipeline.restore(**arguments)
        return list(unmatched)

    def _known_keys(self, identities: object) -> list[int | str] | None:
        """For each key of a state its index in `keys`, or what is wrong with it."""
        if identities is None:
            return None
        if not isinstance(identities, list):
            raise StateError("state's keys is no list")
        own = [key.identity() for key in self.keys]
        found: list[int | str] = []
        for identity in identities:
            if not isinstance(identity, Mapping) or not {"send_id", "recv_id"} <= set(identity):
                raise StateError(f"a key of the state is {identity!r}; it must be an identity")
            same = [index for index, one in enumerate(own) if one == identity]
            name = identity.get("name") or f"{identity['send_id']}/{identity['recv_id']}"
            if len(same) == 1:
                found.append(same[0])
            else:
                many = "more than one" if same else "none"
                found.append(f"its current key {name!s} is {many} of the keys here")
        return found

    def _restorable(
        self,
        record: Mapping[str, Any],
        known: list[int | str] | None,
        unmatched: dict[str, None],
    ) -> dict[str, Any]:
        ends = [record["client"], record["server"]]
        if not all(isinstance(end["address"], str) and "%" not in end["address"] for end in ends):
            raise StateError("an address must be text, without a zone")
        addresses = [ip_address(end["address"]) for end in ends]
        if addresses[0].version != addresses[1].version:
            raise StateError(f"{addresses[0]} and {addresses[1]} are of two IP versions")
        for value, name, most in (
            (ends[0]["port"], "port", 0xFFFF),
            (ends[1]["port"], "port", 0xFFFF),
            (record["vrf"], "vrf", 0xFFFFFFFF),
        ):
            _check_number(value, name, most)
        listed = record.get("incarnations")
        if listed is None:  # the one that is live
            listed = [
                {"live": True, "proof": "both", "client": ends[0], "server": ends[1],
                 "current_keys": record.get("current_keys")}
            ]  # fmt: skip
        if not isinstance(listed, list) or len(listed) > INCARNATIONS:
            raise StateError(f"incarnations must be a list of {INCARNATIONS} at most")
        where = " - ".join(endpoint_text(end["address"], end["port"]) for end in ends)
        incarnations = []
        for one in listed:
            keys = self._current_keys(one, known)
            for problem in (key for key in keys if isinstance(key, str)):
                unmatched[f"{where}: {problem}"] = None
            incarnations.append(
                self._incarnation(one, [key if isinstance(key, int) else None for key in keys])
            )
        live = [number for number, one in enumerate(listed) if one["live"]]
        if len(live) > 1 or any(listed[number]["proof"] != "both" for number in live):
            raise StateError("more than one incarnation is live, or one that is not proved")
        return {
            "version": addresses[0].version,
            "address": [address.packed for address in addresses],
            "port": [end["port"] for end in ends],
            "vrf": record["vrf"],
            "initiator": 0 if record["has_handshake"] else None,
            "incarnations": incarnations,
            "live_index": live[0] if live else None,
        }

    def _current_keys(
        self, one: Mapping[str, Any], known: list[int | str] | None
    ) -> list[int | str | None]:
        """The current key of client and server: an index, what is wrong with it, or None."""
        numbers = one.get("current_keys")
        if known is not None and numbers is not None:
            if not isinstance(numbers, list) or len(numbers) != 2:
                raise StateError(f"current_keys is {numbers!r}; it must be two numbers")
            for number in numbers:
                if number is not None:
                    _check_number(number, "current_keys", len(known) - 1)
            return [None if number is None else known[number] for number in numbers]
        found: list[int | str | None] = []
        for end in (one["client"], one["server"]):
            ids = end["current_key"]
            if ids is None:
                found.append(None)
                continue
            wanted = (ids["send_id"], ids["recv_id"])
            same = [
                index
                for index, key in enumerate(self.keys)
                if (key.send_id, key.recv_id) == wanted and key.send_id is not None
            ]
            many = "more than one key" if same else "no key"
            found.append(
                same[0]
                if len(same) == 1
                else f"{many} here has the IDs {wanted[0]}/{wanted[1]} of its current key"
            )
        return found

    def _incarnation(self, one: Mapping[str, Any], keys: list[int | None]) -> dict[str, Any]:
        """An incarnation of a state in the form of `Shard.connection_rows`, client first."""
        ends = [one["client"], one["server"]]
        known = [end["isn"] is not None for end in ends]
        if one["proof"] not in _PROOFS or not any(known) or (one["proof"] == "both") > all(known):
            raise StateError(f"proof is {one['proof']!r}, and ISNs are {[e['isn'] for e in ends]}")
        if not isinstance(one["live"], bool):
            raise StateError(f"live is {one['live']!r}; it must be true or false")
        initiator = one.get("initiator")
        if initiator not in (None, "client", "server"):
            raise StateError(f"initiator is {initiator!r}; it must be client, server or null")
        for end in ends:
            for name, most in (("sne", 0x7FFFFFFF), ("seq", 0xFFFFFFFF), ("rnext_key_id", 0xFF)):
                _check_number(end[name], name, most)
            _check_number(end.get("key_id", 0), "key_id", 0xFF)
            if end["isn"] is not None:
                _check_number(end["isn"], "isn", 0xFFFFFFFF)
        return {
            "known": known[0] | known[1] << 1,
            "proof": _PROOFS.index(one["proof"]),
            "isn": [end["isn"] or 0 for end in ends],
            "position": [end["sne"] << 32 | end["seq"] for end in ends],
            "key_in_use": keys,
            "rnext_key_id": [end["rnext_key_id"] for end in ends],
            "key_id": [end.get("key_id", 0) for end in ends],
            "initiator": None if initiator is None else int(initiator == "server"),
            "ours": one.get("ours") is True,
        }


def _check_number(value: object, name: str, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise StateError(f"{name} is {value!r}; it must be 0 to {most}")


_EVENT_OF = {
    Verdict.malformed: "tcp_hash_bad_header",
    Verdict.ao_required: "tcp_hash_ao_required",
    Verdict.key_not_found: "tcp_ao_key_not_found",
    Verdict.bad_mac: "tcp_ao_mismatch",
    Verdict.md5_bad: "tcp_hash_md5_mismatch",
    Verdict.md5_unchecked: "tcp_hash_md5_unexpected",
}


def emit_events(
    trace: Tracer,
    keys: Sequence[MasterKey],
    result: VerifyResult,
    happened: npt.NDArray[np.uint8],
    records: Records,
) -> None:
    """Send the events of one call of `Engine.verify`, in the order of its records."""
    rows = np.flatnonzero(np.isin(result.verdict, list(_EVENT_OF)) | (happened != 0))
    if not len(rows):
        return
    for row, segment in zip(rows.tolist(), parse_records(records.subset(rows)), strict=True):
        verdict = Verdict(result.verdict[row])
        key = keys[result.key[row]] if result.key[row] >= 0 else None
        names: list[tuple[str, int | None]] = []
        mac_length = int(segment["auth_length"]) - 4 if segment["auth"] == 1 else None
        if verdict is Verdict.bad_mac and key is not None and mac_length != key.mac_length:
            names.append(("tcp_ao_wrong_maclen", None))
        elif verdict in _EVENT_OF:
            names.append((_EVENT_OF[verdict], None))
        if happened[row] & ASKED_FOR_KEY:
            names.append(("tcp_ao_rnext_request", None))
        if happened[row] & STEPPED_SNE:
            end = int(segment["seq"]) + int(segment["length"]) - int(segment["header_length"])
            end += bool(segment["flags"] & 1)
            names.append(("tcp_ao_rcv_sne_update", int(result.sne[row]) + (end >> 32)))
        size = 16 if segment["version"] == 6 else 4
        for name, sne in names:
            if not trace.wants(name) or not segment["version"]:
                continue
            trace.emit(
                Event(
                    name,
                    ip_address(segment["source"][:size].tobytes()),
                    int(segment["source_port"]),
                    ip_address(segment["destination"][:size].tobytes()),
                    int(segment["destination_port"]),
                    vrf=int(segment["vrf"]),
                    flags=flag_letters(int(segment["flags"])),
                    key_id=None if mac_length is None else int(segment["key_id"]),
                    rnext_key_id=None if mac_length is None else int(segment["rnext_key_id"]),
                    mac_length=mac_length,
                    sne=sne,
                )
            )


def sides(row: Mapping[str, Any]) -> tuple[int, int]:
    """Which of the two ends in a row of `Engine.connection_rows` is the client, which the server.

    The client sent the SYN; without one it is the side with the higher port.
    """
    client = row["initiator"]
    if client is None:
        client = 0 if row["port"][0] >= row["port"][1] else 1
    return client, 1 - client


def endpoint_of(row: Mapping[str, Any], side: int) -> tuple[str, int]:
    """Address and port of an end."""
    return address_text(row["address"][side]), row["port"][side]


def reached_sne(row: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The SNE that client and server have reached; None where nothing was proved."""
    live = row["live"]
    if live is None:
        return None, None
    client, server = sides(row)
    position = live["position"]
    return (position[client] >> 32) & 0xFFFFFFFF, (position[server] >> 32) & 0xFFFFFFFF


def describe_connection(row: Mapping[str, Any]) -> dict[str, Any]:
    """One entry of `Engine.connections` from one of `Engine.connection_rows`."""
    order = dict(zip(("client", "server"), sides(row), strict=True))
    entry: dict[str, Any] = {
        "id": row["id"],
        "vrf": row["vrf"],
        "has_handshake": row["initiator"] is not None,
    }
    for side, index in order.items():
        entry[side] = endpoint_of(row, index)
    live = row["live"]
    for name, source in (
        ("isn", "isn"),
        ("position", "position"),
        ("current_key", "key_in_use"),
        ("rnext_key_id", "rnext_key_id"),
    ):
        entry[name] = live and {side: live[source][index] for side, index in order.items()}
    entry["sne"] = live and dict(zip(order, reached_sne(row), strict=True))
    return entry


@functools.lru_cache(maxsize=1 << 16)
def address_text(address: bytes) -> str:
    """An address of 4 or 16 bytes as text."""
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def endpoint_text(address: str, port: int) -> str:
    """``10.0.0.1:179``, ``[fd00::1]:179``."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def strip(
    buffer: Buffer,
    offsets: Integers,
    lengths: Integers,
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
        ``outcome`` is 0 (`SignOutcome.stripped`) where an option was removed.

    Raises
    ------
    InvalidArgumentError
        As for `Engine.verify`.
    """
    records = Records(buffer, offsets, lengths, linktype, None, wire_lengths)
    return Rewritten._make(*strip_records(records), done="stripped")
