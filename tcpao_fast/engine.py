"""The engine: verify and sign batches of captured records, with state, threads and counters."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.algorithms import find
from tcpao_fast.core.buffers import Records
from tcpao_fast.core.keys import KeyTable
from tcpao_fast.core.pipeline import Pipeline
from tcpao_fast.errors import InvalidArgumentError, StateError
from tcpao_fast.keys import KeyChain, MasterKey, lifetime_ns
from tcpao_fast.policy import Policy
from tcpao_fast.verdicts import SEGMENT_VERDICTS, Verdict

Buffer = Any  # anything with the buffer protocol; collections.abc.Buffer is there from Python 3.12
Integers = npt.ArrayLike

STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What `Engine.verify` found, one entry a record.

    Attributes
    ----------
    verdict : uint8[n]
        `Verdict` of each record; `Verdict.not_tcp` where there is no segment.
    key : int32[n]
        Index into `Engine.keys`, -1 without: the key that was right, or the one that was tried.
    connection : int32[n]
        A number of the connection that is never used again, -1 without.
    sne : uint32[n]
        The sequence number extension the segment was verified with.
    counts : dict of str to int
        How many segments got each verdict; all names but ``not_tcp`` are there.
    """

    verdict: npt.NDArray[np.uint8]
    key: npt.NDArray[np.int32]
    connection: npt.NDArray[np.int32]
    sne: npt.NDArray[np.uint32]
    counts: dict[str, int]


def _key_table(keys: Iterable[MasterKey]) -> KeyTable:
    table = KeyTable()
    for key in keys:
        table.add(
            algorithm=find(key.algorithm),
            secret=key.secret,
            send_id=key.send_id or 0,
            recv_id=key.recv_id or 0,
            mac_length=key.mac_length,
            exclude_options=key.exclude_options,
            version=key.version,
            local=_side(key.local, key.local_port),
            remote=_side(key.remote, key.remote_port),
            vrf=key.vrf,
            send_lifetime=lifetime_ns(key.send_lifetime),
            accept_lifetime=lifetime_ns(key.accept_lifetime),
        )
    table.freeze()
    return table


def _side(network: object, ports: object) -> tuple[bytes | None, int, int, int]:
    low, high = ports if isinstance(ports, tuple) else (0, 65535)
    if isinstance(network, (IPv4Network, IPv6Network)):
        return network.network_address.packed, network.prefixlen, low, high
    return None, 0, low, high


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
        How many threads compute MACs. Results do not depend on it.
    max_connections : int
        How many connections are remembered; beyond it, those without a verified segment are
        forgotten first.

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
    ) -> None:
        if not isinstance(threads, int) or not 1 <= threads <= 1024:
            raise InvalidArgumentError(f"threads is {threads!r}; it must be 1 to 1024")
        if not isinstance(max_connections, int) or not 2 <= max_connections <= 1 << 28:
            raise InvalidArgumentError(
                f"max_connections is {max_connections!r}; it must be 2 to {1 << 28}"
            )
        self.policy = policy if policy is not None else Policy()
        self.keys = tuple(chain if isinstance(chain, KeyChain) else KeyChain(chain))
        self.threads = threads
        self.max_connections = max_connections
        self.counts = dict.fromkeys((v.name for v in SEGMENT_VERDICTS), 0)
        self._lock = threading.Lock()
        self._pool = (
            ThreadPoolExecutor(threads, thread_name_prefix="tcpao-mac") if threads > 1 else None
        )
        self._pipeline = Pipeline(
            _key_table(self.keys), max_connections, self.policy.ao_required, threads, self._pool
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
            Nanoseconds since 1970. Only with them do key lifetimes and the age of fragments count.
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
            A record outside the buffer, or arrays of other shapes or dtypes.
        """
        records = Records(buffer, offsets, lengths, linktype, timestamps, wire_lengths)
        with self._lock:
            verdict, key, connection, sne, tally = self._pipeline.verify(records, final)
            counts = {v.name: int(tally[v]) for v in SEGMENT_VERDICTS}
            for name, count in counts.items():
                self.counts[name] += count
        return VerifyResult(verdict, key, connection, sne, counts)
