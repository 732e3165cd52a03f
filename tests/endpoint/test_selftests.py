"""The scenarios of Linux's own TCP-AO selftests, each under its name, from what it checks."""

import random

import pytest
from ends import (
    ACK,
    CLIENT,
    CLIENT6,
    FIN,
    PSH,
    RST,
    SERVER,
    SERVER6,
    SYN,
    End,
    connected,
    dial,
    exchange,
    make_key,
    md5_key,
)
from wire import records

import tcpao_fast as ao
from tcpao_fast import DropReason, State, Verdict
from tcpao_fast.errors import LINUX_ERRNO

FAMILIES = pytest.mark.parametrize(
    ("here", "there"), [(CLIENT, SERVER), (CLIENT6, SERVER6)], ids=["ipv4", "ipv6"]
)


def refused(name, call, *arguments, **named):
    """The call is refused with that errno."""
    with pytest.raises(ao.TcpAoError) as caught:
        call(*arguments, **named)
    assert caught.value.errno == LINUX_ERRNO[name]


def ends(client_keys, server_keys, here=CLIENT, there=SERVER, **server):
    """Client and listener with these keys; all their events."""
    events = []
    trace = ao.Tracer(lambda event: events.append(event.name))
    # the selftests' algorithms are those of kernels before 7.2
    client = ao.Connection(here, trace=trace, policy=ao.Policy.linux(6, 12))
    listener = ao.Listener(there, trace=trace, policy=ao.Policy.linux(6, 12, **server))
    for endpoint, keys in ((client, client_keys), (listener, server_keys)):
        for key in keys:
            endpoint.add_key(key)
    return client, listener, events


def answered():
    """A client and a listener of one key, the client's SYN answered."""
    client, listener, _ = ends([make_key()], [make_key().mirrored()])
    client.connect(SERVER, 1000)
    a, b = End(client, CLIENT, SERVER, 1000), End(listener, SERVER, CLIENT, 5000)
    b.receive(a.send(SYN))
    a.receive(b.send(SYN | ACK))
    return a, b


# -- connect ------------------------------------------------------------------------------------


@FAMILIES
def test_connect(here, there):
    """Echo over TCP-AO: good counters move as much as packets were sent, and nothing else."""
    client, listener, events = ends([make_key()], [make_key().mirrored()], here, there)
    a, b = dial(client, listener, here, there)
    for _ in range(10):
        assert exchange(a, b).accepted and exchange(b, a).accepted
    for end, others in ((a, 1), (b, 0)):
        counters = end.endpoint.info().counters
        assert counters.good == 10 + others
        assert (counters.bad, counters.key_not_found, counters.ao_required) == (0, 0, 0)
    assert listener.snmp["TCPAOGood"] == 12 and sum(listener.snmp.values()) == 12
    assert not events


# -- connect-deny -------------------------------------------------------------------------------

WRONG = {"secret": b"another secret"}


@FAMILIES
@pytest.mark.parametrize(
    ("client_keys", "server_keys", "counter", "event"),
    [
        ([make_key()], [], "TCPAOKeyNotFound", "tcp_ao_key_not_found"),
        ([], [make_key()], "TCPAORequired", "tcp_hash_ao_required"),
        ([make_key(**WRONG)], [make_key()], "TCPAOBad", "tcp_ao_mismatch"),
        ([make_key(mac_length=8)], [make_key()], "TCPAOBad", "tcp_ao_wrong_maclen"),
        ([make_key(101, 200)], [make_key()], "TCPAOKeyNotFound", "tcp_ao_key_not_found"),
        (
            [make_key()],
            [make_key(remote="10.99.0.0/16"), make_key(remote="fd99::/16")],
            "TCPAOKeyNotFound",
            "tcp_ao_key_not_found",
        ),
    ],
    ids=[
        "non-AO server",
        "non-AO client",
        "wrong password",
        "wrong maclen",
        "wrong rcvid",
        "server key for another address",
    ],
)
def test_connect_deny(here, there, client_keys, server_keys, counter, event):
    server_keys = [key if key.remote else key.mirrored() for key in server_keys]
    client, listener, events = ends(client_keys, server_keys, here, there)
    outcome = dial(client, listener, here, there)
    assert not outcome.accepted
    assert {name for name, count in listener.snmp.items() if count} == {counter}
    assert events == [event]
    assert listener.accept() is None


