"""What becomes of an inbound segment: SEMANTICS' table, one case a row, in both columns."""

from datetime import datetime, timedelta, timezone

import pytest
import reference
from ends import (
    ACK,
    CLIENT,
    PSH,
    RST,
    SERVER,
    SYN,
    End,
    connected,
    dial,
    exchange,
    make_key,
    md5_key,
)
from wire import ao_option, tcp_packet

import tcpao_fast as ao
from tcpao_fast import DropReason, Verdict

LINUX, RFC = ao.Policy.linux(), ao.Policy.rfc5925()
NOP = b"\x01"


def pair(policy, **arguments):
    a, b = connected(policy=policy, **arguments)
    return a, b


def unsigned_pair(policy):
    return dial(ao.Connection(CLIENT, policy=policy), ao.Listener(SERVER, policy=policy))


def listener_with(policy, *keys):
    listener = ao.Listener(SERVER, policy=policy)
    for key in keys:
        listener.add_key(key)
    return End(listener, SERVER, CLIENT, 5000)


def stranger(options, flags=ACK, at=1001, ack=5001):
    return tcp_packet(CLIENT, SERVER, flags, at, ack, b"", options)


def by_hand(options):
    """What the client would sign with options that no stack should send."""
    packet = stranger(options)
    mac = reference.mac(make_key(), reference.Packet.parse(packet), 1000, 5000, 0)
    at = packet.index(GOOD_OPTION[:4]) + 4
    return packet[:at] + mac[:12] + packet[at + 12 :]


def moved(before, after):
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def judged(end, packet, **arguments):
    """The outcome, and the SNMP counters that moved."""
    before = dict(end.endpoint.snmp)
    outcome = end.receive(packet, **arguments)
    return outcome, moved(before, end.endpoint.snmp)


GOOD_OPTION = ao_option(100, 200)

