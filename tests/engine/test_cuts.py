"""Verdicts depend on the order of the segments alone: not on how a stream is cut into calls, not on
threads.  Real captures with loss, repeats, disorder and bit flips put in."""

import random

import numpy as np
import pytest
from wire import records

import tcpao_fast as ao


def disturbed(frames, rng):
    """A stream as a bad network and an enemy make it of another."""
    found = [frame for frame in frames if rng.random() > 0.05]
    for _ in range(len(found) // 6):
        at = rng.randrange(len(found))
        found.insert(min(len(found), at + rng.randrange(30)), found[at])
    for _ in range(len(found) // 5):
        a = rng.randrange(len(found))
        b = min(len(found) - 1, a + rng.randrange(8))
        found.insert(b, found.pop(a))
    for _ in range(len(found) // 6):
        at = rng.randrange(len(found))
        frame = bytearray(found[at])
        # headers and options rather than payload, and some segments are forged beside the real one
        where = rng.randrange(14, min(len(frame), 90))
        frame[where] ^= 1 << rng.randrange(8)
        if rng.random() < 0.5:
            found[at] = bytes(frame)
        else:
            found.insert(at, bytes(frame))
    return found


def cuts(count, rng, how):
    if how == "whole":
        return [count]
    if how == "one by one":
        return range(1, count + 1)
    return [*sorted(rng.sample(range(1, count), min(count - 1, rng.randrange(1, 12)))), count]


def verify(chain, frames, linktype, ends, threads=1):
    """Verdict, key and SNE of each, and the state at the end."""
    engine = ao.Engine(chain, threads=threads)
    data, offsets, lengths = records(frames)
    parts, start = [], 0
    for end in ends:
        rows = slice(start, end)
        found = engine.verify(
            data, offsets[rows], lengths[rows], linktype, final=end == len(frames)
        )
        verdict = found.verdict.copy()
        # the one thing that a later record decides: whether a datagram in fragments stays
        # incomplete is told of a record of the same call, and else counted
        verdict[(verdict == ao.Verdict.truncated) & (found.connection < 0)] = ao.Verdict.not_tcp
        parts.append(np.stack([verdict, found.key, found.connection, found.sne]))
        start = end
    return np.concatenate(parts, axis=1), engine.export_state(candidates=True)


def check(chain, frames, linktype, rng):
    whole, state = verify(chain, frames, linktype, [len(frames)])
    variants = [("one by one", 1), ("somewhere", 1), ("somewhere", 1)]
    variants += [("whole", 2), ("somewhere", 3)]
    for how, threads in variants:
        found, its_state = verify(
            chain, frames, linktype, cuts(len(frames), rng, how), threads=threads
        )
        different = np.flatnonzero((found != whole).any(axis=0))
        assert not len(different), (how, threads, different[:5], whole[:, different[:5]],
                                    found[:, different[:5]])  # fmt: skip
        assert its_state == state, (how, threads)


@pytest.mark.parametrize("seed", range(6))
def test_disturbed_captures(capture, seed):
    rng = random.Random(f"{capture.path.stem} {seed}")
    count = len(capture.records[1])
    begin = 0 if seed % 2 == 0 else rng.randrange(max(1, count - 150))
    frames = [capture.frame(i) for i in range(begin, min(count, begin + 150))]
    if seed % 3 == 2:  # as from several queues: much out of order
        frames = sorted(frames, key=lambda frame: frames.index(frame) + rng.random() * 40)
    check(capture.keys, disturbed(frames, rng), capture.linktype, rng)