@FAMILIES
def test_connect_deny_wrong_sndid(here, there):
    """The SYN is good, but no key has the SendID that it asks for: no SYN-ACK."""
    client, listener, events = ends([make_key(100, 201)], [make_key(200, 100)], here, there)
    client.connect(there, 1000)
    a, b = End(client, here, there, 1000), End(listener, there, here, 5000)
    assert b.receive(a.send(SYN)).verdict is Verdict.good
    refused("EKEYREJECTED", b.send, SYN | ACK)
    assert events == ["tcp_ao_synack_no_key"]
    assert listener.snmp["TCPAOGood"] == 1


def test_connect_deny_client_key_for_another_address():
    client = ao.Connection(CLIENT)
    client.add_key(make_key(remote="10.0.0.77"))
    refused("EKEYREJECTED", client.connect, SERVER)
    assert client.state is State.CLOSED


def test_connect_allowed_crossed_ids_and_prefixes():
    """Crossed IDs, a server prefix, a client prefix."""
    crossed = make_key(1, 2)
    client, listener, _ = ends([crossed], [make_key(2, 1)])
    assert exchange(*dial(client, listener)).accepted
    client, listener, _ = ends([make_key()], [make_key(200, 100, remote="10.0.0.0/16")])
    assert exchange(*dial(client, listener)).accepted
    client, listener, _ = ends([make_key(remote="10.0.0.0/16")], [make_key(200, 100)])
    assert exchange(*dial(client, listener)).accepted


# -- icmps-discard, icmps-accept ------------------------------------------------------------------

HARD = {4: [(3, 2), (3, 3), (3, 4)], 6: [(1, 1), (1, 4)]}
SOFT = {4: [(3, 0), (3, 1), (3, 13), (11, 0), (5, 0)], 6: [(1, 0), (2, 0), (3, 0), (1, 3)]}


@FAMILIES
def test_icmps_discard(here, there):
    a, _ = connected(here=here, there=there)
    version = 4 if here == CLIENT else 6
    for number, icmp in enumerate(HARD[version], 1):
        assert not a.endpoint.icmp(*icmp)
        assert a.endpoint.info().counters.dropped_icmp == number
        assert a.endpoint.snmp["TCPAODroppedIcmps"] == number
    assert all(a.endpoint.icmp(*icmp) for icmp in SOFT[version])
    assert a.endpoint.snmp["TCPAODroppedIcmps"] == len(HARD[version])


@FAMILIES
def test_icmps_accept(here, there):
    a, _ = connected(here=here, there=there)
    a.endpoint.set_info(accept_icmps=True)
    version = 4 if here == CLIENT else 6
    assert all(a.endpoint.icmp(*icmp) for icmp in HARD[version])
    assert a.endpoint.info().counters.dropped_icmp == 0


def test_icmps_before_the_handshake_and_without_tcp_ao_pass():
    client = ao.Connection(CLIENT)
    client.add_key(make_key())
    client.connect(SERVER)
    assert client.icmp(3, 3)
    unsigned = dial(ao.Connection(CLIENT), ao.Listener(SERVER))[0].endpoint
    assert unsigned.icmp(3, 3)


def test_icmps_accept_is_inherited_from_the_listener():
    client, listener, _ = ends([make_key()], [make_key().mirrored()])
    listener.set_info(accept_icmps=True, ao_required=True)
    _, b = dial(client, listener)
    assert b.endpoint.icmp(3, 3)
    assert b.endpoint.info().accept_icmps and b.endpoint.info().ao_required


# -- key-management -------------------------------------------------------------------------------


def with_three():
    connection = ao.Connection(CLIENT)
    for ids in ((1, 11), (2, 12), (3, 13)):
        connection.add_key(make_key(*ids))
    return connection


def ids(endpoint):
    return sorted((info.key.send_id, info.key.recv_id) for info in endpoint.get_keys())


def test_key_management_closed_socket():
    connection = with_three()
    connection.delete_key(1, 11)
    assert ids(connection) == [(2, 12), (3, 13)]
    connection.delete_key(2, 12)
    connection.delete_key(3, 13)
    assert ids(connection) == []
    connection = with_three()
    connection.set_info(current=1, rnext=12)
    refused("EBUSY", connection.delete_key, 1, 11)
    refused("EBUSY", connection.delete_key, 2, 12)
    connection.delete_key(1, 11, current=3)
    connection.delete_key(2, 12, rnext=13)
    refused("EBUSY", connection.delete_key, 3, 13)
    assert (connection.info().current, connection.info().rnext) == (3, 13)
    connection.add_key(make_key(4, 14), set_current=True)
    connection.add_key(make_key(5, 15), set_rnext=True)
    assert (connection.info().current, connection.info().rnext) == (4, 15)
    connection.delete_key(4, 14, current=5, rnext=13)
    assert [k.key.send_id for k in connection.get_keys(is_current=True)] == [5]
    assert [k.key.send_id for k in connection.get_keys(is_rnext=True)] == [3]
    assert len(connection.get_keys(is_current=True, is_rnext=True)) == 2