# the row; the end that receives, from the policy; the packet, from both ends; then for each policy:
# accepted, verdict, reason, counters
DROP_HEADER = (False, Verdict.malformed, DropReason.TCP_AUTH_HDR, {})
UNSEEN = (False, Verdict.ao_required, DropReason.TCP_AONOTFOUND, {"TCPAORequired": 1})
TABLE = [
    ("doubled option", pair, lambda a, b: stranger(GOOD_OPTION + GOOD_OPTION), DROP_HEADER, DROP_HEADER),
    ("broken option", pair, lambda a, b: stranger(bytes([29, 3, 1]) + NOP * 5), DROP_HEADER, DROP_HEADER),
    ("option beyond the header", pair, lambda a, b: stranger(bytes([29, 40, 100, 200]) + NOP * 4),
     DROP_HEADER, DROP_HEADER),
    # tcp_parse_auth_options looks on while five bytes are left
    ("broken option in the last four bytes", pair, lambda a, b: stranger(bytes([29, 3, 1]) + NOP),
     UNSEEN, DROP_HEADER),
    ("two bytes of an option at the end", pair, lambda a, b: stranger(NOP * 2 + bytes([29, 2])),
     UNSEEN, DROP_HEADER),
    ("option beyond the header in the last four bytes", pair,
     lambda a, b: stranger(bytes([29, 40, 100, 200])), UNSEEN, DROP_HEADER),
    ("broken option behind a good one", pair,
     lambda a, b: by_hand(GOOD_OPTION + bytes([8, 0, 1, 1])), (True, Verdict.good, None, {"TCPAOGood": 1}),
     DROP_HEADER),
    ("TCP-AO beside TCP-MD5", pair, lambda a, b: stranger(GOOD_OPTION + bytes([19, 18]) + bytes(16)),
     DROP_HEADER, DROP_HEADER),
    ("TCP-MD5 of another length", pair, lambda a, b: stranger(bytes([19, 10]) + bytes(8)), DROP_HEADER, DROP_HEADER),
    ("broken option on an unsigned connection", unsigned_pair,
     lambda a, b: stranger(bytes([8, 0, 0, 0]) + NOP * 4), DROP_HEADER, DROP_HEADER),
    ("the same in the last four bytes", unsigned_pair,
     lambda a, b: stranger(bytes([8, 0, 0, 0])), (True, Verdict.unsigned, None, {}), DROP_HEADER),
    ("option of 4 bytes", pair, lambda a, b: stranger(bytes([29, 4, 100, 200]) + NOP * 4), DROP_HEADER,
     (False, Verdict.bad_mac, DropReason.TCP_AOFAILURE, {"TCPAOBad": 1})),
    ("option of 4 bytes at the very end", pair, lambda a, b: stranger(bytes([29, 4, 100, 200])),
     (False, Verdict.ao_required, DropReason.TCP_AONOTFOUND, {"TCPAORequired": 1}),
     (False, Verdict.bad_mac, DropReason.TCP_AOFAILURE, {"TCPAOBad": 1})),
    ("unsigned, a key for the peer", pair, lambda a, b: stranger(b""),
     *2 * [(False, Verdict.ao_required, DropReason.TCP_AONOTFOUND, {"TCPAORequired": 1})]),
    ("unsigned SYN, a key for the peer", lambda policy: (None, listener_with(policy, make_key().mirrored())),
     lambda a, b: stranger(b"", SYN, 1000, 0),
     *2 * [(False, Verdict.ao_required, DropReason.TCP_AONOTFOUND, {"TCPAORequired": 1})]),
    ("unsigned SYN, ao_required",
     lambda policy: (None, listener_with(
         ao.Policy.linux(ao_required=True) if policy == LINUX else ao.Policy.rfc5925(ao_required=True))),
     lambda a, b: stranger(b"", SYN, 1000, 0),
     *2 * [(False, Verdict.ao_required, DropReason.TCP_AONOTFOUND, {"TCPAORequired": 1})]),
    ("unsigned, no key", unsigned_pair, lambda a, b: stranger(b""), *2 * [(True, Verdict.unsigned, None, {})]),
    ("unsigned SYN, a key for another peer",
     lambda policy: (None, listener_with(policy, make_key(remote="10.0.0.9"))),
     lambda a, b: stranger(b"", SYN, 1000, 0), *2 * [(True, Verdict.unsigned, None, {})]),
    ("signed SYN, no key for the KeyID", lambda policy: (None, listener_with(policy, make_key().mirrored())),
     lambda a, b: stranger(ao_option(77, 200), SYN, 1000, 0),
     (False, Verdict.key_not_found, DropReason.TCP_AOKEYNOTFOUND, {"TCPAOKeyNotFound": 1}),
     (True, Verdict.key_not_found, None, {})),
    ("signed SYN, no key for the peer",
     lambda policy: (None, listener_with(policy, make_key(remote="10.0.0.9"))),
     lambda a, b: stranger(GOOD_OPTION, SYN, 1000, 0),
     (False, Verdict.key_not_found, DropReason.TCP_AOKEYNOTFOUND, {"TCPAOKeyNotFound": 1}),
     (True, Verdict.key_not_found, None, {})),
    ("signed, no TCP-AO here", unsigned_pair, lambda a, b: stranger(GOOD_OPTION),
     (False, Verdict.key_not_found, DropReason.TCP_AOUNEXPECTED, {"TCPAOKeyNotFound": 1}),
     (True, Verdict.key_not_found, None, {})),
    ("signed, KeyID unknown", pair, lambda a, b: stranger(ao_option(77, 200)),
     *2 * [(False, Verdict.key_not_found, DropReason.TCP_AOKEYNOTFOUND, {"TCPAOKeyNotFound": 1})]),
    ("signed, MAC wrong", pair, lambda a, b: stranger(GOOD_OPTION),
     *2 * [(False, Verdict.bad_mac, DropReason.TCP_AOFAILURE, {"TCPAOBad": 1})]),
    ("signed, MAC of another length", pair, lambda a, b: stranger(ao_option(100, 200, 8)),
     *2 * [(False, Verdict.bad_mac, DropReason.TCP_AOFAILURE, {"TCPAOBad": 1})]),
    ("signed and good", pair, lambda a, b: a.send(ACK | PSH, b"data"),
     *2 * [(True, Verdict.good, None, {"TCPAOGood": 1})]),
    ("signed and good RST", pair, lambda a, b: a.send(RST | ACK), *2 * [(True, Verdict.good, None, {"TCPAOGood": 1})]),
    ("a delayed SYN", pair, lambda a, b: DELAYED_SYN(a), *2 * [(True, Verdict.good, None, {"TCPAOGood": 1})]),
    ("TCP-MD5, no key for it", pair, lambda a, b: stranger(bytes([19, 18]) + bytes(16)),
     *2 * [(False, Verdict.md5_unchecked, DropReason.TCP_MD5UNEXPECTED, {"TCPMD5Unexpected": 1})]),
    ("neither SYN nor ACK, to a listener", lambda policy: (None, listener_with(policy, make_key().mirrored())),
     lambda a, b: stranger(GOOD_OPTION, RST, 1000, 0),
     *2 * [(False, Verdict.missing_isn, DropReason.TCP_FLAGS, {})]),
    ("for another port", pair, lambda a, b: tcp_packet(CLIENT, ("10.0.0.2", 1), ACK, 1, 1),
     *2 * [(False, Verdict.not_tcp, DropReason.NO_SOCKET, {})]),
]  # fmt: skip


