"""Laws: what is signed verifies; whatever the MAC covers cannot change unnoticed."""

import dataclasses
from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from wire import ACK, FIN, PSH, RST, SYN, records, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.wire.parse import parse

RAW_IP = 101
U32 = st.integers(0, 2**32 - 1)
ENDS = st.sampled_from(
    [(("10.0.0.1", 40000), ("10.0.0.2", 179)), (("fd00::2", 1), ("fd00::1", 65535)),
     (("10.0.0.2", 7), ("10.0.0.2", 7))]
)  # fmt: skip
OPTIONS = st.sampled_from(
    [b"", b"\x02\x04\x05\xb4", b"\x01\x01\x08\x0a" + bytes(8), b"\x04\x02\x00\x00", b"\x01" * 16]
)


@st.composite
def keys(draw):
    algorithm = draw(
        st.sampled_from(
            ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha256)", "hmac-sha256-128", "hmac(sha384)"]
        )
    )
    return ao.MasterKey(
        algorithm=algorithm,
        secret=draw(st.binary(min_size=1, max_size=90)),
        send_id=draw(st.integers(0, 255)),
        recv_id=draw(st.integers(0, 255)),
        mac_length=draw(st.none() | st.integers(4, 16)),
        exclude_options=draw(st.booleans()),
    )


@st.composite
def conversations(draw):
    """Unsigned packets: a handshake, then segments around where the connection is."""
    client, server = draw(ENDS)
    isns = (draw(U32), draw(U32))
    if client == server:
        isns = (isns[0], isns[0])
    packets = [
        tcp_packet(client, server, SYN, isns[0], 0, b"", draw(OPTIONS)),
        tcp_packet(server, client, SYN | ACK, isns[1], isns[0] + 1, b"", draw(OPTIONS)),
        tcp_packet(client, server, ACK, isns[0] + 1, isns[1] + 1),
    ]
    for _ in range(draw(st.integers(0, 8))):
        ends, isn = draw(
            st.sampled_from([((client, server), isns[0]), ((server, client), isns[1])])
        )
        flags = draw(st.sampled_from([ACK, ACK | PSH, ACK | FIN, RST, RST | ACK]))
        payload = draw(st.binary(max_size=80) | st.just(bytes(1400)))
        seq = isn + 1 + draw(st.integers(0, 2**31 - 2**17))
        packets.append(tcp_packet(*ends, flags, seq, draw(U32), payload, draw(OPTIONS)))
    return packets


@settings(max_examples=300)
@given(key=keys(), packets=conversations())
def test_what_sign_signs_verifies_and_strips_back(key, packets):
    signed = ao.Engine([key]).sign(*records(packets), RAW_IP)
    assert signed.counts == {"signed": len(packets)}
    result = ao.Engine([key]).verify(*signed, RAW_IP)
    assert result.counts["good"] == len(packets)
    assert b"".join(packets) == bytes(ao.strip(*signed, RAW_IP).buffer)


@settings(max_examples=300)
@given(key=keys(), packets=conversations(), data=st.data())
def test_any_flipped_bit_that_the_mac_covers_makes_it_bad(key, packets, data):
    signed = ao.Engine([key]).sign(*records(packets), RAW_IP)
    row = parse(*signed, RAW_IP)[-1]
    start, end = int(row["tcp_offset"]), int(row["tcp_offset"]) + int(row["length"])
    header_end = start + int(row["header_length"])
    option = start + int(row["auth_offset"]), start + int(row["auth_offset"] + row["auth_length"])
    # not what chooses the connection, the meaning of the header or the key, and not the checksum
    covered = set(range(start + 4, end)) - {start + 12, start + 13, start + 16, start + 17}
    covered -= set(range(option[0], option[0] + 3))
    if key.exclude_options:
        covered -= set(range(start + 20, header_end)) - set(range(option[0] + 3, option[1]))
    else:
        # a changed option length is another story: the walk over the options may break
        covered -= set(range(option[1], header_end))
    at = data.draw(st.sampled_from(sorted(covered)))
    flipped = np.array(signed.buffer)
    flipped[signed.offsets[-1] + at] ^= 1 << data.draw(st.integers(0, 7))
    result = ao.Engine([key]).verify(flipped, signed.offsets, signed.lengths, RAW_IP)
    assert ao.Verdict(result.verdict[-1]) is ao.Verdict.bad_mac