def test_key_management_listening_socket():
    listener = ao.Listener(SERVER)
    for number in range(5):
        listener.add_key(make_key(number, 10 + number))
    listener.delete_key(0, 10)
    listener.delete_key(1, 11, asynchronous=True)
    refused("EINVAL", listener.set_info, current=2)
    refused("EINVAL", listener.set_info, rnext=12)
    refused("EINVAL", listener.delete_key, 2, 12, current=3)
    refused("EINVAL", listener.delete_key, 2, 12, rnext=13)
    refused("EINVAL", listener.add_key, make_key(7, 17), set_current=True)
    refused("EINVAL", listener.add_key, make_key(7, 17), set_rnext=True)
    with pytest.raises(ao.RepairModeError) as caught:
        listener.repair_mode = True
    assert caught.value.errno == 1
    assert ids(listener) == [(2, 12), (3, 13), (4, 14)]
    for number in (2, 3, 4):
        listener.delete_key(number, 10 + number)
    assert ids(listener) == []


ALGORITHMS = ("hmac(sha1)", "cmac(aes128)", "hmac(sha256)", "hmac(sha512)", "hmac(sha224)")


def many_keys(seed, count=20):
    """Random keys with different IDs, algorithms, MAC lengths and secrets."""
    randoms = random.Random(seed)
    numbers = randoms.sample(range(256), 2 * count)
    return [
        make_key(
            numbers[i],
            numbers[count + i],
            algorithm=randoms.choice(ALGORITHMS),
            secret=randoms.randbytes(randoms.randint(1, 80)),
            mac_length=randoms.randint(4, 16),
            exclude_options=randoms.random() < 0.5,
        )
        for i in range(count)
    ]


def test_key_management_unset_before_connect_the_last_key():
    keys = many_keys(1)
    client, listener, _ = ends(keys, [key.mirrored() for key in keys])
    a, b = dial(client, listener)
    assert (a.endpoint.info().current, a.endpoint.info().rnext) == (
        keys[19].send_id,
        keys[19].recv_id,
    )
    assert (b.endpoint.info().current, b.endpoint.info().rnext) == (
        keys[19].recv_id,
        keys[19].send_id,
    )
    with_rfc = ao.Connection(CLIENT, policy=ao.Policy.rfc5925())
    for key in keys:
        with_rfc.add_key(key)
    with_rfc.connect(SERVER)
    assert with_rfc.info().current == keys[0].send_id


@pytest.mark.parametrize(("current", "rnext"), [(4, 4), (4, 9)], ids=["equal", "different"])
def test_key_management_set_before_connect(current, rnext):
    keys = many_keys(2)
    client, listener, _ = ends(keys, [key.mirrored() for key in keys])
    client.set_info(current=keys[current].send_id, rnext=keys[rnext].recv_id)
    a, b = dial(client, listener)
    info = b.endpoint.info()
    assert (info.current, info.rnext) == (keys[rnext].recv_id, keys[current].send_id)
    assert exchange(a, b).key == keys[current].mirrored()
    assert exchange(b, a).key == keys[rnext]


def test_key_management_current_flaps_back():
    """A current_key that the user chose lasts until the peer's next segment asks otherwise."""
    keys = many_keys(3)
    client, listener, _ = ends(keys, [key.mirrored() for key in keys])
    a, b = dial(client, listener)
    a.endpoint.set_info(current=keys[5].send_id)
    assert exchange(a, b).key == keys[5].mirrored()
    assert a.endpoint.info().current == keys[5].send_id
    exchange(b, a)
    assert a.endpoint.info().current == keys[19].send_id


