"""Two connections over a wire that loses, repeats, reorders and forges, with key operations on both
sides at any time: a model-based test."""

from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import pytest
import reference
from ends import ACK, FIN, PSH, RST, SYN, connected, make_key
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from wire import ao_option

import tcpao_fast as ao
from tcpao_fast import Verdict

#: The counter that a verdict moves: of the endpoint, and of its host.
COUNTED = {
    Verdict.good: ("good", "TCPAOGood"),
    Verdict.bad_mac: ("bad", "TCPAOBad"),
    Verdict.key_not_found: ("key_not_found", "TCPAOKeyNotFound"),
    Verdict.ao_required: ("ao_required", "TCPAORequired"),
}

KEYS = [
    make_key(0, 10),
    make_key(1, 11, algorithm="aes-128-cmac-96", secret=b"short"),
    make_key(2, 12, algorithm="hmac(sha256)", mac_length=16, secret=b"y" * 80),
    make_key(3, 13, mac_length=4, exclude_options=True),
    make_key(11, 2, secret=b"ids that other keys have the other way round"),
    make_key(10, 1, algorithm="aes-128-cmac-96", secret=b"0123456789abcdef", mac_length=8),
]
number = st.integers(0, len(KEYS) - 1)
side = st.booleans()


class Wire(RuleBasedStateMachine):
    """`in_flight` are signed segments with the key (its number) and the side that sent them."""

    @initialize(
        isns=st.tuples(*[st.sampled_from([1000, 2**31 - 50, 2**32 - 400, 2**32 - 1])] * 2),
        first=st.sets(number, min_size=1),
    )
    def begin(self, isns, first):
        order = sorted(first)
        self.ends = dict(
            zip((True, False), connected(KEYS[order[0]], isns=isns, more=[KEYS[i] for i in order[1:]]),
                strict=True)
        )  # fmt: skip
        self.held = {True: set(order), False: set(order)}
        self.in_flight = []
        self.expected = {True: Counter(), False: Counter()}
        for end in self.ends.values():
            end.endpoint.set_info(counters=ao.Counters())
            for name in end.endpoint.snmp:
                end.endpoint.snmp[name] = 0
        self.before = {s: self.key_counts(s) for s in self.ends}

    # -- helpers ----------------------------------------------------------------------------------

    def key(self, which, owner):
        """A key as that side has it."""
        return KEYS[which] if owner else KEYS[which].mirrored()

    def which(self, key, owner):
        plain = key if owner else key.mirrored()
        return KEYS.index(replace(plain, name=None))

    def key_counts(self, owner):
        counts = [info.counters for info in self.ends[owner].endpoint.get_keys()]
        return sum(c.good for c in counts), sum(c.bad for c in counts)

    def info(self, owner):
        return self.ends[owner].endpoint.info()

    def chosen(self, owner):
        """Numbers of current_key and rnext_key."""
        endpoint = self.ends[owner].endpoint
        (current,) = endpoint.get_keys(is_current=True)
        (rnext,) = endpoint.get_keys(is_rnext=True)
        return self.which(current.key, owner), self.which(rnext.key, owner)

    def deliver(self, packet, to, key):
        """A genuine segment arrives: accepted exactly if the receiver holds its key."""
        before = self.chosen(to)
        outcome = self.ends[to].receive(packet)
        if key in self.held[to]:
            assert outcome.accepted and outcome.verdict is Verdict.good, outcome
            wanted = reference.Packet.parse(packet)
            at, _ = wanted.option(29)
            asked = [k for k in self.held[to] if self.key(k, to).send_id == wanted.tcp[at + 3]]
            assert self.chosen(to) == (asked[0] if asked else before[0], before[1])
        else:
            # the KeyID is unknown, or by now another key's
            assert not outcome.accepted
            assert outcome.verdict in (Verdict.key_not_found, Verdict.bad_mac)
            assert self.chosen(to) == before
        self.count(to, outcome)

    # -- what happens -------------------------------------------------------------------------------

    @rule(
        sender=side,
        size=st.integers(0, 600),
        options=st.sampled_from([b"", b"\x01" * 4, b"\x02\x04\x05\xb4"]),
    )
    def send(self, sender, size, options):
        if len(self.in_flight) < 30:
            current, _ = self.chosen(sender)
            packet = self.ends[sender].send(ACK | PSH, b"d" * size, options=options)
            self.in_flight.append((packet, not sender, current))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def arrive(self, data):
        """In any order."""
        which = data.draw(st.integers(0, len(self.in_flight) - 1))
        self.deliver(*self.in_flight.pop(which))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def repeat(self, data):
        which = data.draw(st.integers(0, len(self.in_flight) - 1))
        self.deliver(*self.in_flight[which])

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def lose(self, data):
        del self.in_flight[data.draw(st.integers(0, len(self.in_flight) - 1))]

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def forge(self, data):
        """A genuine segment with one bit of it turned, anywhere behind the IP header but in the TCP
        checksum, which TCP-AO does not cover."""
        packet, to, _ = self.in_flight[data.draw(st.integers(0, len(self.in_flight) - 1))]
        covered = [i for i in range(20, len(packet)) if i not in (36, 37)]
        parsed = reference.Packet.parse(packet)
        at, length = parsed.option(29)
        excluded = any(self.key(k, to).exclude_options for k in self.held[to])
        if excluded:  # the other options may change
            covered = [
                i for i in covered
                if i < 40 or 20 + at <= i < 20 + at + length or i >= 20 + parsed.header_length
            ]  # fmt: skip
        index = data.draw(st.sampled_from(covered))
        forged = bytearray(packet)
        forged[index] ^= 1 << data.draw(st.integers(0, 7))
        self.refuse(bytes(forged), to)

    @rule(to=side, flags=st.sampled_from([ACK, RST, FIN | ACK, SYN, SYN | ACK, RST | ACK]), key_id=st.integers(0, 15),
          rnext=st.integers(0, 15), seq=st.integers(0, 2**32 - 1), length=st.sampled_from([4, 8, 12, 16]))  # fmt: skip
    def invent(self, to, flags, key_id, rnext, seq, length):
        """Made up from nothing."""
        end = self.ends[not to]
        option = ao_option(key_id, rnext, length)
        self.refuse(end.packet(flags, position=seq, options=option, ack=seq), to)

    def refuse(self, packet, to):
        before = self.chosen(to), self.state(to)
        outcome = self.ends[to].endpoint.process(packet)
        assert not outcome.accepted, outcome
        assert (self.chosen(to), self.state(to)) == before
        self.count(to, outcome)

    def count(self, to, outcome):
        """What is neither good nor bad in TCP-AO's terms (a broken header) is counted nowhere."""
        self.expected[to].update(COUNTED.get(outcome.verdict, ()))

    def state(self, owner):
        endpoint = self.ends[owner].endpoint
        endpoint.repair_mode = True
        state = endpoint.repair_state(), endpoint.state
        endpoint.repair_mode = False
        return state

    # -- what the users do ------------------------------------------------------------------------

    @rule(owner=side, which=number)
    def add_key(self, owner, which):
        if which in self.held[owner]:
            with pytest.raises(ao.KeyExistsError):
                self.ends[owner].endpoint.add_key(self.key(which, owner))
        else:
            self.ends[owner].endpoint.add_key(self.key(which, owner))
            self.held[owner].add(which)

    @rule(owner=side, which=number)
    def delete_key(self, owner, which):
        key = self.key(which, owner)
        good, bad = 0, 0
        for info in self.ends[owner].endpoint.get_keys(send_id=key.send_id, recv_id=key.recv_id):
            good, bad = info.counters.good, info.counters.bad
        try:
            self.ends[owner].endpoint.delete_key(key.send_id, key.recv_id)
        except ao.KeyInUseError:
            assert which in self.chosen(owner)
        except ao.NoSuchKeyError:
            assert which not in self.held[owner]
        else:
            assert which in self.held[owner]
            self.held[owner].discard(which)
            before = self.before[owner]
            self.before[owner] = before[0] - good, before[1] - bad

    @rule(owner=side, which=number, other=number)
    def force_delete(self, owner, which, other):
        key, replacement = self.key(which, owner), self.key(other, owner)
        held = self.held[owner]
        if which == other or not {which, other} <= held:
            return
        (found,) = self.ends[owner].endpoint.get_keys(send_id=key.send_id)
        self.ends[owner].endpoint.delete_key(
            key.send_id,
            key.recv_id,
            current=replacement.send_id,
            rnext=replacement.recv_id,
        )
        held.discard(which)
        good, bad = self.before[owner]
        self.before[owner] = good - found.counters.good, bad - found.counters.bad
        assert self.chosen(owner) == (other, other)

    @rule(owner=side, which=number)
    def set_rnext(self, owner, which):
        key = self.key(which, owner)
        if which in self.held[owner]:
            self.ends[owner].endpoint.set_info(rnext=key.recv_id)
            assert self.chosen(owner)[1] == which

    @rule(owner=side, which=number)
    def set_current(self, owner, which):
        key = self.key(which, owner)
        if which in self.held[owner]:
            self.ends[owner].endpoint.set_info(current=key.send_id)
            assert self.chosen(owner)[0] == which

    # -- what always holds ------------------------------------------------------------------------

    @invariant()
    def counters_add_up(self):
        if not hasattr(self, "ends"):
            return
        for owner, end in self.ends.items():
            counters = self.info(owner).counters
            for name, snmp in COUNTED.values():
                assert getattr(counters, name) == self.expected[owner][name], name
                assert end.endpoint.snmp[snmp] == self.expected[owner][snmp], snmp
            good, bad = self.key_counts(owner)
            before = self.before[owner]
            assert (good - before[0], bad - before[1]) == (counters.good, counters.bad)

    @invariant()
    def both_are_established(self):
        if hasattr(self, "ends"):
            assert all(end.endpoint.state is ao.State.ESTABLISHED for end in self.ends.values())


TestWire = Wire.TestCase
TestWire.settings = settings(max_examples=150, stateful_step_count=60)
