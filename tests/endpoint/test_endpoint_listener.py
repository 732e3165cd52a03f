"""What a listener does beside keys: handshakes in progress, the queue, cookies, wildcards, VRFs."""

from datetime import datetime, timezone

import pytest
from ends import (
    ACK,
    CLIENT,
    CLIENT6,
    PSH,
    RST,
    SERVER,
    SERVER6,
    SYN,
    End,
    dial,
    exchange,
    make_key,
    md5_key,
)
from wire import ao_option, tcp_packet

import tcpao_fast as ao
from tcpao_fast import DropReason, State, Verdict


def client_end(number=0, key=None, isn=1000, here=None, there=SERVER, **arguments):
    here = (CLIENT[0], 40000 + number) if here is None else here
    connection = ao.Connection(here, **arguments)
    if key is not None:
        connection.add_key(key)
    connection.connect(there, isn)
    return End(connection, here, there, isn)


def listening(*keys, there=SERVER, **arguments):
    listener = ao.Listener(there, **arguments)
    for key in keys:
        listener.add_key(key)
    return listener


def shake(a, listener, isn=5000, vrf=None):
    """A handshake of a client's end with a listener; the listener's side of it."""
    b = End(listener, a.there, a.here, isn)
    arguments = {} if vrf is None else {"vrf": vrf}
    assert b.receive(a.send(SYN), **arguments).accepted
    assert a.receive(listener.sign(b.packet(SYN | ACK), **arguments)).accepted
    assert b.receive(a.send(ACK), **arguments).accepted
    return b


def test_the_queue_is_in_order_and_bounded():
    listener = listening(make_key().mirrored(), backlog=2)
    ends = [client_end(i, make_key()) for i in range(3)]
    for a in ends[:2]:
        shake(a, listener)
    third = ends[2]
    b = End(listener, SERVER, third.here, 5000)
    b.receive(third.send(SYN))
    third.receive(b.send(SYN | ACK))
    ack = third.send(ACK)
    outcome = b.receive(ack)
    assert (outcome.accepted, outcome.reason) == (False, DropReason.LISTEN_OVERFLOW)
    assert listener.accept().remote == ends[0].here
    assert b.receive(ack).accepted  # the handshake is still there
    assert [listener.accept().remote for _ in range(2)] == [ends[1].here, third.here]
    assert listener.accept() is None


def test_before_it_is_accepted_a_connection_goes_on():
    listener = listening(make_key().mirrored())
    a = client_end(key=make_key())
    b = shake(a, listener)
    assert exchange(a, b).accepted
    assert a.receive(listener.sign(b.packet(ACK | PSH, b"early"))).accepted
    accepted = listener.accept()
    assert accepted.info().counters.good == 1
    outcome = listener.process(a.send(ACK | PSH, b"late"))  # now the connection's to process
    assert outcome.verdict is Verdict.bad_mac


def test_unsigned_handshakes_never_push_out_signed_ones():
    listener = listening(make_key(200, 100, remote=CLIENT[0]), backlog=3)
    a = client_end(key=make_key())
    b = End(listener, SERVER, CLIENT, 5000)
    b.receive(a.send(SYN))
    flood = [client_end(here=("10.0.0.9", 1000 + i)) for i in range(50)]
    for one in flood:
        assert listener.process(one.send(SYN)).accepted
    assert a.receive(b.send(SYN | ACK)).accepted
    assert b.receive(a.send(ACK)).accepted and listener.accept().remote == CLIENT
    # of the unsigned ones the oldest gave way
    with pytest.raises(ao.NotConnectedError):
        listener.sign(End(None, SERVER, flood[0].here, 1).packet(SYN | ACK))
    last = End(listener, SERVER, flood[-1].here, 1)
    assert flood[-1].receive(last.send(SYN | ACK)).accepted