def test_key_management_rotate_over_all_keys():
    keys = many_keys(4)
    client, listener, _ = ends(keys, [key.mirrored() for key in keys])
    a, b = dial(client, listener)
    sent = dict.fromkeys((key.recv_id for key in keys), 0)
    for key in keys:
        a.endpoint.set_info(rnext=key.recv_id)
        assert exchange(a, b).accepted
        assert b.endpoint.info().current == key.recv_id
        for _ in range(3):
            assert exchange(b, a).key == key
            sent[key.recv_id] += 1
    counted = {k.key.recv_id: k.counters.good for k in a.endpoint.get_keys()}
    counted[keys[19].recv_id] -= 1  # the SYN-ACK
    assert counted == sent
    assert a.endpoint.info().counters.bad == b.endpoint.info().counters.bad == 0


def test_key_management_foreign_keys():
    """A key for another peer or VRF is refused on a connection; on a socket before it vanishes."""
    client, listener, _ = ends(
        [make_key(), make_key(3, 4, remote="10.0.0.77"), make_key(5, 6, vrf=9)],
        [make_key().mirrored(), make_key(4, 3, remote="10.0.0.99"), make_key(6, 5, vrf=9)],
    )
    client.set_info(current=100, rnext=200)
    a, b = dial(client, listener)
    assert ids(a.endpoint) == [(100, 200)] and ids(b.endpoint) == [(200, 100)]
    assert len(listener.get_keys()) == 3
    refused("EINVAL", a.endpoint.add_key, make_key(7, 8, remote="10.0.0.77"))
    refused("EINVAL", a.endpoint.add_key, make_key(7, 8, vrf=9))


def test_key_management_keys_are_dumped_as_they_were_added():
    keys = many_keys(5)
    connection = ao.Connection(CLIENT, policy=ao.Policy.linux(6, 12))
    for key in keys:
        connection.add_key(key)
    assert [info.key for info in connection.get_keys()] == keys
    for key in keys:
        (found,) = connection.get_keys(send_id=key.send_id, recv_id=key.recv_id)
        assert found.key == key
    assert connection.get_keys(peer="10.1.2.3") == connection.get_keys(get_all=True)
    assert connection.get_keys(send_id=keys[0].recv_id) == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"get_all": True}, [1, 2, 3, 4]),
        ({"peer": "10.0.0.1"}, [1, 2, 4]),
        ({"peer": "10.0.1.1"}, [2, 4]),
        ({"peer": "10.0.0.0/23"}, [1, 2, 4]),
        ({"peer": "2001:db8::1"}, [3, 4]),
        ({"peer": None}, [1, 2, 3, 4]),
        ({"vrf": 7}, [1, 3, 4]),
        ({"vrf": 8}, [1, 2, 3, 4]),
        ({"vrf": None}, [1, 2, 3, 4]),
        ({"send_id": 2}, [2]),
        ({"recv_id": 13}, [3]),
        ({"send_id": 2, "recv_id": 13}, []),
        ({"peer": "10.0.0.1", "vrf": 7, "send_id": 4}, [4]),
    ],
)
def test_key_management_get_keys_filters(filters, expected):
    listener = ao.Listener(("::", 179))
    listener.add_key(make_key(1, 11, remote="10.0.0.1"))
    listener.add_key(make_key(2, 12, remote="10.0.0.0/16", vrf=8))
    listener.add_key(make_key(3, 13, remote="2001:db8::/32"))
    with pytest.warns(UserWarning, match="IPv6 peers alone"):
        listener.add_key(make_key(4, 14))
    assert [info.key.send_id for info in listener.get_keys(**filters)] == expected


def test_key_management_rotation_while_a_batch_is_in_flight():
    """Segments signed before a rotation arrive after it, all at once and late: they are good as
    long as the key is there, and current_key follows the last that arrived."""
    keys = many_keys(6, 5)
    client, listener, _ = ends(keys, [key.mirrored() for key in keys])
    a, b = dial(client, listener)
    in_flight = []
    for key in keys:  # the client signs with each key in turn, and asks for each in turn
        a.endpoint.set_info(current=key.send_id, rnext=key.recv_id)
        in_flight += [a.send(ACK | PSH, b"x" * 100) for _ in range(20)]
    assert b.endpoint.info().current == keys[-1].recv_id
    random.Random(1).shuffle(in_flight)
    for packet in in_flight[:-1]:
        assert b.receive(packet).accepted
    last = b.receive(in_flight[-1])
    assert last.accepted and b.endpoint.info().current == last.key.send_id
    assert b.endpoint.info().counters.bad == 0
    # the same batch through an engine, in one call, cut anywhere, by any number of threads
    reader = ao.Engine(keys, threads=2)
    reader.import_state(state_of(a, b))
    out = reader.verify(*records(in_flight), linktype=101)
    assert out.counts["good"] == 100
    assert [counter.good for counter in reader.key_counters()] == [20] * 5
    (row,) = reader.connections()
    assert keys[row["current_key"]["client"]] == last.key.mirrored()
    assert row["rnext_key_id"]["client"] == last.key.send_id
    # a key that goes while its segments are on the way takes them with it, and nothing else
    b.endpoint.set_info(current=keys[0].recv_id, rnext=keys[0].send_id)
    gone = keys[3]
    b.endpoint.delete_key(gone.recv_id, gone.send_id)
    reasons = [b.endpoint.process(packet).reason for packet in in_flight]
    assert reasons.count(DropReason.TCP_AOKEYNOTFOUND) == 20 and reasons.count(None) == 80


