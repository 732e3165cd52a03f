"""KeyChain: which keys a connection matches, whatever their number; lifetimes; NAT (RFC 6978)."""

import math
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address, ip_network

import pytest
import reference
from ends import ACK, CLIENT, PSH, SERVER, SYN, End, dial, make_key, md5_key
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import ao_option, checksum, records, tcp_packet

import tcpao_fast as ao
from tcpao_fast.core.keys.mkt import MktSet
from tcpao_fast.errors import InvalidArgumentError
from tcpao_fast.keys.key_chain import describe

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)

# -- look-up, against a plain scan ---------------------------------------------------------------

V4 = st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.1.1", "10.128.0.1", "192.0.2.1", "0.0.0.0"])
V6 = st.sampled_from(["2001:db8::1", "2001:db8::2", "2001:db8:1::1", "fe80::1", "::"])


def prefixes(addresses, longest):
    return st.one_of(
        st.none(),
        st.builds(
            lambda a, n: ip_network(f"{a}/{n}", strict=False), addresses, st.integers(0, longest)
        ),
    )


PORTS = st.one_of(st.none(), st.sampled_from([179, (1, 1000), (40000, 40000)]))


@st.composite
def keys(draw):
    networks = draw(st.sampled_from([prefixes(V4, 32), prefixes(V6, 128)]))
    fields = {
        "local": draw(networks),
        "remote": draw(networks),
        "local_port": draw(PORTS),
        "remote_port": draw(PORTS),
        "vrf": draw(st.sampled_from([None, 0, 7])),
    }
    if draw(st.booleans()) and draw(st.booleans()):
        return md5_key(**fields)
    return make_key(draw(st.integers(0, 3)), draw(st.integers(0, 3)), **fields)


@st.composite
def connections(draw):
    addresses = draw(st.sampled_from([V4, V6]))
    ports = st.sampled_from([179, 500, 40000])
    return (
        (draw(addresses), draw(ports)),
        (draw(addresses), draw(ports)),
        draw(st.sampled_from([0, 7])),
    )


def covers(key, local, remote, vrf):
    """What a connection identifier says, in plain words."""
    for network, ports, (address, port) in (
        (key.local, key.local_port, local),
        (key.remote, key.remote_port, remote),
    ):
        if network is not None and ip_address(address) not in network:
            return False
        if ports is not None and not ports[0] <= port <= ports[1]:
            return False
    return key.vrf in (None, vrf)


def numbers(mkts, local, remote, vrf, **which):
    one, other = ip_address(local[0]), ip_address(remote[0])
    return mkts.matching(one.version, one.packed, local[1], other.packed, remote[1], vrf, **which)


@settings(max_examples=300)
@given(st.lists(keys(), max_size=30), connections(), st.sets(st.integers(0, 29)))
def test_a_table_finds_what_a_scan_finds(chosen, connection, gone):
    mkts = MktSet()
    for key in chosen:
        mkts.add(**describe(key))
    left = {number: key for number, key in enumerate(chosen) if number not in gone}
    for number in gone:
        if number < len(chosen):
            mkts.remove(number)
    matching = [number for number, key in left.items() if covers(key, *connection)]
    plain = [number for number in matching if not left[number].is_tcp_md5]
    assert numbers(mkts, *connection) == plain
    assert numbers(mkts, *connection, tcp_md5=True) == [n for n in matching if n not in plain]
    for value in range(4):
        by_send = [n for n in plain if left[n].send_id == value]
        assert numbers(mkts, *connection, send_id=value) == by_send
        by_recv = [n for n in plain if left[n].recv_id == value]
        assert numbers(mkts, *connection, recv_id=value) == by_recv
        both = [n for n in by_send if left[n].recv_id == 1]
        assert numbers(mkts, *connection, send_id=value, recv_id=1) == both


