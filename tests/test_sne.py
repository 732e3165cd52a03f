"""Sequence number extension: RFC 9187's sequence, other algorithms as references, and laws."""

import json

import numpy as np
import pytest
from conftest import VECTORS
from hypothesis import given
from hypothesis import strategies as st

import tcpao_fast as ao
from tcpao_fast.core.sne import extend_position, extend_positions

SEQUENCE = json.loads((VECTORS / "rfc9187.json").read_text())["sequence"]
U32 = st.integers(0, 2**32 - 1)


def test_rfc9187_sequence():
    assert len(SEQUENCE) == 29
    extender = ao.SequenceExtender(isn=0)
    assert [[extender.accept(seq), seq] for _, seq in SEQUENCE] == SEQUENCE


def test_rfc9187_sequence_in_batches():
    """Each SEQ against the anchor that the ones before it proved."""
    anchor = 0
    for sne, seq in SEQUENCE:
        (position,) = extend_positions(anchor, [seq])
        assert position >> 32 == sne
        anchor = max(anchor, int(position))


def linux(base_sne, base_seq, seq):
    """Linux's rule: next to the expected position, with its SNE."""
    difference = (seq - base_seq + 2**31) % 2**32 - 2**31
    if difference < 0:
        return base_sne - 1 if seq > base_seq else base_sne
    return base_sne + 1 if seq < base_seq else base_sne


@given(sne=st.integers(0, 2**31 - 1), base=U32, seq=U32)
def test_agrees_with_linux(sne, base, seq):
    assert extend_position(sne << 32 | base, seq) >> 32 == linux(sne, base, seq)


@given(anchor=st.integers(0, 2**62), seq=U32)
def test_nearest(anchor, seq):
    position = extend_position(anchor, seq)
    assert position % 2**32 == seq
    assert -(2**31) <= position - anchor < 2**31


@given(anchor=st.integers(0, 2**62), seqs=st.lists(U32, max_size=50))
def test_batch_is_scalar(anchor, seqs):
    positions = extend_positions(anchor, np.array(seqs, np.uint32))
    assert list(positions) == [extend_position(anchor, seq) for seq in seqs]


@given(isn=U32, steps=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=60))
def test_follows_a_stream(isn, steps):
    """True positions within 2^31 of the highest so far always get their own SNE."""
    extender = ao.SequenceExtender(isn)
    high = isn
    for step in steps:
        true = high + step
        if true < 0:
            assert extender.peek(true % 2**32) is None
            continue
        assert extender.peek(true % 2**32) == true >> 32
        assert extender.accept(true % 2**32) == true >> 32
        high = max(high, true)
    assert extender.position == high


def test_peek_moves_nothing():
    extender = ao.SequenceExtender(5)
    extender.peek(2**31)
    assert extender.position == 5


@pytest.mark.parametrize("value", [-1, 2**32, 1.5, "1"])
def test_refused(value):
    with pytest.raises(ao.InvalidArgumentError, match="must be 0 to 4294967295"):
        ao.SequenceExtender(value)
