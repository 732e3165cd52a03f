"""Sequence number extension: RFC 9187's sequence, other algorithms as references, and laws."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from samples import VECTORS

import tcpao_fast as ao
from tcpao_fast.core.flow.sne import extend_position, extend_positions

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


@given(sne=st.integers(0, 2**31 - 2), base=U32, seq=U32)  # positions have 63 bits
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


# -- the other algorithms, and where they part ----------------------------------------------------


class Rfc9187:
    """RFC 9187 section 5, transcribed; `seeded` begins at the ISN, as printed it begins at 0."""

    def __init__(self, isn=None):
        self.sne = 0
        self.prev = isn or 0
        self.flag = self.prev < 2**31

    def __call__(self, seq):
        sne = self.sne
        if abs(seq - self.prev) < 2**31:
            if seq >= 2**31 > self.prev:
                self.flag = False
            self.prev = max(seq, self.prev)
        elif seq < 2**31:
            self.prev = seq
            if not self.flag:
                self.flag = True
                self.sne += 1
                sne = self.sne
        else:
            sne = self.sne - 1
        return sne % 2**32


class Rfc5925:
    """RFC 5925 section 6.2, transcribed; `half`: 0x7fff is printed, the prose means 0x7fffffff."""

    def __init__(self, half=0x7FFFFFFF):
        self.half, self.sne, self.prev, self.flag = half, 0, 0, False

    def __call__(self, seq):
        half = self.half
        if not self.flag and self.prev > half and seq < half:
            self.sne += 1
            self.flag = True
        sne = self.sne - 1 if self.flag and seq > half else self.sne
        if self.prev < half and seq > half:
            self.flag = False
        self.prev = seq
        return sne % 2**32


def positions_from(isn, steps):
    """A stream's 64-bit positions: each so far from the highest before it, none before the ISN."""
    high = isn
    for step in [0, *steps]:
        at = max(isn, high + step)
        yield at
        high = max(high, at)


JUMPS = st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=80)
FORWARD = st.lists(st.integers(0, 2**30), max_size=80)


@given(isn=U32, steps=JUMPS)
def test_rfc9187_begun_at_the_isn_is_our_rule(isn, steps):
    """Everywhere short of exactly half the space, whatever is lost, repeated or reordered."""
    ours, theirs = ao.SequenceExtender(isn), Rfc9187(isn)
    for at in positions_from(isn, steps):
        assert theirs(at % 2**32) == ours.accept(at % 2**32) == at >> 32


@given(isn=U32, steps=FORWARD)
def test_rfc9187_as_printed_is_one_behind_for_high_isns(isn, steps):
    """Its space begins at 0, so an ISN in the upper half looks like a step back over zero: one
    epoch behind for the whole connection.  With an ISN in the lower half it is our rule."""
    ours, theirs = ao.SequenceExtender(isn), Rfc9187()
    behind = isn >= 2**31
    for at in positions_from(isn, steps):
        assert theirs(at % 2**32) == (ours.accept(at % 2**32) - behind) % 2**32


@given(base=U32)
def test_at_exactly_half_the_space_linux_goes_back_and_rfc9187_forward(base):
    """RFC 5925 leaves it open, and no window reaches so far."""
    seq = (base + 2**31) % 2**32
    ours = extend_position(1 << 32 | base, seq)
    assert ours == (1 << 32 | base) - 2**31 and ours >> 32 == linux(1, base, seq)
    theirs = Rfc9187(base)
    if base >= 2**31:
        assert theirs(seq) == 1  # from SNE 0: over zero, forward
    else:
        assert theirs(seq) == 2**32 - 1  # back, to before the connection


@given(isn=U32, steps=FORWARD)
@example(isn=2**30, steps=[2**30] * 5)
def test_rfc5925_in_order_is_our_rule_short_of_two_places(isn, steps):
    """With the constant that the prose means, in order, and without the SEQ that falls into neither
    half.  The first SEQ in the upper half behind a wrap is one SNE behind: the flag that says so is
    asked before it is reset (RFC 9187 was written for such reasons)."""
    ours, theirs = ao.SequenceExtender(isn), Rfc5925()
    for at in positions_from(isn, steps):
        seq = at % 2**32
        if seq == 0x7FFFFFFF:
            return
        behind = theirs.flag and theirs.prev < 0x7FFFFFFF < seq
        assert theirs(seq) == (ours.accept(seq) - behind) % 2**32
        assert ours.position == at


def test_rfc5925_parts_at_the_value_between_the_halves():
    """PREV_SEQ 0x7fffffff is in no half, so the flag is not reset, and the next wrap not seen."""
    wrap = 2**32
    stream = [wrap - 1, wrap, wrap + 0x7FFFFFFF, wrap + 2**31, 2 * wrap - 10, 2 * wrap + 5]
    ours, theirs = ao.SequenceExtender(wrap - 1), Rfc5925()
    found = [(ours.accept(at % wrap), theirs(at % wrap)) for at in stream]
    assert found == [(0, 0), (1, 1), (1, 1), (1, 0), (1, 0), (2, 1)]


def test_rfc5925_parts_when_segments_swap_at_the_wrap():
    """PREV_SEQ is the last SEQ, not the highest: an old segment behind a new one resets the flag,
    and the next new one counts the same wrap again."""
    stream = [2**32 - 10, 2**32 + 5, 2**32 - 5, 2**32 + 10]
    ours, theirs = ao.SequenceExtender(2**32 - 10), Rfc5925()
    found = [(ours.accept(at % 2**32), theirs(at % 2**32)) for at in stream]
    assert found == [(0, 0), (1, 1), (0, 0), (1, 2)]


def test_rfc5925_as_printed_parts_at_once():
    """0x7fff is a 16-bit half: low SEQs of an ordinary connection count as wraps."""
    stream = [0x1000, 0x9000, 0x2000]
    ours, theirs = ao.SequenceExtender(0x1000), Rfc5925(0x7FFF)
    found = [(ours.accept(at), theirs(at)) for at in stream]
    assert found == [(0, 0), (0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("algorithm", "wrong"),
    [(Rfc9187(0), 0), (Rfc5925(), 25), (Rfc5925(0x7FFF), 21)],
    ids=["RFC 9187", "RFC 5925, 32-bit half", "RFC 5925 as printed"],
)
def test_rfc9187_sequence_by_the_others(algorithm, wrong):
    assert sum(algorithm(seq) != sne for sne, seq in SEQUENCE) == wrong


def test_accept_moves_behind_the_segment():
    extender = ao.SequenceExtender(2**32 - 10)
    assert extender.accept(2**32 - 9, 100) == 0
    assert extender.position == 2**32 + 91 and extender.peek(91) == 1
    with pytest.raises(ao.InvalidArgumentError, match="length"):
        extender.accept(1, -1)


def test_peek_moves_nothing():
    extender = ao.SequenceExtender(5)
    extender.peek(2**31)
    assert extender.position == 5


@pytest.mark.parametrize("value", [-1, 2**32, 1.5, "1"])
def test_refused(value):
    with pytest.raises(ao.InvalidArgumentError, match="must be 0 to 4294967295"):
        ao.SequenceExtender(value)