@settings(max_examples=300)
@given(st.lists(keys(), max_size=20))
def test_overlaps_are_found_as_by_comparing_all_pairs(chosen):
    expected = {
        (later, kind, earlier)
        for later, key in enumerate(chosen)
        for earlier, other in enumerate(chosen[:later])
        for kind in ("send_id", "recv_id")
        if not (key.is_tcp_md5 or other.is_tcp_md5)
        and getattr(key, kind) == getattr(other, kind)
        and key.overlaps(other)
    }
    try:
        ao.KeyChain(chosen)
    except ao.KeyOverlapError as error:
        found = {
            (later, what.split()[0], int(what.split("also key ")[1].split("'")[0]) - 1)
            for later, what in error.problems
        }
        assert found == expected
    else:
        assert not expected


@settings(max_examples=100)
@given(st.lists(keys(), max_size=12), connections(), st.integers(0, 3))
def test_the_engine_chooses_as_the_chain(chosen, connection, key_id):
    """A signed segment's KeyID means a key of the chain exactly where `matching` says so."""
    kept = []
    for key in chosen:
        try:
            ao.KeyChain([*kept, key])
        except ao.KeyOverlapError:
            continue
        kept.append(key)
    local, remote, vrf = connection
    if vrf or ip_address(local[0]).version != ip_address(remote[0]).version:
        return
    packet = tcp_packet(local, remote, ACK, 1, 1, b"", ao_option(key_id, 0))
    chain = ao.KeyChain(kept)
    engine = ao.Engine(chain)
    out = engine.verify(*records([packet]), linktype=101)
    known = chain.matching(local, remote, send_id=key_id) or chain.matching(
        remote, local, recv_id=key_id
    )
    assert (out.counts["key_not_found"] == 0) == bool(known)
    unsigned = ao.Engine(chain).verify(
        *records([tcp_packet(local, remote, ACK, 1, 1)]), linktype=101
    )
    has_key = chain.matching(local, remote) or chain.matching(remote, local)
    assert (unsigned.counts["ao_required"] == 1) == bool(has_key)


def test_ten_thousand_keys():
    """One a peer, all found; their IDs repeat, as they do not overlap."""
    chain = ao.KeyChain(
        make_key(i % 256, (i * 7) % 256, name=f"peer {i}", remote=f"10.{i >> 8}.{i & 255}.1")
        for i in range(10_000)
    )
    for i in (0, 1, 4_999, 9_999):
        there = (f"10.{i >> 8}.{i & 255}.1", 179)
        (key,) = chain.matching(("192.0.2.1", 1), there)
        assert key.name == f"peer {i}" and chain.to_send(("192.0.2.1", 1), there) is key
        assert chain.to_accept(key.recv_id, ("192.0.2.1", 1), there) is key
        assert chain.to_accept((key.recv_id + 1) % 256, ("192.0.2.1", 1), there) is None
    assert chain.matching(("192.0.2.1", 1), ("10.200.0.1", 179)) == ()


def test_matching_arguments():
    chain = ao.KeyChain([make_key()])
    with pytest.raises(InvalidArgumentError, match="two IP versions"):
        chain.matching(CLIENT, ("2001:db8::1", 1))
    with pytest.raises(InvalidArgumentError, match="local is 'x'"):
        chain.matching("x", CLIENT)
    with pytest.raises(InvalidArgumentError, match="port 70000"):
        chain.matching(("10.0.0.1", 70000), CLIENT)
    with pytest.raises(InvalidArgumentError, match="recv_id is 256"):
        chain.to_accept(256, CLIENT, SERVER)
    with pytest.raises(InvalidArgumentError, match="vrf is -1"):
        chain.matching(CLIENT, SERVER, vrf=-1)
    mapped = ao.KeyChain([make_key(remote="10.0.0.2")])
    assert mapped.matching(("::ffff:10.0.0.1", 1), ("::ffff:10.0.0.2", 2))


def test_mktset_refuses_nonsense():
    mkts = MktSet()
    number = mkts.add(**describe(make_key()))
    mkts.remove(number)
    for wrong in (number, 1, -1):
        with pytest.raises(InvalidArgumentError, match="no MKT"):
            mkts.remove(wrong)
    with pytest.raises(InvalidArgumentError, match="4 bytes"):
        mkts.matching(4, bytes(16), 1, bytes(16), 1, 0)