def test_key_management_accept_race():
    """Keys added to or deleted from a listener meanwhile are not mirrored: compare the two."""
    a, b = answered()
    b.receive(a.send(ACK))
    b.endpoint.add_key(make_key(9, 10))
    b.endpoint.delete_key(200, 100)
    waiting = b.endpoint.accept()
    assert ids(waiting) == [(200, 100)] and ids(b.endpoint) == [(9, 10)]
    missing = set(ids(b.endpoint)) - set(ids(waiting))
    for info in b.endpoint.get_keys():
        if (info.key.send_id, info.key.recv_id) in missing:
            waiting.add_key(info.key)
    assert ids(waiting) == [(9, 10), (200, 100)]


def test_key_management_the_key_goes_between_syn_and_ack():
    """If the SYN was signed and no key matches any more, the handshake dies."""
    a, b = answered()
    b.endpoint.delete_key(200, 100)
    refused("EKEYREJECTED", b.send, SYN | ACK, position=5000)
    assert b.receive(a.send(ACK)).reason is DropReason.TCP_AOKEYNOTFOUND
    assert b.endpoint.accept() is None


# -- restore --------------------------------------------------------------------------------------


def moved(state):
    """The client's end of a connection, moved to another `Connection` with this state; the peer."""
    a, b = connected()
    exchange(a, b)
    exchange(b, a)
    a.endpoint.repair_mode = True
    kept = a.endpoint.repair_state()
    twin = ao.Connection(CLIENT)
    twin.repair_mode = True
    for info in a.endpoint.get_keys():
        twin.add_key(info.key, set_current=info.is_current, set_rnext=info.is_rnext)
    twin.connect(SERVER)
    changes = {name: getattr(kept, name) + step for name, step in state.items()}
    fields = {
        name: changes.get(name, getattr(kept, name))
        for name in ("snt_isn", "rcv_isn", "snd_sne", "rcv_sne", "snd_una", "rcv_nxt")
    }
    twin.repair(ao.RepairState(**fields))
    twin.repair_mode = False
    a.endpoint = twin
    return a, b


@pytest.mark.parametrize(
    ("state", "peer_bad", "own_bad"),
    [
        ({}, 0, 0),
        ({"snt_isn": 1}, 1, 1),
        ({"rcv_isn": 1}, 1, 1),
        ({"snd_sne": 1}, 1, 0),
        ({"rcv_sne": 1}, 0, 1),
    ],
    ids=["migrated", "snt_isn+1", "rcv_isn+1", "snd_sne+1", "rcv_sne+1"],
)
def test_restore(state, peer_bad, own_bad):
    a, b = moved(state)
    assert exchange(a, b).accepted == (not peer_bad)
    assert exchange(b, a).accepted == (not own_bad)
    assert b.endpoint.info().counters.bad == peer_bad
    assert a.endpoint.info().counters.bad == own_bad


# -- rst ------------------------------------------------------------------------------------------


def test_rst_active():
    """Linger 0: the RST is signed and accepted, the other end is closed by it."""
    a, b = connected()
    outcome = b.receive(a.send(RST | ACK))
    assert outcome.verdict is Verdict.good
    assert a.endpoint.state is b.endpoint.state is State.CLOSED
    refused("ENOTCONN", b.send, ACK)
    assert b.receive(a.packet(ACK)).reason is DropReason.TCP_AONOTFOUND


def test_rst_of_a_queued_connection():
    """A listener that is closed resets the connections that wait."""
    a, b = answered()
    b.receive(a.send(ACK))
    assert a.receive(b.send(RST | ACK)).verdict is Verdict.good
    assert a.endpoint.state is State.CLOSED


