"""Events: Linux's trace points, from endpoints and from the engine, filtered, and free when off."""

import logging
from ipaddress import ip_address

import numpy as np
import pytest
from ends import (
    ACK,
    CLIENT,
    FIN,
    PSH,
    RST,
    SERVER,
    SYN,
    connected,
    dial,
    exchange,
    make_key,
    md5_key,
)
from wire import ao_option, handshake, pair, records, tcp_packet

import tcpao_fast as ao
from tcpao_fast.engine.events import EVENTS, flag_letters


def traced(**filters):
    seen = []
    a, b = connected()
    b.endpoint.trace = ao.Tracer(seen.append, **filters)
    return a, b, seen


def forged(options=b"", flags=ACK):
    return tcp_packet(CLIENT, SERVER, flags, 1001, 5001, b"", options)


FORGED = [
    (forged(ao_option(100, 200) * 2), "tcp_hash_bad_header"),
    (forged(), "tcp_hash_ao_required"),
    (forged(ao_option(100, 200)), "tcp_ao_mismatch"),
    (forged(ao_option(100, 200, 8)), "tcp_ao_wrong_maclen"),
    (forged(ao_option(9, 200)), "tcp_ao_key_not_found"),
    (forged(bytes([19, 18]) + bytes(16)), "tcp_hash_md5_unexpected"),
]


@pytest.mark.parametrize(("packet", "name"), FORGED, ids=[name for _, name in FORGED])
def test_one_event_a_segment_with_all_its_fields(packet, name):
    _, b, seen = traced()
    b.receive(packet)
    (event,) = seen
    assert event.name == name and event.name in EVENTS
    assert (str(event.source), event.source_port) == CLIENT
    assert (str(event.destination), event.destination_port) == SERVER
    assert event.flags == "." and event.state == "ESTABLISHED" and event.vrf == 0
    if name.startswith("tcp_ao"):
        assert (event.key_id, event.rnext_key_id) == (9 if "found" in name else 100, 200)
        assert event.mac_length == (8 if "maclen" in name else 12)
        assert f"keyid={event.key_id} rnext=200 maclen={event.mac_length}" in str(event)
    assert str(event).startswith(f"{name} src=10.0.0.1:40000 dest=10.0.0.2:179 l3index=0 [.]")


def test_rnext_request_has_the_own_key():
    a, b = connected(more=[make_key(5, 6)])
    seen = []
    b.endpoint.trace = ao.Tracer(seen.append)
    a.endpoint.set_info(rnext=6)
    exchange(a, b)
    (event,) = seen
    assert event.name == "tcp_ao_rnext_request"
    assert (event.key_id, event.rnext_key_id) == (200, 6)


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, True),
        ({"names": ["tcp_ao_mismatch"]}, True),
        ({"names": ["tcp_ao_key_not_found"]}, False),
        ({"names": []}, False),
        ({"address": "10.0.0.0/24"}, True),
        ({"address": "10.0.0.2"}, True),
        ({"address": "10.0.0.3"}, False),
        ({"address": "2001:db8::/32"}, False),
        ({"port": 179}, True),
        ({"port": 180}, False),
        ({"key_id": 100}, True),
        ({"key_id": 101}, False),
        ({"source": "10.0.0.1"}, True),
        ({"source": "10.0.0.2"}, False),
        ({"destination": "10.0.0.2/31"}, True),
        ({"destination": "10.0.0.1"}, False),
        ({"source_port": 40000}, True),
        ({"source_port": 179}, False),
        ({"destination_port": 179}, True),
        ({"destination_port": 40000}, False),
        ({"version": 4}, True),
        ({"version": 6}, False),
        ({"flags": "."}, True),
        ({"flags": "S."}, False),
        ({"rnext_key_id": 200}, True),
        ({"rnext_key_id": 100}, False),
        ({"mac_length": 12}, True),
        ({"mac_length": 16}, False),
        ({"vrf": 0}, True),
        ({"vrf": 1}, False),
        ({"names": ["tcp_ao_mismatch"], "port": 179, "key_id": 100, "vrf": 0}, True),
    ],
)
def test_filters(filters, passes):
    _, b, seen = traced(**filters)
    b.receive(forged(ao_option(100, 200)))
    assert bool(seen) is passes


def test_filters_that_are_none():
    with pytest.raises(ao.InvalidArgumentError, match="no event 'tcp_ao_typo'"):
        ao.Tracer(names=["tcp_ao_typo"])
    with pytest.raises(ao.InvalidArgumentError, match="address"):
        ao.Tracer(address="somewhere")
    with pytest.raises(ao.InvalidArgumentError, match="'X' is no flag"):
        ao.Tracer(flags="SX")


def test_log_records(caplog):
    a, b = connected()
    b.endpoint.trace = ao.Tracer()
    b.receive(forged(ao_option(9, 200)))
    assert not caplog.records  # nobody asked for INFO
    with caplog.at_level(logging.INFO, logger="tcpao_fast.events"):
        b.receive(forged(ao_option(9, 200)))
        b.receive(a.send(ACK | PSH, b"good"))
    (record,) = caplog.records
    assert record.name == "tcpao_fast.events" and record.event.name == "tcp_ao_key_not_found"
    assert record.getMessage() == str(record.event)