# -- lifetimes (RFC 8177) ---------------------------------------------------------------


def at(moment):
    return {"now": moment}


def rolling():
    """Three keys, each sent for an hour and accepted half an hour around it."""
    return [
        make_key(
            i,
            10 + i,
            send_lifetime=(NOON + i * HOUR, NOON + (i + 1) * HOUR),
            accept_lifetime=(NOON + i * HOUR - HOUR / 2, NOON + (i + 1) * HOUR + HOUR / 2),
        )
        for i in range(3)
    ]


def test_desired_key():
    chain = ao.KeyChain(rolling())
    ends = (CLIENT, SERVER)
    assert chain.to_send(*ends, **at(NOON - timedelta(microseconds=1))) is None
    assert chain.to_send(*ends, **at(NOON)) is chain[0]
    assert chain.to_send(*ends, **at(NOON + HOUR / 2)) is chain[0]
    assert chain.to_send(*ends, **at(NOON + HOUR)) is chain[1]  # both may; the later began last
    assert chain.to_send(*ends, **at(NOON + 3 * HOUR)) is chain[2]
    assert chain.to_send(*ends, **at(NOON + 4 * HOUR)) is None
    always = ao.KeyChain([make_key(7, 8), *rolling()])
    assert always.to_send(*ends, **at(NOON + 9 * HOUR)) is always[0]


def test_engine_sign_chooses_the_desired_key():
    chain = ao.KeyChain(rolling())
    for moment in (NOON, NOON + HOUR / 2, NOON + HOUR, NOON + 2 * HOUR):
        engine = ao.Engine(chain)
        nanoseconds = int(moment.timestamp()) * 10**9
        syn = tcp_packet(CLIENT, SERVER, SYN, 1)
        signed = engine.sign(*records([syn]), 101, [nanoseconds])
        assert chain[signed.key[0]] is chain.to_send(CLIENT, SERVER, **at(moment))


def test_accept_lifetime_and_tolerance():
    ends = (CLIENT, SERVER)
    strict = ao.KeyChain(rolling())
    assert strict.to_accept(10, *ends, **at(NOON - HOUR / 2)) is strict[0]
    assert strict.to_accept(10, *ends, **at(NOON - HOUR)) is None
    tolerant = ao.KeyChain(rolling(), accept_tolerance=HOUR)
    assert tolerant.to_accept(10, *ends, **at(NOON - 1.5 * HOUR)) is tolerant[0]
    assert tolerant.to_accept(10, *ends, **at(NOON + 2.5 * HOUR)) is tolerant[0]
    assert tolerant.to_accept(10, *ends, **at(NOON + 2.6 * HOUR)) is None
    assert tolerant.to_send(*ends, **at(NOON - HOUR / 2)) is None  # it is for accepting only
    seconds = ao.KeyChain(rolling(), accept_tolerance=1800)
    assert seconds.to_accept(10, *ends, **at(NOON - HOUR)) is seconds[0]
    forever = ao.KeyChain(rolling(), accept_tolerance=math.inf)
    assert forever.to_accept(12, *ends, **at(NOON - 999 * HOUR)) is forever[2]


@pytest.mark.parametrize("wrong", [-1, "long", timedelta(seconds=-1), math.nan, True])
def test_tolerance_that_is_none(wrong):
    with pytest.raises(InvalidArgumentError, match="accept_tolerance"):
        ao.KeyChain([], accept_tolerance=wrong)


def test_engine_accepts_within_the_tolerance():
    key = make_key(accept_lifetime=(NOON, NOON + HOUR))
    client = ao.Connection(CLIENT)
    client.add_key(make_key())
    client.connect(SERVER, 1000)
    syn = client.sign(End(None, CLIENT, SERVER, 1000).packet(SYN))
    for tolerance, late, verdict in (
        (0, 0, "good"),
        (0, 1, "key_not_found"),
        (1, 1, "good"),
        (1, 2, "key_not_found"),
        (math.inf, 10**6, "good"),
    ):
        engine = ao.Engine(ao.KeyChain([key], accept_tolerance=tolerance))
        stamp = (int((NOON + HOUR).timestamp()) + late) * 10**9
        out = engine.verify(*records([syn]), 101, [stamp])
        assert out.counts[verdict] == 1, (tolerance, late)