def test_forged_syns_begin_nothing():
    listener = listening(make_key().mirrored())
    for option in (b"", ao_option(100, 200), ao_option(9, 9)):
        listener.process(tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", option))
    assert not listener._signed_requests and not listener._unsigned_requests


def test_a_second_syn_changes_nothing():
    """The same SYN again, and one with another ISN: the handshake stays what it was."""
    listener = listening(make_key().mirrored())
    a, other = client_end(key=make_key()), client_end(key=make_key(), isn=777)
    b = End(listener, SERVER, CLIENT, 5000)
    syn = a.send(SYN)
    for packet in (syn, syn, other.send(SYN)):
        assert listener.process(packet).verdict is Verdict.good
    assert a.receive(b.send(SYN | ACK, ack=1001)).accepted
    assert b.receive(a.send(ACK)).accepted and listener.accept()


def test_an_ack_of_something_else_completes_nothing():
    listener = listening(make_key().mirrored())
    a = client_end(key=make_key())
    b = End(listener, SERVER, CLIENT, 5000)
    b.receive(a.send(SYN))
    a.receive(b.send(SYN | ACK))
    for ack in (5000, 5002, 1):
        # ``tcp_check_req``: good by the handshake's ISNs, and then bad by those that the ACK states
        before = dict(listener.snmp)
        assert b.receive(a.send(ACK, ack=ack)).verdict is Verdict.bad_mac
        assert listener.snmp["TCPAOGood"] == before["TCPAOGood"] + 1
        assert listener.snmp["TCPAOBad"] == before["TCPAOBad"] + 1
        assert listener.accept() is None
    assert b.receive(a.send(ACK)).accepted and listener.accept()


class TestHandshakeInProgress:
    """``tcp_inbound_ao_hash`` and ``tcp_check_req``: the request comes first."""

    def begun(self, key=None):
        listener = listening((key or make_key()).mirrored())
        a = client_end(key=key or make_key())
        b = End(listener, SERVER, CLIENT, 5000)
        b.receive(a.send(SYN))
        a.receive(b.send(SYN | ACK))
        return listener, a, b

    def test_a_rst_without_ack_ends_it(self):
        listener, a, b = self.begun()
        assert b.receive(a.send(RST)).verdict is Verdict.good
        assert listener.snmp["TCPAOGood"] == 2  # the SYN and the RST
        with pytest.raises(ao.NotConnectedError):
            b.send(SYN | ACK)

    def test_a_fin_without_ack_is_verified_and_counted(self):
        listener, a, b = self.begun()
        assert b.receive(a.send(1)).verdict is Verdict.good
        assert listener.snmp["TCPAOGood"] == 2
        assert b.receive(a.send(ACK, position=1001)).accepted and listener.accept()

    def test_without_a_handshake_they_are_dropped(self):
        listener, a, b = self.begun()
        listener.forget(CLIENT)
        for flags in (1, RST):
            assert b.receive(a.send(flags, position=1001)).reason is DropReason.TCP_FLAGS

    @pytest.mark.parametrize("option", [b"", b"\x13\x12" + bytes(16) + b"\x01\x01"])
    def test_a_syn_signed_otherwise(self, option):
        listener, _, b = self.begun()
        names = []
        listener.trace = ao.Tracer(callback=lambda one: names.append(one.name))
        packet = tcp_packet(CLIENT, SERVER, SYN, 1000, 0, b"", option)
        outcome = b.receive(packet)
        assert outcome.verdict is Verdict.bad_mac and names == ["tcp_ao_handshake_failure"]
        assert listener.snmp["TCPAOBad"] == 1

    def test_a_syn_ack_is_verified_with_the_isns_of_the_handshake(self):
        listener, a, b = self.begun()
        before = listener.snmp["TCPAOGood"]
        again = a.endpoint.sign(a.packet(SYN | ACK, position=1000, ack=5001))
        b.receive(again)
        assert listener.snmp["TCPAOGood"] == before + 1

    def test_the_syn_again(self):
        listener, a, b = self.begun()
        assert b.receive(a.send(SYN, position=1000)).verdict is Verdict.good
        assert b.receive(a.send(ACK, position=1001)).accepted and listener.accept()

    def test_a_rst_elsewhere_in_the_window_ends_nothing(self):
        """A challenge ACK is the answer (``tcp_check_req``)."""
        listener, a, b = self.begun()
        for away in (1, 100, -1, 1 << 20):
            rst = client_end(key=make_key())
            rst.send(SYN)
            rst.receive(b.send(SYN | ACK, position=5000))
            assert b.receive(rst.send(RST, position=1001 + away)).verdict is Verdict.good
        assert b.receive(a.send(ACK, position=1001)).accepted and listener.accept()

    @pytest.mark.parametrize(("isn", "ends"), [(1000, False), (1001, True), (1050, True),
                                               (999, False), (1 << 20, False)])  # fmt: skip
    def test_a_syn_of_another_isn_ends_it_in_the_window(self, isn, ends):
        listener, _, b = self.begun()
        again = client_end(key=make_key(), isn=isn)
        assert b.receive(again.send(SYN)).verdict is Verdict.good
        assert (listener._request((*self.client(), *self.server(), 0)) is None) == ends

    @staticmethod
    def client():
        return bytes([10, 0, 0, 1]), CLIENT[1]

    @staticmethod
    def server():
        return bytes([10, 0, 0, 2]), SERVER[1]

    def test_a_rst_that_answers_an_ack_of_something_else_ends_nothing(self):
        listener, a, b = self.begun()
        b.endpoint.sign(b.packet(RST, position=7777))
        assert b.receive(a.send(ACK, position=1001)).accepted and listener.accept()

    def test_the_last_ack_with_a_fin(self):
        """The connection is made of it, and takes it as any other."""
        listener, a, b = self.begun()
        assert b.receive(a.send(1 | ACK, b"bye")).accepted
        assert listener.accept().state is State.CLOSE_WAIT

    def test_data_behind_a_gap(self):
        """The ACK was lost: what comes next makes the connection, and waits for what is missing."""
        listener, a, b = self.begun()
        assert b.receive(a.send(ACK, b"later", position=1011)).accepted
        accepted = listener.accept()
        assert accepted.state is State.ESTABLISHED
        assert accepted._rcv.position == 1001


class TestFastOpen:
    """RFC 7413: ``tcp_fastopen_create_child``."""

    def begun(self, taken=5):
        listener = listening(make_key().mirrored())
        a = client_end(key=make_key())
        b = End(listener, SERVER, CLIENT, 5000)
        b.receive(a.send(SYN, b"early"))
        a.receive(b.endpoint.sign(b.packet(SYN | ACK, ack=1001 + taken)))
        return listener, a, b

    def test_the_connection_is_there_with_the_syn_ack_and_counts_the_last_ack(self):
        listener, a, b = self.begun()
        b.endpoint = listener.accept()
        assert b.endpoint.state is State.SYN_RECEIVED
        assert b.endpoint.info().counters.good == 0
        assert b.receive(a.send(ACK)).verdict is Verdict.good
        assert b.endpoint.state is State.ESTABLISHED
        assert b.endpoint.info().counters.good == 1
        assert listener.info().counters.good == 1  # the SYN alone
        assert exchange(a, b).accepted and exchange(b, a).accepted

    def test_it_may_send_before_the_last_ack(self):
        listener, a, b = self.begun()
        b.endpoint = listener.accept()
        assert exchange(b, a).accepted
        assert b.endpoint.state is State.SYN_RECEIVED

    def test_syn_and_syn_ack_again(self):
        listener, a, b = self.begun()
        again = a.endpoint.sign(a.packet(SYN, b"early", position=1000))
        assert listener.process(again).verdict is Verdict.good
        assert a.receive(listener.sign(b.packet(SYN | ACK, position=5000))).accepted
        assert listener.accept().state is State.SYN_RECEIVED
        assert listener.accept() is None

    def test_where_the_data_was_not_taken_the_handshake_goes_on(self):
        listener, a, b = self.begun(taken=0)
        assert listener.accept() is None
        assert b.receive(a.send(ACK, b"early", position=1001)).accepted
        assert listener.accept().state is State.ESTABLISHED


def test_forget():
    listener = listening(make_key().mirrored())
    a = client_end(key=make_key())
    b = End(listener, SERVER, CLIENT, 5000)
    b.receive(a.send(SYN))
    listener.forget(("10.0.0.1", 1))
    a.receive(b.send(SYN | ACK))
    listener.forget(CLIENT)
    with pytest.raises(ao.NotConnectedError):
        b.send(SYN | ACK, position=5000)
    with pytest.raises(ao.InvalidArgumentError, match="remote is"):
        listener.forget("nobody")


@pytest.mark.parametrize("sender", ["client", "listener"])
def test_a_rst_ends_a_handshake(sender):
    listener = listening(make_key().mirrored())
    a = client_end(key=make_key())
    b = End(listener, SERVER, CLIENT, 5000)
    b.receive(a.send(SYN))
    a.receive(b.send(SYN | ACK))
    if sender == "client":
        assert b.receive(a.send(RST | ACK)).verdict is Verdict.good
    else:
        assert a.receive(b.send(RST | ACK)).verdict is Verdict.good
        assert a.endpoint.state is State.CLOSED
    with pytest.raises(ao.NotConnectedError):
        b.send(ACK)


def test_before_the_syn_ack_there_is_no_isn_to_sign_with():
    listener = listening(make_key().mirrored())
    b = End(listener, SERVER, CLIENT, 5000)
    b.receive(client_end(key=make_key()).send(SYN))
    with pytest.raises(ao.NotConnectedError, match="own ISN"):
        b.send(RST)


@pytest.mark.parametrize("cookies", [False, True])
def test_syn_cookies(cookies):
    """The ACK alone says both ISNs; only a listener that was told so makes a connection of it."""
    listener = listening(make_key().mirrored(), syn_cookies=cookies)
    helper = listening(make_key().mirrored())
    a = client_end(key=make_key())
    b = End(helper, SERVER, CLIENT, 5000)
    b.receive(a.send(SYN))
    a.receive(b.send(SYN | ACK))
    outcome = listener.process(a.send(ACK))
    assert outcome.verdict is Verdict.good
    accepted = listener.accept()
    assert (accepted is not None) is cookies
    if cookies:
        b.endpoint = accepted
        b.note(outcome.packet)
        assert exchange(a, b).accepted and exchange(b, a).accepted
        assert (accepted.info().current, accepted.info().rnext) == (200, 100)


@pytest.mark.parametrize(
    ("here", "there", "wildcard"),
    [
        (CLIENT, SERVER, ("0.0.0.0", 179)),
        (CLIENT6, SERVER6, ("::", 179)),
        (CLIENT, SERVER, ("::", 179)),
    ],
)
def test_wildcard_addresses(here, there, wildcard):
    """The connection has the address that was dialled; keys may name it."""
    key = make_key(local=here[0], remote=there[0])
    listener = listening(key.mirrored(), there=wildcard)
    client = ao.Connection(here)
    client.add_key(key)
    a, b = dial(client, listener, here, there)
    assert b.endpoint.local == there and exchange(a, b).accepted
    elsewhere = tcp_packet(here, (there[0], 180), SYN, 1)
    assert listener.process(elsewhere).reason is DropReason.NO_SOCKET


def test_a_listener_for_ipv4_is_not_for_ipv6():
    syn = tcp_packet(CLIENT6, SERVER6, SYN, 1)
    assert listening(there=("0.0.0.0", 179)).process(syn).reason is DropReason.NO_SOCKET


def test_a_key_that_comes_with_repair():
    """An unsigned connection can only become a signed one while it is repaired, as in Linux: then
    it is one, with its SNE and all."""
    a, b = dial(ao.Connection(CLIENT), ao.Listener(SERVER), isns=(2**32 - 500, 7))
    for end, key in ((a, make_key()), (b, make_key().mirrored())):
        end.endpoint.repair_mode = True
        end.endpoint.add_key(key)
        assert (end.endpoint.info().current, end.endpoint.info().rnext) == (
            key.send_id,
            key.recv_id,
        )
        end.endpoint.repair(end.endpoint.repair_state())
        end.endpoint.repair_mode = False
    for _ in range(10):
        assert exchange(a, b).verdict is Verdict.good and exchange(b, a).verdict is Verdict.good
    unsigned = tcp_packet(CLIENT, SERVER, RST, a.next, 0)
    assert b.receive(unsigned).reason is DropReason.TCP_AONOTFOUND
    assert b.endpoint.state is State.ESTABLISHED
    b.endpoint.repair_mode = True
    assert b.endpoint.repair_state().rcv_sne == 1


def test_the_same_addresses_in_two_vrfs():
    """Each VRF has its key, its handshake and its connection."""
    red, blue = make_key(vrf=1, secret=b"red"), make_key(vrf=2, secret=b"blue")
    listener = listening(red.mirrored(), blue.mirrored())
    ends = {}
    for vrf, key in ((1, red), (2, blue)):
        ends[vrf] = client_end(key=key, isn=1000 * vrf, vrf=vrf)
        assert listener.process(ends[vrf].send(SYN), vrf=vrf).verdict is Verdict.good
    for vrf, a in ends.items():
        b = End(listener, SERVER, CLIENT, 7000 * vrf)
        b.expected = 1000 * vrf + 1
        assert a.receive(listener.sign(b.packet(SYN | ACK), vrf=vrf)).accepted
        wrong = listener.process(a.send(ACK, position=a.next), vrf=3 - vrf)
        assert not wrong.accepted
        assert listener.process(a.send(ACK), vrf=vrf).accepted
        accepted = listener.accept()
        assert accepted.vrf == vrf
        packet = a.send(ACK | PSH, b"data")
        assert accepted.process(packet, vrf=vrf).accepted
        assert accepted.process(packet, vrf=3 - vrf).reason is DropReason.NO_SOCKET


def test_a_listener_in_one_vrf():
    listener = listening(make_key().mirrored(), vrf=5)
    syn = client_end(key=make_key()).send(SYN)
    assert listener.process(syn).reason is DropReason.NO_SOCKET
    assert listener.process(syn, vrf=5).accepted


def test_rfc5925_passes_no_forged_option_where_something_is_required():
    """Passing what no key is meant by is no way round ao_required or a TCP-MD5 key."""
    signed = tcp_packet(CLIENT, SERVER, SYN, 1, 0, b"", ao_option(9, 9))
    policy = ao.Policy.rfc5925(ao_required=True)
    outcome = listening(make_key().mirrored(), policy=policy).process(signed)
    assert outcome.reason is DropReason.TCP_AOKEYNOTFOUND
    rfc = ao.Policy.rfc5925()
    outcome = listening(md5_key(), policy=rfc).process(signed)
    assert outcome.reason is DropReason.TCP_MD5NOTFOUND
    client, listener = ao.Connection(CLIENT, policy=rfc), listening(md5_key(), policy=rfc)
    client.add_key(md5_key())
    a, b = dial(client, listener)
    forged = tcp_packet(CLIENT, SERVER, RST, a.next, 0, b"", ao_option(9, 9))
    assert b.receive(forged).reason is DropReason.TCP_MD5NOTFOUND
    assert b.endpoint.state is State.ESTABLISHED


def test_rfc5925_a_connection_without_keys_passes_a_peer_that_signs():
    """Nobody has a key: option and all is passed, and taken off (section 7.5.1 a)."""
    rfc = ao.Policy.rfc5925()
    listener = listening(policy=rfc)
    a = client_end(key=make_key())
    b = End(listener, SERVER, CLIENT, 5000)
    outcome = b.receive(a.send(SYN))
    assert outcome.accepted and outcome.warning
    assert listener.sign(b.packet(SYN | ACK)) == b.packet(SYN | ACK, position=5000)
    ack = tcp_packet(CLIENT, SERVER, ACK, 1001, 5001, b"", ao_option(100, 200))
    outcome = listener.process(ack)
    assert outcome.accepted and outcome.packet == tcp_packet(CLIENT, SERVER, ACK, 1001, 5001)
    assert not listener.accept().has_ao


def test_rfc5925_connects_unsigned_where_no_key_matches():
    client = ao.Connection(CLIENT, policy=ao.Policy.rfc5925())
    client.add_key(make_key(remote="10.9.9.9"))
    a, b = dial(client, ao.Listener(SERVER))
    assert not a.endpoint.has_ao and exchange(a, b).verdict is Verdict.unsigned


def test_rfc5925_a_syn_ack_may_ask_for_a_key():
    """Step e of section 7.5 counts for a SYN-ACK too; Linux waits for the next segment."""
    for policy, expected in ((ao.Policy.rfc5925(), 5), (ao.Policy.linux(), 100)):
        client = ao.Connection(CLIENT, policy=policy)
        client.add_key(make_key(), set_current=True, set_rnext=True)
        client.add_key(make_key(5, 6))
        client.connect(SERVER, 1000)
        a = End(client, CLIENT, SERVER, 1000)
        a.send(SYN)
        server = ao.Connection(SERVER)  # asks for another key than the SYN came with
        server.add_key(make_key().mirrored(), set_current=True)
        server.add_key(make_key(5, 6).mirrored(), set_rnext=True)
        server.repair_mode = True
        server.connect(CLIENT)
        server.repair(ao.RepairState(5000, 1000, 0, 0, 5000, 1001))
        server.repair_mode = False
        syn_ack = server.sign(tcp_packet(SERVER, CLIENT, SYN | ACK, 5000, 1001))
        assert a.receive(syn_ack).verdict is Verdict.good
        assert client.info().current == expected


@pytest.mark.parametrize(("backlog", "local"), [(0, SERVER), ("x", SERVER), (5, "10.0.0.1")])
def test_what_is_no_listener(backlog, local):
    with pytest.raises(ao.InvalidArgumentError):
        ao.Listener(local, backlog=backlog)


def test_reprs_say_who_and_how():
    a = client_end(key=make_key())
    assert repr(a.endpoint) == "<Connection ('10.0.0.1', 40000) - ('10.0.0.2', 179) SYN-SENT>"
    assert repr(ao.Connection(CLIENT)) == "<Connection ('10.0.0.1', 40000) - None CLOSED>"
    assert repr(listening(make_key())) == "<Listener ('10.0.0.2', 179) 1 keys>"


class TestSeveralTcpMd5Keys:
    """A peer with a range's key, a host's key, and keys that are being changed."""

    RANGE, HOST = (
        ao.MasterKey(algorithm="tcp-md5", secret=secret, remote=remote)
        for secret, remote in ((b"range", "10.0.0.0/24"), (b"host", "10.0.0.1"))
    )
    EVERY = ao.Policy(every_md5_key=True)

    def client(self, secret):
        key = ao.MasterKey(algorithm="tcp-md5", secret=secret, remote=SERVER[0])
        return client_end(0, key, here=("10.0.0.1", 40000), there=SERVER)

    @pytest.mark.parametrize("turned", [False, True])
    def test_the_longest_prefix_alone_as_in_linux(self, turned):
        keys = [self.RANGE, self.HOST][:: -1 if turned else 1]
        a = self.client(b"host")
        exchange(a, shake(a, listening(*keys)))
        refused = self.client(b"range")
        outcome = listening(*keys).process(refused.send(SYN))
        assert not outcome.accepted and outcome.verdict is Verdict.md5_bad

    @pytest.mark.parametrize("secret", [b"host", b"range"])
    def test_every_key_by_request(self, secret):
        """What verified the peer's SYN signs what is answered."""
        a = self.client(secret)
        exchange(a, shake(a, listening(self.RANGE, self.HOST, policy=self.EVERY)))

    @pytest.mark.parametrize("secret", [b"new", b"old"])
    def test_two_keys_for_the_same_peer(self, secret):
        keys = [
            ao.MasterKey(algorithm="tcp-md5", secret=one, remote="10.0.0.1")
            for one in (b"old", b"new")
        ]
        a = self.client(secret)
        exchange(a, shake(a, listening(*keys, policy=self.EVERY)))
        outcome = listening(*keys, policy=self.EVERY).process(self.client(b"neither").send(SYN))
        assert outcome.verdict is Verdict.md5_bad

    def test_a_key_outside_of_its_lifetime(self):
        past = (
            datetime(2001, 1, 1, tzinfo=timezone.utc),
            datetime(2002, 1, 1, tzinfo=timezone.utc),
        )
        key = ao.MasterKey(algorithm="tcp-md5", secret=b"old", remote="10.0.0.1",
                           accept_lifetime=past)  # fmt: skip
        listener = listening(self.RANGE, key, policy=self.EVERY)
        outcome = listener.process(self.client(b"old").send(SYN), now=datetime.now(timezone.utc))
        assert outcome.verdict is Verdict.md5_bad
        again = listening(self.RANGE, key, policy=self.EVERY)
        assert again.process(self.client(b"old").send(SYN)).accepted
