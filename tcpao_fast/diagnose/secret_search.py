"""Which of many secrets a session uses: lines of a file, tried with every algorithm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tcpao_fast.core.mac.algorithms import find
from tcpao_fast.core.mac.mac import TrafficKeys, mac_batch
from tcpao_fast.diagnose.evidence import ConnectionEvidence, Sample
from tcpao_fast.diagnose.solve import isns_of
from tcpao_fast.engine.candidates import Statement, first_sne, fitting
from tcpao_fast.engine.secrets import Secrets
from tcpao_fast.keys import MasterKey
from tcpao_fast.keys.master_key import MAX_TCP_MD5_SECRET

#: How likely it may be that a line fits by chance.
CHANCE = 1e-3
_MD5 = 2
_ACK = 16
_SYN = 2
#: What is tried of TCP-AO beside the key's own; those that the kernels compute.
_ALGORITHMS = ("hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)", "hmac-sha256-128")


@dataclass(frozen=True, slots=True)
class SecretMatch:
    """A line whose secret one side of a connection signs with.

    Attributes
    ----------
    line : int
        From 1.
    algorithm : str
    exclude_options : bool or None
        None where the segments have no other options, or the algorithm covers none.
    secret : bytes
    packets : frozenset of int
        Numbers of the segments that it fits.
    """

    line: int
    algorithm: str
    exclude_options: bool | None
    secret: bytes = field(repr=False)
    packets: frozenset[int]


@dataclass(frozen=True, slots=True)
class OpenSide:
    """One side of a connection whose MACs no key gives.

    Attributes
    ----------
    connection : ConnectionEvidence
    side : int
        Index into its `ends`.
    samples : sequence of Sample
    key : MasterKey or None
        The key that was tried.
    """

    connection: ConnectionEvidence
    side: int
    samples: Sequence[Sample]
    key: MasterKey | None

    @property
    def place(self) -> tuple[int, int]:
        """The connection's id, and the side."""
        return self.connection.id, self.side