def test_no_secret_in_events():
    a, b, seen = traced()
    for packet, _ in FORGED:
        b.receive(packet)
    b.receive(a.send(RST | ACK))
    assert len(seen) == len(FORGED)
    assert not any("a secret" in str(event) + repr(event) for event in seen)


def test_flag_letters():
    assert flag_letters(SYN | ACK) == "S." and flag_letters(FIN | PSH | ACK) == "FP."
    assert flag_letters(RST) == "R" and flag_letters(0) == ""


def test_ipv6_endpoints_in_brackets():
    event = ao.Event(
        "tcp_ao_mismatch", *[x for a in ("2001:db8::1", "::2") for x in (ip_address(a), 1)]
    )
    assert "src=[2001:db8::1]:1 dest=[::2]:1" in str(event)


# -- from the engine ------------------------------------------------------------------------------


def engine_events(packets, keys, threads=1, batches=1, **filters):
    seen = []
    engine = ao.Engine(keys, threads=threads, trace=ao.Tracer(seen.append, **filters))
    for part in np.array_split(np.arange(len(packets)), batches):
        if len(part):
            engine.verify(*records([packets[i] for i in part]), linktype=101)
    return engine, seen


KEY = make_key(local="10.0.0.1", remote="10.0.0.2")


def traffic():
    """A handshake, good and bad segments, a wrap of SEQ, and a request for another key."""
    a, b = pair(KEY, isns=(2**32 - 300, 5000))
    packets = handshake(a, b)
    packets += [a.send(ACK | PSH, b"x" * 100) for _ in range(5)]
    packets += [packet for packet, _ in FORGED]
    packets.append(tcp_packet(SERVER, CLIENT, ACK, 5001, 5, b"", ao_option(200, 77)))
    return packets


EXPECTED = ["tcp_ao_rcv_sne_update", *(name for _, name in FORGED), "tcp_ao_mismatch"]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batches", [1, 4, 15])
def test_engine_events_in_order(threads, batches):
    engine, seen = engine_events(traffic(), [KEY], threads, batches)
    assert [event.name for event in seen] == EXPECTED
    assert engine.counts["good"] == 8
    update = seen[0]
    assert update.sne == 1 and update.state is None and str(update.source) == "10.0.0.1"
    assert seen[4].mac_length == 8


def test_engine_rnext_request():
    other = make_key(5, 6, local="10.0.0.1", remote="10.0.0.2")
    client, server = ao.Connection(CLIENT), ao.Listener(SERVER)
    for key in (KEY, other):
        client.add_key(key)
        server.add_key(key.mirrored())

    wire = []
    a, b = dial(Recorder(client, wire), Recorder(server, wire))
    exchange(a, b)
    exchange(b, a)
    a.endpoint.set_info(rnext=200)
    exchange(a, b)
    exchange(b, a)
    _, seen = engine_events(wire, [KEY, other])
    assert [(event.name, event.rnext_key_id) for event in seen] == [("tcp_ao_rnext_request", 200)]


class Recorder:
    """An endpoint that keeps what it signs."""

    def __init__(self, endpoint, wire):
        self.endpoint, self.wire = endpoint, wire

    def __getattr__(self, name):
        return getattr(self.endpoint, name)

    def sign(self, packet):
        signed = self.endpoint.sign(packet)
        self.wire.append(signed)
        return signed

    def accept(self):
        return Recorder(self.endpoint.accept(), self.wire)


def test_engine_filters_and_silence():
    _, seen = engine_events(traffic(), [KEY], names=["tcp_ao_mismatch"])
    assert [event.name for event in seen] == ["tcp_ao_mismatch"] * 2
    engine = ao.Engine([KEY])
    engine.verify(*records(traffic()), linktype=101)
    assert engine.trace is None and engine.counts["bad_mac"] == 3


def test_engine_counters_by_linux_names_and_by_key():
    md5 = md5_key(remote="10.0.0.9")
    engine, _ = engine_events(traffic(), [md5, KEY])
    assert engine.snmp == {
        **ao.snmp_counters(),
        "TCPAOGood": 8,
        "TCPAOBad": 3,
        "TCPAOKeyNotFound": 1,
        "TCPAORequired": 1,
        "TCPMD5Unexpected": 1,
    }
    counters = engine.key_counters()
    assert [(c.good, c.bad) for c in counters] == [(0, 0), (8, 3)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_key_counters_do_not_depend_on_threads(named_capture, threads):
    capture = named_capture("rotation")
    engine = ao.Engine(capture.keys, threads=threads)
    out = engine.verify(*capture.records, linktype=capture.linktype)
    good = np.bincount(out.key[out.verdict == ao.Verdict.good], minlength=len(capture.keys))
    assert [c.good for c in engine.key_counters()] == good.tolist()
    assert sum(c.bad for c in engine.key_counters()) == 0