def test_the_clock_is_the_chains():
    moments = iter([NOON, NOON + 2.5 * HOUR])
    chain = ao.KeyChain(rolling(), clock=lambda: next(moments))
    assert chain.to_send(CLIENT, SERVER) is chain[0]
    assert chain.to_send(CLIENT, SERVER) is chain[2]
    with pytest.raises(InvalidArgumentError, match="time zone"):
        chain.to_send(CLIENT, SERVER, now=datetime(2026, 1, 1))
    ending = ao.KeyChain([make_key(send_lifetime=(None, datetime.now(timezone.utc) + HOUR))])
    assert ending.to_send(CLIENT, SERVER) is ending[0]


def test_mirrored():
    key = make_key(
        local="10.0.0.1",
        remote="10.0.0.0/24",
        remote_port=179,
        send_lifetime=(NOON, None),
        local_nat=True,
    )
    mirror = key.mirrored()
    assert (mirror.send_id, mirror.recv_id) == (200, 100)
    assert (mirror.local, mirror.remote) == (key.remote, key.local)
    assert mirror.local_port == (179, 179) and mirror.remote_port is None
    assert mirror.accept_lifetime == (NOON, None) and mirror.send_lifetime is None
    assert mirror.remote_nat and not mirror.local_nat
    assert mirror.mirrored() == key


# -- NAT (RFC 6978) ---------------------------------------------------------------

INSIDE, OUTSIDE = ("192.168.0.7", 40000), ("198.51.100.1", 61001)


def translate(ip, old, new):
    """What a NAT makes of a packet: an address and port exchanged, checksums mended."""
    packet = reference.Packet.parse(ip)
    source, destination = (
        (ip_address(packet.source), packet.ports[0]),
        (
            ip_address(packet.destination),
            packet.ports[1],
        ),
    )
    old, new = (ip_address(old[0]), old[1]), (ip_address(new[0]), new[1])
    source, destination = (new if end == old else end for end in (source, destination))
    tcp = source[1].to_bytes(2, "big") + destination[1].to_bytes(2, "big") + packet.tcp[4:]
    tcp = tcp[:16] + b"\0\0" + tcp[18:]
    moved = reference.Packet(source[0].packed, destination[0].packed, tcp)
    tcp = tcp[:16] + checksum(moved.pseudo_header + tcp).to_bytes(2, "big") + tcp[18:]
    header = ip[:10] + b"\0\0" + source[0].packed + destination[0].packed
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + tcp


@pytest.mark.parametrize("algorithm", ["hmac-sha-1-96", "aes-128-cmac-96", "hmac(sha512)"])
@pytest.mark.parametrize("exclude", [False, True])
def test_a_connection_through_a_nat(algorithm, exclude):
    key = make_key(algorithm=algorithm, exclude_options=exclude, local_nat=True)
    policy = ao.Policy.linux(6, 12)
    client, listener = ao.Connection(INSIDE, policy=policy), ao.Listener(SERVER, policy=policy)
    client.add_key(key)
    listener.add_key(key.mirrored())
    client.connect(SERVER, 1000)
    a = End(client, INSIDE, SERVER, 1000)
    b = End(listener, SERVER, OUTSIDE, 5000)
    inside, outside = [], []

    def cross(sender, receiver, packet):
        outward = sender is a
        moved = translate(packet, *((INSIDE, OUTSIDE) if outward else (OUTSIDE, INSIDE)))
        inside.append(packet if outward else moved)
        outside.append(moved if outward else packet)
        return receiver.receive(moved)

    for sender, receiver, flags in ((a, b, SYN), (b, a, SYN | ACK), (a, b, ACK)):
        assert cross(sender, receiver, sender.send(flags)).accepted
    b.endpoint = listener.accept()
    for payload in (b"one", b"two" * 100):
        assert cross(a, b, a.send(ACK | PSH, payload)).accepted
        assert cross(b, a, b.send(ACK | PSH, payload)).accepted
    # a capture on either side of the NAT, with the same key; and nothing verifies without the flag
    for packets in (inside, outside):
        for chain, verdict in (([key], "good"), ([replace(key, local_nat=False)], "bad_mac")):
            out = ao.Engine(chain).verify(*records(packets), linktype=101)
            assert out.counts[verdict] == len(packets), (verdict, out.counts)
    # signing again gives the same bytes
    plain = ao.strip(*records(inside), linktype=101)
    again = ao.Engine([key]).sign(*plain, linktype=101)
    assert bytes(again.buffer) == b"".join(inside)