def DELAYED_SYN(a):  # noqa: N802
    """The connection's own SYN once more, signed anew."""
    twin = ao.Connection(CLIENT)
    twin.add_key(make_key())
    twin.connect(SERVER, isn=1000)
    return End(twin, CLIENT, SERVER, 1000).send(SYN)


@pytest.mark.parametrize("policy", [LINUX, RFC], ids=["linux", "rfc5925"])
@pytest.mark.parametrize(
    ("make", "packet", "linux", "rfc"), [pytest.param(*row[1:], id=row[0]) for row in TABLE]
)
def test_inbound(make, packet, linux, rfc, policy):
    a, b = make(policy)
    accepted, verdict, reason, counters = linux if policy is LINUX else rfc
    outcome, counted = judged(b, packet(a, b))
    assert (outcome.accepted, outcome.verdict, outcome.reason) == (accepted, verdict, reason)
    assert counted == counters
    assert (outcome.packet is not None) == accepted
    passed_unverified = accepted and verdict is Verdict.key_not_found
    assert (outcome.warning is not None) == passed_unverified


@pytest.mark.parametrize(
    ("key", "unsigned_syn"), [(make_key(), False), (None, True)], ids=["signed", "unsigned"]
)
def test_a_handshake_ends_as_it_began(key, unsigned_syn):
    """Signed and then unsigned, or the reverse: dropped, and counted as bad."""
    listener = ao.Listener(SERVER)
    client = ao.Connection(CLIENT)
    if key:
        listener.add_key(key.mirrored())
        client.add_key(key)
    client.connect(SERVER, 1000)
    a, b = End(client, CLIENT, SERVER, 1000), End(listener, SERVER, CLIENT, 5000)
    assert b.receive(a.send(SYN)).accepted
    assert a.receive(b.send(SYN | ACK)).accepted
    option = GOOD_OPTION if unsigned_syn else b""
    events = []
    listener.trace = ao.Tracer(events.append)
    outcome, counted = judged(b, stranger(option))
    assert (outcome.accepted, outcome.reason) == (False, DropReason.TCP_AOFAILURE)
    assert counted == {"TCPAOBad": 1}
    assert [event.name for event in events] == ["tcp_ao_handshake_failure"]
    assert listener.accept() is None
    assert b.receive(a.send(ACK)).accepted and listener.accept()


def test_rst_without_a_connection_cannot_be_signed():
    for listener in (ao.Listener(SERVER), listener_with(LINUX, make_key().mirrored()).endpoint):
        with pytest.raises(ao.NotConnectedError) as caught:
            listener.sign(End(None, SERVER, CLIENT, 1).packet(RST | ACK))
        assert caught.value.errno == 107


def test_key_and_endpoint_counters_add_up():
    a, b = pair(LINUX)
    for _ in range(3):
        assert exchange(a, b).accepted
    b.receive(stranger(GOOD_OPTION))
    b.receive(stranger(ao_option(77, 1)))
    b.receive(stranger(b""))
    info = b.endpoint.info().counters
    assert (info.good, info.bad, info.key_not_found, info.ao_required) == (3, 1, 1, 1)
    (key,) = b.endpoint.get_keys()
    assert (key.counters.good, key.counters.bad) == (3, 1)
    b.endpoint.set_info(counters=ao.Counters(good=7))
    assert b.endpoint.info().counters == ao.Counters(good=7)