def test_rst_from_time_wait():
    """Both ends close; what arrives in TIME-WAIT is answered with a signed RST."""
    a, b = connected()
    b.receive(a.send(FIN | ACK))
    assert (a.endpoint.state, b.endpoint.state) == (State.FIN_WAIT_1, State.CLOSE_WAIT)
    a.receive(b.send(ACK))
    assert a.endpoint.state is State.FIN_WAIT_2
    a.receive(b.send(FIN | ACK))
    assert (a.endpoint.state, b.endpoint.state) == (State.TIME_WAIT, State.LAST_ACK)
    late = a.send(ACK, position=a.next)
    assert b.receive(late).accepted and b.endpoint.state is State.CLOSED
    packet = a.endpoint.sign(a.packet(RST, position=a.next + 7))
    reader = ao.Engine([make_key()])
    reader.import_state(state_of(a, b))
    assert reader.verify(*records([packet]), linktype=101).counts["good"] == 1


def state_of(a, b):
    """What `Engine.import_state` takes, of a connection's two ends."""
    return {
        "version": 1,
        "connections": [
            {
                "vrf": 0,
                "has_handshake": True,
                **{
                    side: {
                        "address": end.here[0],
                        "port": end.here[1],
                        "isn": end.isn,
                        "sne": end.next >> 32,
                        "seq": end.next & 0xFFFFFFFF,
                        "current_key": None,
                        "rnext_key_id": 0,
                    }
                    for side, end in (("client", a), ("server", b))
                },
            }
        ],
    }


def test_rst_unsigned_does_not_close():
    a, b = connected()
    assert b.receive(a.packet(RST | ACK)).reason is DropReason.TCP_AONOTFOUND
    assert exchange(a, b).accepted


def test_simultaneous_close():
    a, b = connected()
    first, second = a.send(FIN | ACK), b.send(FIN | ACK)
    a.receive(second)
    b.receive(first)
    assert a.endpoint.state is b.endpoint.state is State.CLOSING
    a.receive(b.send(ACK))
    assert a.endpoint.state is State.TIME_WAIT


# -- self-connect ---------------------------------------------------------------------------------


def itself(*keys, chosen=None):
    """A connection with itself: every segment that it sends is what it receives."""
    trace = []
    one = ao.Connection(CLIENT, trace=ao.Tracer(trace.append))
    for key in keys:
        one.add_key(key)
    if chosen is not None:
        one.set_info(**chosen)
    one.connect(CLIENT, isn=4711)
    end = End(one, CLIENT, CLIENT, 4711)
    for flags in (SYN, SYN | ACK, ACK):
        position = 4711 if flags & SYN else None
        packet = end.send(flags, position=position)
        if flags == SYN:
            end.next += 1
        assert end.receive(packet).accepted, flags
    return end, [event.name for event in trace]


def test_self_connect_same_ids():
    end, events = itself(make_key(7, 7))
    assert end.endpoint.state is State.ESTABLISHED
    assert end.receive(end.send(ACK | PSH, b"to myself")).accepted
    assert not events


def test_self_connect_different_ids():
    """5/7 and 7/5: what it announces as rnext is what it then signs with."""
    keys = make_key(5, 7), make_key(7, 5)
    end, _ = itself(*keys, chosen={"current": 7, "rnext": 7})
    assert end.endpoint.info().current == 7
    end.endpoint.set_info(current=7, rnext=5)
    assert end.receive(end.send(ACK | PSH, b"x")).accepted
    assert end.endpoint.info().current == 5


@pytest.mark.parametrize("backwards", [False, True], ids=["same order", "other order"])
def test_self_connect_after_repair(backwards):
    keys = [make_key(5, 7), make_key(7, 5)]
    end, _ = itself(*keys, chosen={"current": 5, "rnext": 5})
    old = end.endpoint
    old.repair_mode = True
    state = old.repair_state()
    trace = []
    twin = ao.Connection(CLIENT, trace=ao.Tracer(trace.append))
    twin.repair_mode = True
    for key in reversed(keys) if backwards else keys:
        twin.add_key(key)
    twin.connect(CLIENT)
    twin.repair(state)
    twin.repair_mode = False
    end.endpoint = twin
    before, after = (5, 7) if backwards else (7, 5)  # the key added last, and what it asks for
    assert (twin.info().current, twin.info().rnext) == (before, after)
    for _ in range(3):
        assert end.receive(end.send(ACK | PSH, b"x")).accepted
    assert twin.info().current == after and twin.info().counters.bad == 0
    assert [(event.name, event.key_id, event.rnext_key_id) for event in trace] == [
        ("tcp_ao_rnext_request", before, after)
    ]