@pytest.mark.parametrize(("local_nat", "remote_nat"), [(True, False), (False, True), (True, True)])
def test_nat_against_the_reference(local_nat, remote_nat):
    """The MAC of a packet whose NAT side has address and port zero; IPv6 likewise."""
    for here, there in ((CLIENT, SERVER), (("2001:db8::1", 1), ("2001:db8::2", 2))):
        key = make_key(local=here[0], local_nat=local_nat, remote_nat=remote_nat)
        client = ao.Connection(here)
        client.add_key(key)
        client.connect(there, 77)
        syn = client.sign(tcp_packet(here, there, SYN, 77, options=b"\x02\x04\x05\xb4"))
        packet = reference.Packet.parse(syn)
        size = len(packet.source)
        hidden = reference.Packet(
            bytes(size) if local_nat else packet.source,
            bytes(size) if remote_nat else packet.destination,
            (bytes(2) if local_nat else packet.tcp[:2])
            + (bytes(2) if remote_nat else packet.tcp[2:4])
            + packet.tcp[4:],
        )
        at_, length = packet.option(29)
        expected = reference.mac(key, hidden, 77, 0, 0)[:12]
        assert packet.tcp[at_ + 4 : at_ + length] == expected
        for chain in ([key], [key.mirrored()]):
            out = ao.Engine(chain).verify(*records([syn]), linktype=101)
            assert out.counts["good"] == 1


def test_nat_flags_are_tcp_aos():
    with pytest.raises(ao.InvalidKeyError, match="local_nat: is TCP-AO's"):
        md5_key(local_nat=True)
    with pytest.raises(ao.InvalidKeyError, match="remote_nat: must be true or false"):
        make_key(remote_nat=1)


def test_keyfile_has_the_new_fields(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(
        'accept_tolerance = 60\n[[key]]\nalgorithm = "hmac-sha-1-96"\nsecret = "s"\n'
        "send_id = 1\nrecv_id = 2\nlocal_nat = true\n"
        "send_lifetime = { start = 2026-01-01T00:00:00Z, duration = 3600 }\n"
    )
    chain = ao.load_keys(path)
    assert chain.accept_tolerance == 60 and chain[0].local_nat and not chain[0].remote_nat
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    assert chain[0].send_lifetime == (start, start + HOUR)
    path.write_text(path.read_text().replace("= 60", '= "forever"'))
    assert ao.load_keys(path).accept_tolerance == math.inf
    path.write_text(path.read_text().replace('"forever"', "-1").replace("3600", "-5"))
    with pytest.raises(ao.KeyFileError) as caught:
        ao.load_keys(path)
    assert 'accept_tolerance must be seconds, or "forever"' in str(caught.value)
    assert "duration = seconds" in str(caught.value)


def test_a_handshake_with_policy_and_ports():
    """RFC 5925's policy: ports count."""
    policy = ao.Policy.rfc5925()
    client, listener = ao.Connection(CLIENT, policy=policy), ao.Listener(SERVER, policy=policy)
    client.add_key(make_key(1, 2, remote_port=(1, 178)))
    client.add_key(make_key(3, 4, remote_port=179))
    listener.add_key(make_key(4, 3, local_port=179))
    a, b = dial(client, listener)
    assert [info.key.send_id for info in a.endpoint.get_keys()] == [3]
    assert b.endpoint.info().current == 4