@dataclass(slots=True)
class SecretSearch:
    """A search, and what came of it.

    Attributes
    ----------
    name : str
        The file.
    show_secrets : bool
        Whether what is said of a match shows its secret.
    lines : int
        How many were tried.
    tried : int
        MACs that were held against those of segments.
    sides : int
        Sides of connections that were searched.
    seconds : float
    found : dict of (int, int) to list of SecretMatch
        By a connection's id and the side.
    """

    name: str
    show_secrets: bool = False
    lines: int = 0
    tried: int = 0
    sides: int = 0
    seconds: float = 0.0
    found: dict[tuple[int, int], list[SecretMatch]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "file": self.name,
            "lines": self.lines,
            "tried": self.tried,
            "sides": self.sides,
            "found": len(self.found),
            "seconds": round(self.seconds, 3),
        }

    def run(
        self,
        wanted: Iterable[OpenSide],
        batches: Iterable[Secrets],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Try lines until every side has its secret, or there are no more.

        Parameters
        ----------
        wanted : iterable of OpenSide
        batches : iterable of Secrets
            As from `tcpao_fast.engine.secrets.read_secrets`.
        progress : callable, optional
            Called now and then with the number of lines that were tried.
        """
        begun = time.perf_counter()
        waiting = [one for one in wanted if _readings(one, one.samples)]
        self.sides = len(waiting)
        for secrets in batches if waiting else ():
            for one in [*waiting]:
                self._try(one, secrets, waiting)
            waiting = [one for one in waiting if _readings(one, self._left(one))]
            self.lines += len(secrets)
            if progress is not None:
                progress(self.lines)
            if not waiting:
                break
        self.seconds = time.perf_counter() - begun

    def _left(self, one: OpenSide) -> list[Sample]:
        """A side's segments whose secret was not found yet."""
        found = {number for match in self.found.get(one.place, ()) for number in match.packets}
        return [sample for sample in one.samples if sample.number not in found]

    def _try(self, one: OpenSide, secrets: Secrets, sides: Sequence[OpenSide]) -> None:
        """Try a batch on a segment of a side, and on another while one is found."""
        while statements := _readings(one, self._left(one)):
            mac = statements[0].segment.mac
            self.tried += len(secrets) * len(statements)
            for statement, at in matching_rows(secrets, statements, mac):
                if self._takes(one, statement, secrets, at):
                    # the other side uses it, and often other connections, too
                    for side in sides:
                        self._takes(side, statement, secrets, at)
                    break
            else:
                return

    def _takes(self, one: OpenSide, statement: Statement, secrets: Secrets, at: int) -> bool:
        """Note a secret that fits enough of a side's segments to be no coincidence."""
        secret, fits, proof = secrets.secret(at), [], 0
        either_coverage = True
        for sample in self._left(one):
            if not sample.segment.whole or not sample.segment.mac:
                continue
            of_kind = [
                base.but(secret=secret)
                for base in _statements(one, sample)
                if base.algorithm == statement.algorithm
            ]
            covered = {
                of_kind[number].exclude_options for number in fitting(of_kind, sample.segment.mac)
            }
            if statement.exclude_options in covered:
                fits.append(sample.number)
                proof += len(sample.segment.mac)
                either_coverage &= len(covered) == len(of_kind)
        if not fits or self.tried * 256.0**-proof >= CHANCE:
            return False
        match = SecretMatch(
            int(secrets.lines[at]),
            statement.algorithm,
            None if either_coverage else statement.exclude_options,
            secret,
            frozenset(fits),
        )
        self.found.setdefault(one.place, []).append(match)
        return True


def _readings(one: OpenSide, samples: Sequence[Sample]) -> list[Statement]:
    """What is tried of the segment that says most, a SYN where there is one."""
    usable = [sample for sample in samples if sample.segment.whole and sample.segment.mac]
    if not usable:
        return []
    best = max(
        usable,
        key=lambda one: (
            len(one.segment.mac),
            one.segment.flags & _SYN,
            -one.segment.payload_length,
        ),
    )
    return _statements(one, best)


def _statements(one: OpenSide, sample: Sample) -> list[Statement]:
    """A segment's statements, an algorithm and a coverage each; the secret is open."""
    segment, key = sample.segment, one.key
    if segment.auth == _MD5:
        return [Statement(segment, "tcp-md5", b"")]
    sources, destinations = isns_of(sample, one.connection, ())
    is_syn = segment.flags & (_SYN | _ACK) == _SYN
    base = Statement(
        segment, "", b"", sources[0], 0 if is_syn else destinations[0],
        first_sne(sources[0], segment.seq),
    )  # fmt: skip
    algorithms = list(_ALGORITHMS)
    coverage = [False, True]
    if key is not None and not key.is_tcp_md5:
        algorithms.insert(0, key.algorithm)
        coverage = [key.exclude_options, not key.exclude_options]
    return [
        base.but(algorithm=algorithm, exclude_options=excluded)
        for algorithm in dict.fromkeys(algorithms)
        for excluded in coverage
    ]


def matching_rows(
    secrets: Secrets, statements: list[Statement], mac: bytes
) -> Iterable[tuple[Statement, int]]:
    """Statements and rows of secrets that give a MAC."""
    wanted = np.frombuffer(mac, np.uint8)
    keys: dict[str, TrafficKeys] = {}
    for statement in statements:
        rows = _taken(secrets, statement.algorithm)
        if not len(rows):
            continue
        text = statement.message()
        if statement.algorithm == "tcp-md5":
            macs = secrets.digests(rows, [text])
        else:
            if statement.algorithm not in keys:
                context = np.frombuffer(statement.context(), np.uint8)
                contexts = np.tile(context, (len(rows), 1))
                raw = secrets.traffic_keys(statement.algorithm, rows, contexts)
                keys[statement.algorithm] = TrafficKeys(statement.algorithm, raw)
            macs = mac_batch(
                keys[statement.algorithm], np.arange(len(rows), dtype=np.int32), text,
                np.zeros(len(rows), np.int64), np.full(len(rows), len(text)),
            )  # fmt: skip
        if len(mac) > macs.shape[1]:
            continue
        # the first byte leaves few to compare in full
        some = np.flatnonzero(macs[:, 0] == wanted[0])
        for at in some[(macs[some, : len(mac)] == wanted).all(axis=1)].tolist():
            yield statement, int(rows[at])


def _taken(secrets: Secrets, algorithm: str) -> npt.NDArray[np.int64]:
    """The rows of the secrets that an algorithm takes."""
    lengths = find(algorithm).secret_lengths
    if lengths is not None:
        return np.flatnonzero(np.isin(secrets.lengths, lengths))
    longest = MAX_TCP_MD5_SECRET if algorithm == "tcp-md5" else secrets.rows.shape[1]
    return np.flatnonzero(secrets.lengths <= longest)