# -- seq-ext --------------------------------------------------------------------------------------


@FAMILIES
def test_seq_ext(here, there):
    """Both SEQs pass 2^32: both SNEs step, with one event each at each end."""
    events = []
    trace = ao.Tracer(events.append)
    client, listener = ao.Connection(here, trace=trace), ao.Listener(there, trace=trace)
    client.add_key(make_key())
    listener.add_key(make_key().mirrored())
    a, b = dial(client, listener, here, there, isns=(2**32 - 4000, 2**32 - 9000))
    for _ in range(20):
        assert exchange(a, b, b"x" * 1000).accepted
        assert exchange(b, a, b"y" * 1000).accepted
    assert exchange(a, b, b"z").accepted
    for end in (a, b):
        end.endpoint.repair_mode = True
        state = end.endpoint.repair_state()
        assert (state.snd_sne, state.rcv_sne) == (1, 1)
        assert end.endpoint.info().counters.bad == 0
    names = sorted(event.name for event in events)
    assert names == ["tcp_ao_rcv_sne_update"] * 2 + ["tcp_ao_snd_sne_update"] * 2
    assert all(event.sne == 1 for event in events)


@pytest.mark.parametrize("isns", [(2**32 - 1, 5000), (1000, 2**32 - 1), (2**32 - 1, 2**32 - 1)])
def test_seq_ext_isn_ffffffff(isns):
    """The SYN takes the last number; data begins at SEQ 0 with SNE 1 (Linux 6.12 drops it)."""
    a, b = connected(isns=isns)
    assert exchange(a, b).accepted and exchange(b, a).accepted


# -- setsockopt-closed ----------------------------------------------------------------------------
# Every refused call, row by row: test_endpoint_calls.py.


def test_setsockopt_closed_defaults():
    connection = ao.Connection(CLIENT)
    connection.set_info()
    info = connection.info()
    assert (info.current, info.rnext, info.ao_required, info.accept_icmps) == (None,) * 2 + (
        False,
    ) * 2
    assert connection.get_keys() == []
    connection.set_info(ao_required=True, accept_icmps=True, counters=ao.Counters(1, 2, 3, 4, 5))
    info = connection.info()
    assert info.ao_required and info.accept_icmps and info.counters == ao.Counters(1, 2, 3, 4, 5)
    connection.set_info(counters=ao.Counters())
    assert connection.info().counters == ao.Counters() and connection.info().ao_required


def test_setsockopt_closed_duplicates_for_other_peers_are_none():
    listener = ao.Listener(SERVER)
    for last in range(1, 20):
        listener.add_key(make_key(remote=f"10.0.0.{last}"))
    listener.add_key(make_key(remote="10.1.0.0/16"))
    listener.add_key(make_key(vrf=None, remote="10.2.0.0/16"))
    refused("EEXIST", listener.add_key, make_key(remote="10.0.0.0/30"))
    refused("EEXIST", listener.add_key, make_key(remote="10.2.3.0/24", vrf=3))
    assert len(listener.get_keys()) == 21


# -- unsigned-md5 ---------------------------------------------------------------------------------

AO, MD5 = make_key(), md5_key()
SERVERS = {
    "any AO": ([AO.mirrored()], {}),
    "AO required": ([AO.mirrored()], {"ao_required": True}),
    "any MD5": ([MD5], {}),
    "no keys": ([], {}),
    "other peers": ([make_key(200, 100, remote="10.9.0.1"), md5_key(remote="10.9.0.2")], {}),
}
CLIENTS = {"AO": [AO], "MD5": [MD5], "unsigned": []}
REQUIRED, MISSING = "TCPAORequired", "TCPAOKeyNotFound"
EXPECTED = {  # the counter that moves, None: the connection comes up
    ("any AO", "AO"): None,
    ("any AO", "MD5"): "TCPMD5Unexpected",
    ("any AO", "unsigned"): REQUIRED,
    ("AO required", "AO"): None,
    ("AO required", "MD5"): "TCPMD5Unexpected",
    ("AO required", "unsigned"): REQUIRED,
    ("any MD5", "AO"): MISSING,
    ("any MD5", "MD5"): None,
    ("any MD5", "unsigned"): "TCPMD5NotFound",
    ("no keys", "AO"): MISSING,
    ("no keys", "MD5"): "TCPMD5Unexpected",
    ("no keys", "unsigned"): None,
    ("other peers", "AO"): MISSING,
    ("other peers", "MD5"): "TCPMD5Unexpected",
    ("other peers", "unsigned"): None,
}


