"""Many secrets at once: the MACs that each of them gives, for whoever does not know which it is.

`tcpao_fast.core.flow.traffic_keys.derive_traffic_keys` has one secret and many connections; here it
is the other way round. Every step runs over a whole batch: the PRF's keys, the traffic keys, the
MACs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.flow.traffic_keys import run_kdf
from tcpao_fast.core.mac.algorithms import Algorithm, find
from tcpao_fast.core.mac.mac import TrafficKeys, mac_batch

#: Bytes of a line that may be a secret: Linux takes 80, Junos 126.
LONGEST = 128
#: Lines of a file that are tried at a time.
LINES = 1 << 15
#: An HMAC's block: a longer secret is hashed first (RFC 2104).
_BLOCK = 64
#: By the bytes of its digest the name of HMAC's hash, and the bytes of its blocks.
_HASHES = {20: ("sha1", 64), 32: ("sha256", 64), 64: ("sha512", 128)}

Bytes2 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Secrets:
    """Secrets, one a row.

    Attributes
    ----------
    rows : uint8[n, width]
        Each with zeros behind it; at least 64 wide.
    lengths : int64[n]
        Bytes of each; 1 and more.
    lines : int64[n]
        Which line of the file each was on, from 1.
    """

    rows: Bytes2
    lengths: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]

    @classmethod
    def of(cls, secrets: Sequence[bytes]) -> Secrets:
        """Those of a list; none of them empty."""
        lengths = np.array([len(one) for one in secrets], np.int64)
        width = max(_BLOCK, int(lengths.max(initial=0)))
        joined = b"".join(one.ljust(width, b"\0") for one in secrets)
        rows = np.frombuffer(joined, np.uint8).reshape(len(secrets), width)
        return cls(rows, lengths, np.arange(1, len(secrets) + 1))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<{len(self)} secrets>"

    def secret(self, at: int) -> bytes:
        """One of them."""
        return bytes(self.rows[at, : self.lengths[at]])

    @cached_property
    def _prfs(self) -> dict[str, TrafficKeys]:
        return {}

    def _prf(self, known: Algorithm) -> TrafficKeys:
        """The keys of the KDF's PRF, prepared once."""
        if known.name not in self._prfs:
            self._prfs[known.name] = TrafficKeys(known.name, self._conditioned(known))
        return self._prfs[known.name]

    def _conditioned(self, known: Algorithm) -> Bytes2:
        """The PRF's keys: the secrets, condensed where the algorithm wants that (RFC 5926)."""
        if not known.extract:
            name, block = _HASHES[known.digest_length]
            keys = self.rows[:, :block]
            long = np.flatnonzero(self.lengths > block)
            if len(long):
                keys = keys.copy()
                keys[long] = 0
                for at in long.tolist():
                    hashed = hashlib.new(name, self.secret(at), usedforsecurity=False).digest()
                    keys[at, : len(hashed)] = np.frombuffer(hashed, np.uint8)
            return np.ascontiguousarray(keys)
        zeros = TrafficKeys(known.name, np.zeros((1, known.traffic_key_length), np.uint8))
        count = len(self)
        offsets = np.arange(count) * self.rows.shape[1]
        keys = mac_batch(zeros, np.zeros(count, np.int32), self.rows, offsets, self.lengths)
        keys = np.ascontiguousarray(keys[:, : known.traffic_key_length])
        if known.exact_secret_length is not None:
            as_it_is = self.lengths == known.exact_secret_length
            keys[as_it_is] = self.rows[as_it_is, : known.traffic_key_length]
        return keys

    def traffic_keys(
        self, algorithm: str, which: npt.NDArray[np.int64], contexts: Bytes2
    ) -> Bytes2:
        """Traffic keys of some secrets (RFC 5926 section 3.1).

        Parameters
        ----------
        algorithm : str
            Not ``tcp-md5``.
        which : int64[n]
            Rows.
        contexts : uint8[n, 20] or uint8[n, 44]
            As for `derive_traffic_keys`, one for each.

        Returns
        -------
        uint8[n, key_length]
        """
        known = find(algorithm)
        if known.derive is not None:
            derived = [
                known.derive(self.secret(int(at)), bytes(context))
                for at, context in zip(which, contexts, strict=True)
            ]
            return np.frombuffer(b"".join(derived), np.uint8).reshape(len(which), -1)
        return run_kdf(self._prf(known), known, which.astype(np.int32), contexts)

    def digests(self, which: npt.NDArray[np.int64], messages: Sequence[bytes]) -> Bytes2:
        """TCP-MD5 digests (RFC 2385) of messages, each under one of the secrets.

        Parameters
        ----------
        which : int64[n]
            Rows, of secrets with 80 bytes at most.
        messages : sequence of bytes
            One for each, or one for all.

        Returns
        -------
        uint8[n, 16]
        """
        lengths = np.array([len(one) for one in messages], np.int64)
        offsets = np.cumsum(lengths) - lengths
        if len(messages) == 1:
            lengths, offsets = (np.broadcast_to(one, len(which)) for one in (lengths, offsets))
        buffer = b"".join(messages)
        found = np.empty((len(which), 16), np.uint8)
        sizes = self.lengths[which]
        for size in np.unique(sizes).tolist():  # the kernel has keys of one length
            these = np.flatnonzero(sizes == size)
            keys = TrafficKeys("tcp-md5", self.rows[which[these], :size])
            index = np.arange(len(these), dtype=np.int32)
            found[these] = mac_batch(keys, index, buffer, offsets[these], lengths[these])
        return found


def read_secrets(stream: BinaryIO, progress: int = 1 << 22) -> Iterator[Secrets]:
    """The lines of a file as secrets, some at a time.

    A line ends with a newline, or a carriage return and a newline, which are not part of the
    secret; blanks are. Empty lines, and those with more than `LONGEST` bytes, are left out.

    Parameters
    ----------
    stream : binary file
    progress : int
        Bytes that are read at a time.
    """
    rest, number = b"", 1
    while True:
        data = stream.read(progress)
        text = rest + data
        cut = len(text) if not data else text.rfind(b"\n") + 1
        rest = text[cut:]
        if len(rest) > progress:  # one endless line: what it begins with is enough to leave it out
            rest = rest[: LONGEST + 2]
        octets = np.frombuffer(text[:cut], np.uint8)
        ends = np.flatnonzero(octets == 10)
        if cut and octets[-1] != 10:
            ends = np.append(ends, cut)
        starts = np.concatenate(([0], ends[:-1] + 1)) if len(ends) else ends
        for at in range(0, len(ends), LINES):
            some = slice(at, at + LINES)
            yield _lines(octets, starts[some], ends[some], number + at)
        number += len(ends)
        if not data:
            return


def _lines(
    octets: Bytes2, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], number: int
) -> Secrets:
    lengths = ends - starts
    lengths -= (lengths > 0) & (octets[np.maximum(ends, 1) - 1] == 13)
    kept = (lengths > 0) & (lengths <= LONGEST)
    lines = number + np.flatnonzero(kept)
    starts, lengths = starts[kept], lengths[kept]
    places = starts[:, None] + np.arange(LONGEST)
    rows = octets[np.minimum(places, len(octets) - 1)]
    rows[np.arange(LONGEST) >= lengths[:, None]] = 0
    return Secrets(rows, lengths, lines)
