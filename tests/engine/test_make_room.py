"""Signing where the TCP header has no room: other options give way as they do in Linux."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import ACK, SYN, records, tcp_packet

import tcpao_fast as ao

RAW_IP = 101
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 179)
MSS, NOP = b"\x02\x04\x05\xb4", b"\x01"
TIMESTAMPS = b"\x08\x0a" + bytes(range(8))
SACK_PERMITTED = b"\x04\x02"
COOKIE = b"\x22\x0a" + b"cookie!!"


def sack(blocks):
    return bytes([5, 2 + 8 * blocks]) + b"".join(bytes([i]) * 8 for i in range(1, blocks + 1))


def key(mac_length=12, md5=False):
    if md5:
        return ao.MasterKey(algorithm="tcp-md5", secret=b"x")
    return ao.MasterKey(algorithm="hmac-sha-1-96", secret=b"x", send_id=1, recv_id=2,
                        mac_length=mac_length)  # fmt: skip


def handshake():
    return [
        tcp_packet(CLIENT, SERVER, SYN, 1),
        tcp_packet(SERVER, CLIENT, SYN | ACK, 9, 2),
    ]


def sign(key, packet, before=(), **arguments):
    """The last record as it was signed, and its outcome and dropped bytes; all of it verifies."""
    engine = ao.Engine([key])
    result = engine.sign(*records([*before, packet]), RAW_IP, **arguments)
    signed = bytes(result.buffer[result.offsets[-1] :][: result.lengths[-1]])
    verdicts = ao.Engine([key]).verify(*result, RAW_IP)
    outcome = ao.SignOutcome(result.outcome[-1])
    if outcome is ao.SignOutcome.signed:
        assert ao.Verdict(verdicts.verdict[-1]) in (ao.Verdict.good, ao.Verdict.md5_good)
    return signed, outcome.name, int(result.dropped[-1])


def options_of(packet):
    """The TCP options but TCP-AO, TCP-MD5 and padding."""
    tcp = packet[20:] if packet[0] >> 4 == 4 else packet[40:]
    data, found = tcp[20 : (tcp[12] >> 4) * 4], []
    while data and data[0]:
        size = 1 if data[0] == 1 else data[1]
        if data[0] not in (1, 19, 29):
            found.append(data[:size])
        data = data[size:]
    return found


@pytest.mark.parametrize(
    ("mac_length", "md5", "options", "left", "dropped"),
    [
        # room enough: nothing goes
        (12, False, NOP * 2 + TIMESTAMPS + NOP * 2 + sack(1), [TIMESTAMPS, sack(1)], 0),
        (12, False, NOP * 2 + sack(2), [sack(2)], 0),
        # the last blocks go first
        (12, False, NOP * 2 + TIMESTAMPS + NOP * 2 + sack(3), [TIMESTAMPS, sack(1)], 16),
        (12, False, NOP * 2 + sack(4), [sack(2)], 16),
        (12, False, sack(3) + NOP * 2 + TIMESTAMPS, [sack(1), TIMESTAMPS], 16),
        (16, False, NOP * 2 + sack(4), [sack(2)], 16),
        # with the last block the option
        (16, False, NOP * 2 + TIMESTAMPS + NOP * 2 + sack(3), [TIMESTAMPS], 26),
        (16, False, NOP * 2 + TIMESTAMPS + NOP * 2 + sack(1), [TIMESTAMPS], 10),
        (16, True, NOP * 2 + TIMESTAMPS + NOP * 2 + sack(2), [TIMESTAMPS], 18),
        (16, True, NOP * 2 + sack(3), [sack(2)], 8),
    ],
)
def test_sack_blocks_give_way(mac_length, md5, options, left, dropped):
    """``tcp_established_options``"""
    packet = tcp_packet(CLIENT, SERVER, ACK, 2, 10, b"payload", options)
    key_ = key(mac_length, md5)
    signed, outcome, gone = sign(key_, packet, handshake(), make_room=True)
    assert (outcome, gone) == ("signed", dropped)
    assert options_of(signed) == left
    assert signed.endswith(b"payload")
    _, outcome, gone = sign(key_, packet, handshake())
    assert (outcome, gone) == ("no_option_space" if dropped else "signed", 0)


SCALE, MORE = b"\x03\x03\x07", b"\x1e\x04ab"
SYN_OPTIONS = MSS + SACK_PERMITTED + TIMESTAMPS + NOP + SCALE


@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
@pytest.mark.parametrize(
    ("mac_length", "md5", "options", "left", "dropped"),
    [
        (16, False, SYN_OPTIONS, [MSS, SACK_PERMITTED, TIMESTAMPS, SCALE], 0),
        (16, True, SYN_OPTIONS, [MSS, SACK_PERMITTED, TIMESTAMPS, SCALE], 0),
        (12, False, SYN_OPTIONS + NOP * 2 + COOKIE,
         [MSS, SACK_PERMITTED, TIMESTAMPS, SCALE], 10),
        (16, False, SYN_OPTIONS + MORE, [MSS, SACK_PERMITTED, SCALE, MORE], 10),
        (16, True, SYN_OPTIONS + NOP * 2 + COOKIE + MORE, [MSS, SACK_PERMITTED, SCALE, MORE], 20),
    ],
)  # fmt: skip
def test_a_handshake_gives_up_cookie_and_timestamps(flags, mac_length, md5, options, left, dropped):
    """``tcp_syn_options``, ``tcp_synack_options``"""
    ends = (SERVER, CLIENT) if flags & ACK else (CLIENT, SERVER)
    before = handshake()[:1] if flags & ACK else []
    numbers = (9, 2) if flags & ACK else (1, 0)
    packet = tcp_packet(*ends, flags, *numbers, b"", options)
    signed, outcome, gone = sign(key(mac_length, md5), packet, before, make_room=True)
    assert (outcome, gone) == ("signed", dropped)
    assert options_of(signed) == left


def test_what_linux_does_not_give_up_stays():
    """Timestamps of a connection, and those of a SYN without SACK."""
    full = TIMESTAMPS + NOP * 18
    for packet, before in (
        (tcp_packet(CLIENT, SERVER, ACK, 2, 10, b"", full), handshake()),
        (tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", full), []),
    ):
        signed, outcome, gone = sign(key(16), packet, before, make_room=True)
        assert (signed, outcome, gone) == (packet, "no_option_space", 0)


@st.composite
def any_options(draw):
    parts = st.sampled_from(
        [NOP, NOP * 2, MSS, TIMESTAMPS, SACK_PERMITTED, COOKIE, sack(1), sack(2), sack(3), sack(4),
         b"\x05\x02", b"\x05\x0b" + bytes(9), b"\x1e\x03x", b"\x03\x03\x07"]
    )  # fmt: skip
    data = b""
    for part in draw(st.lists(parts, max_size=8)):
        if len(data) + len(part) <= 40:
            data += part
    return data


@settings(max_examples=400)
@given(
    options=any_options(),
    flags=st.sampled_from([ACK, SYN]),
    mac_length=st.integers(4, 16),
    md5=st.booleans(),
    v6=st.booleans(),
    threads=st.sampled_from([1, 2]),
)
def test_no_more_goes_than_has_to(options, flags, mac_length, md5, v6, threads):
    """Signed wherever Linux's rules make room; what stays is as it was, in its order; an endpoint
    makes the same of it."""
    ends = (("fd00::1", 4000), ("fd00::2", 179)) if v6 else (CLIENT, SERVER)
    packet = tcp_packet(*ends, flags, 2, 10 if flags & ACK else 0, b"data", options)
    one = key(mac_length, md5)
    before = [tcp_packet(*ends, SYN, 1), tcp_packet(*ends[::-1], SYN | ACK, 9, 2)]
    if flags & SYN:
        before = []
    engine = ao.Engine([one], threads=threads)
    result = engine.sign(*records([*before, packet]), RAW_IP, make_room=True)
    signed = bytes(result.buffer[result.offsets[-1] :][: result.lengths[-1]])
    was, left = options_of(packet), options_of(signed)
    outcome, gone = ao.SignOutcome(result.outcome[-1]), int(result.dropped[-1])
    if outcome is not ao.SignOutcome.signed:
        assert outcome is ao.SignOutcome.no_option_space and signed == packet and gone == 0
        return
    verdict = ao.Engine([one]).verify(*result, RAW_IP).verdict[-1]
    assert ao.Verdict(verdict) in (ao.Verdict.good, ao.Verdict.md5_good)
    assert signed.endswith(b"data")
    assert sum(map(len, was)) - sum(map(len, left)) == gone
    without = ao.Engine([one]).sign(*records([*before, packet]), RAW_IP)
    fits = ao.SignOutcome(without.outcome[-1]) is ao.SignOutcome.signed
    assert fits == (gone == 0)
    kinds = (34, 8) if flags & SYN else (5,)
    rest = iter(was)
    for option in left:  # in the order they had, SACK with its first blocks
        while True:
            found = next(rest)
            shorter = option[0] == found[0] == 5 and found[2:].startswith(option[2:])
            if found == option or (shorter and len(found) > len(option)):
                break
            assert found[0] in kinds
    assert all(option[0] in kinds for option in rest)


def test_an_endpoint_makes_room_too():
    listener, client = ao.Listener(SERVER), ao.Connection(CLIENT)
    own = key(16)
    client.add_key(own)
    listener.add_key(own.mirrored())
    client.connect(SERVER, isn=1)
    syn = tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", SYN_OPTIONS + MORE)
    with pytest.raises(ao.InvalidArgumentError, match="no room for the option"):
        client.sign(syn)
    assert listener.process(client.sign(syn, make_room=True)).accepted
    answer = tcp_packet(SERVER, CLIENT, SYN | ACK, 9, 2, b"", SYN_OPTIONS + MORE)
    assert client.process(listener.sign(answer, make_room=True)).accepted
    ack = tcp_packet(CLIENT, SERVER, ACK, 2, 10, b"", NOP * 2 + sack(4))
    signed = client.sign(ack, make_room=True)
    assert listener.process(signed).accepted
    assert options_of(signed) == [sack(2)]


def test_dropped_is_there_for_every_record():
    result = ao.Engine([key()]).sign(*records([*handshake(), b"no IP"]), RAW_IP, make_room=True)
    assert result.dropped.dtype == np.uint8 and result.dropped.tolist() == [0, 0, 0]
    assert ao.strip(*records(handshake()), RAW_IP).dropped is None


@settings(max_examples=300)
@given(before=any_options(), after=any_options(), mac_length=st.integers(0, 16))
def test_strip_takes_the_option_alone(before, after, mac_length):
    """Whatever stands around it, and whatever its neighbors' last bytes are."""
    option = bytes([29, 4 + mac_length, 1, 2]) + bytes(mac_length)
    options = before + option + after
    if len(options) > 40:
        return
    packet = tcp_packet(CLIENT, SERVER, ACK, 2, 10, b"x", options)
    bare = bytes(ao.strip(*records([packet]), RAW_IP).buffer)
    assert options_of(bare) == options_of(packet) and bare.endswith(b"x")


def test_the_last_byte_of_an_option_is_no_nop():
    """Timestamps that end in 1, and TCP-AO right behind them: strip leaves them whole."""
    stamps = TIMESTAMPS[:9] + b"\x01"
    option = bytes([29, 18, 1, 2]) + bytes(14)
    packet = tcp_packet(CLIENT, SERVER, ACK, 2, 10, b"x", stamps + option)
    bare = ao.strip(*records([packet]), RAW_IP)
    assert options_of(bytes(bare.buffer)) == [stamps]