@settings(max_examples=100)
@given(key=keys(), packets=conversations(), cuts=st.sets(st.integers(1, 10)))
def test_cutting_the_stream_changes_nothing(key, packets, cuts):
    whole = ao.Engine([key]).sign(*records(packets), RAW_IP)
    engine, verifier, parts, found = ao.Engine([key]), ao.Engine([key]), [], []
    edges = [0, *sorted(cut for cut in cuts if cut < len(packets)), len(packets)]
    for start, end in pairwise(edges):
        signed = engine.sign(*records(packets[start:end]), RAW_IP)
        parts.append(bytes(signed.buffer))
        found += list(verifier.verify(*signed, RAW_IP).verdict)
    assert b"".join(parts) == bytes(whole.buffer)
    assert set(found) == {ao.Verdict.good}


@settings(max_examples=200)
@given(key=keys(), ends=st.booleans(), packets=conversations(), more=conversations())
def test_signing_remembers_nothing_that_decides(key, ends, packets, more):
    """Each packet by an engine of its own, which knows what the one before it knew, is signed as
    all are by one, whose connections remember which traffic key is for which KeyID and side; also
    where the option is there already."""
    if ends:  # else either side may be the key's local one
        key = dataclasses.replace(key, local="10.0.0.1/32", remote="10.0.0.2/32")
    packets = packets + more + packets[3:]
    # a connection to itself has one end, and nothing says on import which side it was
    assume(all(one[12:16] != one[16:20] for one in packets))
    whole = ao.Engine([key]).sign(*records(packets), RAW_IP)
    again = np.array(whole.buffer)
    outcomes = ao.Engine([key]).sign_inplace(again, whole.offsets, whole.lengths, RAW_IP).outcome
    state = in_place_state = None
    for i, (at, size) in enumerate(zip(whole.offsets, whole.lengths, strict=True)):
        signer, in_place = ao.Engine([key]), ao.Engine([key])
        if state is not None:
            signer.import_state(state)
            in_place.import_state(in_place_state)
        one = signer.sign(*records(packets[i : i + 1]), RAW_IP)
        assert one.outcome[0] == whole.outcome[i]
        assert one.buffer.tobytes() == whole.buffer[at : at + size].tobytes()
        frame = np.array(one.buffer)
        assert in_place.sign_inplace(frame, [0], [size], RAW_IP).outcome[0] == outcomes[i]
        assert frame.tobytes() == again[at : at + size].tobytes()
        state = signer.export_state(candidates=True)
        in_place_state = in_place.export_state(candidates=True)


@settings(max_examples=150)
@given(key=keys(), packets=conversations(), data=st.data())
def test_verifying_remembers_nothing_that_decides(key, packets, data):
    """Each packet by an engine of its own, which knows what the one before it knew, is told of what
    all are by one, whose connections remember which traffic key a KeyID means (`expected`,
    `confirmed`): also forged, doubled, late, and of another incarnation."""
    assume(all(one[12:16] != one[16:20] for one in packets))
    signer = ao.Engine([key])
    signed = signer.sign(*records(packets), RAW_IP)
    spans = zip(signed.offsets.tolist(), signed.lengths.tolist(), strict=True)
    stream = [signed.buffer[at : at + size].tobytes() for at, size in spans]
    indices = st.integers(0, len(stream) - 1)
    for i in data.draw(st.lists(indices, max_size=4)):  # doubled and late
        stream.append(stream[i])
    for i in data.draw(st.lists(indices, max_size=4)):
        forged = bytearray(stream[i])
        forged[-1 - data.draw(st.integers(0, 30))] ^= 1 << data.draw(st.integers(0, 7))
        stream.insert(data.draw(st.integers(3, len(stream))), bytes(forged))
    whole = ao.Engine([key]).verify(stream, linktype=RAW_IP)
    state = None
    for i, packet in enumerate(stream):
        engine = ao.Engine([key])
        if state is not None:
            engine.import_state(state)
        found = engine.verify([packet], linktype=RAW_IP)
        assert (found.verdict[0], found.key[0], found.sne[0]) == (
            whole.verdict[i], whole.key[i], whole.sne[i],
        )  # fmt: skip
        state = engine.export_state(candidates=True)