def test_bad_segments_move_nothing():
    """Whatever a forger sends, the state is the one before but for counters."""
    a, b = pair(LINUX, more=[make_key(5, 6)])
    b.endpoint.repair_mode = True
    before = b.endpoint.repair_state(), b.endpoint.info().current, b.endpoint.state
    forged = [
        stranger(ao_option(100, 6), flags, at, 9000)
        for flags in (ACK, RST, RST | ACK, ACK | PSH, SYN, SYN | ACK, ACK | 1)
        for at in (0, 1001, 5001, 2**31, 2**32 - 1)
    ]
    for packet in forged:
        assert not b.receive(packet).accepted
    assert (b.endpoint.repair_state(), b.endpoint.info().current, b.endpoint.state) == before
    b.endpoint.repair_mode = False
    assert exchange(a, b).accepted


def test_tcp_md5_both_ways_and_its_counters():
    key = md5_key()
    listener, client = ao.Listener(SERVER), ao.Connection(CLIENT)
    listener.add_key(key)
    client.add_key(key)
    a, b = dial(client, listener)
    assert exchange(a, b).verdict is Verdict.md5_good and exchange(b, a).accepted
    outcome, counted = judged(b, stranger(b""))
    assert (outcome.reason, counted) == (DropReason.TCP_MD5NOTFOUND, {"TCPMD5NotFound": 1})
    outcome, counted = judged(b, stranger(bytes([19, 18]) + bytes(16)))
    assert (outcome.reason, counted) == (DropReason.TCP_MD5FAILURE, {"TCPMD5Failure": 1})
    outcome, counted = judged(b, stranger(GOOD_OPTION))
    assert (outcome.reason, counted) == (DropReason.TCP_AOUNEXPECTED, {"TCPAOKeyNotFound": 1})


def test_stripped_packets_are_what_the_peer_had():
    a, b = pair(LINUX)
    plain = a.packet(ACK | PSH, b"payload", position=a.next)
    outcome = b.receive(a.endpoint.sign(plain))
    assert outcome.packet == plain


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (b"", "whole TCP segment"),
        (b"\x45" + bytes(40), "whole TCP segment"),
        (tcp_packet(SERVER, CLIENT, ACK, 1, 1), "packet goes from"),
        (tcp_packet(CLIENT, SERVER, ACK, 1001, 1, b"", GOOD_OPTION), "already"),
        (tcp_packet(CLIENT, SERVER, ACK, 1001, 1, b"", NOP * 40), "no room"),
        (tcp_packet(CLIENT, SERVER, SYN, 77), "the connection's ISN is 1000"),
    ],
)
def test_what_cannot_be_signed(packet, why):
    a, _ = pair(LINUX)
    with pytest.raises(ao.InvalidArgumentError, match=why):
        a.endpoint.sign(packet)


@pytest.mark.parametrize("length", [0, 1, 19, 20, 33, 39, 40, 55])
def test_cut_packets_are_no_segments(length):
    a, b = pair(LINUX)
    outcome = b.receive(a.send(ACK | PSH, b"payload", position=a.next)[:length])
    assert not outcome.accepted
    assert outcome.reason in (DropReason.NO_SOCKET, DropReason.NOT_A_SEGMENT)


def test_lifetimes_count_where_the_time_is_given():
    noon = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
    key = make_key(send_lifetime=(None, noon), accept_lifetime=(None, noon + timedelta(minutes=5)))
    a, b = connected(key)
    late = noon + timedelta(minutes=1)
    a.endpoint.sign(a.packet(ACK, position=a.next), now=noon)
    with pytest.raises(ao.KeyExpiredError, match="may not be used to send") as caught:
        a.endpoint.sign(a.packet(ACK, position=a.next), now=late)
    assert caught.value.errno == 126
    packet = a.send(ACK, position=a.next)
    # what the client sends with, the server accepts with
    assert b.receive(packet).accepted
    assert b.endpoint.process(packet, now=noon).accepted
    outcome = b.endpoint.process(packet, now=late)
    assert outcome.reason is DropReason.TCP_AOKEYNOTFOUND