@pytest.mark.parametrize(("server", "client"), list(EXPECTED), ids="-".join)
def test_unsigned_md5(server, client):
    keys, policy = SERVERS[server]
    connection, listener, _ = ends(CLIENTS[client], keys, **policy)
    outcome = dial(connection, listener)
    counter = EXPECTED[server, client]
    if counter is None:
        a, b = outcome
        assert exchange(a, b).accepted and exchange(b, a).accepted
        return
    assert not outcome.accepted
    assert {name for name, count in listener.snmp.items() if count} == {counter}


@pytest.mark.parametrize(
    ("keys", "add", "name"),
    [
        ([AO], MD5, "EKEYREJECTED"),
        ([AO], make_key(1, 2), None),
        ([MD5], AO, "EISCONN"),
        ([], AO, "EISCONN"),
    ],
    ids=["AO and MD5", "AO and AO", "MD5 and AO", "unsigned and AO"],
)
def test_unsigned_md5_migration_of_a_connection(keys, add, name):
    """A connection stays what it began as."""
    server = [key if key.is_tcp_md5 else key.mirrored() for key in keys]
    connection, listener, _ = ends(keys, server)
    a, b = dial(connection, listener)
    if name is None:
        a.endpoint.add_key(add)
    else:
        refused(name, a.endpoint.add_key, add)
    assert exchange(a, b).accepted and exchange(b, a).accepted


def test_unsigned_md5_the_last_key_stays():
    a, b = connected()
    refused("EBUSY", a.endpoint.delete_key, 100, 200)
    assert exchange(a, b).accepted


NO, DEFAULT, N = None, 0, 7  # l3index: none given, the default VRF, another


@pytest.mark.parametrize("md5_first", [False, True])
@pytest.mark.parametrize(
    ("ao_vrf", "md5_vrf", "allowed"),
    [
        (NO, NO, False),
        (NO, DEFAULT, False),
        (NO, N, False),
        (DEFAULT, NO, False),
        (DEFAULT, DEFAULT, False),
        (DEFAULT, N, True),
        (N, NO, False),
        (N, DEFAULT, True),
        (N, N, False),
    ],
)
def test_unsigned_md5_vrf_matrix(ao_vrf, md5_vrf, allowed, md5_first):
    keys = [make_key(vrf=ao_vrf), md5_key(vrf=md5_vrf)]
    first, second = reversed(keys) if md5_first else keys
    listener = ao.Listener(SERVER)
    listener.add_key(first)
    if allowed:
        listener.add_key(second)
    else:
        refused("EKEYREJECTED", listener.add_key, second)


def test_unsigned_md5_both_kinds_for_different_peers():
    listener = ao.Listener(SERVER)
    listener.add_key(make_key(200, 100, remote="10.0.0.1"))
    listener.add_key(md5_key(remote="10.0.0.3"))
    for here, key, verdict in (
        (CLIENT, make_key(), Verdict.good),
        (("10.0.0.3", 40000), md5_key(), Verdict.md5_good),
        (("10.0.0.4", 40000), None, Verdict.unsigned),
    ):
        client = ao.Connection(here)
        if key is not None:
            client.add_key(key)
        a, b = dial(client, listener, here)
        assert exchange(a, b).verdict is verdict and exchange(b, a).verdict is verdict


# -- bench-lookups --------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [512, 4096])
def test_bench_lookups(count):
    """Keys for many peers: added, found by a connection, deleted in any order (their times are in
    bench/bench_keys.py)."""
    listener = ao.Listener(SERVER)
    keys = [
        make_key(i % 256, (i + 1) % 256, remote=f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}")
        for i in range(count)
    ]
    for key in keys:
        listener.add_key(key)
    for key in (keys[0], keys[-1], keys[count // 2]):
        here = (str(key.remote.network_address), 40000)
        client = ao.Connection(here)
        client.add_key(make_key(key.recv_id, key.send_id))
        a, b = dial(client, listener, here)
        assert exchange(a, b).accepted and [info.key for info in b.endpoint.get_keys()] == [key]
    for i, key in enumerate(random.Random(1).sample(keys, count)):
        listener.delete_key(
            key.send_id, key.recv_id, peer=key.remote, vrf=None, asynchronous=bool(i % 2)
        )
        assert len(listener._keys) == count - i - 1
    assert listener.get_keys() == []
